CREATE TABLE project_flags (              -- settings of a project (spec 6.2); one that has no row here has the defaults
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    autocancel_builds INTEGER NOT NULL CHECK (autocancel_builds IN (0, 1)),
    build_fork_prs INTEGER NOT NULL CHECK (build_fork_prs IN (0, 1)),
    build_prs_only INTEGER NOT NULL CHECK (build_prs_only IN (0, 1)),
    disable_ssh INTEGER NOT NULL CHECK (disable_ssh IN (0, 1)),
    forks_receive_secret_env_vars INTEGER NOT NULL CHECK (forks_receive_secret_env_vars IN (0, 1)),
    oss INTEGER NOT NULL CHECK (oss IN (0, 1)),
    set_github_status INTEGER NOT NULL CHECK (set_github_status IN (0, 1)),
    setup_workflows INTEGER NOT NULL CHECK (setup_workflows IN (0, 1)),
    write_settings_requires_admin INTEGER NOT NULL CHECK (write_settings_requires_admin IN (0, 1)),
    blocks_new_work INTEGER NOT NULL CHECK (blocks_new_work IN (0, 1)),      -- ours, like the next (spec 4.3)
    is_stopped INTEGER NOT NULL CHECK (is_stopped IN (0, 1)),
    pr_only_branch_overrides TEXT NOT NULL                                   -- JSON: a list of branches
) STRICT;

-- Beside is_trusted, which stays what the forge verified of the origin: what the project's settings made of it then.
ALTER TABLE pipelines ADD COLUMN may_have_secrets INTEGER NOT NULL DEFAULT 0 CHECK (may_have_secrets IN (0, 1));
UPDATE pipelines SET may_have_secrets = is_trusted;

-- For whom things run, as a user's id: no foreign key, for a user who is gone is not the same as nobody. NULL: not known.
ALTER TABLE workflows ADD COLUMN actor_id TEXT;
ALTER TABLE jobs ADD COLUMN approved_by_id TEXT;

CREATE TABLE context_restrictions (       -- who may use a context (spec 7.6)
    id TEXT PRIMARY KEY,
    context_id TEXT NOT NULL REFERENCES contexts (id) ON DELETE CASCADE,
    type TEXT NOT NULL CHECK (type IN ('project', 'group', 'expression')),
    value TEXT NOT NULL,                  -- the id of a project, of a group or a user; an expression
    created_at_ms INTEGER NOT NULL,
    UNIQUE (context_id, type, value)
) STRICT;

CREATE TABLE user_logins (                -- who of ours is who on a forge: an administrator said so
    forge TEXT NOT NULL CHECK (forge IN ('github')),
    login TEXT NOT NULL COLLATE NOCASE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    forge_id TEXT,                        -- noted at the first event: a login can be given up and taken by another
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (forge, login)
) STRICT;
CREATE INDEX user_logins_of_user ON user_logins (user_id);
