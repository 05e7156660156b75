"""The composition root: ops, resolvers and store wired together. What the Python API and the CLI call.

>>> tools = Toolchain(Path("images"))
>>> built = tools.build(BuildRequest(context=Path("."), tags=("app:1",)))
>>> built.image.digest
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pannikin import graph
from pannikin.build.cache import StoreCache
from pannikin.build.solver import Op, Result, Solver
from pannikin.errors import NotFound, UsageError
from pannikin.oci.image import Image
from pannikin.oci.model import DEFAULT_PATH
from pannikin.oci.platform import Platform
from pannikin.oci.reference import Reference
from pannikin.store import Store

if TYPE_CHECKING:
    from pannikin import bases
    from pannikin.bases import Recipe
    from pannikin.dockerfile import Drawn, Resolved
    from pannikin.packages.deb import Archive, Source
    from pannikin.runtime.snapshots import Snapshots


def default_root() -> Path:
    """The user's store: `$PANNIKIN_ROOT`, else `$XDG_DATA_HOME/pannikin`, else `~/.local/share/pannikin`."""
    if given := os.environ.get("PANNIKIN_ROOT"):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "pannikin"


class BuildRequest(msgspec.Struct, frozen=True):
    """A build of a Dockerfile. `dockerfile` None looks for `Dockerfile` (or `Containerfile`) in the context.

    `text` is the Dockerfile's text where it comes from elsewhere (a pipe). `memory` is bytes, `cpus` cores,
    `epoch` seconds (None: SOURCE_DATE_EPOCH of the environment, else the newest base's date).
    """

    context: Path | None
    dockerfile: Path | None = None
    text: str | None = None
    tags: tuple[str, ...] = ()
    target: str | None = None
    build_args: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    platform: Platform | None = None
    network: str = "host"
    no_cache: bool = False
    workers: int = 4
    cpus: float | None = None
    memory: int | None = None
    epoch: int | None = None


class Built(msgspec.Struct, frozen=True):
    """An image that was built (or was there). `ran` counts the steps that really ran; `seconds` is wall time."""

    image: Image
    tags: tuple[str, ...]
    warnings: tuple[str, ...]
    ran: int
    seconds: float


class BaseRequest(msgspec.Struct, frozen=True):
    """A base image from packages of `sources`. `changes` are Dockerfile instructions about the configuration."""

    recipe: Recipe
    sources: Sequence[Source]
    tags: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    platform: Platform | None = None
    epoch: int | None = None
    no_cache: bool = False


class RunRequest(msgspec.Struct, frozen=True):
    """A container to run. `volumes` are (host path, container path, writable); `memory` bytes, `cpus` cores."""

    image: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    volumes: tuple[tuple[Path, str, bool], ...] = ()
    workdir: str | None = None
    user: str | None = None
    entrypoint: str | None = None
    network: Literal["host", "none"] = "host"
    interactive: bool = False
    terminal: bool = False
    read_only: bool = False
    no_new_privileges: bool = False
    hostname: str | None = None
    cpus: float | None = None
    memory: int | None = None


def _cancel() -> None:
    """End the commands of a build that can't succeed any more."""
    from pannikin.runtime import sandbox

    sandbox.kill_all()


class _Ops(dict[type, Op]):
    """Ops by node type, each imported and made when the first such node must be solved."""

    def __init__(self, tools: Toolchain, settings: Mapping[str, Any]) -> None:
        self._tools = tools
        self._settings = settings

    def __missing__(self, kind: type) -> Op:
        op = self._make(kind)
        self[kind] = op
        return op

    def _make(self, kind: type) -> Op:
        store = self._tools.store
        if kind is graph.Context:
            from pannikin.build.ops.context import ContextOp

            return ContextOp(self._settings["contexts"], store.root / "stamps", store.temporary)
        if kind is graph.Config:
            from pannikin.build.ops.config import ConfigOp

            return ConfigOp(store)
        if kind is graph.Copy:
            return _Lazy(lambda: self._copy())
        if kind is graph.Run:
            return _Lazy(lambda: self._run())
        if kind is graph.Packages:
            return _Lazy(lambda: self._packages())
        return _Lazy(lambda: self._small(kind), keeps=kind is graph.Make)

    def _copy(self) -> Op:
        from pannikin.build.ops.copy import CopyOp

        return CopyOp(self._tools.store, self._tools.snapshots)

    def _run(self) -> Op:
        from pannikin.build.ops.run import RunOp

        limits = {"cpus": self._settings.get("cpus"), "memory": self._settings.get("memory")}
        return RunOp(self._tools.store, self._tools.snapshots, **limits)

    def _packages(self) -> Op:
        from pannikin.build.ops.packages import PackagesOp

        return PackagesOp(self._tools.store, self._tools.snapshots, self._settings["archive"])

    def _small(self, kind: type) -> Op:
        from pannikin.build.ops import layers

        if kind is graph.Scratch:
            return layers.ScratchOp()
        if kind is graph.Image:
            return layers.ImageOp(self._tools.store)
        return layers.MakeOp(self._tools.store, self._tools.snapshots)


