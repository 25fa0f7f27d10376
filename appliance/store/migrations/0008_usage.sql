CREATE TABLE node_usage (                 -- what a node took of CPU, memory and disk, over its time
    job_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    series TEXT NOT NULL,                 -- JSON of store.usage.Series, at most some hundred points
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (job_id, idx),
    FOREIGN KEY (job_id, idx) REFERENCES nodes (job_id, idx) ON DELETE CASCADE
) STRICT;
