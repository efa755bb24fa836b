-- What the centre has told the node to hold, and what came of it: one row for each distribution, and one more where it
-- only asks. The acknowledgements are written from these rows, so that each replica says the same.
CREATE TABLE local_node.distributions (
    distribution  text COLLATE "C" NOT NULL,
    dry_run       boolean NOT NULL,
    content_id    text COLLATE "C",
    revision      text COLLATE "C" NOT NULL,
    attempt       integer NOT NULL,
    state         text NOT NULL CHECK (state IN ('Applied', 'Merged', 'Conflicted', 'Failed', 'Removed')),
    digest        text COLLATE "C",
    message       text,
    -- What would happen, of one that only asks.
    plan          jsonb,
    locked_fields jsonb NOT NULL,
    updated_at    timestamptz NOT NULL,
    PRIMARY KEY (distribution, dry_run)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON local_node.distributions TO fateh_runtime;
CREATE INDEX distributions_content ON local_node.distributions (content_id);

-- What the node had changed, where it was replaced or deleted.
CREATE TABLE local_node.replaced_content (
    id          uuid PRIMARY KEY,
    content_id  text COLLATE "C" NOT NULL,
    language    text COLLATE "C" NOT NULL,
    document    jsonb NOT NULL,
    replaced_at timestamptz NOT NULL
);
CREATE INDEX replaced_content_of ON local_node.replaced_content (content_id, id);
GRANT SELECT, INSERT ON local_node.replaced_content TO fateh_runtime;

-- Of several replicas, the one that holds this row's lease carries out what the node is told.
CREATE TABLE local_node.distribution_turn (
    singleton boolean PRIMARY KEY CHECK (singleton),
    holder    uuid,
    until     timestamptz NOT NULL
);
INSERT INTO local_node.distribution_turn VALUES (true, NULL, 'epoch');
GRANT SELECT, UPDATE (holder, until) ON local_node.distribution_turn TO fateh_runtime;

-- Whether the centre, and not the node, has archived a piece: then the centre may publish it again.
ALTER TABLE local_node.local_content ADD COLUMN hidden_by_centre boolean NOT NULL DEFAULT false;
