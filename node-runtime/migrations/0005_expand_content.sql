-- `content` is what is served. Of what was distributed, `upstream` is what came last, and `base` what the next merge
-- begins with: upstream, but for the places in conflict.
ALTER TABLE local_node.local_content
    ADD COLUMN type       text COLLATE "C" NOT NULL DEFAULT 'lesson'
        CHECK (type IN ('course', 'lesson', 'quiz', 'resource')),
    ADD COLUMN revision   bigint NOT NULL DEFAULT 1,
    ADD COLUMN upstream   jsonb,
    ADD COLUMN base       jsonb,
    ADD COLUMN conflicts  jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN created_by uuid REFERENCES local_node.local_users (id);
CREATE INDEX local_content_published ON local_node.local_content (id) WHERE status = 'published';
