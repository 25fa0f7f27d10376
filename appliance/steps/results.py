"""`store_test_results` (spec 2.4), and the timings of an earlier run for `circleci tests split`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import IO

from appliance.errors import ConnectionBroke, ImageError, SandboxError, SandboxLost
from appliance.language import plan as plans
from appliance.steps.base import SUCCESS, NodeView, Outcome
from appliance.steps.files import NothingThere, each_file, safe_path
from appliance.steps.junit import JunitReader
from appliance.steps.xml import BadFile
from appliance.store import results
from appliance.store.database import Tx
from appliance.store.results import Result

MOST_TESTS = 100_000  # of one job
LARGEST_FILE = 100 << 20
LARGEST_ALL = 500 << 20
MOST_TEXT = 32 << 20  # characters of one step's tests: they are in memory until they are stored
_MOST_WARNINGS = 20
_TOO_LARGE = f"it is larger than {LARGEST_FILE >> 20} MiB"
_CHUNK = 1 << 16
_ROWS = 2000  # in one transaction: others wait for the writer meanwhile
_TIMINGS = "circle-test-results/results.json"
_FAILED = "circle-test-results/failed"


@dataclass
class _Found:
    """What was read so far."""

    mask: Callable[[str], str]
    room: int
    text_room: int = MOST_TEXT
    tests: list[Result] = field(default_factory=list)
    files: int = 0
    left_out: int = 0
    bytes_read: int = 0
    warnings: list[str] = field(default_factory=list)

    def take_test(self, result: Result) -> None:
        size = sum(map(len, (result.name, result.classname, result.file, result.source, result.message)))
        if len(self.tests) >= self.room or size > self.text_room:
            self.left_out += 1
            return
        self.text_room -= size
        mask = self.mask
        self.tests.append(
            replace(
                result,
                name=mask(result.name),
                classname=mask(result.classname),
                file=mask(result.file),
                source=mask(result.source),
                message=mask(result.message),
            )
        )

    def take_file(self, name: str, size_bytes: int, content: IO[bytes]) -> None:
        """On a thread. A broken file gives the tests before the break, and a warning."""
        if not name.lower().endswith(".xml"):
            return
        self.files += 1
        try:
            self._read(size_bytes, content)
        except BadFile as error:
            self.warnings.append(f"{safe_path(name) or 'a file'}: {error}")

    def too_large(self, names: list[str]) -> None:
        """Files that were not even sent."""
        for name in names:
            if name.lower().endswith(".xml"):
                self.files += 1
                self.warnings.append(f"{safe_path(name) or 'a file'}: {_TOO_LARGE}")

    def _read(self, size_bytes: int, content: IO[bytes]) -> None:
        if size_bytes > LARGEST_FILE:
            raise BadFile(_TOO_LARGE)
        if self.bytes_read + size_bytes > LARGEST_ALL:
            raise BadFile(f"all files together are larger than {LARGEST_ALL >> 20} MiB")
        self.bytes_read += size_bytes
        reader = JunitReader(self.take_test)
        while chunk := content.read(_CHUNK):
            reader.feed(chunk)
        reader.feed(b"", is_last=True)


async def store(step: plans.StoreTestResults, node: NodeView) -> Outcome:
    """Keep what the JUnit files at or below the path say. Whatever is wrong with them is said and fails nothing."""
    data = node.data
    upload = results.Upload(
        job_id=data.job_id,
        index=node.index,
        step=node.command_id,
        project_id=data.project_id,
        scope=data.scope,
        created_at_ms=data.clock.now_ms(),
    )
    held = await data.db.write(lambda tx: results.begin(tx, upload))
    found = _Found(data.mask, room=max(0, MOST_TESTS - held))
    try:
        large = await each_file(node.sandbox, node.job.working_directory, step.path, found.take_file, LARGEST_FILE)
        found.too_large(large)
    except NothingThere:
        await node.say(f"There is nothing at {step.path}: no test results\n")
        return SUCCESS
    except (SandboxLost, ConnectionBroke):
        raise
    except (ImageError, SandboxError) as error:  # an image without tar, a folder that may not be read
        found.warnings.append(f"not all could be read: {error}")
    for at in range(0, len(found.tests), _ROWS):
        await data.db.write(_adding(upload, found.tests[at : at + _ROWS]))
    await node.say(_words(found, step.path))
    return SUCCESS


def _adding(upload: results.Upload, some: list[Result]) -> Callable[[Tx], None]:
    return lambda tx: results.add(tx, upload, some)


def _words(found: _Found, path: str) -> str:
    lines = [f"Warning: {warning}" for warning in found.warnings[:_MOST_WARNINGS]]
    if len(found.warnings) > _MOST_WARNINGS:
        lines.append(f"Warning: {len(found.warnings) - _MOST_WARNINGS} more files are not as they should be")
    if found.left_out:
        limits = f"of one job {MOST_TESTS} are kept, of one step {MOST_TEXT >> 20} MiB of text"
        lines.append(f"Warning: {found.left_out} tests were left out: {limits}")
    if not found.files:
        lines.append(f"There is no .xml file at or below {path}")
    return "\n".join([*lines, results.summary(Counter(test.verdict for test in found.tests)), ""])


async def deliver_timings(node: NodeView) -> None:
    """Show the job the results of an earlier run, for `circleci tests split --split-by=timings`."""
    data = node.data
    earlier = await data.db.write(lambda tx: results.choose_timings(tx, data.job_id, data.scope))
    if earlier is not None:
        tests = await data.db.read(lambda tx: results.all_of(tx, earlier))
        await node.sandbox.put(_TIMINGS, _as_json(tests))


async def deliver_failed_tests(node: NodeView) -> None:
    """Tell the job, where it is to run only the tests that failed, which those are: a name a line (spec 2.5)."""
    job_id = node.data.job_id
    names = await node.data.db.read(lambda tx: results.names_to_rerun(tx, job_id, MOST_TESTS))
    if names:
        text = "".join(f"{name}\n" for name in names if "\n" not in name)
        await node.sandbox.put(_FAILED, text.encode("utf-8", "replace"))


def _as_json(tests: list[Result]) -> bytes:
    """Compact, and without braces in its strings: the tool's awk reads up to a brace at a time."""
    items = [
        {
            "classname": test.classname,
            "file": test.file,
            "name": test.name,
            "result": test.verdict,
            "run_time": round(test.run_time_s, 6),
        }
        for test in tests
    ]
    text = ",".join(_object(item) for item in items)
    return f'{{"tests":[{text}]}}'.encode("utf-8", "replace")


def _object(item: Mapping[str, object]) -> str:
    inner = json.dumps(item, ensure_ascii=False, separators=(",", ":"))[1:-1]
    return "{" + inner.replace("{", "\\u007b").replace("}", "\\u007d") + "}"
