-- Machines that run jobs over SSH: those of the settings, written in here at start, and those added while running.

CREATE TABLE machines (
    name TEXT PRIMARY KEY,
    source TEXT NOT NULL CHECK (source IN ('settings', 'added')),
    address TEXT NOT NULL,                -- host name or IP address; '' for one that dials in
    port INTEGER NOT NULL,
    user_name TEXT NOT NULL,
    private_key BLOB,                     -- sealed; NULL: in `key_file`, or it dials in
    key_file TEXT NOT NULL,               -- on the appliance's host; of the settings only
    host_key TEXT NOT NULL,               -- "ssh-ed25519 AAAA..."; '': not pinned yet
    os TEXT NOT NULL,                     -- linux, macos, windows, freebsd; '': as measured
    arch TEXT NOT NULL,                   -- amd64, arm64, ...; '': as measured
    classes TEXT NOT NULL,                -- JSON list; empty: those of its os and arch that fit its size
    slots INTEGER NOT NULL CHECK (slots > 0),
    cpus REAL NOT NULL,                   -- 0: as measured
    memory_bytes INTEGER NOT NULL,        -- 0: as measured
    home TEXT NOT NULL CHECK (home IN ('fresh', 'user')),
    folder TEXT NOT NULL,                 -- of our files there; '': ~/.rondo
    dials_in INTEGER NOT NULL,
    runner_key TEXT NOT NULL,             -- public, of one that dials in
    added_at_ms INTEGER NOT NULL,
    drained_at_ms INTEGER,                -- gets nothing new since
    broken_since_ms INTEGER,              -- took itself out; `trouble` says why
    trouble TEXT NOT NULL DEFAULT '',
    lost_in_a_row INTEGER NOT NULL DEFAULT 0,  -- nodes that it lost since one ended well
    checked_at_ms INTEGER,                -- last asked
    seen_at_ms INTEGER,                   -- last answered
    measured TEXT NOT NULL DEFAULT '{}',  -- JSON: what it said of itself
    removed_at_ms INTEGER                 -- goes when the last node on it has ended
) STRICT;
