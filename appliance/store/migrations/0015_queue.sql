-- What the scheduler reads at every look: jobs that wait or run, and how long jobs of a name took lately.

DROP INDEX jobs_waiting;
DROP INDEX nodes_waiting;                 -- it held every node of every job that never began
CREATE INDEX jobs_begun ON jobs (queued_at_ms, number) WHERE status IN ('not_running', 'running');
CREATE INDEX jobs_history ON jobs (project_id, name, number) WHERE status = 'success' AND started_at_ms IS NOT NULL;
