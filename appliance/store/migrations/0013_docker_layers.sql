-- What private Docker engines keep between the jobs of a project that ask for docker_layer_caching (spec 8.4): each row
-- is a volume on the engine. A job has one for itself; so there are as many as jobs that ran at once.

CREATE TABLE docker_layers (
    name TEXT PRIMARY KEY,                -- of the volume
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    job_id TEXT REFERENCES jobs (id) ON DELETE SET NULL,  -- the node that uses it now
    node_index INTEGER,
    used_at_ms INTEGER NOT NULL,
    UNIQUE (job_id, node_index)
) STRICT;
CREATE INDEX docker_layers_by_use ON docker_layers (project_id, used_at_ms);
