-- What starts pipelines by the clock (spec 1.9, 4.3): workflows of a branch's config with `triggers`, and those of the API.

CREATE TABLE schedules (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    workflow TEXT,                        -- of a config; NULL for one of the API
    name TEXT NOT NULL,
    description TEXT,
    branch TEXT,
    tag TEXT,
    timing TEXT NOT NULL,                 -- JSON: a config's list of cron lines, or a timetable
    parameters TEXT NOT NULL,             -- JSON: pipeline parameters
    is_system INTEGER NOT NULL CHECK (is_system IN (0, 1)),  -- attribution-actor: system or somebody
    actor_id TEXT REFERENCES users (id) ON DELETE SET NULL,
    offset_ms INTEGER NOT NULL,           -- after each of its times; chosen once, so that not all fire at once
    slot_ms INTEGER,                      -- its next time; NULL when there is none
    due_at_ms INTEGER,                    -- slot and offset
    counted_at_ms INTEGER NOT NULL,       -- when the next time was worked out: later than now, the clock went back
    fired_at_ms INTEGER,                  -- what became of the last time: a trigger, or a result that says why not
    result TEXT NOT NULL DEFAULT '',
    trigger_id INTEGER REFERENCES triggers (id) ON DELETE SET NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    CHECK ((branch IS NULL) <> (tag IS NULL)),
    CHECK ((slot_ms IS NULL) = (due_at_ms IS NULL)),
    CHECK (workflow IS NULL OR (branch IS NOT NULL AND is_system = 1)),
    UNIQUE (project_id, branch, workflow)
) STRICT;
CREATE INDEX schedules_due ON schedules (due_at_ms) WHERE due_at_ms IS NOT NULL;
CREATE INDEX schedules_counted ON schedules (counted_at_ms);
CREATE INDEX schedules_of_project ON schedules (project_id, created_at_ms, row);
CREATE INDEX schedules_of_actor ON schedules (actor_id);
CREATE INDEX schedules_of_trigger ON schedules (trigger_id);
