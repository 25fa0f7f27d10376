ALTER TABLE workflows ADD COLUMN is_setup INTEGER NOT NULL DEFAULT 0 CHECK (is_setup IN (0, 1));

-- A pipeline whose config is only the first of two (spec 1.12). Once it is continued, `pipelines` has the second config.
CREATE TABLE continuations (
    pipeline_id TEXT PRIMARY KEY REFERENCES pipelines (id) ON DELETE CASCADE,
    key_hash TEXT NOT NULL UNIQUE,
    expires_at_ms INTEGER NOT NULL,
    setup_source TEXT NOT NULL,
    setup_compiled TEXT NOT NULL,
    parameters TEXT,                      -- JSON: what the second config is compiled with; NULL until it is continued
    request TEXT,                         -- by which asking it was continued: the same one asked again is the same
    continued_at_ms INTEGER,
    CHECK ((parameters IS NULL) = (continued_at_ms IS NULL))
) STRICT;

CREATE INDEX pipelines_pending ON pipelines (created_at_ms) WHERE state = 'pending';
