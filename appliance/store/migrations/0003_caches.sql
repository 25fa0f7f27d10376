-- Caches are immutable: a key is saved once in its scope, and found by prefix, newest first (spec 2.1).
-- A scope keeps forks apart from the project itself: 'trusted', or the fork's own.

CREATE TABLE caches (
    id TEXT PRIMARY KEY,                  -- also the blob's name
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    root TEXT NOT NULL CHECK (root IN ('/', '~')),  -- what its paths are relative to
    size_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    UNIQUE (project_id, scope, key)
) STRICT;
CREATE INDEX caches_by_use ON caches (project_id, used_at_ms);
CREATE INDEX caches_by_end ON caches (expires_at_ms);
