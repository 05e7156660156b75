"""The instructions that change only an image's configuration: no step, no layer, one line of history each."""

from __future__ import annotations

import re
from collections.abc import Callable

from pannikin.dockerfile import values
from pannikin.dockerfile.passage import Passage
from pannikin.dockerfile.state import DEFAULT_SHELL, State, split_words, valued
from pannikin.dockerfile.syntax import Instruction
from pannikin.dockerfile.words import expand, names, pairs
from pannikin.errors import SyntaxProblem
from pannikin.oci.model import Healthcheck

Handler = Callable[[State, Instruction], None]

_NO_TRIGGER = frozenset({"ONBUILD", "FROM", "MAINTAINER"})
_MILLISECOND = 10**6


def needed(instruction: Instruction, hint: str = "") -> Passage:
    """The arguments of an instruction that can't do without. Raises `SyntaxProblem`."""
    if not instruction.rest:
        raise SyntaxProblem(f"{instruction.name} needs an argument", where=instruction.span, hint=hint)
    return instruction.rest


def command(state: State, instruction: Instruction, text: str | None = None) -> list[str]:
    """The argument vector of RUN, CMD, ENTRYPOINT: the JSON form as it is, the shell form under the SHELL.

    `text` replaces the shell form's own (a here-document put in).
    """
    if instruction.json is not None and text is None:
        return list(instruction.json)
    return [*(state.run.shell or DEFAULT_SHELL), needed(instruction).text if text is None else text]


def environment(state: State, instruction: Instruction) -> None:
    """ENV: all its values are expanded against what held before it."""
    found = pairs(needed(instruction, "write ENV NAME=value"), "ENV", state.escape)
    new = [(_key(state, pair.key), state.expand(pair.value) if pair.value else "") for pair in found]
    current = dict(entry.partition("=")[::2] for entry in state.run.env or [])
    for key, value in new:
        current[key] = value
        state.env[key] = value
    state.run.env = [f"{key}={value}" for key, value in current.items()]
    state.record("ENV " + " ".join(f"{key}={value}" for key, value in new))


def _key(state: State, passage: Passage) -> str:
    key = state.expand(passage)
    if not key.strip() or "=" in key or "\0" in key:
        raise passage.problem(f"not a variable's name: {key[:60]!r}")
    return key


def argument(state: State, instruction: Instruction) -> None:
    """ARG: the command line's value, else the default, else the global ARG's value."""
    shown: list[str] = []
    around = state.around
    for pair in names(needed(instruction, "write ARG NAME or ARG NAME=default"), state.escape):
        name = _key(state, pair.key)
        around.declared.add(name)
        value: str | None = around.build_args.get(name)
        if value is None and pair.value is not None:
            value = state.expand(pair.value)
        elif value is None:
            value = around.stages.arguments.get(name)
        state.args[name] = value
        if value is not None:
            state.env[name] = value
        shown.append(name if value is None else f"{name}={value}")
    state.record("ARG " + " ".join(shown))


def label(state: State, instruction: Instruction) -> None:
    """LABEL: key and value pairs, expanded."""
    found = pairs(needed(instruction, "write LABEL name=value"), "LABEL", state.escape)
    new = {state.expand(pair.key): state.expand(pair.value) if pair.value else "" for pair in found}
    if "" in new:
        raise instruction.rest.problem("a label's name is empty")
    state.run.labels = {**(state.run.labels or {}), **new}
    state.record("LABEL " + " ".join(f"{key}={value}" for key, value in new.items()))


def cmd(state: State, instruction: Instruction) -> None:
    """CMD: what runs by default, or the default arguments of ENTRYPOINT."""
    state.run.cmd = command(state, instruction)
    state.cmd_is_set = True
    state.record(f"CMD {values.quoted(state.run.cmd)}")


def entrypoint(state: State, instruction: Instruction) -> None:
    """ENTRYPOINT: what always runs. A CMD that came from the base no longer fits and goes."""
    state.run.entrypoint = command(state, instruction)
    if not state.cmd_is_set:
        state.run.cmd = None
    state.record(f"ENTRYPOINT {values.quoted(state.run.entrypoint)}")


def shell(state: State, instruction: Instruction) -> None:
    """SHELL: what shell forms run under; JSON only."""
    if not instruction.json:
        where = instruction.rest.span() if instruction.rest else instruction.span
        raise SyntaxProblem("SHELL takes the JSON form", where=where, hint='write SHELL ["/bin/bash", "-c"]')
    state.run.shell = list(instruction.json)
    state.record(f"SHELL [{' '.join(instruction.json)}]")


def user(state: State, instruction: Instruction) -> None:
    """USER: `name|uid[:group|gid]`."""
    text = state.expand(needed(instruction)).strip()
    if not text:
        state.around.warnings.append(f"{instruction.rest.span()}: USER is empty, which means root")
    state.run.user = text
    state.record(f"USER {text}")


