-- Times are milliseconds since 1970, UTC. Statuses are the words of spec 4.1.

CREATE TABLE facts (                      -- what the appliance knows of itself: its instance id
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE COLLATE NOCASE,
    vcs TEXT NOT NULL CHECK (vcs IN ('hosted', 'github', 'git')),
    org TEXT NOT NULL,
    repo TEXT NOT NULL,
    git_url TEXT,
    default_branch TEXT NOT NULL,
    webhook_secret BLOB,                  -- sealed
    last_pipeline_number INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    CHECK ((vcs = 'hosted') = (git_url IS NULL)),
    UNIQUE (org COLLATE NOCASE, repo COLLATE NOCASE)
) STRICT;

CREATE TABLE secrets (                    -- project environment variables
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value BLOB NOT NULL,                  -- sealed
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (project_id, name)
) STRICT;

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password_hash TEXT,
    is_admin INTEGER NOT NULL CHECK (is_admin IN (0, 1)),
    sees_all_projects INTEGER NOT NULL CHECK (sees_all_projects IN (0, 1)),
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE members (                    -- who may enter which project; for users that do not see all
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, project_id)
) STRICT;

CREATE TABLE ssh_keys (
    fingerprint TEXT PRIMARY KEY,         -- SHA256:...
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    public_key TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX ssh_keys_of_user ON ssh_keys (user_id);

CREATE TABLE tokens (                     -- API tokens, login links and page sessions; only hashes
    hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('api', 'link', 'session')),
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER
) STRICT;
CREATE INDEX tokens_of_user ON tokens (user_id);

CREATE TABLE triggers (
    id INTEGER PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    delivery_id TEXT,
    semantic_key TEXT NOT NULL,
    event TEXT NOT NULL,                  -- JSON of model.Trigger
    state TEXT NOT NULL CHECK (state IN ('open', 'done', 'skipped')),
    pipeline_id TEXT,                     -- once there is one
    accepted_at_ms INTEGER NOT NULL,
    UNIQUE (project_id, delivery_id),
    UNIQUE (project_id, semantic_key)
) STRICT;
CREATE INDEX triggers_open ON triggers (id) WHERE state = 'open';

CREATE TABLE pipelines (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('setup-pending', 'setup', 'pending', 'created', 'errored')),
    event TEXT NOT NULL,                  -- JSON of model.Trigger
    branch TEXT,
    is_trusted INTEGER NOT NULL CHECK (is_trusted IN (0, 1)),  -- computed once; never updated
    source TEXT NOT NULL,                 -- the config as read
    compiled TEXT NOT NULL,
    pipeline_values TEXT NOT NULL,        -- JSON
    problems TEXT NOT NULL,               -- JSON: what the compiler said, errors and warnings
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    UNIQUE (project_id, number)
) STRICT;
CREATE INDEX pipelines_recent ON pipelines (created_at_ms);
CREATE INDEX pipelines_of_project ON pipelines (project_id, created_at_ms);
CREATE INDEX pipelines_of_branch ON pipelines (project_id, branch, created_at_ms);

CREATE TABLE workflows (
    id TEXT PRIMARY KEY,
    pipeline_id TEXT NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'failing', 'on_hold', 'queued', 'success', 'failed', 'error',
        'canceled', 'unauthorized', 'not_run')),
    workspace_id TEXT NOT NULL,
    started_by TEXT NOT NULL,
    canceled_by TEXT,
    created_at_ms INTEGER NOT NULL,
    stopped_at_ms INTEGER
) STRICT;
CREATE INDEX workflows_of_pipeline ON workflows (pipeline_id, created_at_ms);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    number INTEGER UNIQUE,                -- one count for the whole appliance, so that `ssh 812@host` is clear
    position INTEGER NOT NULL,            -- in the workflow
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('blocked', 'not_running', 'queued', 'on_hold', 'running', 'success',
        'failed', 'timedout', 'canceled', 'infrastructure_fail', 'unauthorized', 'not_run')),
    message TEXT NOT NULL DEFAULT '',     -- why it ended so, where steps do not say
    plan TEXT NOT NULL,                   -- JSON of language.plan.Job
    approved_by TEXT,
    created_at_ms INTEGER NOT NULL,
    queued_at_ms INTEGER,                 -- when it could have started
    started_at_ms INTEGER,
    stopped_at_ms INTEGER,
    UNIQUE (workflow_id, name)
) STRICT;
CREATE INDEX jobs_waiting ON jobs (queued_at_ms) WHERE status = 'not_running';
CREATE INDEX jobs_of_project ON jobs (project_id, number);

CREATE TABLE nodes (                      -- parallel copies of a job
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'success', 'failed', 'timedout', 'canceled',
        'infrastructure_fail')),
    executor TEXT NOT NULL DEFAULT '',
    sandbox TEXT,                         -- what Executor.reattach takes
    cpus REAL NOT NULL DEFAULT 0,         -- what it holds while it runs
    memory_bytes INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    started_at_ms INTEGER,
    stopped_at_ms INTEGER,
    PRIMARY KEY (job_id, idx)
) STRICT;
CREATE INDEX nodes_running ON nodes (status) WHERE status = 'running';
CREATE INDEX nodes_waiting ON nodes (status) WHERE status = 'waiting';

CREATE TABLE steps (
    job_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    position INTEGER NOT NULL,            -- 0 is "Spin up environment"
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'success', 'failed', 'timedout', 'canceled',
        'infrastructure_fail', 'skipped')),
    exit_code INTEGER,
    is_background INTEGER NOT NULL DEFAULT 0 CHECK (is_background IN (0, 1)),
    message TEXT NOT NULL DEFAULT '',
    started_at_ms INTEGER,
    stopped_at_ms INTEGER,
    PRIMARY KEY (job_id, idx, position),
    FOREIGN KEY (job_id, idx) REFERENCES nodes (job_id, idx) ON DELETE CASCADE
) STRICT;

CREATE TABLE outbox (                     -- what the courier has to tell the world
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,                   -- JSON
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('due', 'sent', 'dead')),
    message TEXT NOT NULL DEFAULT '',
    created_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_due ON outbox (due_at_ms) WHERE state = 'due';

CREATE TABLE hosted_refs (                -- what hosted repositories' refs were when they last started pipelines
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    ref TEXT NOT NULL,
    revision TEXT NOT NULL,
    PRIMARY KEY (project_id, ref)
) STRICT;

CREATE TABLE visits (                     -- who entered which job over SSH
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    user_id TEXT REFERENCES users (id) ON DELETE SET NULL,
    user_name TEXT NOT NULL,
    address TEXT NOT NULL,
    command TEXT NOT NULL,                -- '' for a shell
    entered_at_ms INTEGER NOT NULL,
    left_at_ms INTEGER
) STRICT;
CREATE INDEX visits_of_job ON visits (job_id, entered_at_ms);
