"""Instructions -> stages: which FROM starts what, under which name, and the variables of FROM lines.

No base image is looked at here. Names are case-insensitive; a later stage of the same name hides the earlier
one, as in docker.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping

from msgspec import Struct

from pannikin.dockerfile.passage import Passage, suggestion
from pannikin.dockerfile.syntax import Dockerfile, Instruction
from pannikin.dockerfile.words import Expanded, expand, names
from pannikin.errors import NotFound, Span, SyntaxProblem, UsageError
from pannikin.oci.platform import Platform

_NAME = "[a-z][a-z0-9._-]*"
_PROXY_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PROXIES = frozenset(_PROXY_NAMES) | {name.lower() for name in _PROXY_NAMES}
"""Build arguments that every RUN may use without an ARG, and that leave no trace in key or history."""


class Stage(Struct, frozen=True):
    """One FROM and what follows it.

    `base` is the image's or stage's name, variables expanded; `parent` the number of the stage that it names, or
    None; `platform` what `--platform` asked for; `name` in lower case, "" where there is none.
    """

    index: int
    name: str
    base: str
    parent: int | None
    platform: Platform | None
    instructions: tuple[Instruction, ...]
    origin: Instruction
    span: Span

    @property
    def label(self) -> str:
        """What messages call it: its name, or `stage-2`."""
        return self.name or f"stage-{self.index}"


class Stages(Struct, frozen=True):
    """All stages of a file, with the variables of its head.

    `positions` are the numbers of the stages of a name; `arguments` the values of global ARGs and of the predefined
    platform variables; `declared` the names that the head declares; `warnings` what docker would warn about.
    """

    all: tuple[Stage, ...]
    positions: Mapping[str, list[int]]
    arguments: Mapping[str, str]
    declared: frozenset[str]
    escape: str
    file: str
    warnings: tuple[str, ...]

    def named(self, name: str, before: int | None = None) -> Stage | None:
        """The last stage of that name (among those before a number)."""
        numbers = self.positions.get(name.lower(), [])
        count = len(numbers) if before is None else bisect_left(numbers, before)
        return self.all[numbers[count - 1]] if count else None

    def target(self, name: str | None) -> Stage:
        """The stage to build: by name, by number, or the last one. Raises `NotFound`."""
        if name is None or name == "":
            return self.all[-1]
        found = self.named(name)
        if found is None and re.fullmatch("[0-9]{1,6}", name) and int(name) < len(self.all):
            found = self.all[int(name)]
        if found is None:
            known = [stage.name for stage in self.all if stage.name]
            listed = f"the stages are {', '.join(known[:20])}" if known else "no stage has a name"
            raise NotFound(f"no stage {name!r:.80} in {self.file}", hint=suggestion(name, known) or listed)
        return found


def split(
    parsed: Dockerfile, build_args: Mapping[str, str], target: Platform, build: Platform, target_name: str = ""
) -> Stages:
    """Cut a file into stages. `build` is the platform that builds, `target` the one built for.

    Raises `SyntaxProblem`.
    """
    first = next((i for i, one in enumerate(parsed.instructions) if one.name == "FROM"), len(parsed.instructions))
    head = parsed.instructions[:first]
    for instruction in head:
        if instruction.name != "ARG":
            raise _misplaced(instruction)
    if first == len(parsed.instructions):
        raise SyntaxProblem("no FROM instruction", where=head[-1].span, hint="a Dockerfile begins with FROM image")
    arguments = predefined(target, build, target_name)
    for name in arguments:
        arguments[name] = build_args.get(name, arguments[name])
    declared = _declare(head, arguments, build_args, parsed.escape)
    starts = [i for i, one in enumerate(parsed.instructions) if one.name == "FROM"]
    ends = [*starts[1:], len(parsed.instructions)]
    stages: list[Stage] = []
    positions: dict[str, list[int]] = {}
    warnings: list[str] = []
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        body = parsed.instructions[start + 1 : end]
        stage = _stage(index, parsed.instructions[start], body, positions, arguments, parsed.escape)
        stages.append(stage)
        if stage.name:
            if stage.name in positions:
                warnings.append(f"{stage.span}: a second stage named {stage.name}: it hides the first")
            positions.setdefault(stage.name, []).append(index)
    return Stages(tuple(stages), positions, arguments, frozenset(declared), parsed.escape, parsed.file, tuple(warnings))


def predefined(target: Platform, build: Platform, stage: str) -> dict[str, str]:
    """The platform variables that FROM lines may use, and stages after `ARG NAME`."""
    values = {"TARGETSTAGE": stage or "default"}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        values[f"{prefix}PLATFORM"] = str(platform)
        values[f"{prefix}OS"] = platform.os
        values[f"{prefix}ARCH"] = platform.architecture
        values[f"{prefix}VARIANT"] = platform.variant
    return values


def _misplaced(instruction: Instruction) -> SyntaxProblem:
    return SyntaxProblem(
        f"{instruction.name} before the first FROM", where=instruction.span, hint="only ARG may stand before FROM"
    )


def _declare(
    head: tuple[Instruction, ...], arguments: dict[str, str], build_args: Mapping[str, str], escape: str
) -> set[str]:
    """Add the global ARGs to `arguments`; each sees the ones before it. The names declared."""
    declared: set[str] = set()
    for instruction in head:
        for pair in names(instruction.rest, escape):
            name = expand(pair.key, arguments, escape).text
            declared.add(name)
            if name in build_args:
                arguments[name] = build_args[name]
            elif pair.value is not None:
                arguments[name] = expand(pair.value, arguments, escape).text
    return declared


def _stage(
    index: int,
    origin: Instruction,
    body: tuple[Instruction, ...],
    positions: Mapping[str, list[int]],
    arguments: Mapping[str, str],
    escape: str,
) -> Stage:
    rest = origin.rest
    found = [rest.cut(word.start(), word.end()) for word in re.finditer(r"\S+", rest.text)]
    if len(found) not in (1, 3) or (len(found) == 3 and found[1].text.lower() != "as"):
        place = found[1] if len(found) > 1 else rest
        where = place.span() if place else origin.span
        raise SyntaxProblem("FROM takes one image", where=where, hint="write FROM image, or FROM image AS name")
    name = _stage_name(found[2]) if len(found) == 3 else ""
    base = _base(found[0], arguments, escape)
    platform = _platform(origin, arguments, escape)
    parent = positions.get(base.lower(), [None])[-1]
    return Stage(index, name, base, parent, platform, body, origin, origin.span)


def _stage_name(word: Passage) -> str:
    name = word.text.lower()
    if not re.fullmatch(_NAME, name):
        raise word.problem(
            f"not a name for a stage: {word.text[:60]}", hint="a letter first, then letters, digits, dots, _ and -"
        )
    if name == "scratch":
        raise word.problem("a stage can't be named scratch", hint="scratch is the empty image")
    return name


def _base(word: Passage, arguments: Mapping[str, str], escape: str) -> str:
    expanded = expand(word, arguments, escape)
    if not expanded.text:
        raise word.problem(f"FROM {word.text[:60]} names no image", hint=_unset_hint(expanded, arguments))
    return expanded.text


def _unset_hint(expanded: Expanded, arguments: Mapping[str, str]) -> str:
    for name in sorted(expanded.unset):
        near = suggestion(name, list(arguments), f"${name} is not set; did you mean ${{}}?")
        way = f"declare ARG {name}=value before the first FROM, or give --build-arg {name}=value"
        return near or f"${name} is not set: {way}"
    return "the variable is empty"


def _platform(origin: Instruction, arguments: Mapping[str, str], escape: str) -> Platform | None:
    flag = origin.flag("platform")
    if flag is None:
        return None
    expanded = expand(flag.passage, arguments, escape)
    if not expanded.text:
        hint = _unset_hint(expanded, arguments) if expanded.unset else "write --platform=linux/arm64"
        raise SyntaxProblem("--platform is empty", where=flag.span, hint=hint)
    try:
        return Platform.parse(expanded.text)
    except UsageError as error:
        raise SyntaxProblem(error.what, where=flag.span, hint=error.hint) from None
