"""Text that remembers where it stood: what a Dockerfile's instruction is after its lines are joined."""

from __future__ import annotations

from bisect import bisect_right

from msgspec import Struct

from pannikin.errors import Span, SyntaxProblem

_SHOWN = 200
"""Characters of a source line that an error shows: nobody reads a marked line of a megabyte."""


class Origin(Struct, frozen=True):
    """Where the characters of a joined text come from.

    `starts[i]` is the offset in the joined text at which physical line `lines[i]` (from 0), column `columns[i]`
    (from 0) begins; `source` is all physical lines; `note` goes before the file's name (`ONBUILD of base:1`).
    """

    file: str
    source: tuple[str, ...]
    starts: tuple[int, ...]
    lines: tuple[int, ...]
    columns: tuple[int, ...]

    def span(self, offset: int, width: int = 1) -> Span:
        """The place of `width` characters from `offset` on, cut at the end of their physical line."""
        piece = max(0, bisect_right(self.starts, offset) - 1)
        line = self.lines[piece]
        column = self.columns[piece] + offset - self.starts[piece]
        text = self.source[line] if line < len(self.source) else ""
        width = max(1, min(width, len(text) - column))
        shown = text.replace("\t", " ") if len(text) <= _SHOWN else text[:_SHOWN].replace("\t", " ") + "…"
        if column + width > len(shown):
            width = max(1, len(shown) - column)
        return Span(self.file, line + 1, column + 1, shown if column <= len(shown) else "", width)


class Passage(Struct, frozen=True):
    """A piece of a joined text. Slicing and stripping keep its place; `str(passage)` is the text."""

    text: str
    origin: Origin
    offset: int = 0

    def cut(self, start: int, end: int | None = None) -> Passage:
        """The passage from `start` to `end` (character indices within this one, not negative)."""
        return Passage(self.text[start:end], self.origin, self.offset + start)

    def strip(self) -> Passage:
        """Without white space at its ends."""
        left = len(self.text) - len(self.text.lstrip())
        return Passage(self.text.strip(), self.origin, self.offset + left)

    def span(self, start: int = 0, width: int | None = None) -> Span:
        """The place of this text, or of `width` characters of it from `start` on."""
        return self.origin.span(self.offset + start, max(1, len(self.text) - start) if width is None else width)

    def problem(self, what: str, *, why: str = "", hint: str = "") -> SyntaxProblem:
        """An error that marks this passage, to be raised."""
        return SyntaxProblem(what, where=self.span(), why=why, hint=hint)

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        return bool(self.text)


def plain(text: str, file: str = "") -> Passage:
    """A passage of one line that stands in no file: `file` is what errors name."""
    return Passage(text, Origin(file, (text,), (0,), (0,), (0,)))


def suggestion(word: str, choices: list[str] | tuple[str, ...], form: str = "did you mean {}?") -> str:
    """A hint that names the choice nearest to a word; "" where none is near."""
    if len(word) > 60 or not choices:
        return ""
    import difflib

    folded = {choice.lower(): choice for choice in choices[:1000]}
    near = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.6)
    return form.format(folded[near[0]]) if near else ""
