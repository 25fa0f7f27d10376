-- How much room things take, kept as they come and go: the quotas are looked at every minute, and to add up millions of
-- rows for that takes seconds. 'artifacts' and 'caches' by project; 'logs' of all projects together, with ''.

CREATE TABLE room (
    kind TEXT NOT NULL CHECK (kind IN ('artifacts', 'caches', 'logs')),
    project_id TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (kind, project_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX room_by_size ON room (kind, bytes);

INSERT INTO room
    SELECT 'artifacts', project_id, sum(size_bytes) FROM artifacts WHERE project_id IS NOT NULL GROUP BY project_id;
INSERT INTO room SELECT 'caches', project_id, sum(size_bytes) FROM caches GROUP BY project_id;
INSERT INTO room SELECT 'logs', '', coalesce(sum(log_bytes), 0) FROM jobs WHERE log_bytes > 0;

CREATE TRIGGER artifacts_come AFTER INSERT ON artifacts WHEN new.project_id IS NOT NULL BEGIN
    INSERT INTO room VALUES ('artifacts', new.project_id, new.size_bytes)
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER artifacts_go AFTER DELETE ON artifacts BEGIN
    UPDATE room SET bytes = bytes - old.size_bytes WHERE kind = 'artifacts' AND project_id = old.project_id;
END;
CREATE TRIGGER caches_come AFTER INSERT ON caches BEGIN
    INSERT INTO room VALUES ('caches', new.project_id, new.size_bytes)
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER caches_go AFTER DELETE ON caches BEGIN
    UPDATE room SET bytes = bytes - old.size_bytes WHERE kind = 'caches' AND project_id = old.project_id;
END;
CREATE TRIGGER logs_measured AFTER UPDATE OF log_bytes ON jobs BEGIN
    UPDATE room SET bytes = bytes + coalesce(new.log_bytes, 0) - coalesce(old.log_bytes, 0)
        WHERE kind = 'logs' AND project_id = '';
END;
CREATE TRIGGER logs_go AFTER DELETE ON jobs WHEN old.log_bytes > 0 BEGIN
    UPDATE room SET bytes = bytes - old.log_bytes WHERE kind = 'logs' AND project_id = '';
END;

CREATE INDEX projects_by_vcs ON projects (vcs);  -- a start looks at those that are hosted here
