-- Whether a machine takes jobs of strangers' forks: they run there as its user, beside everybody else's.

ALTER TABLE machines ADD COLUMN forks INTEGER NOT NULL DEFAULT 0;
