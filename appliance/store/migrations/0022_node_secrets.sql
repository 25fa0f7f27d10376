-- What the logs of a node must not show while its sandbox lives: sealed, for a runner after a restart. Formerly a file
-- beside the logs, which cost every job as much as its rows do.

ALTER TABLE nodes ADD COLUMN secrets BLOB;
