"""JUnit files as runners write them and as nobody should, and `store_test_results` around them."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from appliance.steps.junit import LONGEST_MESSAGE, LONGEST_NAME, JunitReader
from appliance.steps.results import LARGEST_FILE, MOST_TESTS, _as_json, _Found, _words
from appliance.steps.xml import BadFile
from appliance.store.results import Result, Verdict, summary


def read(text: str | bytes, chunk: int = 1 << 16) -> list[Result]:
    """The tests of a file; what was read before a break when it has one is in the error's args[1]."""
    found: list[Result] = []
    reader = JunitReader(found.append)
    data = text.encode() if isinstance(text, str) else text
    try:
        for at in range(0, len(data), chunk):
            reader.feed(data[at : at + chunk])
        reader.feed(b"", is_last=True)
    except BadFile as error:
        raise BadFile(str(error), found) from None
    return found


def collect(files: dict[str, bytes], room: int = MOST_TESTS) -> _Found:
    found = _Found(lambda text: text.replace("s3cret", "****"), room)
    for name, data in files.items():
        found.take_file(name, len(data), io.BytesIO(data))
    return found


WHOLE = """<?xml version="1.0" encoding="UTF-8"?>
<!-- as several runners write it -->
<testsuites name="all" tests="6">
  <testsuite name="pytest" file="suite.py" hostname="x">
    <properties><property name="a" value="b"/></properties>
    <testcase classname="a.B" name="passes" file="a.py" time="0.25"/>
    <testcase classname="a.B" name="fails &lt;b&gt;" time="1,234.5"><failure message="no" type="T">no: because
of this</failure><failure message="second"/></testcase>
    <testcase classname="a.B" name="breaks" time="x"><error message="boom"><![CDATA[<trace> & more]]></error></testcase>
    <testcase classname="a.B" name="waits" time="-1"><skipped/></testcase>
    <testsuite name="inner"><testcase name="deep" time="1e400"><system-out>loud</system-out></testcase></testsuite>
    <testcase name="after"><skipped message="later"/><failure message="worse"/></testcase>
  </testsuite>
</testsuites>
"""


@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_a_whole_file(chunk: int) -> None:
    found = read(WHOLE, chunk)
    assert [(one.name, one.verdict, one.run_time_s, one.file, one.source) for one in found] == [
        ("passes", "success", 0.25, "a.py", "pytest"),
        ("fails <b>", "failure", 1234.5, "suite.py", "pytest"),
        ("breaks", "error", 0.0, "suite.py", "pytest"),
        ("waits", "skipped", 0.0, "suite.py", "pytest"),
        ("deep", "success", 0.0, "", "inner"),
        ("after", "failure", 0.0, "suite.py", "pytest"),
    ]
    assert [one.message for one in found] == ["", "no: because\nof this", "boom\n<trace> & more", "", "", "worse"]


def test_single_suites_cases_and_name_spaces() -> None:
    assert [one.name for one in read('<testsuite><testcase name="a"/></testsuite>')] == ["a"]
    assert [one.name for one in read('<testcase name="a"/>')] == ["a"]
    assert [one.name for one in read('<j:testsuite xmlns:j="x"><j:testcase name="a"/></j:testsuite>')] == ["a"]
    assert read("<testsuites/>") == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_encodings(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><testsuite name="ü"><testcase name="ö"/></testsuite>'
    assert [(one.name, one.source) for one in read(text.encode(encoding))] == [("ö", "ü")]


ENTITIES = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
LAUGHS = f"""<!DOCTYPE x [<!ENTITY a "ha">{ENTITIES}]><testsuite><testcase name='&j;'/></testsuite>"""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no element found"),
        ("not xml", "no good XML"),
        ("<html><body/></html>", "begins with <html>"),
        ("<a" * 10, "no good XML"),
        ("<testsuite>" * 300, "deep in each other"),
        (LAUGHS, "declares entities"),
        (
            '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><testsuite><testcase name="x">&f;</testcase></testsuite>',
            "enti",
        ),
        ('<?xml version="1.0" encoding="rot13"?><testsuite/>', "no good XML"),
        ("<testsuite><testcase name='\0'/></testsuite>", "no good XML"),
        (b"<testsuite><testcase name='\xff'/></testsuite>", "no good XML"),
        ('<testsuite><testcase name="' + "x" * (6 << 20) + '"/></testsuite>', "longer than 4 MiB"),
        ("<testsuite><!--" + "x" * (9 << 20) + "--></testsuite>", "longer than 4 MiB"),
    ],
)
def test_what_cannot_be_read_is_said(text: str | bytes, why: str) -> None:
    began = time.process_time()
    with pytest.raises(BadFile, match=why):
        read(text)
    assert time.process_time() - began < 5


