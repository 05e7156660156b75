"""What a stage has become so far: a file system, a configuration, variables in scope, lines of history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from msgspec import Struct, field, structs

from pannikin.dockerfile.passage import Passage
from pannikin.dockerfile.stages import Stage, Stages
from pannikin.dockerfile.syntax import Flag, Instruction
from pannikin.dockerfile.words import expand
from pannikin.errors import Span, SyntaxProblem
from pannikin.graph import Made, Node
from pannikin.oci.model import Config, RunConfig

COMMENT = "pannikin"
"""What the history says of who made a line."""
DEFAULT_SHELL = ("/bin/sh", "-c")

LAYERED = frozenset({"RUN", "COPY", "ADD", "WORKDIR"})
"""The instructions that make a step (and, mostly, a layer)."""

T = TypeVar("T")


class Found(Struct, frozen=True):
    """What `--from` names: a file system, and the newest time (seconds) of what went into it."""

    node: Node
    epoch: int


class Surroundings(Struct, frozen=True):
    """What all stages of one build share.

    `fetch(name, flag, stage)` gives what `COPY --from=name` copies from; `ignore` the lines of the ignore file.
    """

    stages: Stages
    build_args: Mapping[str, str]
    ignore: tuple[str, ...]
    network: str
    fixed_epoch: int | None
    fetch: Callable[[str, Flag, Stage], Found]
    warnings: list[str]
    declared: set[str]


class State(Struct):
    """One stage while its instructions are applied.

    `env` are the variables of RUN and of expansion: ENV and the ARGs in scope, the later one winning. `args` are
    the ARGs declared, with their values where they have one. `epoch` (seconds) is the newest input up to here:
    an instruction does not depend on the age of what only later ones use. Lists and dicts of `config` are
    replaced, never changed, since stages share them.
    """

    stage: Stage
    around: Surroundings
    node: Node
    config: Config
    epoch: int
    env: dict[str, str] = field(default_factory=dict)
    args: dict[str, str | None] = field(default_factory=dict)
    history: list[Made] = field(default_factory=list)
    cmd_is_set: bool = False
    step: int = 0
    steps: int = 0
    trigger: bool = False

    @property
    def run(self) -> RunConfig:
        """The part of the configuration that says how a container starts."""
        return self.config.config

    @property
    def escape(self) -> str:
        return self.around.stages.escape

    @property
    def workdir(self) -> str:
        return self.run.working_dir or "/"

    def child(self, stage: Stage) -> State:
        """The state that a stage FROM this one starts with: variables are inherited, ENV again before ARG."""
        state = State(stage, self.around, self.node, own(self.config), self.epoch, dict(self.env), dict(self.args))
        state.history = list(self.history)
        return state

    def expand(self, passage: Passage) -> str:
        """A text with the variables in scope put in. Raises `SyntaxProblem`."""
        return expand(passage, self.env, self.escape).text

    def record(self, created_by: str, node: Node | None = None) -> None:
        """Add a line of history, and the file system that it made, if it made one."""
        self.history.append(Made(created_by, node, COMMENT))
        if node is not None:
            # The digest of a chain is made link by link: no recursion as deep as the file is long.
            _ = node.identity
            self.node = node

    def title(self, text: str) -> str:
        """What progress shows for the next step: `[build 2/5] RUN make`."""
        self.step += 1
        several = len(self.around.stages.all) > 1
        name = f"{self.stage.label} " if several or self.stage.name else ""
        width = len(str(self.steps))
        onbuild = "ONBUILD " if self.trigger else ""
        return f"[{name}{self.step:>{width}}/{self.steps}] {onbuild}{' '.join(text.split())}"

    def arguments(self, instruction: Instruction) -> list[Passage]:
        """The arguments of COPY, ADD, VOLUME: the JSON form's elements, or words at white space; not expanded."""
        rest = instruction.rest
        if instruction.json is not None:
            return [Passage(item, rest.origin, rest.offset) for item in instruction.json]
        return split_words(rest)


def split_words(passage: Passage) -> list[Passage]:
    """The words of a passage at white space, without regard to quotes, each with its place."""
    found: list[Passage] = []
    at = 0
    for word in passage.text.split():
        at = passage.text.index(word, at)
        found.append(passage.cut(at, at + len(word)))
        at += len(word)
    return found


def own(config: Config) -> Config:
    """A copy whose fields can be set without changing the original."""
    return structs.replace(config, config=structs.replace(config.config))


def valued(where: Span, what: str, read: Callable[[str], T], text: str, hint: str = "") -> T:
    """Read a value; what is wrong with it becomes an error with its place."""
    try:
        return read(text)
    except ValueError as error:
        raise SyntaxProblem(what, where=where, why=str(error), hint=hint) from None


def later(where: Span, what: str) -> SyntaxProblem:
    """The error for a part of the language that is not built yet."""
    return SyntaxProblem(f"{what} is not supported yet", where=where)
