-- The centre's public keys as they were fetched last: a restart without the centre loses nothing.
CREATE TABLE local_node.centre_keys (
    singleton  boolean PRIMARY KEY CHECK (singleton),
    jwks       text CHECK (length(jwks) <= 65536),
    fetched_at timestamptz,
    -- Of several replicas one asks, and none too often.
    asked_at   timestamptz NOT NULL
);
INSERT INTO local_node.centre_keys VALUES (true, NULL, NULL, 'epoch');
GRANT SELECT, UPDATE (jwks, fetched_at, asked_at) ON local_node.centre_keys TO fateh_runtime;
