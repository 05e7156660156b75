"""The one error tree. Every room raises these; only the CLI (and later the server) draws them.

An error says four things: *what* went wrong, *where* (a `Span`, or a path), *why*, and *what to do*.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a text file that a person wrote. Lines and columns count from 1.

    `text` is the source line itself, and `width` the number of characters to mark in it.
    """

    file: str
    line: int
    column: int = 1
    text: str = ""
    width: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class PannikinError(Exception):
    """The root of the tree: anything that a user can do something about.

    `exit_code` is what the process ends with: 1 failed, 2 usage.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: Span | str | None = None, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return render(self)


class UsageError(PannikinError):
    """The command line or an option's value is wrong."""

    exit_code = 2


class SyntaxProblem(PannikinError):
    """A Dockerfile, recipe or other text that a person wrote can't be understood."""


class NotFound(PannikinError):
    """A name, a file, an image or a blob is not there."""


class Corrupt(PannikinError):
    """Bytes are not what their digest, length, signature or format says."""


class Unsafe(PannikinError):
    """A path, a link or an archive member leaves its root, or an input exceeds its limit."""


class Unavailable(PannikinError):
    """Something outside is missing or refuses: a runtime, a mirror, a kernel feature, space on a disk."""


class CommandFailed(PannikinError):
    """A command in a container ended with a status that is not zero.

    `status` is its exit status (128 + n after signal n), `output` the last lines that it wrote.
    """

    def __init__(
        self, what: str, *, status: int, output: str = "", where: Span | str | None = None, hint: str = ""
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status
        self.output = output


def render(error: PannikinError, *, bold: str = "", reset: str = "") -> str:
    """The text that a person reads: one clear line, then the marked source line, the output and the hint."""
    place = f"{error.where}: " if error.where else ""
    why = f": {error.why}" if error.why else ""
    lines = [f"{place}{bold}{error.what}{reset}{why}"]
    if isinstance(error.where, Span) and error.where.text:
        number = str(error.where.line)
        pad = " " * len(number)
        mark = " " * (error.where.column - 1) + "^" * max(1, error.where.width)
        lines += [f" {number} | {error.where.text}", f" {pad} | {mark}"]
    if isinstance(error, CommandFailed) and error.output:
        lines += [f"   | {line}" for line in error.output.rstrip("\n").split("\n")]
    if error.hint:
        lines.append(f"  hint: {error.hint}")
    return "\n".join(lines)
