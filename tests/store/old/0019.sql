BEGIN TRANSACTION;
CREATE TABLE additional_ssh_keys (        -- keys that people gave for `add_ssh_keys`
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL,            -- SHA256:...
    hostname TEXT NOT NULL,               -- '' for every host
    md5 TEXT NOT NULL,
    private_key BLOB NOT NULL,            -- sealed
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (project_id, fingerprint, hostname)
) STRICT;
CREATE TABLE approvals (                  -- who let what through: an approval is good for this commit and config alone
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    pipeline_id TEXT NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    revision TEXT NOT NULL,
    config_digest TEXT NOT NULL CHECK (length(config_digest) = 64),  -- SHA-256 of the compiled config
    user_id TEXT NOT NULL,                -- no foreign key: a user who is gone is not the same as nobody
    user_name TEXT NOT NULL,
    approved_at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE artifacts (                  -- spec 2.3
    id TEXT PRIMARY KEY,                  -- also the blob's name
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL, project_id TEXT REFERENCES projects (id) ON DELETE CASCADE,
    UNIQUE (job_id, idx, path)
) STRICT;
INSERT INTO "artifacts" VALUES('fad2fc82a3054c0d9fb3e828425ca084','495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,'out/made-0',35,1795335077004,'5f2b0fba-911e-43a7-9dd6-45a523a4e8a6');
INSERT INTO "artifacts" VALUES('bf159239d7a74cf2aca814fca944d628','495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,'out/junit.xml',78,1795335077006,'5f2b0fba-911e-43a7-9dd6-45a523a4e8a6');
INSERT INTO "artifacts" VALUES('cbce609e5e804ef99061bae2a3e9147e','495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,'out/junit.xml',78,1795335077031,'5f2b0fba-911e-43a7-9dd6-45a523a4e8a6');
INSERT INTO "artifacts" VALUES('8cc6afc039364cd7a062436d4b77beb0','495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,'out/made-1',35,1795335077035,'5f2b0fba-911e-43a7-9dd6-45a523a4e8a6');
CREATE TABLE caches (
    id TEXT PRIMARY KEY,                  -- also the blob's name
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    root TEXT NOT NULL CHECK (root IN ('/', '~')),  -- what its paths are relative to
    size_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL, shown TEXT NOT NULL DEFAULT '',
    UNIQUE (project_id, scope, key)
) STRICT;
INSERT INTO "caches" VALUES('b0f48e6fdf894c3789283a1cd1876395','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6','trusted','deps-1','~',121,1795335076917,1795335076917,1796631076917,'deps-1');
CREATE TABLE checkout_keys (              -- keys made here, by which a project's repository is fetched (spec 7.7)
    fingerprint TEXT PRIMARY KEY,         -- SHA256:...
    md5 TEXT NOT NULL,                    -- aa:bb:...
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    type TEXT NOT NULL CHECK (type IN ('deploy-key', 'user-key')),
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,  -- whom a user key speaks for; it goes with them
    public_key TEXT NOT NULL,
    private_key BLOB NOT NULL,            -- sealed
    created_at_ms INTEGER NOT NULL,
    CHECK ((type = 'user-key') = (user_id IS NOT NULL))
) STRICT;
INSERT INTO "checkout_keys" VALUES('SHA256:MS/qKBwZm7h6BmMiDt1IaXerpHdG8mdqw2c8Jp/WZAM','cc:b6:fa:d4:61:14:e8:c7:59:83:09:8d:13:6a:dd:34','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6','deploy-key',NULL,'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPqOM301VmnFmNP+n/KIGcAPZumaPXHWTdEe8UoAOcj4',X'30F872C0579E217D2CE6336840825F68941C69D37CFF233AE49A9C12CCFFF09700886632F59D5CF55341F8DD17947C2129EF0E04608F37426E2F385101A12F1DA4E010DFF2BC815D76ADDAE918177022C84085B03D6B6DA965B0CC03069142DCCC5AB09734D23037E9B183EE96E28978D5088900BFB871BD306E5C30C9921A3520E8B55A6F2A08147CB2666DE19DCD209E5FFB310DAD6029614A1EDEB7A7C48A86EF3638D74EEDF34FEC078D4106BC700FB23D52E7D3468C8F85F2235AD15A7B0DB98C59220D4FF1AB82F597C0DE61EB4B9DC2175B48E333345EA984DF406F09CAF326A88D28F7BF99058FB43E2D58F48A7DBAF1950AB5BB21A1B978D769D5EC620E59CA9E10F43C9647A676AD81A49A16116E3EE0009177DEC56DC451EE0195E1A640A419E5D0611BA40EF59863CA886D84388E41A9DE61885CF3D4DA5D552C90D1A58CBA70C0DE579C10E8859B97C9F1DCE9340E728F88996E925D5DBFF61A23A188311E0D5934B5D0E0133348DF75AC4951882149B638CD07CB2AABE666A7AA43DFC5F48F899F1254D73BD3C8319C980D1BCD73EA7D163630B6F5D0365A718E605EDF8106A011C5172F0A095644EE2A658300F1C5A0',1795335076508);
CREATE TABLE context_restrictions (       -- who may use a context (spec 7.6)
    id TEXT PRIMARY KEY,
    context_id TEXT NOT NULL REFERENCES contexts (id) ON DELETE CASCADE,
    type TEXT NOT NULL CHECK (type IN ('project', 'group', 'expression')),
    value TEXT NOT NULL,                  -- the id of a project, of a group or a user; an expression
    created_at_ms INTEGER NOT NULL,
    UNIQUE (context_id, type, value)
) STRICT;
CREATE TABLE context_variables (
    context_id TEXT NOT NULL REFERENCES contexts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value BLOB NOT NULL,                  -- sealed
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (context_id, name)
) STRICT;
INSERT INTO "context_variables" VALUES('991b8a5d-05ac-4917-adeb-f42465321139','DEPLOY',X'A245E8C92A57327B98F034A4AA9465D0477CC11DA4409E5558BC4E9A79760C6EB18786E3CA776F',1795335076149,1795335076149);
CREATE TABLE contexts (                   -- named sets of environment variables, for every project (spec 7.6)
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO "contexts" VALUES('991b8a5d-05ac-4917-adeb-f42465321139','deploy',1795335075848);
CREATE TABLE continuations (
    pipeline_id TEXT PRIMARY KEY REFERENCES pipelines (id) ON DELETE CASCADE,
    key_hash TEXT NOT NULL UNIQUE,
    expires_at_ms INTEGER NOT NULL,
    setup_source TEXT NOT NULL,
    setup_compiled TEXT NOT NULL,
    parameters TEXT,                      -- JSON: what the second config is compiled with; NULL until it is continued
    request TEXT,                         -- by which asking it was continued: the same one asked again is the same
    continued_at_ms INTEGER,
    CHECK ((parameters IS NULL) = (continued_at_ms IS NULL))
) STRICT;
CREATE TABLE coverage (                   -- of a whole job: the sums of its source files
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    job_name TEXT NOT NULL,
    branch TEXT,
    scope TEXT NOT NULL,                  -- as of caches: a fork's branch may be called main too
    files INTEGER NOT NULL,
    lines INTEGER NOT NULL CHECK (lines >= 0),
    lines_ran INTEGER NOT NULL CHECK (lines_ran BETWEEN 0 AND lines),
    branches INTEGER NOT NULL CHECK (branches >= 0),
    branches_ran INTEGER NOT NULL CHECK (branches_ran BETWEEN 0 AND branches),
    created_at_ms INTEGER NOT NULL,
    has_files INTEGER NOT NULL CHECK (has_files IN (0, 1))  -- the rows below go after a while
) STRICT;
CREATE TABLE coverage_files (             -- each source file, over all reports of all nodes
    job_id TEXT NOT NULL REFERENCES coverage (job_id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    found BLOB NOT NULL,                  -- bit N, from the lowest of the first byte: line N can run
    ran BLOB NOT NULL,
    lines INTEGER NOT NULL,
    lines_ran INTEGER NOT NULL,
    branches INTEGER NOT NULL,
    branches_ran INTEGER NOT NULL,
    PRIMARY KEY (job_id, path)
) STRICT;
CREATE TABLE coverage_reports (           -- each artifact that is one, as it says itself
    job_id TEXT NOT NULL REFERENCES coverage (job_id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    path TEXT NOT NULL,
    format TEXT NOT NULL CHECK (format IN ('cobertura', 'jacoco', 'lcov')),
    files INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    lines_ran INTEGER NOT NULL,
    branches INTEGER NOT NULL,
    branches_ran INTEGER NOT NULL,
    PRIMARY KEY (job_id, idx, path)
) STRICT;
CREATE TABLE docker_layers (
    name TEXT PRIMARY KEY,                -- of the volume
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    job_id TEXT REFERENCES jobs (id) ON DELETE SET NULL,  -- the node that uses it now
    node_index INTEGER,
    used_at_ms INTEGER NOT NULL,
    UNIQUE (job_id, node_index)
) STRICT;
CREATE TABLE facts (                      -- what the appliance knows of itself: its instance id
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
INSERT INTO "facts" VALUES('last_job_number','5');
INSERT INTO "facts" VALUES('instance','cb9e3f5054424fc79c3ac023d7bd944a');
CREATE TABLE hosted_refs (                -- what hosted repositories' refs were when they last started pipelines
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    ref TEXT NOT NULL,
    revision TEXT NOT NULL,
    PRIMARY KEY (project_id, ref)
) STRICT;
INSERT INTO "hosted_refs" VALUES('5f2b0fba-911e-43a7-9dd6-45a523a4e8a6','refs/heads/main','14bb561fd93fe97950647a520cbe5e743da1fbbc');
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    workflow_id TEXT NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    number INTEGER UNIQUE,                -- one count for the whole appliance, so that `ssh 812@host` is clear
    position INTEGER NOT NULL,            -- in the workflow
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('blocked', 'not_running', 'queued', 'on_hold', 'running', 'success',
        'failed', 'timedout', 'canceled', 'infrastructure_fail', 'unauthorized', 'not_run')),
    message TEXT NOT NULL DEFAULT '',     -- why it ended so, where steps do not say
    plan TEXT NOT NULL,                   -- JSON of language.plan.Job
    approved_by TEXT,
    created_at_ms INTEGER NOT NULL,
    queued_at_ms INTEGER,                 -- when it could have started
    started_at_ms INTEGER,
    stopped_at_ms INTEGER, unmet INTEGER NOT NULL DEFAULT 0, canceled_by TEXT, origin_id TEXT REFERENCES jobs (id) ON DELETE SET NULL, ssh_for TEXT, failed_tests_of TEXT REFERENCES jobs (id) ON DELETE SET NULL, approved_by_id TEXT, log_bytes INTEGER, logs_removed_at_ms INTEGER,
    UNIQUE (workflow_id, name)
) STRICT;
INSERT INTO "jobs" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff','a70f7379-f590-407a-aa6b-9368b45d1720','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',1,0,'make','build','success','','{"name": "make", "type": "build", "requires": [], "contexts": ["deploy"], "executor": {"kind": "machine", "image": null, "docker_layer_caching": false}, "resource_class": null, "parallelism": 2, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [{"kind": "checkout", "name": "Checkout code", "path": ".", "method": "blobless", "depth": null, "when": "on_success"}, {"kind": "restore_cache", "keys": ["deps-"], "name": "Restoring Cache", "when": "on_success"}, {"kind": "run", "command": "mkdir -p deps out && echo dep > deps/a\necho \"made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}\" | tee out/made-$CIRCLE_NODE_INDEX\necho ''<testsuite><testcase classname=\"words\" name=\"counts\" time=\"0.1\"/></testsuite>'' > out/junit.xml\n", "name": "mkdir -p deps out && echo dep > deps/a\necho \"made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}\" | tee out/made-$CIRCLE_NODE_INDEX\necho ''<testsuite><testcase classname=\"words\" name=\"counts\" time=\"0.1\"/></testsuite>'' > out/junit.xml", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}, {"kind": "save_cache", "key": "deps-1", "paths": ["deps"], "name": "Saving Cache", "when": "on_success"}, {"kind": "persist_to_workspace", "root": "out", "paths": ["made-*"], "name": "Persisting to Workspace", "when": "on_success"}, {"kind": "store_artifacts", "path": "out", "destination": null, "name": "Uploading artifacts", "when": "always"}, {"kind": "store_test_results", "path": "out/junit.xml", "name": "Uploading test results", "when": "always"}], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795335076496,1795335076496,1795335076504,1795335077078,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('0a4af3f6-fb77-447e-9ac3-323ffff7d1d8','a70f7379-f590-407a-aa6b-9368b45d1720','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',2,1,'broken','build','failed','','{"name": "broken", "type": "build", "requires": [], "contexts": [], "executor": {"kind": "machine", "image": null, "docker_layer_caching": false}, "resource_class": null, "parallelism": 1, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [{"kind": "run", "command": "exit 3", "name": "exit 3", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795335076496,1795335076496,1795335076504,1795335076764,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('a321fd39-09d1-48db-919a-4b83f356704f','a70f7379-f590-407a-aa6b-9368b45d1720','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',3,2,'mend','build','success','','{"name": "mend", "type": "build", "requires": [{"job": "make", "statuses": ["success"]}, {"job": "broken", "statuses": ["failed"]}], "contexts": [], "executor": {"kind": "machine", "image": null, "docker_layer_caching": false}, "resource_class": null, "parallelism": 1, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [{"kind": "attach_workspace", "at": "in", "name": "Attaching Workspace", "when": "on_success"}, {"kind": "run", "command": "cat in/made-0 in/made-1", "name": "cat in/made-0 in/made-1", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795335076496,1795335077078,1795335077086,1795335077166,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('84489b4f-2287-4b56-9ffa-2d49f1ae8b17','f5c8cb31-9c72-4839-8c2b-d44895693fa5','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',NULL,0,'ask','approval','on_hold','','{"name": "ask", "type": "approval", "requires": [], "contexts": [], "executor": null, "resource_class": null, "parallelism": 1, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795335076496,1795335076496,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('5d5cc6bf-6bc3-4b23-a18d-8fb216f56b53','f5c8cb31-9c72-4839-8c2b-d44895693fa5','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',4,1,'mend','build','blocked','','{"name": "mend", "type": "build", "requires": [{"job": "ask", "statuses": ["success"]}], "contexts": [], "executor": {"kind": "machine", "image": null, "docker_layer_caching": false}, "resource_class": null, "parallelism": 1, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [{"kind": "attach_workspace", "at": "in", "name": "Attaching Workspace", "when": "on_success"}, {"kind": "run", "command": "cat in/made-0 in/made-1", "name": "cat in/made-0 in/made-1", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795335076496,NULL,NULL,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('d6239d84-e9ff-4682-9f62-da21ca30f011','bf065658-a841-48fb-9697-7b5b5320c8a1','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',5,0,'long','build','running','','{"name": "long", "type": "build", "requires": [], "contexts": [], "executor": {"kind": "machine", "image": null, "docker_layer_caching": false}, "resource_class": null, "parallelism": 1, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [{"kind": "run", "command": "echo talk >> ~/notes\ni=0\nuntil [ -e /nowhere/go ]; do i=$((i + 1)); echo \"line $i\"; sleep 0.05; done\necho \"$i lines\"\n", "name": "talk", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}, {"kind": "run", "command": "cat ~/notes", "name": "notes", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795335077448,1795335077448,1795335077453,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE layers (                     -- what jobs persisted into their workflow's workspace (spec 2.2)
    id TEXT PRIMARY KEY,                  -- also the blob's name
    workspace_id TEXT NOT NULL,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    step TEXT NOT NULL,                   -- a step persists once, however often it is begun
    names TEXT NOT NULL,                  -- JSON: its files, relative to the workspace
    size_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (job_id, idx, step)
) STRICT;
INSERT INTO "layers" VALUES('49977b7f6738465ebe42a44c6e0843ad','f4b54a76-fea0-4cd5-b3fd-7a5e330d8fc3','495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,'step5','["made-0"]',120,1795335076989);
INSERT INTO "layers" VALUES('31730f9867f049d69edc826938499483','f4b54a76-fea0-4cd5-b3fd-7a5e330d8fc3','495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,'step5','["made-1"]',120,1795335077015);
CREATE TABLE locks (
    turn INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE REFERENCES jobs (id) ON DELETE CASCADE,
    workflow_id TEXT NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    org TEXT NOT NULL COLLATE NOCASE,     -- the same key is the same queue in all projects of an organisation
    key TEXT NOT NULL,
    pipeline_number INTEGER NOT NULL,
    is_held INTEGER NOT NULL CHECK (is_held IN (0, 1)),
    since_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE members (                    -- who may enter which project; for users that do not see all
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, project_id)
) STRICT;
CREATE TABLE node_usage (                 -- what a node took of CPU, memory and disk, over its time
    job_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    series TEXT NOT NULL,                 -- JSON of store.usage.Series, at most some hundred points
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (job_id, idx),
    FOREIGN KEY (job_id, idx) REFERENCES nodes (job_id, idx) ON DELETE CASCADE
) STRICT;
CREATE TABLE nodes (                      -- parallel copies of a job
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'success', 'failed', 'timedout', 'canceled',
        'infrastructure_fail')),
    executor TEXT NOT NULL DEFAULT '',
    sandbox TEXT,                         -- what Executor.reattach takes
    cpus REAL NOT NULL DEFAULT 0,         -- what it holds while it runs
    memory_bytes INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    started_at_ms INTEGER,
    stopped_at_ms INTEGER,
    PRIMARY KEY (job_id, idx)
) STRICT;
INSERT INTO "nodes" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,'success','local','1.0',2.0,8053063680,'',1795335076504,1795335077060);
INSERT INTO "nodes" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,'success','local','1.1',2.0,8053063680,'',1795335076504,1795335077078);
INSERT INTO "nodes" VALUES('0a4af3f6-fb77-447e-9ac3-323ffff7d1d8',0,'failed','local','2.0',2.0,8053063680,'',1795335076504,1795335076764);
INSERT INTO "nodes" VALUES('a321fd39-09d1-48db-919a-4b83f356704f',0,'success','local','3.0',2.0,8053063680,'',1795335077086,1795335077166);
INSERT INTO "nodes" VALUES('5d5cc6bf-6bc3-4b23-a18d-8fb216f56b53',0,'waiting','',NULL,0.0,0,'',NULL,NULL);
INSERT INTO "nodes" VALUES('d6239d84-e9ff-4682-9f62-da21ca30f011',0,'running','local','5.0',2.0,8053063680,'',1795335077453,NULL);
CREATE TABLE oidc_claims (                -- what an organization, or one project of it, puts into its tokens
    org_id TEXT NOT NULL,
    project_id TEXT REFERENCES projects (id) ON DELETE CASCADE,  -- NULL: of the whole organization
    audience TEXT,                        -- JSON list of texts; NULL: not set
    audience_updated_at_ms INTEGER,
    ttl TEXT,                             -- "1h30m"; NULL: not set
    ttl_updated_at_ms INTEGER
) STRICT;
CREATE TABLE oidc_keys (                  -- what ID tokens are signed with (spec 7.5)
    id TEXT PRIMARY KEY,                  -- the token's `kid`
    public_jwk TEXT NOT NULL,             -- JSON, as the world reads it
    private_key BLOB NOT NULL,            -- sealed
    created_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO "oidc_keys" VALUES('af31a0f5cae999b0a922609a5b0f7fa9','{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "af31a0f5cae999b0a922609a5b0f7fa9", "n": "xEOTEqRO0yMpeO7293RblpD3sWHzCIGfUyn8pDcg1k77EjbFU2zLoK3JhpIyURtsHIN3toUNtbVbnxCRVui9nTBFEEVyXy7lZUZP5UZDzqAR4VKSMWJRpcc_X0g7vEhs5ZmpGuHLPwNBADJYhXhKFv9qSzb3AkrbvYGdMTlt3_hDvhO1i8PP9W4JRdE0lQLgzrtWW_fB0KBUsOxhN0APZAgSgddkug7Bmm9ECb1lZYopTSidRttefcIbxRhtlu71WCrdHCgh7paP7j8H_QFRxtA_sFRM69hEJyA1OFBlmx0bUNj5sAG4fYPffHqhmfJjm1y_So3sAkDGfmEzfjLEXQ", "e": "AQAB"}',X'5A4049BCCDB152D06EE5202BE82839151C5A327B4A4984D2E85D0963D427E6638D7400ADBAE5C87C175F394F058A428F86EBE0E2B78CDD4AE75205D5E86651B8302ABD40BA17D5D190B5BC49907EA89D166EFC2B8B92E147CFBD44BF312EC10EDE9D8E2196BA8B2BDB43F4D604977DAB6B2337F6E6938F5207958948A37EDAB3F5FE38BEDE9B60D5B72E1C0DC1B792B9917FB184B188214673D77DE9B7DE209799B9C0419D59895B7EBD6B02114326E59D4F108660721852369983398558FDB08F087130791031792C7ACAD0B7F73D26DE66D51A9F63B8032B3CAA1FB0CF1CE131AF99DB2F930B834ABEEE1603E3742FEE49CE15F9B80A64A67C6FABC5254F1D20FE2C987657721BB25D6985B0534FE8D0C739276DB5ACDB171969A9439C9108DC60D0F1FAE0B4E308472B135DA37B058F83A8574355C3D04DB194230E159F826AEC60458D76A24DA64CB5A2B1ADB462FE858D3C8AF9A84EBD102259F3C57ABB541B113811FC1484212B79679AD9BA90FC9960C9914C47C71842AE2AE305F0F3F5772E40735BE180CC41EEADEB26E4C7E04F36DB9639C3014E9C78BE632090E652AF14C5206E45A3654CBF76F0773820C526274DA76F6EC4EC10B89FB0992C40F16012D23A9EA5C1A6F1FF20CD02346ACE1CFC9BA5B036D12744171E9466FCD0C4FD1758AB02701FE444ACE558534DE27E92967A5DFE5A20F398F889352250BAAB8309CF9B443F73A5DBC63239AD2277A8C332B8679BB105537AE82E0B452FD6CA7E109EE77ED8F72AE284AF2C6CD20D8B81CA265ACCD017195EF3B47A9135AF3CD9FB0C2FD28995AA4FB9551F03DB2081AB90F0A0BBC5E00E5C4CA83299520E1F9B8F4903D9D305A6BB9523A32FFD58530F53A9A347D2AE255B272D5D2935BEE3F5DF6A3FF4C288A7524C46373B94400A81FA72C406D4A8BABC48D5B59B648150D98EE442869D4628A419A5382568336D3A3DB278542FF6077B748D177FE557E9843440FCEF5934A20974769451E9B2A2E5C349BC7CA77BAEE74DA7F064974BE53AF940D9DB54A7B01A45806320C40B4C1B5E599392B1AB09F3804BF30E01DAB2B46DFFF64B538C2255A8060A9268B30A57F56E90C5904234FAA0978DB752D4A4C6CFE6FA785DD21C1A0AB749D2423C618E72B597B37000AFE76B8D9CC2B7FFE58813FBA1D0E5ACB6A6B2603A08CD4224A4B2F01DE163DBC041D9EFB01A833914B5C0988F8A1E63BBD15DA0830423B3FB8DA0D00676A4DC95D7202DA874130B811EDB45A399001A9D467773330BDDACF8AE05DF92B1CFB0B82561D78C54D2383C5876FA0D439477ACED3B047A08FD3F3FA77FAB7670A99B3E5B567194713718B04B600FB5C1F01AA02EBB901D57DF19E84D209384E5865C51B27314472CE1574327879C9DFF2F676E3087DAEB67D5B8E00C62CE3DF2FE22E31C7EA351B0C5049D0774F7BFA92CDB6D957E8637EE01BA907D27F4BD6A4BE9D053C244E71C8C69B74B3ED82DC46B95A94E2D77209C9FF299689003EEB6A754CFC0E7C323F19B9F95F3AE34ACA1010CA7FE7070E22BCD811224C1A6A3EF96E9FC25772F9A4411BB516BC638455E4436D7DEAD6ABA5300BD5A0BB4E1478AD38D02B48E981B6A5318E02E068600B6AF4D4F4CF83595A7E15F9C4D342BAE47E45C130A48F9A4309855F924CD3D311607D224EBA20B9BF88795B1EB48006A432955A57F099F01C00095297C329DC4A1013069C34439923391AA14D1AC89AFB3E99EBEBE01D99B1725C3062E8EED1C370A69161A445D0D45CE5E6243AC9F89983095471A4CCEF877086BE6BDEDD22EAB645BE7627B58D2E9057AA08C809870E270C1423C65E6DC8E5F25D32AC74BB2D416B26EEF7E3C6EC8E025F2CEAC0F025F36E3AFA28A55108E86828E91947D2E97C44E0FCCA1BFEED448C4313A0A8C13E15F255C0473534F98F979E56703C1BC2D123D6B232B55FDD2522CCC568600E5F030ED8A3B5B7DE0D318BC06F78657A2FD454AA6BF228E98045237CB487E6DF973DBCA1AEBDC0D526D82A3CFBA7ED5C762663D0BF89494719369F85E147A6A185FECD07573C0437DB443836C94E07C5E08066DB3D9B838DCF9218D8AC56EAB6990F8FF5401EDD8433127EE200FE483342BEBDA35BE68474D2ACDAE19D6693F7FBB5DC656A37B672F50B778BE9795B984439A2CF9E4AFF3FD3DCCD79B1B814837A3278A96ED84D378BE26FACCA9D54C77701FB33171EE1E435A0430F952D02BE51FCD74E239C2C98EAD62BDF13502BF3605F0F2B3CFB1BB1994408EAB944A3D64057216F4B5041CF3462AC684308D3D6FF42CBB0176A719A08032BEB1A3BCFF40A111CA6D3B5D2488D373696228C1D6DD18ED022D13F68FEA8D992503BA2F31801A9FD03ACB5CD1C8899A44851EDB84CBEBA073D4306CFD9212D30C2E224FCBE82C81969B2C829E9C07D594DCDF554F',1795335076518);
CREATE TABLE orb_namespaces (
    name TEXT PRIMARY KEY,
    private_to TEXT COLLATE NOCASE,       -- the only organisation that may use its orbs; NULL: every project may
    is_imported INTEGER NOT NULL CHECK (is_imported IN (0, 1)),  -- somebody else's: what it lacks may come from elsewhere
    created_at_ms INTEGER NOT NULL,
    CHECK (private_to IS NULL OR is_imported = 0)
) STRICT;
CREATE TABLE orb_versions (
    orb_id INTEGER NOT NULL REFERENCES orbs (id),
    version TEXT NOT NULL,                -- 1.2.3 or dev:LABEL
    major INTEGER,                        -- all three NULL for dev:LABEL
    minor INTEGER,
    patch INTEGER,
    source TEXT NOT NULL,                 -- as it is used: references to other orbs are exact where they could be
    digest TEXT NOT NULL CHECK (length(digest) = 64),        -- SHA-256 of it
    given_digest TEXT NOT NULL CHECK (length(given_digest) = 64),  -- and of the text as it was handed in
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    PRIMARY KEY (orb_id, version),
    CHECK ((version LIKE 'dev:%') = (major IS NULL)),
    CHECK ((major IS NULL) = (minor IS NULL) AND (major IS NULL) = (patch IS NULL)),
    CHECK ((major IS NULL) = (expires_at_ms IS NOT NULL))
) STRICT;
CREATE TABLE orbs (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL REFERENCES orb_namespaces (name),
    name TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (namespace, name)
) STRICT;
CREATE TABLE outbox (                     -- what the courier has to tell the world
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,                   -- JSON
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('due', 'sent', 'dead')),
    message TEXT NOT NULL DEFAULT '',
    created_at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE pipelines (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('setup-pending', 'setup', 'pending', 'created', 'errored')),
    event TEXT NOT NULL,                  -- JSON of model.Trigger
    branch TEXT,
    is_trusted INTEGER NOT NULL CHECK (is_trusted IN (0, 1)),  -- computed once; never updated
    source TEXT NOT NULL,                 -- the config as read
    compiled TEXT NOT NULL,
    pipeline_values TEXT NOT NULL,        -- JSON
    problems TEXT NOT NULL,               -- JSON: what the compiler said, errors and warnings
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL, may_have_secrets INTEGER NOT NULL DEFAULT 0 CHECK (may_have_secrets IN (0, 1)),
    UNIQUE (project_id, number)
) STRICT;
INSERT INTO "pipelines" VALUES('34234dc0-b731-4bac-8e07-84b16245cd92','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',1,'created','{"project_id": "5f2b0fba-911e-43a7-9dd6-45a523a4e8a6", "kind": "webhook", "semantic_key": "push refs/heads/main ada2f14ec1f00509d0832a526806a3bf49043748 92f6a71e91c84e1e8130e56529417ef2", "delivery_id": null, "branch": "main", "tag": null, "revision": "ada2f14ec1f00509d0832a526806a3bf49043748", "base_revision": null, "actor": "tester", "actor_id": "700776cf-2103-4dda-aca4-136ec939710e", "github_id": "", "commit": {"subject": "Make things", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T08:11:16+00:00", "url": ""}, "parameters": {}, "is_fork": false, "pull_request": null, "occasion": null}','main',1,'version: 2.1
jobs:
  make:
    machine: true
    parallelism: 2
    steps:
      - checkout
      - restore_cache: {key: deps-}
      - run: |
          mkdir -p deps out && echo dep > deps/a
          echo "made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}" | tee out/made-$CIRCLE_NODE_INDEX
          echo ''<testsuite><testcase classname="words" name="counts" time="0.1"/></testsuite>'' > out/junit.xml
      - save_cache: {key: deps-1, paths: [deps]}
      - persist_to_workspace: {root: out, paths: ["made-*"]}
      - store_artifacts: {path: out}
      - store_test_results: {path: out/junit.xml}
  broken:
    machine: true
    steps:
      - run: exit 3
  mend:
    machine: true
    steps:
      - attach_workspace: {at: in}
      - run: cat in/made-0 in/made-1
workflows:
  all:
    jobs:
      - make: {context: deploy}
      - broken
      - mend: {requires: [make, {broken: failed}]}
  held:
    jobs:
      - ask: {type: approval}
      - mend: {requires: [ask]}
','version: 2
jobs:
  make:
    machine: true
    parallelism: 2
    steps:
    - checkout
    - restore_cache:
        keys:
        - deps-
    - run:
        name: |-
          mkdir -p deps out && echo dep > deps/a
          echo "made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}" | tee out/made-$CIRCLE_NODE_INDEX
          echo ''<testsuite><testcase classname="words" name="counts" time="0.1"/></testsuite>'' > out/junit.xml
        command: |
          mkdir -p deps out && echo dep > deps/a
          echo "made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}" | tee out/made-$CIRCLE_NODE_INDEX
          echo ''<testsuite><testcase classname="words" name="counts" time="0.1"/></testsuite>'' > out/junit.xml
    - save_cache:
        key: deps-1
        paths:
        - deps
    - persist_to_workspace:
        root: out
        paths:
        - made-*
    - store_artifacts:
        path: out
    - store_test_results:
        path: out/junit.xml
  broken:
    machine: true
    steps:
    - run:
        name: exit 3
        command: exit 3
  mend:
    machine: true
    steps:
    - attach_workspace:
        at: in
    - run:
        name: cat in/made-0 in/made-1
        command: cat in/made-0 in/made-1
workflows:
  version: 2
  all:
    jobs:
    - make:
        context:
        - deploy
    - broken
    - mend:
        requires:
        - make
        - broken:
          - failed
  held:
    jobs:
    - ask:
        type: approval
    - mend:
        requires:
        - ask
','{"pipeline.id": "34234dc0-b731-4bac-8e07-84b16245cd92", "pipeline.number": 1, "pipeline.integration_source": null, "pipeline.project.slug": "circleci/acme/app", "pipeline.project.type": "circleci", "pipeline.project.git_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.branch": "main", "pipeline.git.tag": "", "pipeline.git.branch.is_default": true, "pipeline.git.revision": "ada2f14ec1f00509d0832a526806a3bf49043748", "pipeline.git.base_revision": null, "pipeline.git.repo_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.repo_owner": "acme", "pipeline.git.repo_name": "app", "pipeline.git.commit.url": null, "pipeline.git.commit.subject": "Make things", "pipeline.git.commit.body": "", "pipeline.git.commit.author_login": null, "pipeline.git.commit.author_name": "A Person", "pipeline.git.commit.author_email": "person@example.org", "pipeline.git.commit.author_date": "2026-11-22T08:11:16+00:00", "pipeline.trigger.type": "webhook", "pipeline.trigger.received_at": "2026-11-22T08:11:16.488Z", "pipeline.trigger_source": "webhook", "pipeline.event.name": "push", "pipeline.event.action": "push", "pipeline.event.provider_login": "tester", "pipeline.config.file_path": ".circleci/config.yml", "pipeline.config.sha": "ada2f14ec1f00509d0832a526806a3bf49043748"}','[]',1795335076496,1795335076496,1);
INSERT INTO "pipelines" VALUES('c842812e-5acb-4efa-8571-03f28ce13604','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',2,'errored','{"project_id": "5f2b0fba-911e-43a7-9dd6-45a523a4e8a6", "kind": "webhook", "semantic_key": "push refs/heads/main 479c9858fa3f6a5103784e2e739e1eee62d40e7f d1c35ccac8814b599a2372955f04093b", "delivery_id": null, "branch": "main", "tag": null, "revision": "479c9858fa3f6a5103784e2e739e1eee62d40e7f", "base_revision": "ada2f14ec1f00509d0832a526806a3bf49043748", "actor": "tester", "actor_id": "700776cf-2103-4dda-aca4-136ec939710e", "github_id": "", "commit": {"subject": "Break the config", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T08:11:17+00:00", "url": ""}, "parameters": {}, "is_fork": false, "pull_request": null, "occasion": null}','main',1,'version: 2.1
jobs: 3
','','{"pipeline.id": "c842812e-5acb-4efa-8571-03f28ce13604", "pipeline.number": 2, "pipeline.integration_source": null, "pipeline.project.slug": "circleci/acme/app", "pipeline.project.type": "circleci", "pipeline.project.git_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.branch": "main", "pipeline.git.tag": "", "pipeline.git.branch.is_default": true, "pipeline.git.revision": "479c9858fa3f6a5103784e2e739e1eee62d40e7f", "pipeline.git.base_revision": "ada2f14ec1f00509d0832a526806a3bf49043748", "pipeline.git.repo_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.repo_owner": "acme", "pipeline.git.repo_name": "app", "pipeline.git.commit.url": null, "pipeline.git.commit.subject": "Break the config", "pipeline.git.commit.body": "", "pipeline.git.commit.author_login": null, "pipeline.git.commit.author_name": "A Person", "pipeline.git.commit.author_email": "person@example.org", "pipeline.git.commit.author_date": "2026-11-22T08:11:17+00:00", "pipeline.trigger.type": "webhook", "pipeline.trigger.received_at": "2026-11-22T08:11:17.330Z", "pipeline.trigger_source": "webhook", "pipeline.event.name": "push", "pipeline.event.action": "push", "pipeline.event.provider_login": "tester", "pipeline.config.file_path": ".circleci/config.yml", "pipeline.config.sha": "479c9858fa3f6a5103784e2e739e1eee62d40e7f"}','[{"type": "config", "kind": "error", "message": "`jobs` must be a map, not the number 3.", "line": 2, "column": 7, "text": ".circleci/config.yml:2:7: error: `jobs` must be a map, not the number 3.\n  2 | jobs: 3\n    |       ^\n  expected: a map of keys and values"}]',1795335077332,1795335077332,1);
INSERT INTO "pipelines" VALUES('04d8f5e9-3b1e-41e6-bb13-3f2b054de40a','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',3,'created','{"project_id": "5f2b0fba-911e-43a7-9dd6-45a523a4e8a6", "kind": "webhook", "semantic_key": "push refs/heads/main 14bb561fd93fe97950647a520cbe5e743da1fbbc 549f090b860d44578d7559fd6dc55baa", "delivery_id": null, "branch": "main", "tag": null, "revision": "14bb561fd93fe97950647a520cbe5e743da1fbbc", "base_revision": "479c9858fa3f6a5103784e2e739e1eee62d40e7f", "actor": "tester", "actor_id": "700776cf-2103-4dda-aca4-136ec939710e", "github_id": "", "commit": {"subject": "Take long", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T08:11:17+00:00", "url": ""}, "parameters": {}, "is_fork": false, "pull_request": null, "occasion": null}','main',1,'version: 2.1
jobs:
  long:
    machine: true
    steps:
      - run:
          name: talk
          command: |
            echo talk >> ~/notes
            i=0
            until [ -e /nowhere/go ]; do i=$((i + 1)); echo "line $i"; sleep 0.05; done
            echo "$i lines"
      - run: {name: notes, command: cat ~/notes}
workflows:
  w: {jobs: [long]}
','version: 2
jobs:
  long:
    machine: true
    steps:
    - run:
        name: talk
        command: |
          echo talk >> ~/notes
          i=0
          until [ -e /nowhere/go ]; do i=$((i + 1)); echo "line $i"; sleep 0.05; done
          echo "$i lines"
    - run:
        name: notes
        command: cat ~/notes
workflows:
  version: 2
  w:
    jobs:
    - long
','{"pipeline.id": "04d8f5e9-3b1e-41e6-bb13-3f2b054de40a", "pipeline.number": 3, "pipeline.integration_source": null, "pipeline.project.slug": "circleci/acme/app", "pipeline.project.type": "circleci", "pipeline.project.git_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.branch": "main", "pipeline.git.tag": "", "pipeline.git.branch.is_default": true, "pipeline.git.revision": "14bb561fd93fe97950647a520cbe5e743da1fbbc", "pipeline.git.base_revision": "479c9858fa3f6a5103784e2e739e1eee62d40e7f", "pipeline.git.repo_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.repo_owner": "acme", "pipeline.git.repo_name": "app", "pipeline.git.commit.url": null, "pipeline.git.commit.subject": "Take long", "pipeline.git.commit.body": "", "pipeline.git.commit.author_login": null, "pipeline.git.commit.author_name": "A Person", "pipeline.git.commit.author_email": "person@example.org", "pipeline.git.commit.author_date": "2026-11-22T08:11:17+00:00", "pipeline.trigger.type": "webhook", "pipeline.trigger.received_at": "2026-11-22T08:11:17.445Z", "pipeline.trigger_source": "webhook", "pipeline.event.name": "push", "pipeline.event.action": "push", "pipeline.event.provider_login": "tester", "pipeline.config.file_path": ".circleci/config.yml", "pipeline.config.sha": "14bb561fd93fe97950647a520cbe5e743da1fbbc"}','[]',1795335077448,1795335077448,1);
CREATE TABLE project_flags (              -- settings of a project (spec 6.2); one that has no row here has the defaults
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    autocancel_builds INTEGER NOT NULL CHECK (autocancel_builds IN (0, 1)),
    build_fork_prs INTEGER NOT NULL CHECK (build_fork_prs IN (0, 1)),
    build_prs_only INTEGER NOT NULL CHECK (build_prs_only IN (0, 1)),
    disable_ssh INTEGER NOT NULL CHECK (disable_ssh IN (0, 1)),
    forks_receive_secret_env_vars INTEGER NOT NULL CHECK (forks_receive_secret_env_vars IN (0, 1)),
    oss INTEGER NOT NULL CHECK (oss IN (0, 1)),
    set_github_status INTEGER NOT NULL CHECK (set_github_status IN (0, 1)),
    setup_workflows INTEGER NOT NULL CHECK (setup_workflows IN (0, 1)),
    write_settings_requires_admin INTEGER NOT NULL CHECK (write_settings_requires_admin IN (0, 1)),
    blocks_new_work INTEGER NOT NULL CHECK (blocks_new_work IN (0, 1)),      -- ours, like the next (spec 4.3)
    is_stopped INTEGER NOT NULL CHECK (is_stopped IN (0, 1)),
    pr_only_branch_overrides TEXT NOT NULL                                   -- JSON: a list of branches
) STRICT;
CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE COLLATE NOCASE,
    vcs TEXT NOT NULL CHECK (vcs IN ('hosted', 'github', 'git')),
    org TEXT NOT NULL,
    repo TEXT NOT NULL,
    git_url TEXT,
    default_branch TEXT NOT NULL,
    webhook_secret BLOB,                  -- sealed
    last_pipeline_number INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    CHECK ((vcs = 'hosted') = (git_url IS NULL)),
    UNIQUE (org COLLATE NOCASE, repo COLLATE NOCASE)
) STRICT;
INSERT INTO "projects" VALUES('5f2b0fba-911e-43a7-9dd6-45a523a4e8a6','circleci/acme/app','hosted','acme','app',NULL,'main',NULL,3,1795335075459);
CREATE TABLE requirements (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,            -- in the job's `requires`
    required_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    statuses TEXT NOT NULL,               -- JSON: the ends that meet it
    PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;
INSERT INTO "requirements" VALUES('5d5cc6bf-6bc3-4b23-a18d-8fb216f56b53',0,'84489b4f-2287-4b56-9ffa-2d49f1ae8b17','["success"]');
INSERT INTO "requirements" VALUES('a321fd39-09d1-48db-919a-4b83f356704f',0,'495f18f1-3f0d-4c50-b47d-41b1669a66ff','["success"]');
INSERT INTO "requirements" VALUES('a321fd39-09d1-48db-919a-4b83f356704f',1,'0a4af3f6-fb77-447e-9ac3-323ffff7d1d8','["failed"]');
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
CREATE TABLE secrets (                    -- project environment variables
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value BLOB NOT NULL,                  -- sealed
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (project_id, name)
) STRICT;
INSERT INTO "secrets" VALUES('5f2b0fba-911e-43a7-9dd6-45a523a4e8a6','API_KEY',X'DB427B0F9A7E889DA54A30DDFA450F0555F5390930D45723FF33C4247689F6EF4EF6BCA133CEB2',1795335075606);
CREATE TABLE ssh_keys (
    fingerprint TEXT PRIMARY KEY,         -- SHA256:...
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    public_key TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO "ssh_keys" VALUES('SHA256:+79LVKWgx2udKLSGEKTd+gtRUqlzxTj2vT3VWrGK4gY','700776cf-2103-4dda-aca4-136ec939710e','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPf6nfXJ0cdU7m7KUxvG/jr1mRF5Hny5U3s3eFkhbx5j',1795335075285);
CREATE TABLE steps (
    job_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    position INTEGER NOT NULL,            -- 0 is "Spin up environment"
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'success', 'failed', 'timedout', 'canceled',
        'infrastructure_fail', 'skipped')),
    exit_code INTEGER,
    is_background INTEGER NOT NULL DEFAULT 0 CHECK (is_background IN (0, 1)),
    message TEXT NOT NULL DEFAULT '',
    started_at_ms INTEGER,
    stopped_at_ms INTEGER, attempt INTEGER NOT NULL DEFAULT 1, attempt_at_ms INTEGER, attempt_offset INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, idx, position),
    FOREIGN KEY (job_id, idx) REFERENCES nodes (job_id, idx) ON DELETE CASCADE
) STRICT;
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,0,'environment','Spin up environment','success',NULL,0,'',1795335076504,1795335076683,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,1,'checkout','Checkout code','success',0,0,'',1795335076683,1795335076842,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,2,'restore_cache','Restoring Cache','success',NULL,0,'',1795335076842,1795335076850,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,3,'run','mkdir -p deps out && echo dep > deps/a
echo "made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}" | tee out/made-$CIRCLE_NODE_INDEX
echo ''<testsuite><testcase classname="words" name="counts" time="0.1"/></testsuite>'' > out/junit.xml','success',0,0,'',1795335076850,1795335076876,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,4,'save_cache','Saving Cache','success',NULL,0,'',1795335076876,1795335076920,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,5,'persist_to_workspace','Persisting to Workspace','success',NULL,0,'',1795335076920,1795335076993,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,6,'store_artifacts','Uploading artifacts','success',NULL,0,'',1795335076993,1795335077021,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,7,'store_test_results','Uploading test results','success',NULL,0,'',1795335077021,1795335077060,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,0,'environment','Spin up environment','success',NULL,0,'',1795335076504,1795335076687,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,1,'checkout','Checkout code','success',0,0,'',1795335076687,1795335076861,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,2,'restore_cache','Restoring Cache','success',NULL,0,'',1795335076861,1795335076864,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,3,'run','mkdir -p deps out && echo dep > deps/a
echo "made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}" | tee out/made-$CIRCLE_NODE_INDEX
echo ''<testsuite><testcase classname="words" name="counts" time="0.1"/></testsuite>'' > out/junit.xml','success',0,0,'',1795335076864,1795335076882,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,4,'save_cache','Saving Cache','success',NULL,0,'',1795335076882,1795335076924,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,5,'persist_to_workspace','Persisting to Workspace','success',NULL,0,'',1795335076924,1795335077019,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,6,'store_artifacts','Uploading artifacts','success',NULL,0,'',1795335077019,1795335077052,1,NULL,0);
INSERT INTO "steps" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,7,'store_test_results','Uploading test results','success',NULL,0,'',1795335077052,1795335077078,1,NULL,0);
INSERT INTO "steps" VALUES('0a4af3f6-fb77-447e-9ac3-323ffff7d1d8',0,0,'environment','Spin up environment','success',NULL,0,'',1795335076504,1795335076677,1,NULL,0);
INSERT INTO "steps" VALUES('0a4af3f6-fb77-447e-9ac3-323ffff7d1d8',0,1,'run','exit 3','failed',3,0,'exited with code 3',1795335076677,1795335076764,1,NULL,0);
INSERT INTO "steps" VALUES('a321fd39-09d1-48db-919a-4b83f356704f',0,0,'environment','Spin up environment','success',NULL,0,'',1795335077086,1795335077118,1,NULL,0);
INSERT INTO "steps" VALUES('a321fd39-09d1-48db-919a-4b83f356704f',0,1,'attach_workspace','Attaching Workspace','success',NULL,0,'',1795335077118,1795335077155,1,NULL,0);
INSERT INTO "steps" VALUES('a321fd39-09d1-48db-919a-4b83f356704f',0,2,'run','cat in/made-0 in/made-1','success',0,0,'',1795335077155,1795335077166,1,NULL,0);
INSERT INTO "steps" VALUES('d6239d84-e9ff-4682-9f62-da21ca30f011',0,0,'environment','Spin up environment','success',NULL,0,'',1795335077453,1795335077465,1,NULL,0);
INSERT INTO "steps" VALUES('d6239d84-e9ff-4682-9f62-da21ca30f011',0,1,'run','talk','running',NULL,0,'',1795335077465,NULL,1,NULL,0);
INSERT INTO "steps" VALUES('d6239d84-e9ff-4682-9f62-da21ca30f011',0,2,'run','notes','waiting',NULL,0,'',NULL,NULL,1,NULL,0);
CREATE TABLE test_results (
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    step TEXT NOT NULL,
    result TEXT NOT NULL CHECK (result IN ('success', 'failure', 'error', 'skipped')),
    name TEXT NOT NULL,
    classname TEXT NOT NULL,
    file TEXT NOT NULL,
    source TEXT NOT NULL,
    run_time_s REAL NOT NULL,
    message TEXT NOT NULL,
    FOREIGN KEY (job_id, idx, step) REFERENCES test_uploads (job_id, idx, step) ON DELETE CASCADE
) STRICT;
INSERT INTO "test_results" VALUES(1,'495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,'step7','success','counts','words','','unknown',0.1,'');
INSERT INTO "test_results" VALUES(2,'495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,'step7','success','counts','words','','unknown',0.1,'');
CREATE TABLE test_timings (               -- whose timings the nodes of a job split by: the same for all of them
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    from_job_id TEXT REFERENCES jobs (id) ON DELETE SET NULL
) STRICT;
CREATE TABLE test_uploads (               -- one for each store_test_results step of each node (spec 2.4)
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    step TEXT NOT NULL,                   -- a step that is begun again replaces what it had stored
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    job_name TEXT NOT NULL,
    scope TEXT NOT NULL,                  -- as of caches: forks do not lend the project their timings
    tests INTEGER NOT NULL,               -- rows kept
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (job_id, idx, step)
) STRICT;
INSERT INTO "test_uploads" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',0,'step7','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6','make','trusted',1,1795335077021);
INSERT INTO "test_uploads" VALUES('495f18f1-3f0d-4c50-b47d-41b1669a66ff',1,'step7','5f2b0fba-911e-43a7-9dd6-45a523a4e8a6','make','trusted',1,1795335077052);
CREATE TABLE tokens (                     -- API tokens, login links and page sessions; only hashes
    hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('api', 'link', 'session')),
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER
) STRICT;
INSERT INTO "tokens" VALUES('36f3af426d0ed2f581a446ac3f0cad0bf6955d0618371fa39dbfe58f7410831f','a92aba6c-2601-40ed-91bd-f77c578151f7','link',1795335075008,1795421475008);
INSERT INTO "tokens" VALUES('3735743f311b92b5495ef1f51cd116acd761d82c3189f53cb7be2ce233d9abda','700776cf-2103-4dda-aca4-136ec939710e','api',1795335076292,NULL);
CREATE TABLE triggers (
    id INTEGER PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    delivery_id TEXT,
    semantic_key TEXT NOT NULL,
    event TEXT NOT NULL,                  -- JSON of model.Trigger
    state TEXT NOT NULL CHECK (state IN ('open', 'done', 'skipped')),
    pipeline_id TEXT,                     -- once there is one
    accepted_at_ms INTEGER NOT NULL,
    UNIQUE (project_id, delivery_id),
    UNIQUE (project_id, semantic_key)
) STRICT;
INSERT INTO "triggers" VALUES(1,'5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',NULL,'push refs/heads/main ada2f14ec1f00509d0832a526806a3bf49043748 92f6a71e91c84e1e8130e56529417ef2','{"project_id": "5f2b0fba-911e-43a7-9dd6-45a523a4e8a6", "kind": "webhook", "semantic_key": "push refs/heads/main ada2f14ec1f00509d0832a526806a3bf49043748 92f6a71e91c84e1e8130e56529417ef2", "delivery_id": null, "branch": "main", "tag": null, "revision": "ada2f14ec1f00509d0832a526806a3bf49043748", "base_revision": null, "actor": "tester", "actor_id": "700776cf-2103-4dda-aca4-136ec939710e", "github_id": "", "commit": {"subject": "Make things", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T08:11:16+00:00", "url": ""}, "parameters": {}, "is_fork": false, "pull_request": null, "occasion": null}','done','34234dc0-b731-4bac-8e07-84b16245cd92',1795335076476);
INSERT INTO "triggers" VALUES(2,'5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',NULL,'push refs/heads/main 479c9858fa3f6a5103784e2e739e1eee62d40e7f d1c35ccac8814b599a2372955f04093b','{"project_id": "5f2b0fba-911e-43a7-9dd6-45a523a4e8a6", "kind": "webhook", "semantic_key": "push refs/heads/main 479c9858fa3f6a5103784e2e739e1eee62d40e7f d1c35ccac8814b599a2372955f04093b", "delivery_id": null, "branch": "main", "tag": null, "revision": "479c9858fa3f6a5103784e2e739e1eee62d40e7f", "base_revision": "ada2f14ec1f00509d0832a526806a3bf49043748", "actor": "tester", "actor_id": "700776cf-2103-4dda-aca4-136ec939710e", "github_id": "", "commit": {"subject": "Break the config", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T08:11:17+00:00", "url": ""}, "parameters": {}, "is_fork": false, "pull_request": null, "occasion": null}','done','c842812e-5acb-4efa-8571-03f28ce13604',1795335077321);
INSERT INTO "triggers" VALUES(3,'5f2b0fba-911e-43a7-9dd6-45a523a4e8a6',NULL,'push refs/heads/main 14bb561fd93fe97950647a520cbe5e743da1fbbc 549f090b860d44578d7559fd6dc55baa','{"project_id": "5f2b0fba-911e-43a7-9dd6-45a523a4e8a6", "kind": "webhook", "semantic_key": "push refs/heads/main 14bb561fd93fe97950647a520cbe5e743da1fbbc 549f090b860d44578d7559fd6dc55baa", "delivery_id": null, "branch": "main", "tag": null, "revision": "14bb561fd93fe97950647a520cbe5e743da1fbbc", "base_revision": "479c9858fa3f6a5103784e2e739e1eee62d40e7f", "actor": "tester", "actor_id": "700776cf-2103-4dda-aca4-136ec939710e", "github_id": "", "commit": {"subject": "Take long", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T08:11:17+00:00", "url": ""}, "parameters": {}, "is_fork": false, "pull_request": null, "occasion": null}','done','04d8f5e9-3b1e-41e6-bb13-3f2b054de40a',1795335077433);
CREATE TABLE user_logins (                -- who of ours is who on a forge: an administrator said so
    forge TEXT NOT NULL CHECK (forge IN ('github')),
    login TEXT NOT NULL COLLATE NOCASE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    forge_id TEXT,                        -- noted at the first event: a login can be given up and taken by another
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (forge, login)
) STRICT;
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password_hash TEXT,
    is_admin INTEGER NOT NULL CHECK (is_admin IN (0, 1)),
    sees_all_projects INTEGER NOT NULL CHECK (sees_all_projects IN (0, 1)),
    created_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO "users" VALUES('a92aba6c-2601-40ed-91bd-f77c578151f7','admin',NULL,1,1,1795335075008);
INSERT INTO "users" VALUES('700776cf-2103-4dda-aca4-136ec939710e','tester',NULL,0,1,1795335075285);
CREATE TABLE visits (                     -- who entered which job over SSH
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    user_id TEXT REFERENCES users (id) ON DELETE SET NULL,
    user_name TEXT NOT NULL,
    address TEXT NOT NULL,
    command TEXT NOT NULL,                -- '' for a shell
    entered_at_ms INTEGER NOT NULL,
    left_at_ms INTEGER
) STRICT;
CREATE TABLE workflows (
    id TEXT PRIMARY KEY,
    pipeline_id TEXT NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'failing', 'on_hold', 'queued', 'success', 'failed', 'error',
        'canceled', 'unauthorized', 'not_run')),
    workspace_id TEXT NOT NULL,
    started_by TEXT NOT NULL,
    canceled_by TEXT,
    created_at_ms INTEGER NOT NULL,
    stopped_at_ms INTEGER
, root_id TEXT REFERENCES workflows (id) ON DELETE CASCADE, rerun_of TEXT REFERENCES workflows (id) ON DELETE SET NULL, rerun TEXT NOT NULL DEFAULT '' CHECK (rerun IN ('', 'manual', 'automatic')), auto_rerun_number INTEGER NOT NULL DEFAULT 0, max_auto_reruns INTEGER NOT NULL DEFAULT 0, is_errored INTEGER NOT NULL DEFAULT 0 CHECK (is_errored IN (0, 1)), excuses_consumed INTEGER NOT NULL DEFAULT 0 CHECK (excuses_consumed IN (0, 1)), may_be_redundant INTEGER NOT NULL DEFAULT 0 CHECK (may_be_redundant IN (0, 1)), actor_id TEXT, is_setup INTEGER NOT NULL DEFAULT 0 CHECK (is_setup IN (0, 1))) STRICT;
INSERT INTO "workflows" VALUES('a70f7379-f590-407a-aa6b-9368b45d1720','34234dc0-b731-4bac-8e07-84b16245cd92','all','failed','f4b54a76-fea0-4cd5-b3fd-7a5e330d8fc3','tester',NULL,1795335076496,1795335077166,NULL,NULL,'',0,0,0,0,0,'700776cf-2103-4dda-aca4-136ec939710e',0);
INSERT INTO "workflows" VALUES('f5c8cb31-9c72-4839-8c2b-d44895693fa5','34234dc0-b731-4bac-8e07-84b16245cd92','held','on_hold','fb67def1-8bf2-4bb8-b6ef-11eb6cbdae8b','tester',NULL,1795335076496,NULL,NULL,NULL,'',0,0,0,0,0,'700776cf-2103-4dda-aca4-136ec939710e',0);
INSERT INTO "workflows" VALUES('bf065658-a841-48fb-9697-7b5b5320c8a1','04d8f5e9-3b1e-41e6-bb13-3f2b054de40a','w','running','51aa1835-3185-4e63-921b-7958889f2e93','tester',NULL,1795335077448,NULL,NULL,NULL,'',0,0,0,0,0,'700776cf-2103-4dda-aca4-136ec939710e',0);
CREATE INDEX ssh_keys_of_user ON ssh_keys (user_id);
CREATE INDEX tokens_of_user ON tokens (user_id);
CREATE INDEX triggers_open ON triggers (id) WHERE state = 'open';
CREATE INDEX pipelines_recent ON pipelines (created_at_ms);
CREATE INDEX pipelines_of_project ON pipelines (project_id, created_at_ms);
CREATE INDEX pipelines_of_branch ON pipelines (project_id, branch, created_at_ms);
CREATE INDEX workflows_of_pipeline ON workflows (pipeline_id, created_at_ms);
CREATE INDEX jobs_of_project ON jobs (project_id, number);
CREATE INDEX nodes_running ON nodes (status) WHERE status = 'running';
CREATE INDEX outbox_due ON outbox (due_at_ms) WHERE state = 'due';
CREATE INDEX visits_of_job ON visits (job_id, entered_at_ms);
CREATE INDEX orb_versions_by_number ON orb_versions (orb_id, major, minor, patch) WHERE major IS NOT NULL;
CREATE TRIGGER orb_versions_never_change BEFORE UPDATE ON orb_versions WHEN OLD.major IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a published version of an orb never changes');
END;
CREATE TRIGGER orb_versions_never_go BEFORE DELETE ON orb_versions WHEN OLD.major IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a published version of an orb is never removed');
END;
CREATE INDEX caches_by_end ON caches (expires_at_ms);
CREATE INDEX layers_of_workspace ON layers (workspace_id);
CREATE INDEX test_uploads_of_name ON test_uploads (project_id, job_name, created_at_ms);
CREATE INDEX test_uploads_by_age ON test_uploads (created_at_ms);
CREATE INDEX test_results_of_upload ON test_results (job_id, idx, step);
CREATE INDEX test_results_of_job ON test_results (job_id, id);
CREATE INDEX test_results_bad ON test_results (job_id, id) WHERE result IN ('failure', 'error');
CREATE INDEX requirements_on ON requirements (required_id);
CREATE INDEX jobs_by_status ON jobs (workflow_id, status);
CREATE INDEX jobs_on_hold ON jobs (queued_at_ms) WHERE status = 'on_hold';
CREATE INDEX jobs_of_origin ON jobs (origin_id) WHERE origin_id IS NOT NULL;
CREATE INDEX jobs_failed_tests_of ON jobs (failed_tests_of) WHERE failed_tests_of IS NOT NULL;
CREATE INDEX workflows_open ON workflows (created_at_ms) WHERE stopped_at_ms IS NULL;
CREATE INDEX workflows_of_root ON workflows (root_id) WHERE root_id IS NOT NULL;
CREATE INDEX workflows_of_rerun ON workflows (rerun_of) WHERE rerun_of IS NOT NULL;
CREATE INDEX approvals_of_pipeline ON approvals (pipeline_id);
CREATE INDEX checkout_keys_of_project ON checkout_keys (project_id, created_at_ms);
CREATE INDEX checkout_keys_of_user ON checkout_keys (user_id);
CREATE INDEX coverage_of_name ON coverage (project_id, job_name, branch, created_at_ms);
CREATE INDEX coverage_of_branch ON coverage (project_id, branch, created_at_ms);
CREATE INDEX coverage_by_age ON coverage (created_at_ms) WHERE has_files = 1;
CREATE INDEX caches_listed ON caches (project_id, created_at_ms);
CREATE INDEX artifacts_of_project ON artifacts (project_id, created_at_ms, size_bytes);
CREATE INDEX artifacts_by_age ON artifacts (created_at_ms);
CREATE INDEX user_logins_of_user ON user_logins (user_id);
CREATE INDEX pipelines_pending ON pipelines (created_at_ms) WHERE state = 'pending';
CREATE INDEX docker_layers_by_use ON docker_layers (project_id, used_at_ms);
CREATE UNIQUE INDEX oidc_claims_of_org ON oidc_claims (org_id) WHERE project_id IS NULL;
CREATE UNIQUE INDEX oidc_claims_of_project ON oidc_claims (project_id) WHERE project_id IS NOT NULL;
CREATE INDEX jobs_begun ON jobs (queued_at_ms, number) WHERE status IN ('not_running', 'running');
CREATE INDEX jobs_history ON jobs (project_id, name, number) WHERE status = 'success' AND started_at_ms IS NOT NULL;
CREATE INDEX locks_queue ON locks (org, key, is_held, turn);
CREATE UNIQUE INDEX locks_held ON locks (org, key) WHERE is_held = 1;
CREATE INDEX locks_of_workflow ON locks (workflow_id);
CREATE INDEX locks_waiting ON locks (since_ms) WHERE is_held = 0;
CREATE INDEX locks_of_project ON locks (project_id);
CREATE INDEX jobs_unmeasured ON jobs (stopped_at_ms)
    WHERE log_bytes IS NULL AND stopped_at_ms IS NOT NULL AND number IS NOT NULL AND origin_id IS NULL;
CREATE INDEX jobs_with_logs ON jobs (stopped_at_ms, log_bytes) WHERE log_bytes > 0;
CREATE INDEX test_timings_from ON test_timings (from_job_id);
CREATE INDEX triggers_of_pipeline ON triggers (pipeline_id) WHERE pipeline_id IS NOT NULL;
CREATE INDEX triggers_skipped ON triggers (accepted_at_ms) WHERE state = 'skipped';
CREATE INDEX outbox_over ON outbox (created_at_ms) WHERE state != 'due';
CREATE INDEX schedules_due ON schedules (due_at_ms) WHERE due_at_ms IS NOT NULL;
CREATE INDEX schedules_counted ON schedules (counted_at_ms);
CREATE INDEX schedules_of_project ON schedules (project_id, created_at_ms, row);
CREATE INDEX schedules_of_actor ON schedules (actor_id);
CREATE INDEX schedules_of_trigger ON schedules (trigger_id);
CREATE INDEX tokens_by_end ON tokens (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
CREATE INDEX layers_by_age ON layers (created_at_ms);
CREATE INDEX outbox_of_revision ON outbox (json_extract(body, '$.revision'));
CREATE INDEX caches_by_use ON caches (project_id, used_at_ms, size_bytes);
CREATE INDEX caches_unused ON caches (used_at_ms);
DELETE FROM "sqlite_sequence";
COMMIT;
PRAGMA user_version = 19;
