"""String expressions: `pipeline.git.branch == "main" and not pipeline.parameters.nightly` (spec 1.3).

    or         := and ( "or" and )*
    and        := equality ( "and" equality )*
    equality   := comparison ( ( "==" | "!=" | "contains" | "matches" | "starts-with" ) comparison )*
    comparison := unary ( ( ">=" | ">" | "<=" | "<" ) unary )*
    unary      := ( "not" | "!" ) unary | primary
    primary    := true | false | NUMBER | STRING | PATTERN | IDENTIFIER | "(" or ")"

A second system of truth beside logic statements: here only `false` and undefined are false; 0 and "" are true. A
known variable that is null is undefined, and what is computed with undefined is undefined.

Parsing is a precedence climb without recursion per level, so that a thousand parentheses end in an error and not in
a deep stack.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.language.patterns import PatternError, compile_linear

_MAX_INTEGER = 2**63 - 1
_MAX_PATTERN = 256
_MAX_NESTING = 50


class Undefined:
    """The value of a known variable that has none."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = Undefined()


@dataclass(frozen=True)
class Regex:
    source: str


Value = bool | int | str | Regex | Undefined
Lookup = Callable[[str], Value]
"""Gives a variable's value; raises KeyError for a name nobody knows."""


class ExpressionError(Exception):
    """`code` as in CircleCI's own reference cases ("Scanner/UNTERMINATED_STRING"); `position` counts from 0."""

    def __init__(self, code: str, message: str, lexeme: str, position: int, token: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.lexeme = lexeme
        self.position = position
        self.token = token


@dataclass(frozen=True, slots=True)
class Token:
    type: str
    lexeme: str
    position: int
    value: Value | None = None


_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_?\-]*(?:\.[A-Za-z0-9_?\-]+)*")
_NUMBER = re.compile(r"[0-9]+")
_SYMBOLS = {
    "(": "LEFT_PAREN",
    ")": "RIGHT_PAREN",
    "==": "EQUAL",
    "!=": "NOT_EQUAL",
    "!": "NOT",
    ">=": "GREATER_EQUAL",
    ">": "GREATER",
    "<=": "LESS_EQUAL",
    "<": "LESS",
}
_KEYWORDS = {"and": "AND", "or": "OR", "not": "NOT", "true": "TRUE", "false": "FALSE"}
_BUILTINS = ("contains", "matches", "starts-with")
_WORDS = _KEYWORDS | {word.upper(): token for word, token in _KEYWORDS.items()}
_WORDS |= dict.fromkeys([*_BUILTINS, *(word.upper() for word in _BUILTINS)], "BUILTIN")


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def tokens(self) -> list[Token]:
        found = []
        text = self._text
        while self._at < len(text):
            char = text[self._at]
            if char in " \t\r\n":
                self._at += 1
            else:
                found.append(self._next(char))
        found.append(Token("EOF", "", len(text)))
        return found

    def _next(self, char: str) -> Token:
        start = self._at
        if char == '"':
            return self._string()
        if char == "/":
            return self._pattern()
        for length in (2, 1):
            symbol = self._text[start : start + length]
            if symbol in _SYMBOLS:
                self._at += len(symbol)
                return Token(_SYMBOLS[symbol], symbol, start)
        if char == "=":
            lexeme = self._text[start + 1 : start + 2]
            raise self._error("INCOMPLETE_EQUALS", "Incomplete token: `=` compares only as `==`.", lexeme, start + 1)
        if "0" <= char <= "9":
            return self._number()
        word = _IDENTIFIER.match(self._text, start)
        if word is None:
            raise self._error("UNEXPECTED_CHARACTER", f"Unexpected character {char!r}.", char, start)
        self._at = word.end()
        return Token(_WORDS.get(word.group(), "IDENTIFIER"), word.group(), start)

    def _number(self) -> Token:
        start = self._at
        found = _NUMBER.match(self._text, start)
        assert found is not None
        lexeme = found.group()
        self._at = found.end()
        if len(lexeme.lstrip("0")) > 19 or int(lexeme[-20:]) > _MAX_INTEGER:
            raise self._error("INVALID_NUMERIC_LITERAL", "The number is too large.", lexeme[:1], start)
        return Token("NUMBER", lexeme, start, int(lexeme))

    def _string(self) -> Token:
        start = self._at
        chars: list[str] = []
        at = start + 1
        while at < len(self._text):
            char = self._text[at]
            if char == '"':
                self._at = at + 1
                return Token("STRING", self._text[start : at + 1], start, "".join(chars))
            if char == "\\" and self._text[at + 1 : at + 2] in ('"', "\\"):
                at += 1
                char = self._text[at]
            chars.append(char)
            at += 1
        raise self._error("UNTERMINATED_STRING", "The string has no closing quote.", '"', start)

    def _pattern(self) -> Token:
        start = self._at
        chars: list[str] = []
        at = start + 1
        while at < len(self._text):
            char = self._text[at]
            if char == "/":
                self._at = at + 1
                return self._finished_pattern("".join(chars), start)
            if char == "\\":
                following = self._text[at + 1 : at + 2]
                if following in ("u", "x"):
                    raise self._error("INVALID_PATTERN_CHARACTER", f"\\{following} is not allowed.", "\\", at)
                if following == "/":
                    char = "/"
                    at += 1
                elif following:
                    char += following
                    at += 1
            if ord(char[-1]) > 0xFF:
                raise self._error("INVALID_PATTERN_CHARACTER", f"{char[-1]!r} is not allowed.", char[-1], at)
            chars.append(char)
            at += 1
        raise self._error("UNTERMINATED_PATTERN", "The pattern has no closing slash.", "/", start)

    def _finished_pattern(self, source: str, start: int) -> Token:
        if len(source) > _MAX_PATTERN:
            text = f"The pattern is longer than {_MAX_PATTERN} characters."
            raise self._error("PATTERN_TOO_LONG", text, "/", start)
        try:
            compile_linear(source)
        except PatternError as error:
            raise self._error("INVALID_PATTERN", f"The pattern is not valid: {error}.", "/", start) from None
        return Token("PATTERN", f"/{source}/", start, Regex(source))

    def _error(self, code: str, message: str, lexeme: str, position: int) -> ExpressionError:
        return ExpressionError(f"Scanner/{code}", message, lexeme, position)


