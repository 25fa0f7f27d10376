"""Names, environments, repositories and images made to deceive: what a job's author controls runs nothing of ours."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.engine_fixture import DEBIAN, Engine, request, request_json
from tests.whole import ON_THIS_HOST, PERSON, Place, house

ALL_STEPS = """
version: 2.1
jobs:
  build:
    {executor}
    environment: {environment}
    steps:
      - checkout
      - run: mkdir -p out && echo kept > out/file && echo '<testsuite><testcase name="t"/></testsuite>' > out/t.xml
      - save_cache: {{key: "v1-{{{{ .Branch }}}}-{{{{ checksum \\"out/file\\" }}}}", paths: [out]}}
      - persist_to_workspace: {{root: ., paths: [out]}}
      - run: rm -r out
      - restore_cache: {{key: "v1-{{{{ .Branch }}}}-"}}
      - store_artifacts: {{path: out}}
      - store_test_results: {{path: out}}
      - run: cat out/file && ls
"""


def config(executor: str = "machine: true", environment: str = "{}") -> dict[str, str]:
    return {".circleci/config.yml": ALL_STEPS.format(executor=executor, environment=environment)}


def touched(tmp_path: Path) -> list[Path]:
    """What an attack would have left, wherever it ran."""
    return list(tmp_path.rglob("pwned*"))


BAD_NAMES = ("$(touch${IFS}pwned1)", "`touch${IFS}pwned2`", "a;touch${IFS}pwned3;b", "-c", "--upload-pack=touch${IFS}pwned4")


@pytest.mark.parametrize("kind", ["heads", "tags"])
@pytest.mark.parametrize("name", BAD_NAMES)
async def test_names_of_refs_are_never_a_shells_words(tmp_path: Path, kind: str, name: str) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        files = config() if kind == "heads" else {".circleci/config.yml": on_tags(config()[".circleci/config.yml"])}
        await place.commit(files)
        refusal = await pushed(place, f"main:refs/{kind}/{name}")
        if not refusal:
            seen = await place.ended()
            assert seen.statuses == {"build": "success"}, seen.logs
            assert "kept" in seen.logs["build"]
        assert touched(tmp_path) == []


def on_tags(text: str) -> str:
    return text + "workflows: {w: {jobs: [build: {filters: {tags: {only: /.*/}}}]}}\n"


async def pushed(place: Place, refspec: str) -> str:
    """Push; "" when it was taken, else what git said. git itself refuses a few names before we are asked."""
    try:
        await place.push("--", refspec)
    except AssertionError as refused:
        return str(refused)
    return ""


async def test_words_of_a_commit_are_only_words(tmp_path: Path) -> None:
    bad = "$(touch pwned) `touch pwned` ; touch pwned\n\n--exec=touch pwned\n\x1b]0;pwned\x07"
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit(config())
        author = ("-c", "user.name=$(touch pwned)`touch pwned`", "-c", "user.email=--output=pwned")
        await place.git(*PERSON, *author, "commit", "-q", "--allow-empty", "-m", bad)
        await place.push()
        assert (await place.ended()).statuses == {"build": "success"}
        assert touched(tmp_path) == []


async def test_a_ref_that_climbs_out_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit(config())
        assert await pushed(place, "main:refs/heads/../../climbed")
        assert list(tmp_path.rglob("climbed")) == []


async def test_a_jobs_variables_reach_none_of_our_helpers(tmp_path: Path) -> None:
    """Each would run or change something in tar, git, sh, or ours; only the user's own steps may see them."""
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("tar", "git", "sh", "zstd", "gzip", "sed", "find", "cat", "mkdir", "env"):
        fake = trap / name
        fake.write_text(f'#!/bin/sh\n: >"{tmp_path}/pwned-{name}"\nexit 1\n')
        fake.chmod(0o755)
    script = trap / "script"
    script.write_text(f'case $RONDO_REVISION$0 in *step*) ;; *) : >"{tmp_path}/pwned-script" ;; esac\n')
    variables = {
        "BASH_ENV": str(script),
        "ENV": str(script),
        "LD_PRELOAD": "/nonexistent.so",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": f"touch {tmp_path}/pwned-git-config",
        "GIT_SSH_COMMAND": f"touch {tmp_path}/pwned-ssh",
        "GIT_DIR": "/nonexistent",
        "GIT_EXEC_PATH": str(trap),
        "TAR_OPTIONS": f"--checkpoint=1 --checkpoint-action=exec='touch {tmp_path}/pwned-tar-options'",
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "PYTHONSTARTUP": str(script),
        "IFS": "o",
        "CDPATH": "/",
    }
    steps = """
      - checkout
      - save_cache: {key: "v1-{{ checksum \\"README\\" }}", paths: [README]}
      - persist_to_workspace: {root: ., paths: [README]}
      - restore_cache: {key: "v1-"}
      - attach_workspace: {at: other}
      - store_artifacts: {path: README}
      - store_test_results: {path: README}
"""
    environment = "".join(f"      {name}: {json.dumps(value)}\n" for name, value in variables.items())
    text = f"version: 2.1\njobs:\n  build:\n    machine: true\n    environment:\n{environment}      PATH: {trap}\n"
    text += f"    steps:{steps}"
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({".circleci/config.yml": text, "README": "read me\n"})
        await place.push()
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}, (seen.logs, seen.pipeline.problems)
        assert "Found a cache" in seen.logs["build"]
        assert touched(tmp_path) == []


