"""`.dockerignore` text -> the patterns in force. How they match is `pannikin.oci.patterns`."""

from __future__ import annotations

from pannikin.errors import Span, SyntaxProblem
from pannikin.oci import patterns


def read(text: str, file: str = ".dockerignore") -> tuple[str, ...]:
    """The cleaned patterns of an ignore file, in order, without comments and blank lines.

    Raises `SyntaxProblem` with the line of a pattern that is malformed.
    """
    found: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.removesuffix("\r")
        if line.startswith("#"):
            continue
        try:
            pattern = patterns.clean(line)
        except SyntaxProblem as error:
            where = Span(file, number, 1, line[:200], max(1, min(200, len(line))))
            raise SyntaxProblem(error.what, where=where, why=error.why) from None
        if pattern:
            found.append(pattern)
    return tuple(found)
