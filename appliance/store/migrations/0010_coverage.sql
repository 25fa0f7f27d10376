CREATE TABLE coverage (                   -- of a whole job: the sums of its source files
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    job_name TEXT NOT NULL,
    branch TEXT,
    scope TEXT NOT NULL,                  -- as of caches: a fork's branch may be called main too
    files INTEGER NOT NULL,
    lines INTEGER NOT NULL CHECK (lines >= 0),
    lines_ran INTEGER NOT NULL CHECK (lines_ran BETWEEN 0 AND lines),
    branches INTEGER NOT NULL CHECK (branches >= 0),
    branches_ran INTEGER NOT NULL CHECK (branches_ran BETWEEN 0 AND branches),
    created_at_ms INTEGER NOT NULL,
    has_files INTEGER NOT NULL CHECK (has_files IN (0, 1))  -- the rows below go after a while
) STRICT;
CREATE INDEX coverage_of_name ON coverage (project_id, job_name, branch, created_at_ms);
CREATE INDEX coverage_of_branch ON coverage (project_id, branch, created_at_ms);
CREATE INDEX coverage_by_age ON coverage (created_at_ms) WHERE has_files = 1;

CREATE TABLE coverage_reports (           -- each artifact that is one, as it says itself
    job_id TEXT NOT NULL REFERENCES coverage (job_id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    path TEXT NOT NULL,
    format TEXT NOT NULL CHECK (format IN ('cobertura', 'jacoco', 'lcov')),
    files INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    lines_ran INTEGER NOT NULL,
    branches INTEGER NOT NULL,
    branches_ran INTEGER NOT NULL,
    PRIMARY KEY (job_id, idx, path)
) STRICT;

CREATE TABLE coverage_files (             -- each source file, over all reports of all nodes
    job_id TEXT NOT NULL REFERENCES coverage (job_id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    found BLOB NOT NULL,                  -- bit N, from the lowest of the first byte: line N can run
    ran BLOB NOT NULL,
    lines INTEGER NOT NULL,
    lines_ran INTEGER NOT NULL,
    branches INTEGER NOT NULL,
    branches_ran INTEGER NOT NULL,
    PRIMARY KEY (job_id, path)
) STRICT;

-- A key as people may see it: what a template took from a secret is masked.
ALTER TABLE caches ADD COLUMN shown TEXT NOT NULL DEFAULT '';
UPDATE caches SET shown = key;
CREATE INDEX caches_listed ON caches (project_id, created_at_ms);

-- What a project keeps, oldest first, without a look into every row.
ALTER TABLE artifacts ADD COLUMN project_id TEXT REFERENCES projects (id) ON DELETE CASCADE;
UPDATE artifacts SET project_id = (SELECT project_id FROM jobs WHERE jobs.id = artifacts.job_id);
CREATE INDEX artifacts_of_project ON artifacts (project_id, created_at_ms, size_bytes);
CREATE INDEX artifacts_by_age ON artifacts (created_at_ms);
