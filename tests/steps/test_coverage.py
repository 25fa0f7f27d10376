"""Coverage reports: three formats, bad files, and what is put together of several."""

from __future__ import annotations

import pytest

from appliance.steps import coverage
from appliance.steps.coverage import Covered, reader_for
from appliance.steps.reports import relative
from appliance.steps.xml import BadFile

COBERTURA = b"""<?xml version="1.0" ?>
<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage line-rate="0.5" lines-valid="4"><packages><package name="p"><classes>
<class name="A" filename="src/a.py"><methods><method name="m"><lines><line number="2" hits="3"/></lines></method></methods>
<lines><line number="1" hits="0"/><line number="2" hits="3" branch="true" condition-coverage="50% (1/2)"/></lines></class>
<class name="A$B" filename="./src/a.py"><lines><line number="9" hits="1"/></lines></class>
<class name="C" filename="src/c.py"><lines><line number="7" hits="0"/></lines></class>
</classes></package></packages></coverage>"""

JACOCO = b"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<!DOCTYPE report PUBLIC "-//JACOCO//DTD Report 1.1//EN" "report.dtd">
<report name="app"><sessioninfo id="x" start="1" dump="2"/><group name="g"><package name="org/acme">
<class name="org/acme/Main" sourcefilename="Main.java"><counter type="LINE" missed="90" covered="10"/></class>
<sourcefile name="Main.java"><line nr="3" mi="0" ci="5" mb="1" cb="3"/><line nr="4" mi="2" ci="0" mb="0" cb="0"/>
<counter type="LINE" missed="1" covered="1"/></sourcefile></package></group></report>"""

LCOV = b"""TN:
SF:/root/project/lib/x.js
FN:1,(anonymous)
DA:1,5
DA:2,0
DA:3,=====
BRDA:1,0,0,5
BRDA:1,0,1,-
LF:3
LH:1
end_of_record
SF:/root/project/lib/y.js\r
DA:10,1,checksum\r
end_of_record\r
"""


def read(name: str, data: bytes, chunk: int = 1 << 16) -> dict[str, tuple[int, int, int, int]]:
    """Of each source file: lines, lines that ran, branches, branches that ran."""
    reader = reader_for(name, data[:4096])
    assert reader is not None
    for at in range(0, len(data), chunk):
        reader.feed(data[at : at + chunk])
    reader.feed(b"", is_last=True)
    return {path: counts(lines) for path, lines in reader.files.items()}


def counts(lines: Covered) -> tuple[int, int, int, int]:
    return lines.found.bit_count(), lines.ran.bit_count(), lines.branches, lines.branches_ran


@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_each_format_gives_its_lines_and_branches(chunk: int) -> None:
    assert read("c.xml", COBERTURA, chunk) == {"src/a.py": (3, 2, 2, 1), "src/c.py": (1, 0, 0, 0)}
    assert read("jacoco.xml", JACOCO, chunk) == {"org/acme/Main.java": (2, 1, 4, 3)}
    assert read("lcov.info", LCOV, chunk) == {"/root/project/lib/x.js": (3, 1, 2, 1), "/root/project/lib/y.js": (1, 1, 0, 0)}


def test_a_report_is_known_by_what_it_says_not_only_by_its_name() -> None:
    assert reader_for("coverage.xml", b"<testsuites><testsuite/></testsuites>") is None
    assert (
        reader_for("coverage.xml", b'<?xml version="1.0"?><coverage generated="1" clover="3"><project/></coverage>') is None
    )
    assert reader_for("package.info", b"Name: something") is None
    assert reader_for("report.html", COBERTURA) is None
    assert reader_for("anything.xml", JACOCO) is not None and reader_for("a/b.lcov", b"SF:x\n") is not None


def test_the_same_lines_twice_count_once() -> None:
    reader = reader_for("lcov.info", LCOV)
    assert reader is not None
    reader.feed(LCOV + LCOV, is_last=True)
    assert counts(reader.files["/root/project/lib/x.js"]) == (3, 1, 2, 1)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.xml", COBERTURA[:400], "no good XML"),
        ("a.xml", b'<!DOCTYPE coverage [<!ENTITY a "b">]><coverage line-rate="&a;"/>', "declares entities"),
        ("a.xml", b'<coverage line-rate="1">' + b"<p>" * 300, "deep in each other"),
        ("a.xml", b'<coverage line-rate="1" x="' + b"x" * (9 << 20), "longer than 4 MiB"),
        ("a.info", b"SF:" + b"x" * 100_000, "longer than 64 KiB"),
        (
            "a.info",
            b"".join(b"SF:%d\nDA:%d,1\nend_of_record\n" % (number, coverage.LAST_LINE) for number in range(2000)),
            "more than anybody",
        ),
    ],
)
def test_a_hostile_report_is_refused(name: str, data: bytes, why: str) -> None:
    with pytest.raises(BadFile, match=why):
        read(name, data)


def test_numbers_that_are_none_do_no_harm() -> None:
    head = b'<coverage line-rate="1"><class filename="a">'
    lines = b'<line number="-1" hits="1"/><line number="99999999999999999999" hits="1"/><line number="4" hits="1e9"/><line/>'
    assert read("a.xml", head + lines + b"</class></coverage>") == {"a": (1, 0, 0, 0)}


@pytest.mark.parametrize(
    ("path", "working_directory", "wanted"),
    [
        ("/root/project/src/a.py", "~/project", "src/a.py"),
        ("src/a.py", "~/project", "src/a.py"),
        ("/app/src/a.py", "/app", "src/a.py"),
        ("/other/src/a.py", "~/project", "/other/src/a.py"),
        ("/home/x/a.py", "~", "/home/x/a.py"),
    ],
)
def test_a_source_file_is_named_as_the_repository_has_it(path: str, working_directory: str, wanted: str) -> None:
    assert relative(path, working_directory) == wanted
