-- The schema of a node. It belongs to the operator's role; `fateh_runtime` is the shared role
-- that every node's login role is a member of, and its grants stand beside each table.
-- Times and identifiers come from the program. Keys that must be unique without regard to
-- case are normalised by the program into the *_key columns.

CREATE TABLE local_node.local_users (
    id             uuid PRIMARY KEY,
    global_user_id uuid UNIQUE,
    username       text NOT NULL CHECK (length(username) BETWEEN 1 AND 64),
    username_key   text COLLATE "C" NOT NULL CONSTRAINT local_users_username_unique UNIQUE,
    email          text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    email_key      text COLLATE "C" NOT NULL CONSTRAINT local_users_email_unique UNIQUE,
    password_hash  text NOT NULL,
    role           text NOT NULL CHECK (role IN ('student', 'instructor', 'admin')),
    status         text NOT NULL CHECK (status IN ('active', 'suspended', 'deleted')),
    profile        jsonb NOT NULL,
    last_sign_in   timestamptz,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON local_node.local_users TO fateh_runtime;

CREATE TABLE local_node.local_content (
    id                 uuid PRIMARY KEY,
    global_content_id  text COLLATE "C",
    title              text NOT NULL CHECK (length(title) BETWEEN 1 AND 512),
    content            jsonb NOT NULL,
    is_customized      boolean NOT NULL,
    customization      jsonb,
    language           text COLLATE "C" NOT NULL,
    status             text NOT NULL CHECK (status IN ('draft', 'published', 'archived')),
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    UNIQUE (global_content_id, language)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON local_node.local_content TO fateh_runtime;

-- The platform's share over time. Only the operator appends; a node may read.
CREATE TABLE local_node.fee_rates (
    valid_from            timestamptz PRIMARY KEY,
    platform_basis_points integer NOT NULL CHECK (platform_basis_points BETWEEN 0 AND 10000)
);
GRANT SELECT ON local_node.fee_rates TO fateh_runtime;

-- Money in minor units (ISO 4217). A row never changes but for having reached the centre.
CREATE TABLE local_node.local_revenues (
    id               uuid PRIMARY KEY,
    type             text NOT NULL CHECK (type IN ('subscription', 'course', 'consulting', 'workshop')),
    amount_minor     bigint NOT NULL CHECK (amount_minor BETWEEN 1 AND 1000000000000000),
    currency         text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    fee_minor        bigint NOT NULL CHECK (fee_minor >= 0),
    net_minor        bigint NOT NULL CHECK (net_minor >= 0),
    transaction_date timestamptz NOT NULL,
    user_id          uuid REFERENCES local_node.local_users (id),
    metadata         jsonb NOT NULL,
    synced_to_global boolean NOT NULL,
    created_at       timestamptz NOT NULL,
    CONSTRAINT local_revenues_balanced CHECK (fee_minor + net_minor = amount_minor)
);
GRANT SELECT, INSERT, UPDATE (synced_to_global) ON local_node.local_revenues TO fateh_runtime;

-- The one-time invitation of the first admin: only the hash of its token. The operator makes it
-- and makes it anew; the node accepts it, once.
CREATE TABLE local_node.first_admin_invitation (
    singleton   boolean PRIMARY KEY CHECK (singleton),
    email       text NOT NULL,
    token_hash  bytea NOT NULL CHECK (length(token_hash) = 32),
    expires_at  timestamptz NOT NULL,
    accepted_at timestamptz,
    accepted_by uuid REFERENCES local_node.local_users (id)
);
GRANT SELECT, UPDATE (accepted_at, accepted_by) ON local_node.first_admin_invitation TO fateh_runtime;

-- The runtime checks that the schema is the one it was built for.
GRANT SELECT ON local_node._sqlx_migrations TO fateh_runtime;

-- Of several replicas, the one that moves this row forward reports for the interval.
CREATE TABLE local_node.report_turn (
    singleton boolean PRIMARY KEY CHECK (singleton),
    taken_at  timestamptz NOT NULL
);
INSERT INTO local_node.report_turn VALUES (true, 'epoch');
GRANT SELECT, UPDATE (taken_at) ON local_node.report_turn TO fateh_runtime;
