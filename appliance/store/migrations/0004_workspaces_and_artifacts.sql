CREATE TABLE layers (                     -- what jobs persisted into their workflow's workspace (spec 2.2)
    id TEXT PRIMARY KEY,                  -- also the blob's name
    workspace_id TEXT NOT NULL,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    step TEXT NOT NULL,                   -- a step persists once, however often it is begun
    names TEXT NOT NULL,                  -- JSON: its files, relative to the workspace
    size_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (job_id, idx, step)
) STRICT;
CREATE INDEX layers_of_workspace ON layers (workspace_id);

CREATE TABLE artifacts (                  -- spec 2.3
    id TEXT PRIMARY KEY,                  -- also the blob's name
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (job_id, idx, path)
) STRICT;
