"""Text -> instructions: the layer of the Dockerfile language that knows lines, flags and quotes, but no meaning.

It follows the Dockerfile reference (and BuildKit's parser where that is silent): parser directives, comments,
continuations, here-documents, flags, and the JSON form. Every part keeps its place in the file. All of it is
linear in the length of the text. What is wrong raises `SyntaxProblem` with that place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

from msgspec import Struct

from pannikin.dockerfile.passage import Origin, Passage, plain, suggestion
from pannikin.errors import Span, SyntaxProblem

MAX_INSTRUCTION = 1 << 20
"""Characters of one instruction with its continuations and here-documents."""
MAX_TEXT = 16 << 20
"""Characters of a whole file."""

FLAGS: dict[str, frozenset[str]] = {
    "ADD": frozenset({"chown", "chmod", "link", "checksum", "keep-git-dir", "exclude", "unpack"}),
    "ARG": frozenset(),
    "CMD": frozenset(),
    "COPY": frozenset({"from", "chown", "chmod", "link", "parents", "exclude"}),
    "ENTRYPOINT": frozenset(),
    "ENV": frozenset(),
    "EXPOSE": frozenset(),
    "FROM": frozenset({"platform"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "start-interval", "retries"}),
    "LABEL": frozenset(),
    "MAINTAINER": frozenset(),
    "ONBUILD": frozenset(),
    "RUN": frozenset({"mount", "network", "security", "device"}),
    "SHELL": frozenset(),
    "STOPSIGNAL": frozenset(),
    "USER": frozenset(),
    "VOLUME": frozenset(),
    "WORKDIR": frozenset(),
}
"""The instructions, each with the flags that it may carry."""

REPEATABLE = frozenset({"mount", "exclude", "device"})
_JSON = frozenset({"ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"})
_HEREDOC = frozenset({"ADD", "COPY", "RUN"})
_DIRECTIVES = frozenset({"syntax", "escape", "check"})

_DIRECTIVE = r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*"
_MARKER = r"(\d*)<<(-?)(?:([^<\s'\"]+)|'([^<\s']+)'|\"([^<\s\"]+)\")"


class Flag(Struct, frozen=True):
    """`--name[=value]` before an instruction's arguments. `value` is None where there is no `=`; quotes are off."""

    name: str
    value: str | None
    source: Passage

    @property
    def span(self) -> Span:
        """The place of the whole flag."""
        return self.source.span()

    @property
    def passage(self) -> Passage:
        """The value, to be expanded; its place is exact where it had no quotes."""
        return Passage(self.value or "", self.source.origin, self.source.offset + len(self.name) + 3)


class Heredoc(Struct, frozen=True):
    """A here-document: `name` its delimiter without quotes, `expand` false where that was quoted.

    `text` is its content with its newlines; `chomp` (`<<-`) means that leading tabs are taken off.
    """

    name: str
    text: str
    expand: bool
    chomp: bool
    span: Span

    @property
    def content(self) -> str:
        """The text as the command sees it: without leading tabs where `<<-` asked for that."""
        return re.sub(r"^\t+", "", self.text, flags=re.MULTILINE) if self.chomp else self.text


class Instruction(Struct, frozen=True):
    """One instruction.

    `name` in upper case; `rest` what follows name and flags, stripped; `json` its elements where `rest` is a
    JSON array of strings and the instruction knows that form; `line` all of it after continuations are joined;
    `span` marks the name.
    """

    name: str
    flags: tuple[Flag, ...]
    rest: Passage
    json: tuple[str, ...] | None
    heredocs: tuple[Heredoc, ...]
    line: Passage
    span: Span

    def flag(self, name: str) -> Flag | None:
        """The flag of that name (the first, where it may stand several times), or None."""
        return next((flag for flag in self.flags if flag.name == name), None)


class Dockerfile(Struct, frozen=True):
    """A parsed file: its instructions in order, its parser directives in lower case, its escape character."""

    file: str
    instructions: tuple[Instruction, ...]
    directives: dict[str, str]
    escape: str


def parse(text: str, file: str = "Dockerfile") -> Dockerfile:
    """Read a whole Dockerfile. Raises `SyntaxProblem` on the first thing that is not the language."""
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_TEXT:
        raise SyntaxProblem(f"{file} is too large", why=f"{len(text)} characters; the limit is {MAX_TEXT}")
    lines = tuple(line.removesuffix("\r") for line in text.split("\n"))
    if "\0" in text:
        raise _binary(lines, file)
    directives = _directives(lines, file)
    escape = directives.get("escape", "\\")
    instructions = tuple(_Reader(lines, file, escape).read())
    if not instructions:
        raise SyntaxProblem(f"{file} has no instructions", hint="a Dockerfile begins with FROM image")
    return Dockerfile(file, instructions, directives, escape)


