-- Who asked for a row, by which key, and for what: kept for ever, so that a repeated request has one effect.
ALTER TABLE local_node.local_revenues
    ADD COLUMN fee_basis_points integer,
    ADD COLUMN caller           text COLLATE "C",
    ADD COLUMN idempotency_key  text COLLATE "C",
    ADD COLUMN request_hash     bytea;
CREATE UNIQUE INDEX local_revenues_once ON local_node.local_revenues (caller, idempotency_key);
CREATE INDEX local_revenues_by_date ON local_node.local_revenues (transaction_date, id);
CREATE INDEX local_revenues_unsent ON local_node.local_revenues (created_at) WHERE NOT synced_to_global;

-- What was given back of a revenue, together: the one row that refunds of it wait for each other at.
CREATE TABLE local_node.refund_totals (
    revenue_id   uuid PRIMARY KEY REFERENCES local_node.local_revenues (id),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0)
);
GRANT SELECT, INSERT, UPDATE (amount_minor) ON local_node.refund_totals TO fateh_runtime;

CREATE TABLE local_node.local_refunds (
    id               uuid PRIMARY KEY,
    revenue_id       uuid NOT NULL REFERENCES local_node.local_revenues (id),
    amount_minor     bigint NOT NULL CHECK (amount_minor > 0),
    fee_minor        bigint NOT NULL CHECK (fee_minor >= 0),
    net_minor        bigint NOT NULL CHECK (net_minor >= 0),
    caller           text COLLATE "C" NOT NULL,
    idempotency_key  text COLLATE "C" NOT NULL,
    request_hash     bytea NOT NULL,
    synced_to_global boolean NOT NULL,
    created_at       timestamptz NOT NULL,
    CONSTRAINT local_refunds_balanced CHECK (fee_minor + net_minor = amount_minor),
    CONSTRAINT local_refunds_once UNIQUE (caller, idempotency_key)
);
CREATE INDEX local_refunds_of ON local_node.local_refunds (revenue_id);
CREATE INDEX local_refunds_unsent ON local_node.local_refunds (created_at) WHERE NOT synced_to_global;
GRANT SELECT, INSERT, UPDATE (synced_to_global) ON local_node.local_refunds TO fateh_runtime;

-- Every movement of money, from one account to another: balanced because a row cannot be otherwise.
CREATE TABLE local_node.ledger_transfers (
    id           uuid PRIMARY KEY,
    revenue_id   uuid NOT NULL REFERENCES local_node.local_revenues (id),
    refund_id    uuid REFERENCES local_node.local_refunds (id),
    debit        text COLLATE "C" NOT NULL CHECK (debit IN ('received', 'net', 'fee')),
    credit       text COLLATE "C" NOT NULL CHECK (credit IN ('received', 'net', 'fee')),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    created_at   timestamptz NOT NULL,
    CHECK (debit <> credit)
);
CREATE INDEX ledger_transfers_of ON local_node.ledger_transfers (revenue_id);
GRANT SELECT, INSERT ON local_node.ledger_transfers TO fateh_runtime;