class _Lazy:
    """An op whose key is its definition alone: imported only when a node of it must really run."""

    def __init__(self, make: Any, keeps: bool = True) -> None:
        self._make = make
        self.keeps = keeps

    @cached_property
    def _op(self) -> Op:
        op: Op = self._make()
        return op

    def key(self, node: graph.Node) -> str:
        return ""

    def content(self, node: graph.Node, position: int, result: Any) -> str:
        return self._op.content(node, position, result)

    def run(self, node: graph.Node, inputs: Sequence[Any]) -> Result:
        return self._op.run(node, inputs)


class Toolchain:
    """Everything that works on one store."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).absolute()

    @cached_property
    def store(self) -> Store:
        return Store(self.root)

    @cached_property
    def cache(self) -> StoreCache:
        return StoreCache(self.store)

    @cached_property
    def snapshots(self) -> Snapshots:
        from pannikin.runtime.snapshots import Snapshots

        return Snapshots(self.store.snapshots, self.store)

    def enter(self) -> None:
        """Go into a private mount namespace (and, without root, a user namespace). Before any thread starts."""
        from pannikin.runtime import namespace

        namespace.enter()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Where layers are mounted and files get owners: in a private namespace, under a lease of the store."""
        self.enter()
        with self.store.lease():
            yield

    # Dockerfiles

    def build(self, request: BuildRequest) -> Built:
        """Build the image of a Dockerfile and tag it. Raises `PannikinError` with the place of what is wrong."""
        from pannikin import dockerfile

        started = time.monotonic()
        names = tuple(str(Reference.parse(tag)) for tag in request.tags)
        platform = request.platform or Platform.host()
        target = dockerfile.Target(
            platform=platform, stage=request.target, build_platform=Platform.host(), build_args=request.build_args,
            labels=request.labels, annotations=request.annotations, network=request.network,
            epoch=request.epoch if request.epoch is not None else source_date_epoch(),
        )  # fmt: skip
        with self.working():
            drawn = dockerfile.to_graph(_source(request), target, self.resolve)
            contexts = {"context": request.context} if request.context else {}
            settings = {"contexts": contexts, "cpus": request.cpus, "memory": request.memory}
            solver = Solver(
                _Ops(self, settings), self.cache, workers=request.workers, use_cache=not request.no_cache,
                cancel=_cancel,
            )  # fmt: skip
            with _environment(drawn.proxies):
                result = solver.solve(drawn.node)
            image = Image(result.descriptor, self.store)
            for name in names:
                self.store.tag(name, result.descriptor)
        return Built(image, names, drawn.warnings, len(solver.ran), time.monotonic() - started)

    def resolve(self, reference: Reference, platform: Platform) -> Resolved:
        """A base image's configuration and digest, from the store. Raises `NotFound` where it is not there."""
        from pannikin.dockerfile import Resolved

        try:
            image = self.store.find(str(reference), platform)
        except NotFound as error:
            near = error.hint if "did you mean" in error.hint else ""
            error.hint = near or "make it with `pannikin base`, or bring it in with `pannikin load`"
            raise
        self.store.has(image.descriptor)
        return Resolved(image.config, image.digest)

    # Bases

    def base(self, request: BaseRequest) -> Built:
        """Assemble an image from distribution packages and tag it."""
        from pannikin import bases, dockerfile
        from pannikin.oci import digest as digests
        from pannikin.oci.model import Config
        from pannikin.packages import deb

        started = time.monotonic()
        names = tuple(str(Reference.parse(tag)) for tag in request.tags)
        platform = request.platform or Platform.host()
        if request.changes:  # what is wrong with them is told before anything is fetched
            blank = dockerfile.Resolved(Config(architecture=platform.architecture), digests.of(b""))
            _draw_changes(request.changes, platform, 0, blank)
        with self.working():
            archive = deb.Archive(request.sources, self.store.root / "packages", platform.debian)
            resolve = partial(_pins, archive, request.epoch if request.epoch is not None else source_date_epoch())
            node = bases.to_graph(request.recipe, platform, resolve)
            settings = {"archive": archive, "contexts": {}}
            solver = Solver(_Ops(self, settings), self.cache, use_cache=not request.no_cache)
            image = Image(solver.solve(node).descriptor, self.store)
            if request.changes:
                image = self._changed(image, request.changes, platform, node.epoch, solver)
            for name in names:
                self.store.tag(name, image.descriptor)
        return Built(image, names, (), len(solver.ran), time.monotonic() - started)

    def _changed(self, image: Image, changes: Sequence[str], platform: Platform, epoch: int, solver: Solver) -> Image:
        """The image with Dockerfile instructions applied to it (docker's `--change`)."""
        from pannikin.dockerfile import Resolved

        drawn = _draw_changes(changes, platform, epoch, Resolved(image.config, image.digest))
        return Image(solver.solve(drawn.node).descriptor, self.store)

    # Containers

    def run(self, request: RunRequest) -> int:
        """Run a container with our own stdin, stdout and stderr, and return its exit status."""
        import subprocess

        from pannikin.runtime import sandbox, users

        with self.working():
            image = self.store.find(request.image, Platform.host())
            config = image.config.config
            entrypoint, words = tuple(config.entrypoint or ()), tuple(config.cmd or ())
            if request.entrypoint is not None:  # '' drops the image's; its command belongs to it and goes too
                entrypoint, words = ((request.entrypoint,) if request.entrypoint else ()), ()
            args = request.args or words
            if not entrypoint and not args:
                raise UsageError(
                    f"{request.image} has no entrypoint and no command", hint="give a command after the image"
                )
            view = self.snapshots.view(image.layers)
            identity = users.resolve(request.user if request.user is not None else config.user, view)
            env = dict(entry.partition("=")[::2] for entry in config.env or ())
            env = {"PATH": DEFAULT_PATH, "HOME": identity.home, **env, **request.env}
            if request.terminal:
                env.setdefault("TERM", os.environ.get("TERM", "xterm"))
            command = sandbox.Command(
                args=(*entrypoint, *args), env=env, cwd=request.workdir or config.working_dir or "/",
                uid=identity.uid, gid=identity.gid, groups=identity.groups, network=request.network,
                mounts=tuple(_bind(*volume) for volume in request.volumes), terminal=request.terminal,
                read_only=request.read_only, no_new_privileges=request.no_new_privileges,
                hostname=request.hostname or "pannikin", cpus=request.cpus, memory=request.memory,
            )  # fmt: skip
            stdin = None if request.interactive or request.terminal else subprocess.DEVNULL
            with self.snapshots.writable(image.layers) as writable:
                return sandbox.run(writable.root, command, stdin=stdin)


