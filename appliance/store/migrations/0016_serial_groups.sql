-- The queues of serial groups (spec 1.10.5): one row for each lock job that waits or holds; a lock that is let go has none.

CREATE TABLE locks (
    turn INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE REFERENCES jobs (id) ON DELETE CASCADE,
    workflow_id TEXT NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    org TEXT NOT NULL COLLATE NOCASE,     -- the same key is the same queue in all projects of an organisation
    key TEXT NOT NULL,
    pipeline_number INTEGER NOT NULL,
    is_held INTEGER NOT NULL CHECK (is_held IN (0, 1)),
    since_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX locks_queue ON locks (org, key, is_held, turn);
CREATE UNIQUE INDEX locks_held ON locks (org, key) WHERE is_held = 1;
CREATE INDEX locks_of_workflow ON locks (workflow_id);
CREATE INDEX locks_waiting ON locks (since_ms) WHERE is_held = 0;
CREATE INDEX locks_of_project ON locks (project_id);
