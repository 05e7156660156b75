"""The difference that a command made, taken from an overlay's upper directory (or a full copy) into a layer.

Two passes: `scan` decides what changed and cleans the upper directory of what did not, so that it is then
exactly what unpacking the layer would give; `write` puts it into the archive, sorted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pannikin.errors import NotFound
from pannikin.oci.layer import OPAQUE, WHITEOUT, Entry, LayerWriter
from pannikin.runtime import overlay
from pannikin.runtime.view import View, entry_of

_CHUNK = 1 << 20


@dataclass(slots=True)
class Change:
    """One entry of the layer to be; `source` is where its content is on this host, "" where it has none."""

    entry: Entry
    source: str = ""
    link: tuple[int, int] | None = None
    """Device and inode, where the file may have other names."""


@dataclass(slots=True)
class _Scan:
    upper: str
    below: View
    epoch: int
    whole: bool
    changes: list[Change] = field(default_factory=list)

    def directory(self, path: str) -> None:
        """The changes in one directory, in the order of the archive's names."""
        at = f"{self.upper}/{path}" if path else self.upper
        opaque = self._opaque(path, at)
        found: list[tuple[str, os.stat_result]] = []
        with os.scandir(at) as entries:
            for one in entries:
                status = one.stat(follow_symlinks=False)
                name = WHITEOUT + one.name if overlay.is_whiteout(status) else one.name
                found.append((name, status))
        if opaque:
            self.changes.append(Change(Entry(_join(path, OPAQUE), mode=0o644, mtime=self.epoch)))
        if self.whole:
            self._deleted(path, {name for name, _ in found})
        for name, status in sorted(found, key=lambda pair: pair[0].encode("utf-8", "surrogateescape")):
            if overlay.is_whiteout(status):
                self._whiteout(path, name.removeprefix(WHITEOUT), at)
            elif stat.S_ISDIR(status.st_mode):
                self._subdirectory(_join(path, name), status)
            else:
                self._file(_join(path, name), status)

    def _opaque(self, path: str, at: str) -> bool:
        """Whether the directory hides something below; a mark that hides nothing is taken away."""
        if self.whole or not path or not overlay.is_opaque(at):
            return False
        if self.below.lexists(path) and self._directory_below(path) and self.below.listdir(path):
            return True
        overlay.set_opaque(at, False)
        return False

    def _directory_below(self, path: str) -> bool:
        return stat.S_ISDIR(self.below.lstat(path).st_mode)

    def _deleted(self, path: str, present: set[str]) -> None:
        if self.below.lexists(path) and self._directory_below(path):
            for name in self.below.listdir(path):
                if name not in present:
                    self.changes.append(Change(Entry(_join(path, WHITEOUT + name), mtime=self.epoch)))

    def _whiteout(self, path: str, name: str, at: str) -> None:
        if self.below.lexists(_join(path, name)):
            self.changes.append(Change(Entry(_join(path, WHITEOUT + name), mtime=self.epoch)))
        else:
            os.unlink(f"{at}/{name}")

    def _subdirectory(self, path: str, status: os.stat_result) -> None:
        at = f"{self.upper}/{path}"
        entry = entry_of(path, at, status)
        assert entry is not None
        self._clamp(entry, at)
        mine = Change(entry)
        before = len(self.changes)
        self.changes.append(mine)
        self.directory(path)
        if len(self.changes) == before + 1 and self._same(entry, status, at):
            self.changes.pop()
            if not self.whole:
                os.rmdir(at)
        else:
            os.utime(at, ns=(entry.mtime * 10**9, entry.mtime * 10**9))

    def _file(self, path: str, status: os.stat_result) -> None:
        at = f"{self.upper}/{path}"
        entry = entry_of(path, at, status)
        if entry is None:  # a socket
            os.unlink(at)
            return
        shared = status.st_nlink > 1
        if (self.whole or not shared) and self._same(entry, status, at):
            if not self.whole:
                os.unlink(at)
            return
        self._clamp(entry, at)
        if entry.mtime * 10**9 != status.st_mtime_ns:
            os.utime(at, ns=(entry.mtime * 10**9, entry.mtime * 10**9), follow_symlinks=False)
        link = (status.st_dev, status.st_ino) if shared else None
        self.changes.append(Change(entry, at if entry.kind == "file" else "", link))

    def _clamp(self, entry: Entry, at: str) -> None:
        entry.mtime = min(entry.mtime, self.epoch)

    def _same(self, entry: Entry, status: os.stat_result, at: str) -> bool:
        """Whether the layers below have the very same there. A time in the build's own present says nothing."""
        if not self.below.lexists(entry.path):
            return False
        location = self.below.location(entry.path)
        lower = entry_of(entry.path, location, os.lstat(location))
        if lower is None:
            return False
        if entry.mtime != lower.mtime and status.st_mtime_ns // 10**9 <= self.epoch:
            return False
        lower.mtime = entry.mtime
        return lower == entry and (entry.kind != "file" or _same_content(location, at))


def scan(upper: Path, below: View, epoch: int, *, whole: bool = False) -> list[Change]:
    """What is different in `upper`, an overlay's upper directory that is not mounted any more, from `below`.

    Modification times after `epoch` (seconds) are set to it. With `whole`, `upper` is a full copy of the merged
    view that was then changed, and what is missing in it was deleted.
    """
    work = _Scan(str(upper), below, epoch, whole)
    work.directory("")
    root = _root_change(upper, below, epoch)
    return [*root, *_linked(work.changes)]


def _root_change(upper: Path, below: View, epoch: int) -> list[Change]:
    """The root directory's own entry, where its owner, mode or attributes were changed."""
    entry = entry_of("", str(upper), upper.lstat())
    assert entry is not None
    default = root_entry(below)
    default.mtime = entry.mtime = min(entry.mtime, epoch)
    return [] if entry == default else [Change(entry)]


def root_entry(below: View) -> Entry:
    """The root directory of a stack of layers; 0755 and root's where no layer says anything."""
    try:
        entry = below.entry("")
    except NotFound:
        entry = None
    return entry or Entry("", "dir", 0o755)


def _linked(changes: list[Change]) -> Iterator[Change]:
    """The second and later names of a file become hard links to the first."""
    first: dict[tuple[int, int], str] = {}
    for change in changes:
        if change.link is not None:
            known = first.setdefault(change.link, change.entry.path)
            if known != change.entry.path:
                entry = change.entry
                link = Entry(entry.path, "hardlink", entry.mode, entry.uid, entry.gid, entry.mtime, link=known)
                yield Change(link)
                continue
        yield change


def write(changes: list[Change], writer: LayerWriter) -> None:
    """Put the changes into a layer."""
    for change in changes:
        if change.source and change.entry.size:
            fd = os.open(change.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(fd, "rb", buffering=0) as content:
                writer.add(change.entry, content)
        else:
            writer.add(change.entry)


def _same_content(one: str, other: str) -> bool:
    with open(one, "rb", buffering=0) as left, open(other, "rb", buffering=0) as right:
        while True:
            block = left.read(_CHUNK)
            if block != right.read(_CHUNK):
                return False
            if not block:
                return True


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
