CREATE TABLE test_uploads (               -- one for each store_test_results step of each node (spec 2.4)
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    step TEXT NOT NULL,                   -- a step that is begun again replaces what it had stored
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    job_name TEXT NOT NULL,
    scope TEXT NOT NULL,                  -- as of caches: forks do not lend the project their timings
    tests INTEGER NOT NULL,               -- rows kept
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (job_id, idx, step)
) STRICT;
CREATE INDEX test_uploads_of_name ON test_uploads (project_id, job_name, created_at_ms);
CREATE INDEX test_uploads_by_age ON test_uploads (created_at_ms);

CREATE TABLE test_results (
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    step TEXT NOT NULL,
    result TEXT NOT NULL CHECK (result IN ('success', 'failure', 'error', 'skipped')),
    name TEXT NOT NULL,
    classname TEXT NOT NULL,
    file TEXT NOT NULL,
    source TEXT NOT NULL,
    run_time_s REAL NOT NULL,
    message TEXT NOT NULL,
    FOREIGN KEY (job_id, idx, step) REFERENCES test_uploads (job_id, idx, step) ON DELETE CASCADE
) STRICT;
CREATE INDEX test_results_of_upload ON test_results (job_id, idx, step);
CREATE INDEX test_results_of_job ON test_results (job_id, id);
CREATE INDEX test_results_bad ON test_results (job_id, id) WHERE result IN ('failure', 'error');

CREATE TABLE test_timings (               -- whose timings the nodes of a job split by: the same for all of them
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    from_job_id TEXT REFERENCES jobs (id) ON DELETE SET NULL
) STRICT;
