-- Bytes by their digest. Who knows the digest of a released one may have it; until then nobody may.
CREATE TABLE global_platform.content_bodies (
    digest      bytea PRIMARY KEY CHECK (length(digest) = 32),
    body        bytea NOT NULL,
    released_at timestamptz,
    created_at  timestamptz NOT NULL,
    CONSTRAINT content_bodies_verified CHECK (digest = sha256(body))
);
GRANT SELECT, INSERT, UPDATE (released_at) ON global_platform.content_bodies TO fateh_hub_runtime;

CREATE TABLE global_platform.global_content (
    id               text COLLATE "C" PRIMARY KEY,
    type             text NOT NULL CHECK (type IN ('Course', 'Lesson', 'Quiz', 'Resource')),
    title            jsonb NOT NULL,
    description      jsonb NOT NULL,
    target_languages text[] NOT NULL,
    is_distributable boolean NOT NULL,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON global_platform.global_content TO fateh_hub_runtime;

-- A version that was released is never changed again.
CREATE TABLE global_platform.content_versions (
    content     text COLLATE "C" NOT NULL REFERENCES global_platform.global_content (id),
    version     text COLLATE "C" NOT NULL,
    manifest    bytea NOT NULL REFERENCES global_platform.content_bodies (digest),
    released_at timestamptz,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (content, version)
);
GRANT SELECT, INSERT ON global_platform.content_versions TO fateh_hub_runtime;
GRANT UPDATE (manifest, released_at) ON global_platform.content_versions TO fateh_hub_runtime;

-- The languages of every version that was released, of the catalogue or inline: the same version never has others.
CREATE TABLE global_platform.released_versions (
    content     text COLLATE "C" NOT NULL,
    version     text COLLATE "C" NOT NULL,
    languages   jsonb NOT NULL,
    released_at timestamptz NOT NULL,
    PRIMARY KEY (content, version)
);
GRANT SELECT, INSERT ON global_platform.released_versions TO fateh_hub_runtime;
