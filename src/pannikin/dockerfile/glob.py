"""Shell patterns over values (`${name#pattern}`, `${name/pattern/text}`): `*` and `?`, without brackets.

A pattern is cut at its stars into pieces of fixed length. Then the shortest and the longest match are found by
searching piece after piece, without the backtracking that makes regular expressions of this kind explode.
"""

from __future__ import annotations

import re

Piece = tuple[str | None, ...]
"""Characters to match in a row; None for `?`."""


def _pieces(pattern: str) -> list[Piece]:
    """The pieces between the stars: n stars give n + 1, some empty. Raises ValueError on a bad escape."""
    pieces: list[list[str | None]] = [[]]
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            pieces.append([])
        elif char == "?":
            pieces[-1].append(None)
        elif char == "\\":
            taken = pattern[at : at + 1]
            if taken not in ("*", "?", "\\", "}", "/"):
                raise ValueError(f"invalid escape \\{taken}")
            pieces[-1].append(taken)
            at += 1
        else:
            pieces[-1].append(char)
    return [tuple(piece) for piece in pieces]


def _expression(piece: Piece) -> re.Pattern[str]:
    return re.compile("".join("." if char is None else re.escape(char) for char in piece), re.DOTALL)


def _match_end(pieces: list[Piece], value: str, longest: bool) -> int | None:
    """Where a match from the start of `value` ends, or None."""
    head = _expression(pieces[0]).match(value)
    if head is None:
        return None
    return _rest_end(pieces[1:], value, head.end(), longest)


def _rest_end(pieces: list[Piece], value: str, at: int, longest: bool) -> int | None:
    """Where the pieces after stars end, found from `at` on."""
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        if last and longest and not piece:
            return len(value)
        found = _expression(piece).search(value, at)
        if found is None:
            return None
        at = found.end()
        if last and longest:
            at = _last_end(piece, value, found.start())
    return at


def _last_end(piece: Piece, value: str, first: int) -> int:
    """The end of the last occurrence of a piece, of which one starts at `first`."""
    if None not in piece:
        return value.rindex("".join(char or "" for char in piece)) + len(piece)
    ahead = re.compile(f"(?=({_expression(piece).pattern}))", re.DOTALL)
    start = first
    for found in ahead.finditer(value, first):
        start = found.start()
    return start + len(piece)


def trim_prefix(value: str, pattern: str, longest: bool) -> str:
    """The value without the shortest (or longest) prefix that matches; unchanged where none does."""
    end = _match_end(_pieces(pattern), value, longest)
    return value if end is None else value[end:]


def trim_suffix(value: str, pattern: str, longest: bool) -> str:
    """The value without the shortest (or longest) suffix that matches; unchanged where none does."""
    backwards = [piece[::-1] for piece in reversed(_pieces(pattern))]
    end = _match_end(backwards, value[::-1], longest)
    return value if end is None else value[: len(value) - end]


def replace(value: str, pattern: str, new: str, every: bool) -> str:
    """The value with the first (or every) longest match replaced by `new`."""
    pieces = _pieces(pattern)
    if not any(pieces) and len(pieces) == 1:
        return new + new.join(value) + new if every and value else new + value
    out: list[str] = []
    head, at = _expression(pieces[0]), 0
    while at <= len(value):
        found = head.search(value, at)
        end = _rest_end(pieces[1:], value, found.end(), longest=True) if found else None
        if found is None or end is None or (end == found.start() and at and at == len(value)):
            break
        out += [value[at : found.start()], new]
        at = end
        if not every or end == found.start():
            break
    return "".join(out) + value[at:]
