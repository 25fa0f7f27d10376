-- What loops look for every minute, and the courier at every letter, among millions of rows.

CREATE INDEX tokens_by_end ON tokens (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
CREATE INDEX layers_by_age ON layers (created_at_ms);
CREATE INDEX outbox_of_revision ON outbox (json_extract(body, '$.revision'));
DROP INDEX caches_by_use;
CREATE INDEX caches_by_use ON caches (project_id, used_at_ms, size_bytes);  -- with the size: the sums need no row
CREATE INDEX caches_unused ON caches (used_at_ms);