def parse_trigger(text: str, file: str, escape: str = "\\") -> Instruction:
    """Read the one instruction that an ONBUILD trigger is. Raises `SyntaxProblem`; `file` is what errors name."""
    lines = tuple(text.replace("\0", "\ufffd").split("\n"))
    found = tuple(_Reader(lines, file, escape).read())
    if len(found) != 1:
        raise plain(text.split("\n")[0], file).problem("an ONBUILD trigger must be one instruction")
    return found[0]


def _binary(lines: tuple[str, ...], file: str) -> SyntaxProblem:
    number = next(i for i, line in enumerate(lines) if "\0" in line)
    return SyntaxProblem(
        "a NUL byte: this is not a text file",
        where=Span(file, number + 1, lines[number].index("\0") + 1),
        hint="is this really the Dockerfile? In a file from Windows, save it as UTF-8 instead of UTF-16",
    )


def _directives(lines: tuple[str, ...], file: str) -> dict[str, str]:
    """The parser directives: comments of the form `# key=value` before anything else."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines):
        known = re.fullmatch(_DIRECTIVE, line.strip(), re.DOTALL) if len(line) < 4096 else None
        key = known[1].lower() if known else ""
        if not known or key not in _DIRECTIVES:
            break
        where = Span(file, number + 1, 1, line, max(1, len(line)))
        if key in found:
            raise SyntaxProblem(f"a second # {key}= directive", where=where, hint="only one is allowed")
        if key == "escape" and known[2] not in ("\\", "`"):
            raise SyntaxProblem(
                f"not an escape character: {known[2]!r}", where=where, hint="write # escape=\\ or # escape=`"
            )
        found[key] = known[2]
    return found


class _Reader:
    """One pass over the physical lines."""

    def __init__(self, lines: tuple[str, ...], file: str, escape: str) -> None:
        self.lines = lines
        self.file = file
        self.escape = escape
        self.at = 0

    def read(self) -> Iterator[Instruction]:
        while self.at < len(self.lines):
            stripped = self.lines[self.at].lstrip()
            if not stripped or stripped.startswith("#"):
                self.at += 1
                continue
            joined = self._join()
            if joined:
                yield self._instruction(joined)

    def _join(self) -> Passage:
        """The instruction that starts at this line: continuations joined, comments and blank lines in it dropped."""
        parts: list[str] = []
        starts: list[int] = []
        numbers: list[int] = []
        columns: list[int] = []
        first, total, more = self.at, 0, True
        while more and self.at < len(self.lines):
            number, line = self.at, self.lines[self.at]
            self.at += 1
            bare = line.lstrip()
            if number > first and (not bare or bare.startswith("#")):
                continue
            column = len(line) - len(bare) if number == first else 0
            piece, more = self._continued(line[column:])
            starts.append(total)
            numbers.append(number)
            columns.append(column)
            parts.append(piece)
            total += len(piece)
            if total > MAX_INSTRUCTION:
                raise self._too_long(first)
        origin = Origin(self.file, self.lines, tuple(starts), tuple(numbers), tuple(columns))
        return Passage("".join(parts), origin).strip()

    def _continued(self, line: str) -> tuple[str, bool]:
        """A line without its continuation mark, and whether it had one: a single escape before trailing blanks."""
        bare = line.rstrip(" \t")
        if not bare.endswith(self.escape) or bare.endswith(self.escape * 2):
            return line, False
        return bare[:-1], True

    def _too_long(self, number: int) -> SyntaxProblem:
        where = Span(self.file, number + 1)
        return SyntaxProblem(
            "an instruction is too long", where=where, why=f"the limit is {MAX_INSTRUCTION} characters",
            hint="put the data into a file of the context and COPY it",
        )  # fmt: skip

    def _instruction(self, line: Passage) -> Instruction:
        instruction = _split(line, self.escape)
        inner = instruction
        if inner.name == "ONBUILD" and inner.rest:
            inner = _split(inner.rest, self.escape)  # so that an error in a trigger shows where it is written
        if inner.name not in _HEREDOC or "<<" not in inner.rest.text:
            return instruction
        found = markers(inner.rest.text, self.escape)
        heredocs = tuple(self._heredoc(marker, start, inner.rest) for marker, start in found)
        return Instruction(
            instruction.name, instruction.flags, instruction.rest, instruction.json, heredocs, line, instruction.span
        )

    def _heredoc(self, marker: re.Match[str], start: int, rest: Passage) -> Heredoc:
        name, chomp = marker[3] or marker[4] or marker[5], marker[2] == "-"
        body: list[str] = []
        total = 0
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            if (line.lstrip("\t") if chomp else line) == name:
                span = rest.span(start, marker.end() - marker.start())
                return Heredoc(name, "".join(f"{part}\n" for part in body), marker[3] is not None, chomp, span)
            total += len(line) + 1
            if total > MAX_INSTRUCTION:
                raise self._too_long(self.at - 1)
            body.append(line)
        raise rest.cut(start, start + len(marker[0])).problem(
            f"a here-document is never ended: {name}", hint=f"put {name} alone on the line after its text"
        )


def markers(text: str, escape: str) -> Iterator[tuple[re.Match[str], int]]:
    """The here-document marks (`<<EOF`, `2<<-'END'`) of an argument text, each a whole word, and where it starts."""
    for word in words(text, escape):
        found = re.fullmatch(_MARKER, word[0])
        if found:
            yield found, word.start()


def words(text: str, escape: str) -> Iterator[re.Match[str]]:
    """The words of a text, separated by white space; quotes join, and stay in the word (as escapes do)."""
    return _word_pattern(escape).finditer(text)


@cache
def _word_pattern(escape: str) -> re.Pattern[str]:
    e = re.escape(escape)
    quoted = rf'"(?:[^"{e}]|{e}.)*+(?:"|{e}?\Z)' + r"|'[^']*+(?:'|\Z)"
    return re.compile(rf"(?:[^\s'\"{e}]++|{e}.|{e}\Z|{quoted})++", re.DOTALL)


def _split(line: Passage, escape: str) -> Instruction:
    """Name, flags and arguments of one joined line."""
    name_text = re.match(r"\S+", line.text)
    word = name_text[0] if name_text else ""
    name = word.upper()
    if name not in FLAGS:
        raise _unknown(line.cut(0, len(word)))
    flags, rest = _flags(name, line.cut(len(word)).strip())
    elements = _elements(rest) if name in _JSON else None
    if name == "HEALTHCHECK":
        elements = _elements(rest.cut(len(rest.text.split(maxsplit=1)[0])).strip()) if rest else None
    return Instruction(name, flags, rest, elements, (), line, line.span(0, len(word)))


def _unknown(word: Passage) -> SyntaxProblem:
    shown = word.text if len(word.text) <= 60 else word.text[:60] + "…"
    hint = suggestion(word.text, list(FLAGS)) or (
        "a command of the shell goes after RUN; a line that goes on needs \\ at the end of the line before"
    )
    return word.problem(f"unknown instruction: {shown}", hint=hint)


@cache
def _flag_piece() -> re.Pattern[str]:
    return re.compile(r"[^\s'\"\\]+|\\.|\\\Z|\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'", re.DOTALL)


def _flags(name: str, rest: Passage) -> tuple[tuple[Flag, ...], Passage]:
    """The leading `--name[=value]` words, and what follows them."""
    flags: list[Flag] = []
    while rest.text.startswith("--"):
        word, end = _flag_word(rest)
        part = rest.cut(0, end)
        rest = rest.cut(end).strip()
        if word == "--":
            break
        key, equals, value = word[2:].partition("=")
        if key not in FLAGS[name]:
            raise _unknown_flag(name, key, part)
        if key not in REPEATABLE and any(flag.name == key for flag in flags):
            raise part.problem(f"--{key} stands twice", hint="leave one")
        flags.append(Flag(key, value if equals else None, part))
        if len(flags) > 1000:
            raise part.problem("more than 1000 flags on one instruction")
    return tuple(flags), rest


def _flag_word(rest: Passage) -> tuple[str, int]:
    """A flag without its quotes and escapes, and where it ends."""
    text, at, parts, pieces = rest.text, 0, [], _flag_piece()
    while at < len(text) and not text[at].isspace():
        piece = pieces.match(text, at)
        if piece is None:
            raise rest.cut(at, at + 1).problem(f"a quote is never closed: {text[at]}")
        raw = piece[0]
        if raw[0] in "'\"":
            raw = raw[1:-1]
        parts.append(re.sub(r"\\(.?)", r"\1", raw, flags=re.DOTALL) if "\\" in raw else raw)
        at = piece.end()
    return "".join(parts), at


def _unknown_flag(name: str, key: str, part: Passage) -> SyntaxProblem:
    known = sorted(FLAGS[name])
    hint = suggestion(key, known, "did you mean --{}?")
    if not hint:
        hint = f"{name} knows {', '.join('--' + flag for flag in known)}" if known else f"{name} takes no flags"
    return part.problem(f"{name} has no flag --{key[:60]}", hint=hint)


def _elements(rest: Passage) -> tuple[str, ...] | None:
    """The strings of a JSON array; None where the text is not one (it is the shell form then, as in docker)."""
    if not rest.text.startswith("["):
        return None
    try:
        value = json.loads(rest.text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, str) for item in value):
        raise rest.problem("the JSON form takes strings only", hint='write ["a", "b", "1"]: numbers in quotes, too')
    if any("\0" in item for item in value):
        raise rest.problem("a NUL character in an argument")
    return tuple(re.sub("[\ud800-\udfff]", "\ufffd", item) for item in value)
