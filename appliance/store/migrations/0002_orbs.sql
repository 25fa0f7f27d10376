-- The appliance's own registry of orbs. Times are milliseconds since 1970, UTC.

CREATE TABLE orb_namespaces (
    name TEXT PRIMARY KEY,
    private_to TEXT COLLATE NOCASE,       -- the only organisation that may use its orbs; NULL: every project may
    is_imported INTEGER NOT NULL CHECK (is_imported IN (0, 1)),  -- somebody else's: what it lacks may come from elsewhere
    created_at_ms INTEGER NOT NULL,
    CHECK (private_to IS NULL OR is_imported = 0)
) STRICT;

CREATE TABLE orbs (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL REFERENCES orb_namespaces (name),
    name TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (namespace, name)
) STRICT;

CREATE TABLE orb_versions (
    orb_id INTEGER NOT NULL REFERENCES orbs (id),
    version TEXT NOT NULL,                -- 1.2.3 or dev:LABEL
    major INTEGER,                        -- all three NULL for dev:LABEL
    minor INTEGER,
    patch INTEGER,
    source TEXT NOT NULL,                 -- as it is used: references to other orbs are exact where they could be
    digest TEXT NOT NULL CHECK (length(digest) = 64),        -- SHA-256 of it
    given_digest TEXT NOT NULL CHECK (length(given_digest) = 64),  -- and of the text as it was handed in
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    PRIMARY KEY (orb_id, version),
    CHECK ((version LIKE 'dev:%') = (major IS NULL)),
    CHECK ((major IS NULL) = (minor IS NULL) AND (major IS NULL) = (patch IS NULL)),
    CHECK ((major IS NULL) = (expires_at_ms IS NOT NULL))
) STRICT;
CREATE INDEX orb_versions_by_number ON orb_versions (orb_id, major, minor, patch) WHERE major IS NOT NULL;

-- A published version is what it is for ever; nobody has to trust the code above for that.
CREATE TRIGGER orb_versions_never_change BEFORE UPDATE ON orb_versions WHEN OLD.major IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a published version of an orb never changes');
END;
CREATE TRIGGER orb_versions_never_go BEFORE DELETE ON orb_versions WHEN OLD.major IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a published version of an orb is never removed');
END;
