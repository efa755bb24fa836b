-- The schema of the hub. It belongs to the operator's role; `fateh_hub_runtime` is the role that the
-- hub's login role is a member of, and its grants stand beside each table. What is the same for
-- everyone who signs in anywhere (sessions, attempts, password_resets, first_admin_invitation) has
-- the same form as on a node.

-- People with an account at the centre. Who has no role of the centre is a partner's owner or manager.
CREATE TABLE global_platform.global_users (
    id                  uuid PRIMARY KEY,
    display_name        text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 128),
    email               text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    email_key           text COLLATE "C" NOT NULL CONSTRAINT global_users_email_unique UNIQUE,
    password_hash       text NOT NULL,
    role                text CHECK (role IN ('platform-admin', 'content-manager', 'finance', 'support')),
    status              text NOT NULL CHECK (status IN ('active', 'suspended', 'deleted')),
    last_sign_in        timestamptz,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    security_version    integer NOT NULL DEFAULT 1,
    security_changed_at timestamptz NOT NULL DEFAULT 'epoch'
);
CREATE INDEX global_users_security_changed ON global_platform.global_users (security_changed_at);
GRANT SELECT, INSERT, UPDATE ON global_platform.global_users TO fateh_hub_runtime;

CREATE TABLE global_platform.sessions (
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES global_platform.global_users (id),
    token_hash    bytea NOT NULL CHECK (length(token_hash) = 32),
    previous_hash bytea CHECK (length(previous_hash) = 32),
    successor     bytea CHECK (length(successor) = 32),
    rotated_at    timestamptz NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL
);
CREATE INDEX sessions_user ON global_platform.sessions (user_id);
CREATE INDEX sessions_expiry ON global_platform.sessions (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON global_platform.sessions TO fateh_hub_runtime;

CREATE TABLE global_platform.password_resets (
    user_id    uuid PRIMARY KEY REFERENCES global_platform.global_users (id),
    token_hash bytea NOT NULL CHECK (length(token_hash) = 32),
    expires_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON global_platform.password_resets TO fateh_hub_runtime;

CREATE UNLOGGED TABLE global_platform.attempts (
    key      bytea PRIMARY KEY CHECK (length(key) = 16),
    level    double precision NOT NULL,
    taken_at timestamptz NOT NULL
);
CREATE INDEX attempts_age ON global_platform.attempts (taken_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON global_platform.attempts TO fateh_hub_runtime;

CREATE TABLE global_platform.first_admin_invitation (
    singleton   boolean PRIMARY KEY CHECK (singleton),
    email       text NOT NULL,
    token_hash  bytea NOT NULL CHECK (length(token_hash) = 32),
    expires_at  timestamptz NOT NULL,
    accepted_at timestamptz,
    accepted_by uuid REFERENCES global_platform.global_users (id)
);
GRANT SELECT, UPDATE (accepted_at, accepted_by) ON global_platform.first_admin_invitation TO fateh_hub_runtime;

-- Users of nodes, as their nodes vouch for them. Nothing here tells who it is, and no e-mail joins one to another:
-- only that person's own sign-in at the hub does.
CREATE TABLE global_platform.global_identities (
    id          uuid PRIMARY KEY,
    node_uid    uuid NOT NULL,
    local_user  uuid NOT NULL,
    node        text COLLATE "C" NOT NULL,
    local_role  text NOT NULL CHECK (local_role IN ('student', 'instructor', 'admin')),
    global_user uuid REFERENCES global_platform.global_users (id),
    created_at  timestamptz NOT NULL,
    CONSTRAINT global_identities_once UNIQUE (node_uid, local_user)
);
GRANT SELECT, INSERT, UPDATE (local_role, global_user) ON global_platform.global_identities TO fateh_hub_runtime;

-- What nodes have told, by node and key: kept for ever, so that a repeated item has one effect.
CREATE TABLE global_platform.received_items (
    node_uid     uuid NOT NULL,
    id           uuid NOT NULL,
    request_hash bytea NOT NULL CHECK (length(request_hash) = 32),
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (node_uid, id)
);
GRANT SELECT, INSERT ON global_platform.received_items TO fateh_hub_runtime;

-- Money that nodes received and gave back, in minor units (ISO 4217). Rows are added, never changed; a refund may
-- arrive before the revenue that it gives back of.
CREATE TABLE global_platform.ledger_entries (
    node_uid         uuid NOT NULL,
    id               uuid NOT NULL,
    node             text COLLATE "C" NOT NULL,
    country          text COLLATE "C",
    kind             text NOT NULL CHECK (kind IN ('revenue', 'refund')),
    revenue_id       uuid NOT NULL,
    type             text CHECK (type IN ('subscription', 'course', 'consulting', 'workshop')),
    currency         text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor     bigint NOT NULL CHECK (amount_minor BETWEEN 1 AND 1000000000000000),
    fee_minor        bigint NOT NULL CHECK (fee_minor >= 0),
    net_minor        bigint NOT NULL CHECK (net_minor >= 0),
    happened_at      timestamptz NOT NULL,
    received_at      timestamptz NOT NULL,
    PRIMARY KEY (node_uid, id),
    CONSTRAINT ledger_entries_balanced CHECK (fee_minor + net_minor = amount_minor),
    CONSTRAINT ledger_entries_typed CHECK ((kind = 'revenue') = (type IS NOT NULL))
);
GRANT SELECT, INSERT ON global_platform.ledger_entries TO fateh_hub_runtime;

-- Every movement of money, from one account to another: balanced because a row cannot be otherwise.
CREATE TABLE global_platform.ledger_transfers (
    node_uid     uuid NOT NULL,
    entry_id     uuid NOT NULL,
    debit        text COLLATE "C" NOT NULL CHECK (debit IN ('received', 'net', 'fee')),
    credit       text COLLATE "C" NOT NULL CHECK (credit IN ('received', 'net', 'fee')),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    PRIMARY KEY (node_uid, entry_id, debit, credit),
    FOREIGN KEY (node_uid, entry_id) REFERENCES global_platform.ledger_entries (node_uid, id),
    CHECK (debit <> credit)
);
GRANT SELECT, INSERT ON global_platform.ledger_transfers TO fateh_hub_runtime;

-- Sums of the ledger by node, currency and day (UTC, of when it happened), kept in the same statement as its entries.
-- Numeric: a sum of many entries of 10^15 is larger than a bigint.
CREATE TABLE global_platform.ledger_days (
    node_uid           uuid NOT NULL,
    currency           text COLLATE "C" NOT NULL,
    day                date NOT NULL,
    revenues           bigint NOT NULL,
    gross_minor        numeric NOT NULL,
    fee_minor          numeric NOT NULL,
    net_minor          numeric NOT NULL,
    refunds            bigint NOT NULL,
    refunded_minor     numeric NOT NULL,
    refunded_fee_minor numeric NOT NULL,
    refunded_net_minor numeric NOT NULL,
    PRIMARY KEY (node_uid, currency, day)
);
GRANT SELECT, INSERT, UPDATE ON global_platform.ledger_days TO fateh_hub_runtime;

-- The same by node and currency alone, for what is asked all the time.
CREATE TABLE global_platform.ledger_totals (
    node_uid           uuid NOT NULL,
    currency           text COLLATE "C" NOT NULL,
    node               text COLLATE "C" NOT NULL,
    country            text COLLATE "C",
    revenues           bigint NOT NULL,
    gross_minor        numeric NOT NULL,
    fee_minor          numeric NOT NULL,
    net_minor          numeric NOT NULL,
    refunds            bigint NOT NULL,
    refunded_minor     numeric NOT NULL,
    refunded_fee_minor numeric NOT NULL,
    refunded_net_minor numeric NOT NULL,
    PRIMARY KEY (node_uid, currency)
);
GRANT SELECT, INSERT, UPDATE ON global_platform.ledger_totals TO fateh_hub_runtime;

-- Who did what, when, from where. Rows are added, never changed.
CREATE TABLE global_platform.audit_log (
    id      uuid PRIMARY KEY,
    at      timestamptz NOT NULL,
    actor   text COLLATE "C" NOT NULL,
    action  text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    address inet,
    detail  jsonb NOT NULL
);
CREATE INDEX audit_log_time ON global_platform.audit_log (at, id);
GRANT SELECT, INSERT ON global_platform.audit_log TO fateh_hub_runtime;

-- The hub checks that the schema is the one it was built for.
GRANT SELECT ON global_platform._sqlx_migrations TO fateh_hub_runtime;