async def test_a_repository_brings_no_commands_along(tmp_path: Path) -> None:
    """Attributes with filters, a submodule with a command, hooks and a config in the tree: git of ours heeds none."""
    mark = tmp_path / "pwned"
    files = {
        ".gitattributes": "* filter=bad diff=bad merge=bad\n",
        ".lfsconfig": f"[lfs]\n\turl = ext::touch {mark}\n",
        ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = ext::touch {mark}\n',
        "hooks/post-checkout": f"#!/bin/sh\ntouch {mark}\n",
        "hooks/pre-receive": f"#!/bin/sh\ntouch {mark}\n",
        "config": f'[core]\n\tfsmonitor = touch {mark}\n[filter "bad"]\n\tsmudge = touch {mark}\n\tclean = touch {mark}\n',
    }
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({**files, **config()})
        (place.work / "hooks/post-checkout").chmod(0o755)
        await place.commit({})
        await place.push()
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}, seen.logs
        assert touched(tmp_path) == []


async def test_a_submodule_with_a_command_is_not_even_taken(tmp_path: Path) -> None:
    files = {".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = ./x\n\tupdate = !touch pwned\n'}
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({**files, **config()})
        assert "disallowed submodule update" in await pushed(place, "main")


LIAR = "#!/bin/sh\necho '../../../../pwned'; echo found /etc/shadow; echo root /; exit 0\n"


@pytest.fixture(scope="module")
def odd_images(docker_engine: Engine) -> dict[str, str]:
    """Images made of the Debian one by taking away or adding a little; made once, they stay with the engine."""
    scripts = {
        "notar": "rm -f /bin/tar /usr/bin/tar",
        "liar": f"for name in tar git zstd gzip find; do printf %s {shlex.quote(LIAR)} >/usr/local/bin/$name; "
        "chmod 755 /usr/local/bin/$name; done",
        "exits": "true",
    }
    for name, script in scripts.items():
        made = request_json(
            docker_engine.socket,
            "POST",
            "/containers/create",
            {"Image": DEBIAN, "Cmd": ["sh", "-c", script], "NetworkDisabled": True},
        )
        path = f"/containers/{made['Id']}"
        request_json(docker_engine.socket, "POST", f"{path}/start")
        assert request_json(docker_engine.socket, "POST", f"{path}/wait") == {"Error": None, "StatusCode": 0}
        changes = 'ENTRYPOINT ["/bin/false"]' if name == "exits" else 'CMD ["sh"]'
        query = urlencode({"container": made["Id"], "repo": f"rondo-test/{name}", "tag": "latest", "changes": changes})
        assert request(docker_engine.socket, "POST", f"/commit?{query}", body=b"{}")[0] == 201
        request(docker_engine.socket, "DELETE", f"{path}?force=1&v=1")
    return {f"test/{name}": f"rondo-test/{name}" for name in scripts}


@pytest.mark.docker
async def test_odd_images_fail_their_steps_with_a_word_and_nothing_else(
    tmp_path: Path, docker_engine: Engine, odd_images: dict[str, str]
) -> None:
    """Without tar, with tools that lie, with an entrypoint that ends at once, and for somebody without a name."""
    jobs = {
        "notar": ["save_cache: {key: k1, paths: [kept]}", "store_artifacts: {path: kept}"],
        "liar": [
            "restore_cache: {key: k2}",
            "save_cache: {key: k2, paths: [kept]}",
            "store_artifacts: {path: kept}",
            "persist_to_workspace: {root: ., paths: [kept]}",
        ],
        "exits": ["save_cache: {key: k3, paths: [kept]}"],
    }
    text = "version: 2.1\njobs:\n"
    for name, steps in jobs.items():
        text += f"  {name}:\n    docker: [image: test/{name}]\n    steps:\n      - run: mkdir kept && echo x >kept/file\n"
        text += "".join(f"      - {step}\n" for step in steps)
    text += (
        "  nobody:\n    docker: [{image: test/liar, user: '65534'}]\n    working_directory: /tmp/w\n    steps: [run: id]\n"
    )
    text += f"workflows: {{w: {{jobs: [{', '.join([*jobs, 'nobody'])}]}}}}\n"
    settings: dict[str, Any] = {"docker.enabled": True, "docker.url": docker_engine.url, "images": odd_images}
    async with house(tmp_path, settings) as (place, _):
        await place.commit({".circleci/config.yml": text, "file": "x"})
        await place.push()
        seen = await place.ended()
        assert seen.statuses["exits"] == "success", seen.logs["exits"]
        assert seen.statuses["nobody"] == "success" and "uid=65534" in seen.logs["nobody"]
        for name in ("notar", "liar"):
            failed = [step for step in seen.steps[name] if step.status == "failed"]
            assert failed and all(step.message for step in failed), (seen.statuses[name], seen.logs[name])
            assert "Rondo itself broke" not in seen.jobs[name].message
        assert touched(tmp_path) == []
