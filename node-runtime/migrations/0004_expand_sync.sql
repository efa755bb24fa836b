-- Of several replicas, the one that holds this row's lease sends to the centre. A lease and not an advisory lock: that
-- would keep a connection for as long as the centre takes to answer, and a small node has but one.
CREATE TABLE local_node.sync_turn (
    singleton boolean PRIMARY KEY CHECK (singleton),
    holder    uuid,
    until     timestamptz NOT NULL
);
INSERT INTO local_node.sync_turn VALUES (true, NULL, 'epoch');
GRANT SELECT, UPDATE (holder, until) ON local_node.sync_turn TO fateh_runtime;