def _bind(host: Path, target: str, writable: bool) -> Any:
    from pannikin.runtime.sandbox import Mount

    return Mount(str(host), target, "bind", ("rbind", "rw" if writable else "ro"))


def _draw_changes(changes: Sequence[str], platform: Platform, epoch: int, base: Resolved) -> Drawn:
    """The graph of `FROM base` and the instructions. Errors count the changes from 1."""
    from dataclasses import replace

    from pannikin import dockerfile
    from pannikin.errors import PannikinError, Span

    source = dockerfile.Source("\n".join(["FROM base", *changes]), "--change")
    target = dockerfile.Target(platform=platform, epoch=epoch)
    try:
        return dockerfile.to_graph(source, target, lambda *_: base)
    except PannikinError as error:
        if isinstance(error.where, Span):
            error.where = replace(error.where, line=error.where.line - 1)
        raise


def _pins(archive: Archive, epoch: int | None, wanted: bases.Request) -> bases.Pins:
    """What a base recipe asks: the packages to take, and their date (or the one that was given)."""
    from pannikin import bases
    from pannikin.build.ops.packages import pinned, unpinned
    from pannikin.packages import deb

    packages = [*(archive.minimal() if wanted.minimal else ()), *wanted.names]
    there = [pinned(one) for one in wanted.installed]
    pins = archive.resolve(packages, recommends=wanted.recommends, installed=there, distroless=wanted.distroless)
    date = deb.newest(archive.fetch(pins).values()) if epoch is None else epoch
    return bases.Pins(tuple(unpinned(pin) for pin in pins), date)