def test_a_document_type_from_elsewhere_is_not_fetched() -> None:
    kind = '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">'
    assert [one.name for one in read(kind + '<testsuite><testcase name="a">&f;</testcase></testsuite>')] == ["a"]


def test_tests_before_a_break_count() -> None:
    with pytest.raises(BadFile) as caught:
        read('<testsuite><testcase name="a"/><testcase name="b"/><testcase na')
    assert [one.name for one in caught.value.args[1]] == ["a", "b"]


def test_long_things_are_cut() -> None:
    name, message = "n" * (2 << 20), "m" * (1 << 20)
    failure = f'<failure message="{message}">{message * 4}</failure>'
    text = f'<testsuite name="{name}"><testcase name="{name}">{failure}</testcase></testsuite>'
    [one] = read(text)
    assert (len(one.name), len(one.source), len(one.message)) == (LONGEST_NAME, LONGEST_NAME, LONGEST_MESSAGE)


def test_a_large_file_goes_through_at_speed() -> None:
    case = '<testcase classname="a.b.C" name="test_something" file="a/b.py" time="0.01"/>'
    began = time.process_time()
    assert len(read(f"<testsuite>{case * 100_000}</testsuite>")) == 100_000
    assert time.process_time() - began < 10


def test_only_xml_files_count_and_a_bad_one_spoils_no_other() -> None:
    good = b'<testsuite><testcase name="a"/></testsuite>'
    found = collect({"x.txt": good, "a.xml": good, "b.XML": b"nonsense", "c.xml": good, "\x1b[31m.xml": b""})
    words = _words(found, "reports")
    assert words.endswith("\n2 tests\n")
    assert "Warning: b.XML: it is no good XML" in words
    assert "\x1b" not in words
    assert found.files == 4


def test_secrets_are_taken_out_of_everything_that_is_stored() -> None:
    text = (
        '<testsuite name="s3cret s"><testcase name="s3cret n" classname="s3cret c" file="s3cret f">'
        '<failure message="s3cret m">s3cre&#116; t</failure></testcase></testsuite>'
    )
    [one] = collect({"a.xml": text.encode()}).tests
    assert "s3cret" not in repr(one)
    assert one.message == "**** m\n**** t"


def test_no_more_tests_than_there_is_room() -> None:
    text = b"<testsuite>" + b'<testcase name="a"/>' * 10 + b"</testsuite>"
    found = collect({"a.xml": text, "b.xml": text}, room=12)
    assert len(found.tests) == 12
    assert "8 tests were left out" in _words(found, "x")


def test_no_more_text_than_there_is_room() -> None:
    found = collect({})
    found.text_room = 1000
    found.take_file("a.xml", 1, io.BytesIO(b"<testsuite>" + b'<testcase name="' + b"n" * 300 + b'"/>'))
    text = b"<testsuite>" + (b'<testcase name="' + b"n" * 300 + b'"/>') * 5 + b"</testsuite>"
    found.take_file("b.xml", len(text), io.BytesIO(text))
    assert len(found.tests) == 3
    assert "3 tests were left out" in _words(found, "x")


def test_a_file_too_large_is_not_read() -> None:
    found = _Found(str, 10)
    found.take_file("big.xml", LARGEST_FILE + 1, io.BytesIO(b"never"))
    assert "larger than 100 MiB" in found.warnings[0]


def test_many_warnings_are_bounded() -> None:
    words = _words(collect({f"{number}.xml": b"" for number in range(1000)}), "x")
    assert words.count("\n") == 22
    assert "980 more files" in words


def test_nothing_to_read_is_said() -> None:
    assert _words(collect({"a.txt": b""}), "reports") == "There is no .xml file at or below reports\n0 tests\n"


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({Verdict.SUCCESS: 117, Verdict.FAILURE: 2, Verdict.SKIPPED: 1}, "120 tests, 2 failures, 1 skipped"),
        ({Verdict.ERROR: 1, Verdict.FAILURE: 1}, "2 tests, 1 failure, 1 error"),
        ({Verdict.SUCCESS: 1}, "1 test"),
        ({}, "0 tests"),
    ],
)
def test_summary(counts: dict[Verdict, int], words: str) -> None:
    assert summary(counts) == words


def test_timings_have_no_braces_in_their_strings(tmp_path: Path) -> None:
    one = Result(name='{a}"\\', classname="}", file="ü", source="", verdict=Verdict.SUCCESS, run_time_s=0.1, message="")
    text = _as_json([one, one]).decode()
    assert text.count("{") == text.count("}") == 3
    assert "ü" in text
