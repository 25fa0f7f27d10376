-- How much room logs take, for their quota; and what old pipelines need to go quickly.

ALTER TABLE jobs ADD COLUMN log_bytes INTEGER;         -- once it has ended and was measured; 0 when its logs were removed
ALTER TABLE jobs ADD COLUMN logs_removed_at_ms INTEGER;
CREATE INDEX jobs_unmeasured ON jobs (stopped_at_ms)
    WHERE log_bytes IS NULL AND stopped_at_ms IS NOT NULL AND number IS NOT NULL AND origin_id IS NULL;
CREATE INDEX jobs_with_logs ON jobs (stopped_at_ms, log_bytes) WHERE log_bytes > 0;
CREATE INDEX test_timings_from ON test_timings (from_job_id);
CREATE INDEX triggers_of_pipeline ON triggers (pipeline_id) WHERE pipeline_id IS NOT NULL;
CREATE INDEX triggers_skipped ON triggers (accepted_at_ms) WHERE state = 'skipped';
CREATE INDEX outbox_over ON outbox (created_at_ms) WHERE state != 'due';