@dataclass(frozen=True, slots=True)
class Literal:
    value: Value


@dataclass(frozen=True, slots=True)
class Variable:
    token: Token


@dataclass(frozen=True, slots=True)
class Not:
    operand: Tree


@dataclass(frozen=True, slots=True)
class Binary:
    operator: Token
    left: Tree
    right: Tree


Tree = Literal | Variable | Not | Binary

_LEVELS = (
    frozenset(["OR"]),
    frozenset(["AND"]),
    frozenset(["EQUAL", "NOT_EQUAL", "BUILTIN"]),
    frozenset(["GREATER_EQUAL", "GREATER", "LESS_EQUAL", "LESS"]),
)


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._nesting = 0

    @property
    def _current(self) -> Token:
        return self._tokens[self._at]

    def parse(self) -> Tree:
        tree = self._level(0)
        token = self._current
        if token.type != "EOF":
            raise self._additional(token)
        return tree

    def _additional(self, token: Token) -> ExpressionError:
        starts = ("IDENTIFIER", "STRING", "NUMBER", "PATTERN", "TRUE", "FALSE", "NOT", "LEFT_PAREN")
        following = self._tokens[self._at + 1].type if token.type == "IDENTIFIER" else ""
        if following in starts:
            return self._error("UNKNOWN_BUILTIN_FUNCTION", f"Unknown infix function {token.lexeme}.", token)
        return self._error("UNEXPECTED_ADDITIONAL_INPUT", "Unexpected additional input.", token)

    def _level(self, level: int) -> Tree:
        if level == len(_LEVELS):
            return self._unary()
        tree = self._level(level + 1)
        while self._current.type in _LEVELS[level]:
            token = self._take()
            tree = Binary(token, tree, self._level(level + 1))
        return tree

    def _unary(self) -> Tree:
        if self._current.type == "NOT":
            self._deeper(self._take())
            operand = self._unary()
            self._nesting -= 1
            return Not(operand)
        return self._primary()

    def _primary(self) -> Tree:
        token = self._current
        if token.type in ("TRUE", "FALSE"):
            self._take()
            return Literal(token.type == "TRUE")
        if token.type in ("NUMBER", "STRING", "PATTERN"):
            self._take()
            assert token.value is not None
            return Literal(token.value)
        if token.type == "IDENTIFIER":
            return Variable(self._take())
        if token.type == "LEFT_PAREN":
            self._deeper(self._take())
            tree = self._level(0)
            self._nesting -= 1
            if self._current.type != "RIGHT_PAREN":
                raise self._error("EXPECTED_RIGHT_PAREN", "A closing parenthesis was expected.", self._current)
            self._take()
            return tree
        raise self._error("EXPECTED_EXPRESSION", "An expression was expected.", token)

    def _take(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _deeper(self, token: Token) -> None:
        self._nesting += 1
        if self._nesting > _MAX_NESTING:
            raise self._error("TOO_DEEP", f"Nested more than {_MAX_NESTING} deep.", token)

    def _error(self, code: str, message: str, token: Token) -> ExpressionError:
        return ExpressionError(f"Parser/{code}", message, token.lexeme, token.position, token.type)


def parse(text: str, max_chars: int = 10_000) -> Tree:
    """The tree of an expression. Raises ExpressionError."""
    if len(text) > max_chars:
        raise ExpressionError("Scanner/TOO_LONG", f"Longer than {max_chars} characters.", "", 0)
    return _Parser(_Scanner(text).tokens()).parse()


def evaluate(tree: Tree, lookup: Lookup) -> Value:
    """The value of an expression; only what is needed of it is looked at. Raises ExpressionError.

    A chain of a thousand `and` is a deep tree to the left: it is walked in a loop, only right sides recurse.
    """
    pending: list[Binary] = []
    while isinstance(tree, Binary):
        pending.append(tree)
        tree = tree.left
    value = _leaf(tree, lookup)
    for node in reversed(pending):
        value = _binary(node, value, lookup)
    return value


def is_truthy(value: Value) -> bool:
    return value is not False and value is not UNDEFINED


def names_in(tree: Tree) -> set[str]:
    """Every variable that an expression speaks of."""
    found: set[str] = set()
    ahead = [tree]
    while ahead:
        node = ahead.pop()
        if isinstance(node, Binary):
            ahead += (node.left, node.right)
        elif isinstance(node, Not):
            ahead.append(node.operand)
        elif isinstance(node, Variable):
            found.add(node.token.lexeme)
    return found


def _leaf(tree: Tree, lookup: Lookup) -> Value:
    if isinstance(tree, Literal):
        return tree.value
    if isinstance(tree, Not):
        return not is_truthy(evaluate(tree.operand, lookup))
    assert isinstance(tree, Variable)
    token = tree.token
    try:
        return lookup(token.lexeme)
    except KeyError:
        message = f"Unknown variable {token.lexeme}."
        raise _error("UNKNOWN_VARIABLE", message, token) from None


def _binary(node: Binary, left: Value, lookup: Lookup) -> Value:
    token = node.operator
    if token.type == "AND":
        return evaluate(node.right, lookup) if is_truthy(left) else left
    if token.type == "OR":
        return left if is_truthy(left) else evaluate(node.right, lookup)
    right = evaluate(node.right, lookup)
    if left is UNDEFINED or right is UNDEFINED:
        return UNDEFINED
    if token.type in ("EQUAL", "NOT_EQUAL"):
        same = type(left) is type(right) and left == right
        return same is (token.type == "EQUAL")
    if token.type == "BUILTIN":
        return _builtin(token, left, right)
    return _compare(token, left, right)


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "GREATER": operator.gt,
    "GREATER_EQUAL": operator.ge,
    "LESS": operator.lt,
    "LESS_EQUAL": operator.le,
}


def _compare(token: Token, left: Value, right: Value) -> bool:
    if type(left) is not int or type(right) is not int:
        raise _error("EXPECTED_NUMERIC_OPERAND", f"`{token.lexeme}` compares numbers only.", token)
    return _COMPARE[token.type](left, right)


def _builtin(token: Token, left: Value, right: Value) -> bool:
    name = token.lexeme.lower()
    if name == "matches" and not isinstance(right, Regex):
        raise _error("EXPECTED_PATTERN_OPERAND", f"`{token.lexeme}` wants a /pattern/ on its right.", token)
    if not isinstance(left, str):
        raise _error("EXPECTED_STRING_OPERAND", f"`{token.lexeme}` wants a string on its left.", token)
    if isinstance(right, Regex) and name == "matches":
        return compile_linear(right.source).fullmatch(left) is not None
    if not isinstance(right, str):
        raise _error("EXPECTED_STRING_OPERAND", f"`{token.lexeme}` wants a string on its right.", token)
    return left.startswith(right) if name == "starts-with" else right in left


def _error(code: str, message: str, token: Token) -> ExpressionError:
    return ExpressionError(f"Interpreter/{code}", message, token.lexeme, token.position, token.type)
