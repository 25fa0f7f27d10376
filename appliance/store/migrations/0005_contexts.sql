CREATE TABLE contexts (                   -- named sets of environment variables, for every project (spec 7.6)
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE context_variables (
    context_id TEXT NOT NULL REFERENCES contexts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value BLOB NOT NULL,                  -- sealed
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (context_id, name)
) STRICT;
