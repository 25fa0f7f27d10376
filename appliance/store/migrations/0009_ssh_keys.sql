CREATE TABLE checkout_keys (              -- keys made here, by which a project's repository is fetched (spec 7.7)
    fingerprint TEXT PRIMARY KEY,         -- SHA256:...
    md5 TEXT NOT NULL,                    -- aa:bb:...
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    type TEXT NOT NULL CHECK (type IN ('deploy-key', 'user-key')),
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,  -- whom a user key speaks for; it goes with them
    public_key TEXT NOT NULL,
    private_key BLOB NOT NULL,            -- sealed
    created_at_ms INTEGER NOT NULL,
    CHECK ((type = 'user-key') = (user_id IS NOT NULL))
) STRICT;
CREATE INDEX checkout_keys_of_project ON checkout_keys (project_id, created_at_ms);
CREATE INDEX checkout_keys_of_user ON checkout_keys (user_id);

CREATE TABLE additional_ssh_keys (        -- keys that people gave for `add_ssh_keys`
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL,            -- SHA256:...
    hostname TEXT NOT NULL,               -- '' for every host
    md5 TEXT NOT NULL,
    private_key BLOB NOT NULL,            -- sealed
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (project_id, fingerprint, hostname)
) STRICT;
