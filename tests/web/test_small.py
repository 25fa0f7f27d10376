"""The small parts of pages: words, drawings, badges, where files are found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from appliance.language.plan import Require
from appliance.model import JobId, JobStatus, NodeStatus, WorkflowId
from appliance.pages import words
from appliance.pages.assets import load_static, web_folder
from appliance.pages.graph import GAP_X, GAP_Y, HEIGHT, WIDTH, draw
from appliance.store.overview import JobChip
from tests.web.world import World, job, workflow


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (-5, "0.0s"),
        (0, "0.0s"),
        (9_999, "10.0s"),
        (10_000, "10s"),
        (59_999, "59s"),
        (60_000, "1m 00s"),
        (3_599_000, "59m 59s"),
        (3_720_000, "1h 02m"),
        (360_000_000, "100h 00m"),
    ],
)
def test_durations(ms: int, said: str) -> None:
    assert words.duration(ms) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-100, "just now"),
        (44, "just now"),
        (60, "1 min ago"),
        (7_200, "2 h ago"),
        (200_000, "2 d ago"),
        (10**7, "1969-09-07"),
    ],
)
def test_how_long_ago(seconds: int, said: str) -> None:
    assert words.ago(-seconds * 1000, 0) == said


def chip(name: str, *requires: str) -> JobChip:
    return JobChip(
        id=JobId(name),
        workflow_id=WorkflowId("w"),
        number=None,
        name=name,
        type="build",
        status=JobStatus.SUCCESS,
        message="",
        approved_by=None,
        canceled_by=None,
        is_carried_over=False,
        requires=tuple(Require(job=other) for other in requires),
        parallelism=1,
        started_at_ms=None,
        stopped_at_ms=None,
    )


def test_a_job_stands_right_of_all_it_requires() -> None:
    drawing = draw([chip("d", "b", "c"), chip("a"), chip("b", "a"), chip("c"), chip("e", "a", "d")])
    assert [[one.name for one in column] for column in drawing.columns] == [["a", "c"], ["b"], ["d"], ["e"]]
    assert len(drawing.edges) == 5
    assert drawing.width == 4 * WIDTH + 3 * GAP_X and drawing.height == 2 * HEIGHT + GAP_Y


@pytest.mark.parametrize(
    ("jobs", "lane"),
    [
        ((chip("a"), chip("b", "a"), chip("c", "a", "b")), HEIGHT + GAP_Y // 2),  # below b, not behind it
        ((chip("x"), chip("a"), chip("b", "x"), chip("y", "x"), chip("c", "a", "b")), HEIGHT + GAP_Y // 2),  # above y
        ((chip("x"), chip("a"), chip("b", "x"), chip("c", "a", "b")), HEIGHT + GAP_Y + HEIGHT // 2),  # straight on
    ],
)
def test_a_line_past_a_column_is_not_behind_its_cards(jobs: Sequence[JobChip], lane: int) -> None:
    paths = [edge.path for edge in draw(jobs).edges if "H" in edge.path]
    assert len(paths) == 1
    assert f" {lane}H{2 * (WIDTH + GAP_X) - GAP_X}C" in paths[0]


def test_odd_workflows_are_drawn_too() -> None:
    assert draw([]).columns == ()
    assert len(draw([chip("a", "b"), chip("b", "a"), chip("c", "gone")]).columns) <= 3
    line = draw([chip(f"j{n}", *([f"j{n - 1}"] if n else [])) for n in range(300)])
    assert len(line.columns) == 300


def test_the_style_sheet_draws_what_the_graph_measures() -> None:
    style = (web_folder() / "static" / "rondo.css").read_text("utf-8")
    assert f".card {{ width: {WIDTH}px; height: {HEIGHT}px;" in style
    assert (
        f".columns {{ display: flex; gap: {GAP_X}px;" in style
        and f".columns ul {{ display: grid; gap: {GAP_Y}px; }}" in style
    )


async def badge(world: World, path: str) -> str:
    async with aiohttp.ClientSession(world.url) as client, client.get(path) as response:
        assert response.status == 200 and response.content_type == "image/svg+xml"
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        return await response.text()


async def test_badges_tell_the_last_finished_workflow(world: World) -> None:
    project = await world.project("acme/app")
    good = await world.pipeline(project, workflow("ci", job("build")))
    bad = await world.pipeline(project, workflow("ci", job("build")), branch="feature/x")
    await world.run(good, "build")
    await world.run(bad, "build", NodeStatus.FAILED)
    assert "passing" in await badge(world, "/circleci/acme/app.svg")
    assert "passing" in await badge(world, "/gh/ACME/app.svg?style=shield")
    assert "failing" in await badge(world, "/gh/acme/app/tree/feature/x.svg")
    assert "failing" in await badge(world, "/gh/acme/app/tree/feature%2Fx.svg?style=svg&circle-token=x")


async def test_an_unknown_project_has_the_badge_of_one_that_never_ran(world: World) -> None:
    await world.project("acme/app")
    assert await badge(world, "/gh/acme/app.svg") == await badge(world, "/gh/no/such.svg")
    assert "<script" not in await badge(world, "/gh/%3Cscript%3E/x.svg?style=%3Cscript%3E")


def test_files_are_found_in_a_one_file_build_and_inside_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from appliance.pages import assets

    source = web_folder()
    package = tmp_path / "site" / "appliance"
    (package / "pages").mkdir(parents=True)
    monkeypatch.setattr(assets, "__file__", str(package / "pages" / "assets.py"))
    monkeypatch.setattr(sys, "_MEIPASS", str(source.parent), raising=False)
    assert web_folder() == source
    (package / "web" / "templates").mkdir(parents=True)
    (package / "web" / "templates" / "base.html").touch()
    assert web_folder() == package / "web"


def test_static_files_are_few_small_and_without_inline_code() -> None:
    assets, version = load_static(web_folder())
    assert len(version) == 12 and sum(len(asset.body) for asset in assets.values()) < 100_000
    for template in (web_folder() / "templates").iterdir():
        text = template.read_text("utf-8")
        assert " style=" not in text and "<style" not in text and "onclick" not in text and "|safe" not in text
        assert "<script>" not in text
