CREATE TABLE oidc_keys (                  -- what ID tokens are signed with (spec 7.5)
    id TEXT PRIMARY KEY,                  -- the token's `kid`
    public_jwk TEXT NOT NULL,             -- JSON, as the world reads it
    private_key BLOB NOT NULL,            -- sealed
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE oidc_claims (                -- what an organization, or one project of it, puts into its tokens
    org_id TEXT NOT NULL,
    project_id TEXT REFERENCES projects (id) ON DELETE CASCADE,  -- NULL: of the whole organization
    audience TEXT,                        -- JSON list of texts; NULL: not set
    audience_updated_at_ms INTEGER,
    ttl TEXT,                             -- "1h30m"; NULL: not set
    ttl_updated_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX oidc_claims_of_org ON oidc_claims (org_id) WHERE project_id IS NULL;
CREATE UNIQUE INDEX oidc_claims_of_project ON oidc_claims (project_id) WHERE project_id IS NOT NULL;
