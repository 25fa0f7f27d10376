BEGIN TRANSACTION;
CREATE TABLE artifacts (                  -- spec 2.3
    id TEXT PRIMARY KEY,                  -- also the blob's name
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (job_id, idx, path)
) STRICT;
INSERT INTO "artifacts" VALUES('60fb5627112940c7b82269c3953da88e','1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,'out/made-0',35,1795322845010);
INSERT INTO "artifacts" VALUES('4b7a4b9bf5bb40a0b38157cbf9854e71','1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,'out/junit.xml',78,1795322845014);
INSERT INTO "artifacts" VALUES('e620b5fe23b34ff298d35d3d969ee967','1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,'out/junit.xml',78,1795322845174);
INSERT INTO "artifacts" VALUES('91b4fecdedbf4b2f87c9c7f326c626f9','1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,'out/made-1',35,1795322845181);
CREATE TABLE caches (
    id TEXT PRIMARY KEY,                  -- also the blob's name
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    root TEXT NOT NULL CHECK (root IN ('/', '~')),  -- what its paths are relative to
    size_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    UNIQUE (project_id, scope, key)
) STRICT;
INSERT INTO "caches" VALUES('ba7ade7b1cdb446eafbf58c006871151','f7e64ef9-f585-48cd-807f-1130d8278cca','trusted','deps-1','~',120,1795322844601,1795322844601,1796618844601);
CREATE TABLE context_variables (
    context_id TEXT NOT NULL REFERENCES contexts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value BLOB NOT NULL,                  -- sealed
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (context_id, name)
) STRICT;
INSERT INTO "context_variables" VALUES('3f3064c2-0dd5-4e2a-bf51-29d7447aad6a','DEPLOY',X'060A5565CFC9373E395FE770DACB5C936251B501D671898C019D37366E1F3BEF5ABE57DA64761C',1795322843082,1795322843082);
CREATE TABLE contexts (                   -- named sets of environment variables, for every project (spec 7.6)
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO "contexts" VALUES('3f3064c2-0dd5-4e2a-bf51-29d7447aad6a','deploy',1795322842468);
CREATE TABLE facts (                      -- what the appliance knows of itself: its instance id
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
INSERT INTO "facts" VALUES('instance','58a58816ad544a47a5cec51dd72e74f5');
CREATE TABLE hosted_refs (                -- what hosted repositories' refs were when they last started pipelines
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    ref TEXT NOT NULL,
    revision TEXT NOT NULL,
    PRIMARY KEY (project_id, ref)
) STRICT;
INSERT INTO "hosted_refs" VALUES('f7e64ef9-f585-48cd-807f-1130d8278cca','refs/heads/main','7d6e7bc892312216a4c2344675d55803fba42a7f');
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
    stopped_at_ms INTEGER,
    UNIQUE (workflow_id, name)
) STRICT;
INSERT INTO "jobs" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14','cafc57c8-8d54-4f3a-b47e-6ff336c008f5','f7e64ef9-f585-48cd-807f-1130d8278cca',1,0,'make','build','success','','{"name": "make", "type": "build", "requires": [], "contexts": ["deploy"], "executor": {"kind": "machine", "image": null, "docker_layer_caching": false}, "resource_class": null, "parallelism": 2, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [{"kind": "checkout", "name": "Checkout code", "path": ".", "method": "blobless", "depth": null, "when": "on_success"}, {"kind": "restore_cache", "keys": ["deps-"], "name": "Restoring Cache", "when": "on_success"}, {"kind": "run", "command": "mkdir -p deps out && echo dep > deps/a\necho \"made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}\" | tee out/made-$CIRCLE_NODE_INDEX\necho ''<testsuite><testcase classname=\"words\" name=\"counts\" time=\"0.1\"/></testsuite>'' > out/junit.xml\n", "name": "mkdir -p deps out && echo dep > deps/a\necho \"made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}\" | tee out/made-$CIRCLE_NODE_INDEX\necho ''<testsuite><testcase classname=\"words\" name=\"counts\" time=\"0.1\"/></testsuite>'' > out/junit.xml", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}, {"kind": "save_cache", "key": "deps-1", "paths": ["deps"], "name": "Saving Cache", "when": "on_success"}, {"kind": "persist_to_workspace", "root": "out", "paths": ["made-*"], "name": "Persisting to Workspace", "when": "on_success"}, {"kind": "store_artifacts", "path": "out", "destination": null, "name": "Uploading artifacts", "when": "always"}, {"kind": "store_test_results", "path": "out/junit.xml", "name": "Uploading test results", "when": "always"}], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795322844000,1795322844000,1795322844010,1795322845460);
INSERT INTO "jobs" VALUES('09d3b0e7-8f3e-48d0-b40c-09c13db78645','cafc57c8-8d54-4f3a-b47e-6ff336c008f5','f7e64ef9-f585-48cd-807f-1130d8278cca',2,1,'broken','build','failed','','{"name": "broken", "type": "build", "requires": [], "contexts": [], "executor": {"kind": "machine", "image": null, "docker_layer_caching": false}, "resource_class": null, "parallelism": 1, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [{"kind": "run", "command": "exit 3", "name": "exit 3", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795322844000,1795322844000,1795322844063,1795322844169);
INSERT INTO "jobs" VALUES('440cc71c-acc1-4f8f-a8d5-01269271c99c','cafc57c8-8d54-4f3a-b47e-6ff336c008f5','f7e64ef9-f585-48cd-807f-1130d8278cca',3,2,'mend','build','success','','{"name": "mend", "type": "build", "requires": [{"job": "make", "statuses": ["success"]}, {"job": "broken", "statuses": ["failed"]}], "contexts": [], "executor": {"kind": "machine", "image": null, "docker_layer_caching": false}, "resource_class": null, "parallelism": 1, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [{"kind": "attach_workspace", "at": "in", "name": "Attaching Workspace", "when": "on_success"}, {"kind": "run", "command": "cat in/made-0 in/made-1", "name": "cat in/made-0 in/made-1", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795322844000,1795322845460,1795322845512,1795322845899);
INSERT INTO "jobs" VALUES('00364980-5953-4164-b673-acb75f2db7e2','3e4a8f84-4e5e-488e-ae44-063264785fda','f7e64ef9-f585-48cd-807f-1130d8278cca',NULL,0,'ask','approval','on_hold','','{"name": "ask", "type": "approval", "requires": [], "contexts": [], "executor": null, "resource_class": null, "parallelism": 1, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795322844000,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('f77d663c-f10d-429c-b0b7-c7e81da6e553','3e4a8f84-4e5e-488e-ae44-063264785fda','f7e64ef9-f585-48cd-807f-1130d8278cca',4,1,'mend','build','blocked','','{"name": "mend", "type": "build", "requires": [{"job": "ask", "statuses": ["success"]}], "contexts": [], "executor": {"kind": "machine", "image": null, "docker_layer_caching": false}, "resource_class": null, "parallelism": 1, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [{"kind": "attach_workspace", "at": "in", "name": "Attaching Workspace", "when": "on_success"}, {"kind": "run", "command": "cat in/made-0 in/made-1", "name": "cat in/made-0 in/made-1", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795322844000,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('d217c427-ddee-4947-98cd-e63a455d867c','87fd41ae-7e6d-4a0d-bd39-5fd90dc4e938','f7e64ef9-f585-48cd-807f-1130d8278cca',5,0,'long','build','running','','{"name": "long", "type": "build", "requires": [], "contexts": [], "executor": {"kind": "machine", "image": null, "docker_layer_caching": false}, "resource_class": null, "parallelism": 1, "environment": {}, "working_directory": "~/project", "shell": null, "steps": [{"kind": "run", "command": "echo talk >> ~/notes\ni=0\nuntil [ -e /nowhere/go ]; do i=$((i + 1)); echo \"line $i\"; sleep 0.05; done\necho \"$i lines\"\n", "name": "talk", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}, {"kind": "run", "command": "cat ~/notes", "name": "notes", "shell": null, "environment": {}, "background": false, "working_directory": null, "no_output_timeout_s": 600.0, "when": "on_success", "max_auto_reruns": 0, "auto_rerun_delay_s": 0.0, "only_on_first_node": false}], "cache_retention_days": null, "key": null, "plan_name": null}',NULL,1795322846529,1795322846529,1795322846536,NULL);
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
INSERT INTO "layers" VALUES('48dc4ac2020b434d9fd4b9064c062571','ffeda453-26da-4a29-a3ab-7707f8d3d20b','1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,'step5','["made-0"]',123,1795322844921);
INSERT INTO "layers" VALUES('617e7afda3b5413aad2a4b9c6e55124d','ffeda453-26da-4a29-a3ab-7707f8d3d20b','1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,'step5','["made-1"]',123,1795322845098);
CREATE TABLE members (                    -- who may enter which project; for users that do not see all
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, project_id)
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
INSERT INTO "nodes" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,'success','local','1.0',2.0,4294967296,'',1795322844010,1795322845248);
INSERT INTO "nodes" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,'success','local','1.1',2.0,4294967296,'',1795322844035,1795322845460);
INSERT INTO "nodes" VALUES('09d3b0e7-8f3e-48d0-b40c-09c13db78645',0,'failed','local','2.0',2.0,4294967296,'',1795322844063,1795322844169);
INSERT INTO "nodes" VALUES('440cc71c-acc1-4f8f-a8d5-01269271c99c',0,'success','local','3.0',2.0,4294967296,'',1795322845512,1795322845899);
INSERT INTO "nodes" VALUES('f77d663c-f10d-429c-b0b7-c7e81da6e553',0,'waiting','',NULL,0.0,0,'',NULL,NULL);
INSERT INTO "nodes" VALUES('d217c427-ddee-4947-98cd-e63a455d867c',0,'running','local','5.0',2.0,4294967296,'',1795322846536,NULL);
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
    updated_at_ms INTEGER NOT NULL,
    UNIQUE (project_id, number)
) STRICT;
INSERT INTO "pipelines" VALUES('b4a56336-7189-4f5d-81c5-1ea7ab9da841','f7e64ef9-f585-48cd-807f-1130d8278cca',1,'created','{"project_id": "f7e64ef9-f585-48cd-807f-1130d8278cca", "kind": "webhook", "semantic_key": "push refs/heads/main a209db1212b3ffb74c064e4553399bbf6cc2bab6 8fdaf0d5f55d45b2b06ccdf47ffc7c03", "delivery_id": null, "branch": "main", "tag": null, "revision": "a209db1212b3ffb74c064e4553399bbf6cc2bab6", "base_revision": null, "actor": "tester", "commit": {"subject": "Make things", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T04:47:23+00:00", "url": ""}, "parameters": {}, "is_fork": false}','main',1,'version: 2.1
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
','{"pipeline.id": "b4a56336-7189-4f5d-81c5-1ea7ab9da841", "pipeline.number": 1, "pipeline.integration_source": null, "pipeline.project.slug": "circleci/acme/app", "pipeline.project.type": "circleci", "pipeline.project.git_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.branch": "main", "pipeline.git.tag": "", "pipeline.git.branch.is_default": true, "pipeline.git.revision": "a209db1212b3ffb74c064e4553399bbf6cc2bab6", "pipeline.git.base_revision": null, "pipeline.git.repo_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.repo_owner": "acme", "pipeline.git.repo_name": "app", "pipeline.git.commit.url": null, "pipeline.git.commit.subject": "Make things", "pipeline.git.commit.body": "", "pipeline.git.commit.author_login": null, "pipeline.git.commit.author_name": "A Person", "pipeline.git.commit.author_email": "person@example.org", "pipeline.git.commit.author_date": "2026-11-22T04:47:23+00:00", "pipeline.trigger.type": "webhook", "pipeline.trigger.received_at": "2026-11-22T04:47:23.992Z", "pipeline.trigger_source": "webhook", "pipeline.event.name": "push", "pipeline.event.action": "push", "pipeline.event.provider_login": "tester", "pipeline.config.file_path": ".circleci/config.yml", "pipeline.config.sha": "a209db1212b3ffb74c064e4553399bbf6cc2bab6"}','[]',1795322844000,1795322844000);
INSERT INTO "pipelines" VALUES('f2506049-3bec-4e90-9163-0ece46da7780','f7e64ef9-f585-48cd-807f-1130d8278cca',2,'errored','{"project_id": "f7e64ef9-f585-48cd-807f-1130d8278cca", "kind": "webhook", "semantic_key": "push refs/heads/main d020474631d4e39aefabffdfd0dc5118e2bc832e 98d9670f00364ed9b441b8b265f39d46", "delivery_id": null, "branch": "main", "tag": null, "revision": "d020474631d4e39aefabffdfd0dc5118e2bc832e", "base_revision": "a209db1212b3ffb74c064e4553399bbf6cc2bab6", "actor": "tester", "commit": {"subject": "Break the config", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T04:47:25+00:00", "url": ""}, "parameters": {}, "is_fork": false}','main',1,'version: 2.1
jobs: 3
','','{"pipeline.id": "f2506049-3bec-4e90-9163-0ece46da7780", "pipeline.number": 2, "pipeline.integration_source": null, "pipeline.project.slug": "circleci/acme/app", "pipeline.project.type": "circleci", "pipeline.project.git_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.branch": "main", "pipeline.git.tag": "", "pipeline.git.branch.is_default": true, "pipeline.git.revision": "d020474631d4e39aefabffdfd0dc5118e2bc832e", "pipeline.git.base_revision": "a209db1212b3ffb74c064e4553399bbf6cc2bab6", "pipeline.git.repo_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.repo_owner": "acme", "pipeline.git.repo_name": "app", "pipeline.git.commit.url": null, "pipeline.git.commit.subject": "Break the config", "pipeline.git.commit.body": "", "pipeline.git.commit.author_login": null, "pipeline.git.commit.author_name": "A Person", "pipeline.git.commit.author_email": "person@example.org", "pipeline.git.commit.author_date": "2026-11-22T04:47:25+00:00", "pipeline.trigger.type": "webhook", "pipeline.trigger.received_at": "2026-11-22T04:47:26.217Z", "pipeline.trigger_source": "webhook", "pipeline.event.name": "push", "pipeline.event.action": "push", "pipeline.event.provider_login": "tester", "pipeline.config.file_path": ".circleci/config.yml", "pipeline.config.sha": "d020474631d4e39aefabffdfd0dc5118e2bc832e"}','[{"type": "config", "kind": "error", "message": "`jobs` must be a map, not the number 3.", "line": 2, "column": 7, "text": ".circleci/config.yml:2:7: error: `jobs` must be a map, not the number 3.\n  2 | jobs: 3\n    |       ^\n  expected: a map of keys and values"}]',1795322846219,1795322846219);
INSERT INTO "pipelines" VALUES('5598b723-05a5-4a26-afe4-9cc8f1e85108','f7e64ef9-f585-48cd-807f-1130d8278cca',3,'created','{"project_id": "f7e64ef9-f585-48cd-807f-1130d8278cca", "kind": "webhook", "semantic_key": "push refs/heads/main 7d6e7bc892312216a4c2344675d55803fba42a7f 9dad8bb15b6f4233b9b15812dc403252", "delivery_id": null, "branch": "main", "tag": null, "revision": "7d6e7bc892312216a4c2344675d55803fba42a7f", "base_revision": "d020474631d4e39aefabffdfd0dc5118e2bc832e", "actor": "tester", "commit": {"subject": "Take long", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T04:47:26+00:00", "url": ""}, "parameters": {}, "is_fork": false}','main',1,'version: 2.1
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
','{"pipeline.id": "5598b723-05a5-4a26-afe4-9cc8f1e85108", "pipeline.number": 3, "pipeline.integration_source": null, "pipeline.project.slug": "circleci/acme/app", "pipeline.project.type": "circleci", "pipeline.project.git_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.branch": "main", "pipeline.git.tag": "", "pipeline.git.branch.is_default": true, "pipeline.git.revision": "7d6e7bc892312216a4c2344675d55803fba42a7f", "pipeline.git.base_revision": "d020474631d4e39aefabffdfd0dc5118e2bc832e", "pipeline.git.repo_url": "ssh://git@127.0.0.1:8000/acme/app.git", "pipeline.git.repo_owner": "acme", "pipeline.git.repo_name": "app", "pipeline.git.commit.url": null, "pipeline.git.commit.subject": "Take long", "pipeline.git.commit.body": "", "pipeline.git.commit.author_login": null, "pipeline.git.commit.author_name": "A Person", "pipeline.git.commit.author_email": "person@example.org", "pipeline.git.commit.author_date": "2026-11-22T04:47:26+00:00", "pipeline.trigger.type": "webhook", "pipeline.trigger.received_at": "2026-11-22T04:47:26.527Z", "pipeline.trigger_source": "webhook", "pipeline.event.name": "push", "pipeline.event.action": "push", "pipeline.event.provider_login": "tester", "pipeline.config.file_path": ".circleci/config.yml", "pipeline.config.sha": "7d6e7bc892312216a4c2344675d55803fba42a7f"}','[]',1795322846529,1795322846529);
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
INSERT INTO "projects" VALUES('f7e64ef9-f585-48cd-807f-1130d8278cca','circleci/acme/app','hosted','acme','app',NULL,'main',NULL,3,1795322841380);
CREATE TABLE secrets (                    -- project environment variables
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value BLOB NOT NULL,                  -- sealed
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (project_id, name)
) STRICT;
INSERT INTO "secrets" VALUES('f7e64ef9-f585-48cd-807f-1130d8278cca','API_KEY',X'949DF5908C9A9AFD508BB06FC5A4A2790CA16D2C7B5A3B8E6B98599FBED2A80E94971CA296032F',1795322841933);
CREATE TABLE ssh_keys (
    fingerprint TEXT PRIMARY KEY,         -- SHA256:...
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    public_key TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO "ssh_keys" VALUES('SHA256:2ENPv0UAQ52bWjjiVEPJEcsQ17lPir3SYH0AUgl560Y','68d33831-81cc-4d59-97f5-c2ae74c6ac27','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB4T/ReLydJgJunnlk5cNj4e2gXs721dD7XPypKIUA7p',1795322841029);
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
    stopped_at_ms INTEGER,
    PRIMARY KEY (job_id, idx, position),
    FOREIGN KEY (job_id, idx) REFERENCES nodes (job_id, idx) ON DELETE CASCADE
) STRICT;
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,0,'environment','Spin up environment','success',NULL,0,'',1795322844010,1795322844119);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,1,'checkout','Checkout code','success',0,0,'',1795322844119,1795322844449);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,2,'restore_cache','Restoring Cache','success',NULL,0,'',1795322844449,1795322844462);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,3,'run','mkdir -p deps out && echo dep > deps/a
echo "made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}" | tee out/made-$CIRCLE_NODE_INDEX
echo ''<testsuite><testcase classname="words" name="counts" time="0.1"/></testsuite>'' > out/junit.xml','success',0,0,'',1795322844462,1795322844491);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,4,'save_cache','Saving Cache','success',NULL,0,'',1795322844491,1795322844636);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,5,'persist_to_workspace','Persisting to Workspace','success',NULL,0,'',1795322844636,1795322844951);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,6,'store_artifacts','Uploading artifacts','success',NULL,0,'',1795322844951,1795322845170);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,7,'store_test_results','Uploading test results','success',NULL,0,'',1795322845170,1795322845248);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,0,'environment','Spin up environment','success',NULL,0,'',1795322844035,1795322844123);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,1,'checkout','Checkout code','success',0,0,'',1795322844123,1795322844449);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,2,'restore_cache','Restoring Cache','success',NULL,0,'',1795322844449,1795322844462);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,3,'run','mkdir -p deps out && echo dep > deps/a
echo "made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}" | tee out/made-$CIRCLE_NODE_INDEX
echo ''<testsuite><testcase classname="words" name="counts" time="0.1"/></testsuite>'' > out/junit.xml','success',0,0,'',1795322844462,1795322844491);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,4,'save_cache','Saving Cache','success',NULL,0,'',1795322844491,1795322844654);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,5,'persist_to_workspace','Persisting to Workspace','success',NULL,0,'',1795322844654,1795322845119);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,6,'store_artifacts','Uploading artifacts','success',NULL,0,'',1795322845119,1795322845253);
INSERT INTO "steps" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,7,'store_test_results','Uploading test results','success',NULL,0,'',1795322845253,1795322845460);
INSERT INTO "steps" VALUES('09d3b0e7-8f3e-48d0-b40c-09c13db78645',0,0,'environment','Spin up environment','success',NULL,0,'',1795322844063,1795322844148);
INSERT INTO "steps" VALUES('09d3b0e7-8f3e-48d0-b40c-09c13db78645',0,1,'run','exit 3','failed',3,0,'exited with code 3',1795322844148,1795322844169);
INSERT INTO "steps" VALUES('440cc71c-acc1-4f8f-a8d5-01269271c99c',0,0,'environment','Spin up environment','success',NULL,0,'',1795322845512,1795322845692);
INSERT INTO "steps" VALUES('440cc71c-acc1-4f8f-a8d5-01269271c99c',0,1,'attach_workspace','Attaching Workspace','success',NULL,0,'',1795322845692,1795322845886);
INSERT INTO "steps" VALUES('440cc71c-acc1-4f8f-a8d5-01269271c99c',0,2,'run','cat in/made-0 in/made-1','success',0,0,'',1795322845886,1795322845899);
INSERT INTO "steps" VALUES('d217c427-ddee-4947-98cd-e63a455d867c',0,0,'environment','Spin up environment','success',NULL,0,'',1795322846536,1795322846553);
INSERT INTO "steps" VALUES('d217c427-ddee-4947-98cd-e63a455d867c',0,1,'run','talk','running',NULL,0,'',1795322846553,NULL);
INSERT INTO "steps" VALUES('d217c427-ddee-4947-98cd-e63a455d867c',0,2,'run','notes','waiting',NULL,0,'',NULL,NULL);
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
INSERT INTO "test_results" VALUES(1,'1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,'step7','success','counts','words','','unknown',0.1,'');
INSERT INTO "test_results" VALUES(2,'1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,'step7','success','counts','words','','unknown',0.1,'');
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
INSERT INTO "test_uploads" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',0,'step7','f7e64ef9-f585-48cd-807f-1130d8278cca','make','trusted',1,1795322845170);
INSERT INTO "test_uploads" VALUES('1f4e127f-cd47-4df1-aa1c-04291bc51a14',1,'step7','f7e64ef9-f585-48cd-807f-1130d8278cca','make','trusted',1,1795322845253);
CREATE TABLE tokens (                     -- API tokens, login links and page sessions; only hashes
    hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('api', 'link', 'session')),
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER
) STRICT;
INSERT INTO "tokens" VALUES('b274fd1ff754822e11fe20527f7c50d607ee39e55fbd211e25c432eaf13ac15f','c7479f1d-ec42-4a59-b2c7-d07b2cfde598','link',1795322840528,1795409240528);
INSERT INTO "tokens" VALUES('5a6ab3c71218c08f044ee5b4563217df7fd6501bc0aa403181ce195072df5361','68d33831-81cc-4d59-97f5-c2ae74c6ac27','api',1795322843550,NULL);
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
INSERT INTO "triggers" VALUES(1,'f7e64ef9-f585-48cd-807f-1130d8278cca',NULL,'push refs/heads/main a209db1212b3ffb74c064e4553399bbf6cc2bab6 8fdaf0d5f55d45b2b06ccdf47ffc7c03','{"project_id": "f7e64ef9-f585-48cd-807f-1130d8278cca", "kind": "webhook", "semantic_key": "push refs/heads/main a209db1212b3ffb74c064e4553399bbf6cc2bab6 8fdaf0d5f55d45b2b06ccdf47ffc7c03", "delivery_id": null, "branch": "main", "tag": null, "revision": "a209db1212b3ffb74c064e4553399bbf6cc2bab6", "base_revision": null, "actor": "tester", "commit": {"subject": "Make things", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T04:47:23+00:00", "url": ""}, "parameters": {}, "is_fork": false}','done','b4a56336-7189-4f5d-81c5-1ea7ab9da841',1795322843938);
INSERT INTO "triggers" VALUES(2,'f7e64ef9-f585-48cd-807f-1130d8278cca',NULL,'push refs/heads/main d020474631d4e39aefabffdfd0dc5118e2bc832e 98d9670f00364ed9b441b8b265f39d46','{"project_id": "f7e64ef9-f585-48cd-807f-1130d8278cca", "kind": "webhook", "semantic_key": "push refs/heads/main d020474631d4e39aefabffdfd0dc5118e2bc832e 98d9670f00364ed9b441b8b265f39d46", "delivery_id": null, "branch": "main", "tag": null, "revision": "d020474631d4e39aefabffdfd0dc5118e2bc832e", "base_revision": "a209db1212b3ffb74c064e4553399bbf6cc2bab6", "actor": "tester", "commit": {"subject": "Break the config", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T04:47:25+00:00", "url": ""}, "parameters": {}, "is_fork": false}','done','f2506049-3bec-4e90-9163-0ece46da7780',1795322846190);
INSERT INTO "triggers" VALUES(3,'f7e64ef9-f585-48cd-807f-1130d8278cca',NULL,'push refs/heads/main 7d6e7bc892312216a4c2344675d55803fba42a7f 9dad8bb15b6f4233b9b15812dc403252','{"project_id": "f7e64ef9-f585-48cd-807f-1130d8278cca", "kind": "webhook", "semantic_key": "push refs/heads/main 7d6e7bc892312216a4c2344675d55803fba42a7f 9dad8bb15b6f4233b9b15812dc403252", "delivery_id": null, "branch": "main", "tag": null, "revision": "7d6e7bc892312216a4c2344675d55803fba42a7f", "base_revision": "d020474631d4e39aefabffdfd0dc5118e2bc832e", "actor": "tester", "commit": {"subject": "Take long", "body": "", "author_name": "A Person", "author_email": "person@example.org", "author_login": "", "authored_at": "2026-11-22T04:47:26+00:00", "url": ""}, "parameters": {}, "is_fork": false}','done','5598b723-05a5-4a26-afe4-9cc8f1e85108',1795322846486);
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password_hash TEXT,
    is_admin INTEGER NOT NULL CHECK (is_admin IN (0, 1)),
    sees_all_projects INTEGER NOT NULL CHECK (sees_all_projects IN (0, 1)),
    created_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO "users" VALUES('c7479f1d-ec42-4a59-b2c7-d07b2cfde598','admin',NULL,1,1,1795322840528);
INSERT INTO "users" VALUES('68d33831-81cc-4d59-97f5-c2ae74c6ac27','tester',NULL,0,1,1795322841029);
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
) STRICT;
INSERT INTO "workflows" VALUES('cafc57c8-8d54-4f3a-b47e-6ff336c008f5','b4a56336-7189-4f5d-81c5-1ea7ab9da841','all','failed','ffeda453-26da-4a29-a3ab-7707f8d3d20b','tester',NULL,1795322844000,1795322845899);
INSERT INTO "workflows" VALUES('3e4a8f84-4e5e-488e-ae44-063264785fda','b4a56336-7189-4f5d-81c5-1ea7ab9da841','held','on_hold','923d12b4-cc32-4fc3-99fc-49edb451562b','tester',NULL,1795322844000,NULL);
INSERT INTO "workflows" VALUES('87fd41ae-7e6d-4a0d-bd39-5fd90dc4e938','5598b723-05a5-4a26-afe4-9cc8f1e85108','w','running','e5b1127f-b775-4646-8a50-ec6984b00ce4','tester',NULL,1795322846529,NULL);
CREATE INDEX ssh_keys_of_user ON ssh_keys (user_id);
CREATE INDEX tokens_of_user ON tokens (user_id);
CREATE INDEX triggers_open ON triggers (id) WHERE state = 'open';
CREATE INDEX pipelines_recent ON pipelines (created_at_ms);
CREATE INDEX pipelines_of_project ON pipelines (project_id, created_at_ms);
CREATE INDEX pipelines_of_branch ON pipelines (project_id, branch, created_at_ms);
CREATE INDEX workflows_of_pipeline ON workflows (pipeline_id, created_at_ms);
CREATE INDEX jobs_waiting ON jobs (queued_at_ms) WHERE status = 'not_running';
CREATE INDEX jobs_of_project ON jobs (project_id, number);
CREATE INDEX nodes_running ON nodes (status) WHERE status = 'running';
CREATE INDEX nodes_waiting ON nodes (status) WHERE status = 'waiting';
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
CREATE INDEX caches_by_use ON caches (project_id, used_at_ms);
CREATE INDEX caches_by_end ON caches (expires_at_ms);
CREATE INDEX layers_of_workspace ON layers (workspace_id);
CREATE INDEX test_uploads_of_name ON test_uploads (project_id, job_name, created_at_ms);
CREATE INDEX test_uploads_by_age ON test_uploads (created_at_ms);
CREATE INDEX test_results_of_upload ON test_results (job_id, idx, step);
CREATE INDEX test_results_of_job ON test_results (job_id, id);
CREATE INDEX test_results_bad ON test_results (job_id, id) WHERE result IN ('failure', 'error');
COMMIT;
PRAGMA user_version = 6;
