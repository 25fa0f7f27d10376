"""A folder of orb sources -> one orb file (spec 9.1).

A folder's name is a key, a file's name without its ending is a key, a file's content is the value. What stands in
`@anything.yml`, and in the files of the root, belongs to the folder itself. `<<include(path)>>`, alone in a text, is
that file's content, in which every `<<` is escaped, so that a script is taken as it is.

Files are read by the compiler's own reader: places in messages, anchors defined twice, and numbers kept as written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from appliance.errors import BadRequest
from appliance.language.compilation import Compilation
from appliance.language.nodes import Map, Node, Scalar, Sequence, describe
from appliance.language.options import Options
from appliance.language.source import read

FOLDERS = ("commands", "examples", "executors", "jobs")
_ORDER = ("version", "description", "display", "orbs", "commands", "executors", "jobs", "examples")
_ENDINGS = (".yml", ".yaml")
# The closing parenthesis may be left out: the packer everybody uses takes that, and published orbs rely on it.
_INCLUDE = re.compile(r"<<\s*include\(([-\w/.]+)\)?\s*>>", re.ASCII)


def pack(root: Path) -> str:
    """The orb in the folder `root` as YAML. Raises BadRequest with every reason, one a line."""
    if not (root / "@orb.yml").is_file():
        raise BadRequest(f"{root} has no @orb.yml, so it is not the root of an orb's source")
    packer = _Packer(root.resolve())
    tree = packer.folder(root, is_root=True)
    for name in FOLDERS:
        if name in tree:
            tree[name] = packer.filled(tree[name])
    if packer.trouble:
        raise BadRequest("\n".join(packer.trouble))
    ordered = {name: tree[name] for name in sorted(tree, key=_rank)}
    return _dump(ordered)


def _rank(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


Tree = dict[str, Any]  # of Tree and Node


@dataclass
class _Packer:
    root: Path
    trouble: list[str] = field(default_factory=list)

    def folder(self, folder: Path, *, is_root: bool = False) -> Tree:
        """What a folder comes to. Maps under one key are put together; of two values for one name the later counts."""
        tree: Tree = {}
        for path in sorted(folder.iterdir(), key=lambda path: path.name.encode("utf-8", "surrogateescape")):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                inner = self.folder(path) if not is_root or path.name in FOLDERS else {}
                _merge(tree, {path.name: inner} if inner else {})
            elif path.suffix in _ENDINGS:
                content = self._file(path)
                if is_root or path.name.startswith("@"):
                    _merge(tree, content)
                elif content:
                    _merge(tree, {path.stem: content})
        return tree

    def _file(self, path: Path) -> Tree:
        shown = str(path)
        work = Compilation(Options(), {})
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeError) as error:
            self.trouble.append(f"{shown} cannot be read: {error}")
            return {}
        work.add_source(shown, text)
        node = read(text, shown, work.problems, work.limits)
        found = work.problems.sorted(shown, work.line_of)
        self.trouble += [problem.render() for problem in found if problem.kind == "error"]
        if node is None or (isinstance(node, Scalar) and node.kind == "null"):
            return {}
        if not isinstance(node, Map):
            self.trouble.append(f"{shown}:{node.line}:{node.column}: a file must hold a map, not {describe(node)}")
            return {}
        return dict(node.fields)

    def filled(self, value: Tree | Node) -> Tree | Node:
        """`value` with its includes read in."""
        if isinstance(value, dict):
            return {key: self.filled(inner) for key, inner in value.items()}
        if isinstance(value, Map):
            fields = {key: self._node(inner) for key, inner in value.fields.items()}
            return Map(value.file, value.line, value.column, fields, value.keys, value.templated)
        return self._node(value)

    def _node(self, node: Node) -> Node:
        if isinstance(node, Scalar):
            return self._text(node) if node.templated else node
        if not node.templated:
            return node
        if isinstance(node, Sequence):
            return Sequence(node.file, node.line, node.column, [self._node(item) for item in node.items], True)
        filled = self.filled(node)
        assert isinstance(filled, Map)
        return filled

    def _text(self, node: Scalar) -> Scalar:
        found = list(_INCLUDE.finditer(node.text))
        if not found:
            return node
        where = f"{node.file}:{node.line}:{node.column}"
        if len(found) > 1:
            self.trouble.append(f"{where}: one text can include one file only: {node.text.strip()}")
        elif found[0].group() != node.text:
            self.trouble.append(
                f"{where}: an include must be the whole text, with nothing before or after it: {node.text.strip()}"
            )
        else:
            return node.at(self._included(found[0][1], where))
        return node

    def _included(self, name: str, where: str) -> str:
        path = (self.root / name.lstrip("/")).resolve()
        if not path.is_relative_to(self.root):
            # Packing somebody else's orb must not publish what lies beside it, such as keys.
            self.trouble.append(f"{where}: {name} is outside of the orb's folder")
            return ""
        try:
            return path.read_text("utf-8").replace("<<", "\\<<")
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.trouble.append(f"{where}: cannot include {name}: {reason}")
            return ""


def _merge(tree: Tree, more: Tree) -> None:
    for key, value in more.items():
        known, new = _fields(tree.get(key)), _fields(value)
        tree[key] = {**known, **new} if known and new else value


def _fields(value: Tree | Node | None) -> Tree:
    if isinstance(value, Map):
        return dict(value.fields)
    return value if isinstance(value, dict) else {}


# The tree as text. Nodes of PyYAML are made, not values, so that `2.1`, `on` and `010` are written as they were read;
# a new one for each place, so that what an alias shared is written out in full.

_TEXT = "tag:yaml.org,2002:str"
_RESOLVER: Any = yaml.SafeLoader("")


def _dump(tree: Tree) -> str:
    text: str = yaml.serialize(_yaml(tree), Dumper=_Dumper, width=1 << 30, allow_unicode=True)
    return text


_SAFE = r"\x21-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff"
_BLOCK = re.compile(rf"[{_SAFE}][\t\n {_SAFE}]*")
_FOREIGN_ENDS = re.compile(r"[\x85\u2028\u2029]")  # ends of lines to YAML 1.1, which makes \n of them outside of "..."


class _Dumper(yaml.SafeDumper):
    """Scripts stay readable: PyYAML would put a text with a tab, or a blank at the end of a line, into quotes."""

    def analyze_scalar(self, scalar: str) -> Any:
        analysis = super().analyze_scalar(scalar)
        if _FOREIGN_ENDS.search(scalar):
            analysis.allow_block = analysis.allow_single_quoted = analysis.allow_block_plain = False
        elif _BLOCK.fullmatch(scalar):
            analysis.allow_block = True
        return analysis


def _yaml(value: Tree | Node) -> yaml.Node:
    if isinstance(value, dict):
        pairs = [(_scalar(key, is_plain=False), _yaml(inner)) for key, inner in value.items()]
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=False)
    if isinstance(value, Map):
        pairs = [(_scalar(key.text, is_plain=key.plain), _yaml(inner)) for key, inner in value.items()]
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=not pairs)
    if isinstance(value, Sequence):
        items = [_yaml(item) for item in value.items]
        return yaml.SequenceNode("tag:yaml.org,2002:seq", items, flow_style=not items)
    assert isinstance(value, Scalar)
    return _scalar(value.text, is_plain=value.plain)


def _scalar(text: str, *, is_plain: bool) -> yaml.ScalarNode:
    """Plain stays plain; a text of several lines becomes a block; the rest gets quotes where it needs them."""
    if is_plain and "\n" not in text:
        return yaml.ScalarNode(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False)), text)
    return yaml.ScalarNode(_TEXT, text, style="|" if "\n" in text else None)
