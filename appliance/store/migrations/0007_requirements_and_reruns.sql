-- What a job waits for as rows of its own: the end of a job touches those that need it, however large the workflow is.

CREATE TABLE requirements (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,            -- in the job's `requires`
    required_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    statuses TEXT NOT NULL,               -- JSON: the ends that meet it
    PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX requirements_on ON requirements (required_id);

ALTER TABLE jobs ADD COLUMN unmet INTEGER NOT NULL DEFAULT 0;  -- requirements of a blocked job that are not met yet
ALTER TABLE jobs ADD COLUMN canceled_by TEXT;
ALTER TABLE jobs ADD COLUMN origin_id TEXT REFERENCES jobs (id) ON DELETE SET NULL;  -- carried over: who really ran
ALTER TABLE jobs ADD COLUMN ssh_for TEXT;                      -- user who asked for a rerun with SSH
ALTER TABLE jobs ADD COLUMN failed_tests_of TEXT REFERENCES jobs (id) ON DELETE SET NULL;  -- run only what failed there
CREATE INDEX jobs_by_status ON jobs (workflow_id, status);
CREATE INDEX jobs_on_hold ON jobs (queued_at_ms) WHERE status = 'on_hold';
CREATE INDEX jobs_of_origin ON jobs (origin_id) WHERE origin_id IS NOT NULL;
CREATE INDEX jobs_failed_tests_of ON jobs (failed_tests_of) WHERE failed_tests_of IS NOT NULL;

ALTER TABLE workflows ADD COLUMN root_id TEXT REFERENCES workflows (id) ON DELETE CASCADE;   -- the first of its reruns
ALTER TABLE workflows ADD COLUMN rerun_of TEXT REFERENCES workflows (id) ON DELETE SET NULL;
ALTER TABLE workflows ADD COLUMN rerun TEXT NOT NULL DEFAULT '' CHECK (rerun IN ('', 'manual', 'automatic'));
ALTER TABLE workflows ADD COLUMN auto_rerun_number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workflows ADD COLUMN max_auto_reruns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workflows ADD COLUMN is_errored INTEGER NOT NULL DEFAULT 0 CHECK (is_errored IN (0, 1));
-- Both are fixed when the workflow begins: a setting that changes meanwhile changes no workflow under way.
ALTER TABLE workflows ADD COLUMN excuses_consumed INTEGER NOT NULL DEFAULT 0 CHECK (excuses_consumed IN (0, 1));
ALTER TABLE workflows ADD COLUMN may_be_redundant INTEGER NOT NULL DEFAULT 0 CHECK (may_be_redundant IN (0, 1));
CREATE INDEX workflows_open ON workflows (created_at_ms) WHERE stopped_at_ms IS NULL;
CREATE INDEX workflows_of_root ON workflows (root_id) WHERE root_id IS NOT NULL;
CREATE INDEX workflows_of_rerun ON workflows (rerun_of) WHERE rerun_of IS NOT NULL;

CREATE TABLE approvals (                  -- who let what through: an approval is good for this commit and config alone
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    pipeline_id TEXT NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    revision TEXT NOT NULL,
    config_digest TEXT NOT NULL CHECK (length(config_digest) = 64),  -- SHA-256 of the compiled config
    user_id TEXT NOT NULL,                -- no foreign key: a user who is gone is not the same as nobody
    user_name TEXT NOT NULL,
    approved_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX approvals_of_pipeline ON approvals (pipeline_id);

ALTER TABLE steps ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE steps ADD COLUMN attempt_at_ms INTEGER;                -- a later attempt does not begin before
ALTER TABLE steps ADD COLUMN attempt_offset INTEGER NOT NULL DEFAULT 0;  -- bytes of output of the attempts before

INSERT INTO requirements (job_id, position, required_id, statuses)
SELECT jobs.id, entries.key, required.id, json_extract(entries.value, '$.statuses')
FROM jobs, json_each(jobs.plan, '$.requires') AS entries
JOIN jobs AS required
    ON required.workflow_id = jobs.workflow_id AND required.name = json_extract(entries.value, '$.job');

UPDATE jobs SET unmet = (
    SELECT count(*) FROM requirements JOIN jobs AS required ON required.id = requirements.required_id
    WHERE requirements.job_id = jobs.id
        AND required.status IN ('blocked', 'not_running', 'queued', 'on_hold', 'running'))
WHERE status = 'blocked';

UPDATE jobs SET queued_at_ms = created_at_ms WHERE status = 'on_hold' AND queued_at_ms IS NULL;

-- Numbers are never given twice, also when the jobs that had them are gone.
INSERT INTO facts (name, value) SELECT 'last_job_number', coalesce(max(number), 0) FROM jobs;
