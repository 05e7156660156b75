"""Path patterns: Go's `filepath.Match`, and ignore lists as docker reads them (`.dockerignore`, `--exclude`).

Paths are relative, cleaned, with `/` between their parts. Everything here is pure and works on text alone.

`match` is one pattern against one whole path: `*` and `?` stop at `/`, `[a-z]` and `[^a-z]` are classes, `\\`
takes the next character as it is. An ignore list adds `**` (any number of directories), a pattern that matches
a directory also matches what is below it, and a pattern after `!` takes files back in; the last one that
matches decides.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache

from pannikin.errors import SyntaxProblem

_WILD = frozenset("*?[\\")
_SUFFIX_STOPS = frozenset("*?[]\\")

NOTHING = -1
"""The state of a directory that no pattern has matched: what a walk starts with."""


def is_pattern(path: str) -> bool:
    """Whether a path holds a wildcard, a class or an escape."""
    return not _WILD.isdisjoint(path)


def match(pattern: str, path: str) -> bool:
    """Go's `filepath.Match`: whether the pattern matches the whole path. Raises `SyntaxProblem` on a bad pattern."""
    return _compiled(pattern).fullmatch(path) is not None


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_translate(pattern, deep=False), re.DOTALL)


def _translate(pattern: str, *, deep: bool) -> str:
    """The regular expression (for `fullmatch`) of a pattern; `deep` gives `**` its meaning.

    Of several stars in one name all but the last are atomic and take the nearest match, as Go does: matching
    stays linear where plain backtracking would be exponential.
    """
    out: list[str] = []
    star = NOTHING  # where in `out` the last star of this name stands
    at, end = 0, len(pattern)
    while at < end:
        char = pattern[at]
        if deep and pattern.startswith("**", at):
            at += 2
            while pattern.startswith("/**", at):  # a/**/**/b is a/**/b; and one star run never nests
                at += 3
            at += pattern.startswith("/", at)
            out.append(r"(?:.*/)?" if at < end else ".*")
            star = NOTHING
            continue
        at += 1
        if char == "*":
            while at < end and pattern[at] == "*" and not (deep and pattern.startswith("**", at)):
                at += 1
            if star != NOTHING:
                out[star] = "(?>[^/]*?"
                out.append(")")
            star = len(out)
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            text, at = _class(pattern, at)
            out.append(text)
        elif char == "\\":
            if at == end:
                raise _bad(pattern, "nothing follows the last backslash")
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            star = NOTHING if char == "/" else star
            out.append(re.escape(char))
    return "".join(out)