def prune(tools: Toolchain, *, everything: bool = False, dry_run: bool = False) -> dict[str, int]:
    """Remove what no name, no cached step and no living lease needs; with `everything` the build cache first,
    and the packages and lists that were downloaded.

    Returns counts, and `bytes` freed (compressed).
    """
    from pannikin.store import collect

    forgotten = 0
    if everything and not dry_run:
        forgotten = tools.cache.forget()
    freed = collect.prune(tools.store, None if everything else tools.cache.roots, dry_run=dry_run)
    snapshots = 0
    if not dry_run:
        keep = set() if everything else set(_diff_ids(tools))
        snapshots = tools.snapshots.prune(keep)
        if everything:
            collect.drop(tools.store, tools.store.root / "packages")
            collect.drop(tools.store, tools.store.root / "stamps")
    return {
        "blobs": freed.blobs, "bytes": freed.bytes, "leftovers": freed.leftovers, "cached_steps": forgotten,
        "snapshots": snapshots,
    }  # fmt: skip


def _diff_ids(tools: Toolchain) -> Iterator[Any]:
    """The diff IDs of every named image and cached step: their unpacked layers are worth keeping."""
    from pannikin.errors import PannikinError

    for descriptor in tools.store.tags().values():
        image = Image(descriptor, tools.store)
        try:
            for one in image.children() if image.is_index else (image,):
                yield from (layer.diff_id for layer in one.layers)
        except PannikinError:
            continue  # damaged: `store check` tells, and its layers are of no use
    yield from tools.cache.diff_ids()


def source_date_epoch() -> int | None:
    """SOURCE_DATE_EPOCH of the environment (reproducible-builds.org), in seconds. Raises `UsageError`."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise UsageError(f"SOURCE_DATE_EPOCH is not a number of seconds: {text!r:.60}")
    return int(text)


@contextmanager
def _environment(proxies: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Proxies given as build arguments reach commands as the host's own do."""
    before = {name: os.environ.get(name) for name, _ in proxies}
    os.environ.update(dict(proxies))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _source(request: BuildRequest) -> Any:
    """The Dockerfile's text and the ignore file in force: `<Dockerfile>.dockerignore`, else `.dockerignore`."""
    from pannikin.dockerfile import Source, ignore

    context = request.context
    if context is not None and not context.is_dir():
        raise NotFound(f"the build context {context} is not a directory", hint="give a directory as last argument")
    path, text = request.dockerfile, request.text
    if text is None:
        path = path or _find_dockerfile(context)
        try:
            text = path.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"no Dockerfile at {path}", hint="name it with -f") from None
        except IsADirectoryError:
            raise NotFound(f"{path} is a directory, not a Dockerfile", hint="name the file with -f") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not a text in UTF-8", why=str(error)) from None
    patterns: tuple[str, ...] = ()
    for candidate in (
        [path.with_name(f"{path.name}.dockerignore")] if path else [], [context / ".dockerignore"] if context else [],
    ):  # fmt: skip
        if candidate and candidate[0].is_file():
            patterns = ignore.read(candidate[0].read_text("utf-8", "surrogateescape"), str(candidate[0]))
            break
    return Source(text, _shown(path) if path else "Dockerfile", patterns)


def _find_dockerfile(context: Path | None) -> Path:
    if context is None:
        raise UsageError("no Dockerfile was given", hint="name it with -f, or give a context directory")
    for name in ("Dockerfile", "Containerfile"):
        if (context / name).is_file():
            return context / name
    raise NotFound(f"no Dockerfile in {context}", hint="name it with -f")


def _shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
