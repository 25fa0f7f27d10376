"""Working trees for real configs: the smallest files that their commands need, and stand-ins for tools the image lacks.

The configs themselves are read where they are (tests/language/material.py says where) and never changed: what CircleCI's
images would bring comes from `images` and `jobs.mounts` of the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from tests.engine_fixture import BUSYBOX, DEBIAN
from tests.language.material import CORPUS
from tests.real_orbs import CIMG

_SH = "#!/bin/sh\n"
_SAY = _SH + 'echo "$(basename "$0") $*"\n'
_JUNIT = '<testsuite><testcase classname="sums" name="adds" time="2"/><testcase classname="sums" name="halves"/></testsuite>'


@dataclass(frozen=True, kw_only=True)
class Tree:
    """`files` that begin with #! are executable, like the `tools`, which are mounted over the image's programs."""

    config: str  # folder of the corpus
    images: Mapping[str, str]
    branch: str = "main"
    files: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    approved: str = ""  # an approval that is given
    orbs: Mapping[str, str] = field(default_factory=dict)  # file of the packed orbs -> file of the mirror
    jobs: int  # that run, on one node or more
    failing: Set[str] = frozenset()

    @property
    def folder(self) -> Path:
        return CORPUS / self.config

    def write(self, root: Path) -> None:
        """Lay out the tree, its config in .circleci/."""
        configs = {f".circleci/{path.name}": path.read_text("utf-8") for path in self.folder.glob("*.yml")}
        for name, text in {**configs, **self.files}.items():
            put(root / name, text)

    def mounts(self, folder: Path) -> tuple[str, ...]:
        """The tools, laid out in a folder, as the settings name mounts."""
        for name, text in self.tools.items():
            put(folder / name, text)
        return tuple(f"{folder / name}:/usr/bin/{name}" for name in self.tools)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if text.startswith("#!"):
        path.chmod(0o755)


_GRADLE_LIBRARY = Tree(
    config="palantir__conjure",
    images={"cimg/*": CIMG, "busybox:*": BUSYBOX},
    branch="develop",
    files={
        "gradlew": _SAY
        + f"""\
mkdir -p build/test-results ~/.gradle/wrapper ~/.gradle/caches ~/artifacts
echo '{_JUNIT}' >build/test-results/TEST-sums.xml
ls ~/.gradle/wrapper; echo kept >~/.gradle/wrapper/dist; echo "by $CIRCLE_JOB" >~/.gradle/caches/modules
echo "$_JAVA_OPTIONS" >~/artifacts/options.txt; ls build
""",
        ".gitignore": "build/\n",
        "gradle/wrapper/gradle-wrapper.properties": "version=1\n",
        "versions.props": "a=1\n",
        "build.gradle": "// nothing\n",
    },
    jobs=3,
)
_GO_LIBRARY = Tree(
    config="gorilla__mux",
    images={"circleci/golang:*": DEBIAN},
    files={"mux.go": "package mux\n"},
    tools={"go": _SAY + 'echo "GO111MODULE is $GO111MODULE, in $PWD" >&2\n', "golint": _SAY, "gofmt": _SH},
    jobs=6,
)
_RUBY_TOOL = Tree(
    config="rubocop__rubocop",
    images={"cimg/*": CIMG, "rubocophq/*": CIMG},
    files={"Gemfile": "# nothing\n"},
    tools={
        # What is downloaded is a program, which writes whatever follows --output.
        "curl": _SH
        + r"""
cat <<'END'
#!/bin/sh
echo "reporter $*"
while [ $# -gt 0 ]; do [ "$1" != --output ] || echo "covered by $CIRCLE_JOB" >"$2"; shift; done
END
""",
        "bundle": _SAY + 'echo "$TEST_QUEUE_WORKERS workers"; [ "$1" != exec ] || ls tmp\n',
    },
    jobs=8,
)
_ANDROID_APP = Tree(
    config="getodk__collect",
    images={"cimg/*": CIMG},
    branch="topic",
    files={
        "gradlew": _SAY
        + f"""\
mkdir -p collect_app/build/test-results/sums collect_app/build/reports ~/.gradle/caches ~/.gradle/wrapper
echo "by $CIRCLE_JOB" >>~/.gradle/caches/log
echo "$*" >collect_app/build/reports/words
echo '{_JUNIT}' >collect_app/build/test-results/sums/TEST-sums.xml
for kind in debug selfSignedRelease; do
    mkdir -p collect_app/build/outputs/apk/$kind; echo $kind >collect_app/build/outputs/apk/$kind/app.apk
done
""",
        "validate-gradle-wrapper.sh": _SAY,
        "download-robolectric-deps.sh": _SAY,
        "check-size.sh": _SAY,
        ".circleci/generate-app-test-list.sh": _SH + "seq -f org.odk.Test%g 9 >.circleci/collect_app_test_classes.txt\n",
        ".circleci/test_modules.txt": "".join(f"module{number}\n" for number in range(7)),
        ".circleci/gradle.properties": "a=1\n",
        ".circleci/gradle-test-app.properties": "a=2\n",
        ".circleci/gradle-large.properties": "a=3\n",
        "gradle/libs.versions.toml": "",
        "gradle/wrapper/gradle-wrapper.properties": "",
    },
    approved="hold_pr",
    jobs=6,
)
_MONOREPO = Tree(
    config="mozilla__gcp-ingestion",
    images={"node:*": DEBIAN, "python:*": DEBIAN, "maven:*": DEBIAN},
    branch="topic",
    files={
        **{f"ingestion-{name}/pom.xml": "<project/>\n" for name in ("beam", "core", "sink")},
        "pom.xml": "<project/>\n",
        "ingestion-edge/requirements.in": "pytest\n",
        "ingestion-edge/requirements.txt": "pytest==8\n",
    },
    tools={"npm": _SAY, "npx": _SAY, "pip": _SAY, "pip-compile": _SH + "echo pytest==9 >requirements.txt\n"},
    jobs=10,
    failing={"ingestion-edge-verify-requirements"},  # as what the stand-in compiles is something else
)
_SCANNER = Tree(
    config="PennLINC__qsiprep",
    images={"cimg/*": "rondo-test/orbs:latest"},
    branch="topic",
    files={"docs/index.rst": "Hello\n"},
    orbs={
        "path-filtering/2.1.0.yml": "path-filtering/2.1.0.yml",
        "jq/3.0.2.yml": "jq/3.0.2.yml",
        "continuation/HEAD.yml": "continuation/2.0.1.yml",
        "../codecov/codecov/HEAD.yml": "../codecov/codecov/4.1.0.yml",
    },
    tools={"yq": _SH + 'shift 2\ncat "$@"\n'},
    jobs=1,
)
_NOTHING_TO_DO = Tree(config="DataDog__dd-trace-java", images={"alpine": BUSYBOX}, jobs=1)
_HALTS = Tree(config="facebookincubator__velox", images={"cimg/*": CIMG}, jobs=1)

FEW = (_GRADLE_LIBRARY, _HALTS)
ALL = (*FEW, _GO_LIBRARY, _RUBY_TOOL, _ANDROID_APP, _MONOREPO, _SCANNER, _NOTHING_TO_DO)
