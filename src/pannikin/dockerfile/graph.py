"""Stages -> the build graph: the front end's one function, `to_graph`.

Nothing is read or run here: the text comes in, `resolve` is asked for the configuration of base images, a
`graph.Config` node comes out. Only the stages that the target needs are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from pannikin.dockerfile import configure, files
from pannikin.dockerfile.passage import suggestion
from pannikin.dockerfile.stages import PROXIES, Stage, Stages, split
from pannikin.dockerfile.state import LAYERED, Found, State, Surroundings, own
from pannikin.dockerfile.syntax import Flag, Instruction, parse, parse_trigger
from pannikin.errors import PannikinError, Span, SyntaxProblem, UsageError
from pannikin.graph import Config as ConfigNode
from pannikin.graph import Image, Node, Scratch
from pannikin.oci.digest import Digest
from pannikin.oci.model import DEFAULT_PATH, Config, RootFS
from pannikin.oci.platform import Platform
from pannikin.oci.reference import Reference

DEFAULT_EPOCH = 315532801
"""Seconds: 1980-01-01T00:00:01Z, for builds with no dated input. The oldest time that every archive format can
hold (zip starts at 1980), and never mistaken for "no date", as 0 is."""

HANDLERS = configure.HANDLERS | files.HANDLERS


class Source(Struct, frozen=True):
    """A Dockerfile: its text, the name that errors give it, and the patterns of the ignore file in force."""

    text: str
    filename: str = "Dockerfile"
    ignore: tuple[str, ...] = ()


class Target(Struct, frozen=True):
    """What is asked for.

    `stage` by name or number (None: the last); `platform` to build for, `build_platform` to build on (None: the
    same); `epoch` is SOURCE_DATE_EPOCH in seconds (None: the newest base image's date); `network` is what RUN gets
    unless it says otherwise, `host` or `none`.
    """

    platform: Platform
    stage: str | None = None
    build_platform: Platform | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    epoch: int | None = None
    network: str = "host"


class Resolved(Struct, frozen=True):
    """A base image: its configuration, the digest of its manifest, and its date in seconds where it is known
    better than from `config.created`."""

    config: Config
    digest: Digest
    created: int | None = None


Resolve = Callable[[Reference, Platform], Resolved]
"""Looks an image up; raises `PannikinError` where it can't."""


class Drawn(Struct, frozen=True):
    """The graph of a Dockerfile.

    `node` is the image; `warnings` lines for people; `stages` the labels of the stages in play, in order; `proxies`
    the proxy variables that RUN commands may see, and that no key or history holds.
    """

    node: ConfigNode
    warnings: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    proxies: tuple[tuple[str, str], ...] = ()


def to_graph(source: Source, target: Target, resolve: Resolve) -> Drawn:
    """Draw the graph of the image that a Dockerfile's target stage is.

    Raises `SyntaxProblem`, `NotFound` (no such stage), `Unsafe` (a source outside the context), and what
    `resolve` raises, always with the place.
    """
    parsed = parse(source.text, source.filename)
    build = target.build_platform or target.platform
    stages = split(parsed, target.build_args, target.platform, build, target.stage or "")
    for stage in stages.all:
        _check_order(stage, stages)
    drawing = _Drawing(source, target, stages, resolve)
    state = drawing.draw(stages.target(target.stage))
    return drawing.finish(state)


def _check_order(stage: Stage, stages: Stages) -> None:
    """Refuse what no build can do, also in stages that this one doesn't need."""
    for instruction in stage.instructions:
        flag = instruction.flag("from")
        if flag is not None and flag.value:
            _earlier(flag.value, flag, stage, stages)


def _earlier(name: str, flag: Flag, stage: Stage, stages: Stages) -> Stage | None:
    """The earlier stage that `--from` names; None where it is an image. Raises on this stage and later ones."""
    if name.isascii() and name.isdigit():
        number = int(name[:9])
        found = stages.all[number] if number < len(stages.all) else None
        if found is None:
            count = len(stages.all)
            raise SyntaxProblem(f"no stage number {name[:9]}", where=flag.span, hint=f"there are {count}, from 0 on")
    else:
        found = stages.named(name, before=stage.index) or stages.named(name)
    if found is None:
        return None
    if found.index == stage.index:
        raise SyntaxProblem(f"stage {name} copies from itself", where=flag.span)
    if found.index > stage.index:
        raise SyntaxProblem(
            f"stage {name} comes later", where=flag.span, why=f"it is defined on line {found.span.line}",
            hint="a stage can copy only from stages above it: move that one up",
        )  # fmt: skip
    return found


class _Drawing:
    """One run of `to_graph`: the states of the stages drawn so far, and the images looked up."""

    def __init__(self, source: Source, target: Target, stages: Stages, resolve: Resolve) -> None:
        self.target = target
        self.stages = stages
        self.resolve = resolve
        self.states: dict[int, State] = {}
        self.images: dict[tuple[Reference, Platform], Resolved] = {}
        self.epoch = target.epoch if target.epoch is not None else _given_epoch(target.build_args)
        self.around = Surroundings(
            stages, target.build_args, source.ignore, target.network, self.epoch, self.fetch,
            list(stages.warnings), set(stages.declared),
        )  # fmt: skip

    def draw(self, wanted: Stage) -> State:
        """The state of a stage, those that it needs drawn before it, from the top of the file down."""
        need = {wanted.index}
        for index in range(wanted.index, -1, -1):
            if index not in need or index in self.states:
                continue
            stage = self.stages.all[index]
            if stage.parent is not None:
                need.add(stage.parent)
            for instruction in stage.instructions:
                flag = instruction.flag("from")
                found = _earlier(flag.value, flag, stage, self.stages) if flag and flag.value else None
                if found is not None:
                    need.add(found.index)
        for index in sorted(need - self.states.keys()):
            self.states[index] = self._stage(self.stages.all[index])
        return self.states[wanted.index]

    def _stage(self, stage: Stage) -> State:
        state = self._start(stage)
        triggers = [self._trigger(stage, text) for text in state.run.on_build or []]
        state.run.on_build = None
        fresh = stage.parent is None and stage.base != "scratch"
        state.steps = fresh + sum(one.name in LAYERED for one in (*triggers, *stage.instructions))
        if fresh:
            state.node = self._image_node(state)
        for number, instruction in enumerate((*triggers, *stage.instructions)):
            state.trigger = number < len(triggers)
            HANDLERS[instruction.name](state, instruction)
        return state

    def _start(self, stage: Stage) -> State:
        """The state right after FROM: the parent's, the base image's, or nothing at all."""
        if stage.parent is not None:
            state = self.states[stage.parent].child(stage)
        elif stage.base.lower() == "scratch":
            state = self._scratch(stage)
        else:
            state = self._from_image(stage)
        run = state.run
        if not any(entry.startswith("PATH=") for entry in run.env or []):
            run.env = [*(run.env or []), f"PATH={DEFAULT_PATH}"]
        for entry in run.env or []:
            name, _, value = entry.partition("=")
            state.env[name] = value
        return state

    def _scratch(self, stage: Stage) -> State:
        config = _of_platform(Config(), self._platform(stage))
        config.config.working_dir = "/"
        node = Scratch(where=stage.span)
        return State(stage, self.around, node, config, DEFAULT_EPOCH if self.epoch is None else self.epoch)

    def _from_image(self, stage: Stage) -> State:
        word = stage.origin.rest
        _, found = self._look_up(stage.base, word.cut(0, len(word.text.split()[0])).span(), stage)
        # What image-spec doesn't name at the top (docker's `container_config`) described another image.
        config = own(found.config)
        config.rootfs, config.extra, config.created = RootFS(diff_ids=[]), {}, ""
        if not config.architecture:
            config = _of_platform(config, self._platform(stage))
        return State(stage, self.around, Scratch(where=stage.span), config, self._date(found))

    def _image_node(self, state: State) -> Node:
        stage = state.stage
        reference, found = self._look_up(stage.base, stage.span, stage)
        shown = state.title(f"FROM {reference.familiar}")
        return Image(manifest=found.digest, reference=str(reference), where=stage.span, title=shown)

    def _platform(self, stage: Stage) -> Platform:
        return stage.platform or self.target.platform

    def _look_up(self, name: str, where: Span, stage: Stage) -> tuple[Reference, Resolved]:
        """The image of a name, looked up once; errors get the place, and a hint where a stage is called alike."""
        try:
            reference = Reference.parse(name)
        except UsageError as error:
            hint = self._stage_like(name) or error.hint
            raise SyntaxProblem(error.what, where=where, why=error.why, hint=hint) from None
        key = (reference, self._platform(stage))
        if key not in self.images:
            try:
                self.images[key] = self.resolve(*key)
            except PannikinError as error:
                error.where = error.where or where
                error.hint = self._stage_like(name) or error.hint
                raise
        return reference, self.images[key]

    def _stage_like(self, name: str) -> str:
        """A hint, where a name that is no image is nearly, or a later, stage's."""
        below = self.stages.named(name)
        if below is not None:
            return f"a stage {name} is defined on line {below.span.line}: move it above"
        return suggestion(name, [other.name for other in self.stages.all if other.name], "did you mean the stage {}?")

    def fetch(self, name: str, flag: Flag, stage: Stage) -> Found:
        """What `COPY --from=name` copies from: an earlier stage, or an image."""
        found = _earlier(name, flag, stage, self.stages)
        if found is not None:
            state = self.states.get(found.index) or self.draw(found)
            return Found(state.node, state.epoch)
        if name.lower() == "scratch":
            raise SyntaxProblem("there is nothing to copy in scratch", where=flag.span)
        reference, image = self._look_up(name, flag.span, stage)
        title = f"FROM {reference.familiar}"
        node = Image(manifest=image.digest, reference=str(reference), where=flag.span, title=title)
        return Found(node, self._date(image))

    def _date(self, image: Resolved) -> int:
        if self.epoch is not None:
            return self.epoch
        created = image.created if image.created is not None else seconds(image.config.created)
        return max(DEFAULT_EPOCH, created or 0)

    def _trigger(self, stage: Stage, text: str) -> Instruction:
        """An ONBUILD trigger of the base as an instruction; its place says whose it is."""
        base = self.stages.all[stage.parent].label if stage.parent is not None else stage.base
        place = f"{stage.span.file}:{stage.span.line} (ONBUILD of {base})"
        instruction = parse_trigger(text, place, self.stages.escape)
        if instruction.name in ("ONBUILD", "FROM", "MAINTAINER"):
            raise SyntaxProblem(f"ONBUILD {instruction.name} is not allowed", where=instruction.span)
        return instruction

    def finish(self, state: State) -> Drawn:
        """The image of the target stage."""
        config = state.config
        if self.target.labels:
            config.config.labels = {**(config.config.labels or {}), **self.target.labels}
        root = state.stage
        while root.parent is not None:
            root = self.stages.all[root.parent]
        if root.platform is not None and root.platform != self.target.platform:
            config = _of_platform(config, self.target.platform)
        node = ConfigNode(
            root=state.node, config=config.encode().decode(), steps=tuple(state.history),
            annotations=tuple(sorted(self.target.annotations.items())), epoch=state.epoch,
            where=state.stage.span, title="exporting the image",
        )  # fmt: skip
        used = tuple(self.stages.all[index].label for index in sorted(self.states))
        proxies = tuple(sorted((k, v) for k, v in self.target.build_args.items() if k in PROXIES))
        return Drawn(node, (*self.around.warnings, *self._unused()), used, proxies)

    def _unused(self) -> list[str]:
        """A line for the build arguments that no ARG of the file declares."""
        declared = set(self.around.declared)
        for stage in self.stages.all:
            for instruction in stage.instructions:
                if instruction.name == "ARG":
                    declared |= {word.partition("=")[0] for word in instruction.rest.text.split()}
        known = declared | PROXIES | {"SOURCE_DATE_EPOCH"} | set(self.stages.arguments)
        given = [name for name in self.target.build_args if not name.startswith("BUILDKIT_")]
        unused = sorted(set(given) - known)
        if not unused:
            return []
        near = suggestion(unused[0], sorted(declared))
        return [f"build arguments that no ARG declares: {', '.join(unused)}" + (f" ({near})" if near else "")]


def _of_platform(config: Config, platform: Platform) -> Config:
    copied = own(config)
    copied.os, copied.architecture, copied.variant = platform.os, platform.architecture, platform.variant
    return copied


def _given_epoch(build_args: Mapping[str, str]) -> int | None:
    """SOURCE_DATE_EPOCH as a build argument, as BuildKit takes it. Raises `UsageError` where it is no number."""
    text = build_args.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise UsageError(f"SOURCE_DATE_EPOCH is not a number of seconds: {text!r:.60}")
    return int(text)


def seconds(created: str) -> int | None:
    """A date of a configuration (RFC 3339) in seconds since 1970; None where there is none, or no valid one."""
    if not created or created.startswith("0001-"):
        return None
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, int(moment.timestamp()))
