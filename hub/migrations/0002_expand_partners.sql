-- Who has a part in a node by contract. An account of the hub is joined to it by a platform admin, never by e-mail.
CREATE TABLE global_platform.global_partners (
    id           uuid PRIMARY KEY,
    node_uid     uuid NOT NULL,
    node         text COLLATE "C" NOT NULL,
    global_user  uuid REFERENCES global_platform.global_users (id),
    display_name text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 128),
    email        text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    email_key    text COLLATE "C" NOT NULL,
    role         text NOT NULL CHECK (role IN ('owner', 'manager', 'instructor', 'support')),
    status       text NOT NULL CHECK (status IN ('active', 'suspended', 'ended')),
    contract     jsonb NOT NULL CHECK (jsonb_typeof(contract) = 'object'),
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);
-- One whose contract has ended may begin another.
CREATE UNIQUE INDEX global_partners_email_unique ON global_platform.global_partners (email_key) WHERE status <> 'ended';
CREATE INDEX global_partners_of_node ON global_platform.global_partners (node_uid);
CREATE INDEX global_partners_of_user ON global_platform.global_partners (global_user);
GRANT SELECT, INSERT, UPDATE ON global_platform.global_partners TO fateh_hub_runtime;

-- A partner's share of its node's net, from a day (UTC) on. Rows are added, never changed: the newest of a day holds.
CREATE TABLE global_platform.partner_shares (
    id           uuid PRIMARY KEY,
    partner      uuid NOT NULL REFERENCES global_platform.global_partners (id),
    valid_from   date NOT NULL,
    basis_points integer NOT NULL CHECK (basis_points BETWEEN 0 AND 10000),
    created_at   timestamptz NOT NULL
);
CREATE INDEX partner_shares_of ON global_platform.partner_shares (partner, valid_from);
GRANT SELECT, INSERT ON global_platform.partner_shares TO fateh_hub_runtime;
