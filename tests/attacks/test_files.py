"""Files that a job lays out to deceive: the data steps take what lies below their path, and follow nothing out of it."""

from __future__ import annotations

from pathlib import Path

from appliance.blobs import Blobs
from tests.whole import ON_THIS_HOST, Place, Seen, house

OUTSIDE = "this lies outside of what the step names"


async def run(place: Place, steps: str, script: str = "true") -> Seen:
    """A job that runs `script`, then does `steps` ("- kind: ..." lines)."""
    head = "version: 2.1\njobs:\n  build:\n    machine: true\n    steps:\n"
    body = "".join(f"          {line}\n" for line in script.strip().splitlines())
    text = f"{head}      - run: |\n{body}" + "".join(f"      {line}\n" for line in steps.strip().splitlines())
    await place.commit({".circleci/config.yml": text})
    await place.push()
    return await place.ended()


def artifacts(place: Place) -> dict[str, bytes]:
    rows = place.read(lambda tx: [(row["path"], row["id"]) for row in tx.execute("SELECT path, id FROM artifacts")])
    blobs = Blobs(place.data / "blobs")
    return {path: blobs.path(Blobs.ARTIFACTS, name).read_bytes() for path, name in rows}


async def test_links_are_not_followed_out_of_a_folder(tmp_path: Path) -> None:
    """Straight, through a chain, through a folder, and into /proc: none of it is an artifact, a result or a layer's text."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file.xml").write_text(f'<testsuite><testcase name="{OUTSIDE}"/></testsuite>')
    script = f"""
mkdir -p out/deep && cd out
echo mine >mine
ln -s {outside}/file.xml straight.xml
ln -s {outside} folder
ln -s ../../../../../../../../../../../../{outside} climbing
ln -s a b; ln -s b a
ln -s /proc/self/environ environ.xml
at=deep; for i in 1 2 3 4 5 6 7 8 9; do ln -s ../$at deep/link$i; at=deep/link$i; done
"""
    steps = """
- store_artifacts: {path: out}
- store_test_results: {path: out}
- persist_to_workspace: {root: ., paths: [out]}
- save_cache: {key: k, paths: [out]}
"""
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        seen = await run(place, steps, script)
        assert seen.statuses == {"build": "success"}, seen.logs
        assert artifacts(place) == {"out/mine": b"mine\n"}
        assert place.read(lambda tx: tx.execute("SELECT count(*) FROM test_results").fetchone()[0]) == 0
        (names,) = place.read(lambda tx: [row["names"] for row in tx.execute("SELECT names FROM layers")])
        assert "outside" not in names and "out/straight.xml" in names
        for folder in (Blobs.LAYERS, Blobs.CACHES):
            for blob in (place.data / "blobs" / folder).rglob("*"):
                assert not blob.is_file() or blob.stat().st_size < 4096, "the link, not what it leads to"


async def test_a_file_that_becomes_a_link_while_it_is_read_gives_nothing_away(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text(OUTSIDE)
    swap = f"""
mkdir out; echo mine >real
(for i in $(seq 3000); do ln -sf {outside} out/file; ln -f real out/file; done) >/dev/null 2>&1 &
"""
    steps = "\n".join(f"- store_artifacts: {{path: out, destination: 'd{number}'}}" for number in range(12))
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        seen = await run(place, steps, swap)
        assert seen.statuses == {"build": "success"}, seen.logs
        assert OUTSIDE.encode() not in b"".join(artifacts(place).values())


async def test_a_checksum_is_only_of_a_plain_file(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        for number, path in enumerate(("pipe", "/dev/zero", ".", "none"), 1):
            steps = f"- save_cache: {{key: 'v1-{{{{ checksum \"{path}\" }}}}', paths: [pipe]}}"
            head = "version: 2.1\njobs:\n  build:\n    machine: true\n    steps:\n      - run: mkfifo pipe\n"
            await place.commit({".circleci/config.yml": f"{head}      {steps}\n"})
            await place.push()
            seen = await place.ended(number)
            assert seen.statuses == {"build": "failed"}
            assert f"cannot compute the checksum of {path}" in seen.logs["build"]


async def test_keys_are_only_words(tmp_path: Path) -> None:
    """A key is no path; one too long is refused before anything is packed."""
    keys = ("../../../../etc/passwd", "/abs", "a/b/../../c", "%2e%2e%2f", "nul\\0", "x" * 9000)
    steps = "\n".join(f'- save_cache: {{key: "{key}", paths: [out]}}' for key in keys[:-1])
    steps += f'\n- restore_cache: {{key: "a/b"}}\n- save_cache: {{key: "{keys[-1]}", paths: [out]}}'
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        before = {path for path in tmp_path.rglob("*") if place.data not in path.parents}
        seen = await run(place, steps, "mkdir out; echo x >out/x")
        assert seen.statuses == {"build": "failed"}
        assert "the longest allowed is 900" in seen.logs["build"]
        assert "Found a cache with key: a/b/../../c" in seen.logs["build"]
        after = {path for path in tmp_path.rglob("*") if place.data not in path.parents and place.work not in path.parents}
        assert after - before == {place.work}
        names = [blob.name for blob in (place.data / "blobs" / Blobs.CACHES).rglob("*") if blob.is_file()]
        assert names and all(len(name) == 32 and name.isalnum() for name in names)


async def test_things_that_are_no_files_hold_nobody_up(tmp_path: Path) -> None:
    """Pipes, sockets, a device and a terabyte of nothing: left out, and soon."""
    script = """
mkdir out && cd out
echo mine >mine; mkfifo pipe; mknod zero c 1 5 2>/dev/null || true; truncate -s 1T sparse
cp /bin/true setuid && chmod 4755 setuid
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")' 2>/dev/null || true
"""
    steps = """
- store_artifacts: {path: out}
- store_artifacts: {path: out/pipe}
- store_test_results: {path: out}
- restore_cache: {keys: ['k-{{ checksum "out/mine" }}']}
- run: rm out/sparse
- persist_to_workspace: {root: ., paths: [out]}
"""
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        seen = await run(place, steps, script)
        assert seen.statuses == {"build": "success"}, seen.logs
        assert sorted(artifacts(place)) == ["out/mine", "out/setuid"]
        assert "sparse was left out" in seen.logs["build"]
