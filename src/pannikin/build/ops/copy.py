"""COPY and ADD: a layer written straight from its sources. Nothing is mounted and nothing is copied twice."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import BinaryIO, Protocol

from pannikin import graph
from pannikin.build.ops.context import File, Tree
from pannikin.build.ops.plan import LayerPlan
from pannikin.build.ops.stage import StageSource
from pannikin.build.ops.unpack import archive_entries, is_archive
from pannikin.build.results import Layers
from pannikin.errors import UsageError
from pannikin.oci.layer import Entry, kind_of
from pannikin.runtime import users
from pannikin.runtime.snapshots import Snapshots
from pannikin.store import Store


class Source(Protocol):
    """Files to copy: a context's tree or another stage's file system."""

    def expand(self, pattern: str) -> list[tuple[str, str]]: ...
    def below(self, path: str) -> Iterator[File]: ...
    def open(self, file: File) -> BinaryIO: ...
    def contents(self, file: File) -> BinaryIO | bytes: ...


class CopyOp:
    """Solves `Copy` nodes."""

    keeps = True

    def __init__(self, store: Store, snapshots: Snapshots) -> None:
        self._store = store
        self._snapshots = snapshots

    def key(self, node: graph.Copy) -> str:
        return ""

    def content(self, node: graph.Copy, position: int, result: Layers | Tree) -> str:
        """For a source stage only what is copied counts: its other files may change and nothing follows."""
        if position == 1 and isinstance(result, Layers):
            return _digest(node, StageSource(self._snapshots.view(result.layers)))
        return result.content

    def run(self, node: graph.Copy, inputs: Sequence[Layers | Tree]) -> Layers:
        base, given = inputs
        assert isinstance(base, Layers)
        local = isinstance(given, Tree)
        source: Source = given if isinstance(given, Tree) else StageSource(self._snapshots.view(given.layers))
        view = self._snapshots.view(base.layers)
        owner = users.owner(node.owner, view) if node.owner else None
        plan = LayerPlan(view, node.epoch, owner or (0, 0))
        with ExitStack() as stack:
            _Copier(node, source, plan, local, owner, stack).fill()
            return base.plus(plan.commit(self._store))


class _Copier:
    """Carries one node's files into a plan, by docker's rules of where things land."""

    def __init__(
        self,
        node: graph.Copy,
        source: Source,
        plan: LayerPlan,
        local: bool,
        owner: tuple[int, int] | None,
        stack: ExitStack,
    ) -> None:
        self.node, self.source, self.plan, self.local, self.owner, self.stack = node, source, plan, local, owner, stack
        self._inodes: dict[tuple[int, int], str] = {}

    def fill(self) -> None:
        paths = [named for pattern in self.node.paths for named in self.source.expand(pattern)]
        into = self.node.dest.endswith("/") or len(paths) > 1
        if len(paths) > 1 and not self.node.dest.endswith("/") and not self.plan.is_directory(self.node.dest):
            raise UsageError(
                f"several files are copied to {self.node.dest!r}",
                where=self.node.where,
                hint=f"end the destination with a slash: {self.node.dest}/",
            )
        for path, name in paths:
            self._one(path, name, into)

    def _one(self, path: str, name: str, into: bool) -> None:
        files = self.source.below(path)
        top = next(files)
        dest = self.node.dest.strip("/")
        if stat.S_ISDIR(top.mode):
            self._tree(path, top, files, dest)
            return
        if self.node.unpack and is_archive(lambda: self.source.open(top)):
            self._archive(top, dest)
            return
        if into or self.plan.is_directory(dest):
            dest = f"{dest}/{name}".lstrip("/")
        self.plan.add(*self._item(top, dest))

    def _tree(self, path: str, top: File, files: Iterator[File], dest: str) -> None:
        """A directory's contents go into the destination; one that exists keeps its own mode and owner."""
        if not self.plan.is_directory(dest):
            self.plan.add(*self._item(top, dest))
        else:
            self.plan.require(dest)
        cut = len(path) + 1 if path else 0
        for file in files:
            self.plan.add(*self._item(file, f"{dest}/{file.path[cut:]}".lstrip("/")))

    def _archive(self, top: File, dest: str) -> None:
        if not self.plan.is_directory(dest):
            uid, gid = self.owner or (0, 0)
            self.plan.add(Entry(dest, "dir", 0o755, uid, gid, self.node.epoch), None)
        for entry, content in archive_entries(lambda: self.source.open(top), top.path, self.stack):
            entry.path = f"{dest}/{entry.path}".strip("/")
            if entry.kind == "hardlink":
                entry.link = f"{dest}/{entry.link}".strip("/")
            entry.mtime = min(entry.mtime, self.node.epoch)
            if self.owner:
                entry.uid, entry.gid = self.owner
            if entry.path:
                self.plan.add(entry, content)

    def _item(self, file: File, dest: str) -> tuple[Entry, Callable[[], BinaryIO | bytes] | None]:
        kind = kind_of(file.mode)
        assert kind is not None, "sockets are left out by every walk"
        uid, gid = self.owner or ((0, 0) if self.local else (file.uid, file.gid))
        mode = stat.S_IMODE(file.mode)
        if self.node.mode is not None and kind != "symlink":
            mode = self.node.mode
        entry = Entry(dest, kind, 0o777 if kind == "symlink" else mode, uid, gid, self._time(file))
        entry.link, entry.xattrs, entry.size = file.link, file.xattrs, file.size if kind == "file" else 0
        entry.major, entry.minor = file.device
        if kind == "file" and file.inode is not None:
            first = self._inodes.setdefault(file.inode, dest)
            if first != dest:
                return replace(entry, kind="hardlink", link=first, size=0), None
        return entry, (lambda: self.source.contents(file)) if kind == "file" else None

    def _time(self, file: File) -> int:
        return self.node.epoch if self.local else min(file.mtime, self.node.epoch)


def _digest(node: graph.Copy, source: Source) -> str:
    """The content of what a Copy takes from another stage."""
    hashed = hashlib.sha256()
    for pattern in node.paths:
        for path, name in source.expand(pattern):
            for file in source.below(path):
                about = (file.path, file.mode, file.uid, file.gid, file.link, file.device, sorted(file.xattrs.items()))
                hashed.update(
                    repr((pattern, path, name, about, min(file.mtime, node.epoch))).encode("utf-8", "surrogateescape")
                )
                if stat.S_ISREG(file.mode):
                    with source.open(file) as stream:
                        hashed.update(hashlib.file_digest(stream, "sha256").digest())  # type: ignore[arg-type]
    return hashed.hexdigest()