def _class(pattern: str, at: int) -> tuple[str, int]:
    """A character class whose `[` stands before `at`: its regular expression, and where the pattern goes on."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while True:
        if at >= len(pattern):
            raise _bad(pattern, "a [ is never closed")
        if pattern[at] == "]" and ranges:
            break
        low, at = _member(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _member(pattern, at + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")  # Go: an inverted range is valid and matches nothing
    inside = "".join(ranges)
    if not inside:
        return ("." if negated else "(?!)"), at + 1
    return f"[{'^' if negated else ''}{inside}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern) or pattern[at] in "-]":
        raise _bad(pattern, "a character class is not complete")
    if pattern[at] == "\\":
        at += 1
        if at >= len(pattern):
            raise _bad(pattern, "nothing follows the last backslash")
    if at + 1 >= len(pattern):
        raise _bad(pattern, "a [ is never closed")
    return pattern[at], at + 1


def _bad(pattern: str, why: str) -> SyntaxProblem:
    return SyntaxProblem(f"not a pattern: {pattern!r:.200}", why=why)


def clean(line: str) -> str:
    """One line of an ignore file as docker keeps it: trimmed, `./a/../b/` as `b`, no leading `/`; "" for none.

    A leading `!` stays. Raises `SyntaxProblem` on a pattern that can match nothing because it is malformed.
    """
    line = line.strip()
    negated = line.startswith("!")
    if negated:
        line = line[1:].strip()
    if not line:
        if negated:
            raise _bad("!", "no pattern follows the !")
        return ""
    line = posixpath.normpath(line)
    if line.startswith("/") and line.strip("/"):
        line = line.lstrip("/")
    _compiled_deep(line)
    return f"!{line}" if negated else line


@lru_cache(maxsize=1024)
def _compiled_deep(pattern: str) -> re.Pattern[str]:
    return re.compile(_ignore_expression(pattern), re.DOTALL)


def _ignore_expression(pattern: str) -> str:
    if pattern.startswith("**") and _SUFFIX_STOPS.isdisjoint(pattern[2:]) and not pattern.startswith("**/"):
        # moby: `**name` without other wildcards is a plain suffix of the whole path
        return ".*" + re.escape(pattern[2:])
    return _translate(pattern, deep=True)


class Matcher:
    """An ordered ignore list.

    For single paths ask `excluded`. A walk keeps one number a directory instead, so that nothing is matched
    twice: `state = matcher.visit(path, state_of_parent)`, `matcher.excludes(state)`, and below an excluded
    directory only where `matcher.may_reinclude_below(path, state)`.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        """`patterns` are lines as `clean` gives them (lines that are not are cleaned). Raises `SyntaxProblem`."""
        lines = [line for line in map(clean, patterns) if line]
        self._negated = [line.startswith("!") for line in lines]
        self._bodies = [line.removeprefix("!") for line in lines]
        self._exact: dict[str, int] = {}
        self._names: dict[str, int] = {}
        by_name: list[tuple[int, str]] = []
        by_path: list[tuple[int, str]] = []
        for index, body in enumerate(self._bodies):
            tail = body.removeprefix("**/")
            if not is_pattern(body):
                self._exact[body] = index
            elif tail != body and "/" not in tail and "**" not in tail:
                if is_pattern(tail):
                    by_name.append((index, _translate(tail, deep=False)))
                else:
                    self._names[tail] = index
            else:
                by_path.append((index, _ignore_expression(body)))
        self._name_search = _last_of(by_name)
        self._path_search = _last_of(by_path)
        self._last_negated = max((i for i, negated in enumerate(self._negated) if negated), default=NOTHING)

    def visit(self, path: str, parent: int = NOTHING) -> int:
        """The state of a path, given its directory's: the number of the last pattern that matches it or a parent."""
        name = path[path.rfind("/") + 1 :]
        best = max(parent, self._exact.get(path, NOTHING), self._names.get(name, NOTHING))
        if self._name_search is not None:
            best = max(best, self._name_search(name))
        if self._path_search is not None:
            best = max(best, self._path_search(path))
        return best

    def excludes(self, state: int) -> bool:
        """Whether a path of this state is left out."""
        return state >= 0 and not self._negated[state]

    def excluded(self, path: str) -> bool:
        """Whether a path is left out, its parent directories considered."""
        state, at = NOTHING, path.find("/")
        while at != -1:
            state = self.visit(path[:at], state)
            at = path.find("/", at + 1)
        return self.excludes(self.visit(path, state))

    def may_reinclude_below(self, path: str, state: int | None = None) -> bool:
        """Whether a later `!` pattern could take something below the directory `path` back in.

        Without `state` every `!` pattern counts, which is never wrong, only slower.
        """
        first = NOTHING if state is None else state
        if self._last_negated <= first:
            return False
        parts = path.split("/") if path else []
        return any(
            self._negated[index] and _reaches_below(self._bodies[index], parts)
            for index in range(first + 1, len(self._bodies))
        )


def _last_of(expressions: list[tuple[int, str]]) -> _Search | None:
    return _Search(expressions) if expressions else None


class _Search:
    """Several expressions as one: which is the last (highest number) that matches a text."""

    __slots__ = ("_match", "_numbers")

    def __init__(self, expressions: list[tuple[int, str]]) -> None:
        # Alternatives are tried from left to right, so the last pattern of the list stands first.
        ordered = expressions[::-1]
        self._numbers = [number for number, _ in ordered]
        self._match = re.compile("|".join(f"({text})" for _, text in ordered), re.DOTALL).fullmatch

    def __call__(self, text: str) -> int:
        found = self._match(text)
        return self._numbers[(found.lastindex or 1) - 1] if found else NOTHING


def _reaches_below(pattern: str, directory: list[str]) -> bool:
    """Whether a pattern can match a path strictly below a directory."""
    parts = pattern.split("/")
    for part, name in zip(parts, directory, strict=False):
        if "**" in part:
            return True
        if not match(part, name):
            return False
    return len(parts) > len(directory)
