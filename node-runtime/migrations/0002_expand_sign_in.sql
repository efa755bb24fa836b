-- What a token must agree with: raised when a user's role, status or password changes, so that
-- every replica learns within seconds which tokens no longer hold.
ALTER TABLE local_node.local_users
    ADD COLUMN security_version    integer NOT NULL DEFAULT 1,
    ADD COLUMN security_changed_at timestamptz NOT NULL DEFAULT 'epoch';
CREATE INDEX local_users_security_changed ON local_node.local_users (security_changed_at);
CREATE INDEX local_users_last_sign_in ON local_node.local_users (last_sign_in) WHERE status <> 'deleted';

-- A sign-in that lives on by a rotating refresh token. Only hashes of tokens are kept; the
-- successor is sealed with the token before it, for the one whose answer was lost.
CREATE TABLE local_node.sessions (
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES local_node.local_users (id),
    token_hash    bytea NOT NULL CHECK (length(token_hash) = 32),
    previous_hash bytea CHECK (length(previous_hash) = 32),
    successor     bytea CHECK (length(successor) = 32),
    rotated_at    timestamptz NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL
);
CREATE INDEX sessions_user ON local_node.sessions (user_id);
CREATE INDEX sessions_expiry ON local_node.sessions (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON local_node.sessions TO fateh_runtime;

-- The one-time token by which a user who forgot the password sets another.
CREATE TABLE local_node.password_resets (
    user_id    uuid PRIMARY KEY REFERENCES local_node.local_users (id),
    token_hash bytea NOT NULL CHECK (length(token_hash) = 32),
    expires_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON local_node.password_resets TO fateh_runtime;

-- Attempts at signing in, by the hash of an account or an address. What a crash of the server
-- empties only forgets attempts.
CREATE UNLOGGED TABLE local_node.attempts (
    key      bytea PRIMARY KEY CHECK (length(key) = 16),
    level    double precision NOT NULL,
    taken_at timestamptz NOT NULL
);
CREATE INDEX attempts_age ON local_node.attempts (taken_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON local_node.attempts TO fateh_runtime;

-- What the centre is still to be told. A row is taken by its state, never by its place in an order.
CREATE TABLE local_node.outbox (
    id              uuid PRIMARY KEY,
    kind            text COLLATE "C" NOT NULL,
    payload         jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    refused_at      timestamptz,
    refusal         text
);
CREATE INDEX outbox_due ON local_node.outbox (next_attempt_at) WHERE refused_at IS NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON local_node.outbox TO fateh_runtime;