def expose(state: State, instruction: Instruction) -> None:
    """EXPOSE: ports and ranges, each with its protocol."""
    found: list[str] = []
    for word in split_words(needed(instruction, "write EXPOSE 8080")):
        for spec in expand(word, state.env, state.escape).words:
            found += valued(word.span(), f"EXPOSE: not a port: {spec[:60]}", values.ports, spec)
            if ":" in spec:
                state.around.warnings.append(f"{word.span()}: EXPOSE takes no host address or port: {spec}")
    state.run.exposed_ports = {**(state.run.exposed_ports or {}), **{port: {} for port in found}}
    state.record(f"EXPOSE [{' '.join(found)}]")


def volume(state: State, instruction: Instruction) -> None:
    """VOLUME: paths, as JSON or words."""
    needed(instruction, "write VOLUME /data")
    paths = [state.expand(word) for word in state.arguments(instruction)]
    if not paths or not all(paths):
        raise instruction.rest.problem("VOLUME: a path is empty")
    state.run.volumes = {**(state.run.volumes or {}), **{path: {} for path in paths}}
    state.record(f"VOLUME [{' '.join(paths)}]")


def stopsignal(state: State, instruction: Instruction) -> None:
    """STOPSIGNAL: a name, with or without SIG, or a number."""
    text = state.expand(needed(instruction))
    state.run.stop_signal = valued(
        instruction.rest.span(), "STOPSIGNAL", values.signal, text, "write SIGTERM, SIGINT, 9 ..."
    )
    state.record(f"STOPSIGNAL {text}")


def maintainer(state: State, instruction: Instruction) -> None:
    """MAINTAINER (deprecated): the image's author."""
    text = needed(instruction, 'better: LABEL org.opencontainers.image.authors="..."').text
    state.config.author = text
    state.record(f"MAINTAINER {text}")


def healthcheck(state: State, instruction: Instruction) -> None:
    """HEALTHCHECK NONE, or CMD with options."""
    rest = needed(instruction, "write HEALTHCHECK CMD command, or HEALTHCHECK NONE")
    kind = rest.text.split(maxsplit=1)[0]
    check = Healthcheck()
    if kind.upper() == "NONE":
        if rest.text[4:].strip() or instruction.flags:
            raise rest.problem("HEALTHCHECK NONE takes nothing more")
        check.test = ["NONE"]
    elif kind.upper() == "CMD":
        body = rest.cut(3).strip()
        check.test = _probe(instruction, body)
        _options(instruction, check)
    else:
        raise rest.problem(f"HEALTHCHECK: {kind[:60]} is not CMD or NONE", hint="write HEALTHCHECK CMD command")
    state.run.healthcheck = check
    state.record(f"HEALTHCHECK {_shown(check)}")


def _probe(instruction: Instruction, body: Passage) -> list[str]:
    if instruction.json is not None:
        if not instruction.json:
            raise body.problem("HEALTHCHECK CMD needs a command")
        return ["CMD", *instruction.json]
    if not body:
        raise instruction.rest.problem("HEALTHCHECK CMD needs a command")
    return ["CMD-SHELL", body.text]


def _options(instruction: Instruction, check: Healthcheck) -> None:
    for flag in instruction.flags:
        text = flag.value or ""
        if flag.name == "retries":
            if not re.fullmatch("[0-9]{1,9}", text):
                raise SyntaxProblem(f"--retries: {text[:60]!r} is not a number", where=flag.span)
            check.retries = int(text)
            continue
        time = valued(flag.span, f"--{flag.name}", values.duration, text)
        if time < 0 or 0 < time < _MILLISECOND:
            raise SyntaxProblem(f"--{flag.name} is less than 1ms", where=flag.span)
        setattr(check, flag.name.replace("-", "_"), time)


def _shown(check: Healthcheck) -> str:
    times = " ".join(
        f"{name}:{values.show_duration(time)}"
        for name, time in (
            ("Interval", check.interval), ("Timeout", check.timeout), ("StartPeriod", check.start_period),
            ("StartInterval", check.start_interval),
        )
    )  # fmt: skip
    return f"{{Test:[{' '.join(check.test)}] {times} Retries:{check.retries}}}"


def onbuild(state: State, instruction: Instruction) -> None:
    """ONBUILD: keep an instruction in the image for the build that starts from it."""
    rest = needed(instruction, "write ONBUILD instruction")
    word = rest.text.split()[0].upper()
    if word in _NO_TRIGGER:
        raise rest.problem(f"ONBUILD {word} is not allowed")
    if instruction.heredocs:
        raise SyntaxProblem("ONBUILD with a here-document is not supported yet", where=instruction.heredocs[0].span)
    state.run.on_build = [*(state.run.on_build or []), rest.text]


HANDLERS: dict[str, Handler] = {
    "ARG": argument,
    "CMD": cmd,
    "ENTRYPOINT": entrypoint,
    "ENV": environment,
    "EXPOSE": expose,
    "HEALTHCHECK": healthcheck,
    "LABEL": label,
    "MAINTAINER": maintainer,
    "ONBUILD": onbuild,
    "SHELL": shell,
    "STOPSIGNAL": stopsignal,
    "USER": user,
    "VOLUME": volume,
}
