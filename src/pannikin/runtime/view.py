"""The merged, read-only view of a stack of unpacked layers, without a mount."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from pannikin.errors import NotFound, Unsafe
from pannikin.oci.layer import Entry, kind_of
from pannikin.runtime import overlay, symlinks

ROOT_MARK = "root"
"""A file beside a layer's tree which says that the layer itself gives the root directory's owner and mode."""


class View:
    """What a container of these layers would see.

    `trees` are directories with overlayfs's whiteouts, top first. All paths are relative to the image's root,
    a leading slash is allowed. Only `resolve`, `exists` and `open` follow symlinks, and never out of the root; in
    every other method the path is taken as it is. Raises `NotFound` for what is not there. Not `fresh`: what
    is found is remembered, the trees must not change.
    """

    def __init__(self, trees: Sequence[Path], *, fresh: bool = False) -> None:
        self._trees = [str(tree) for tree in trees]
        self._fresh = fresh
        self._known: dict[str, list[str]] = {}

    def lstat(self, path: str) -> os.stat_result:
        """The file's status; its inode and device numbers are those of the layer that it is in."""
        return os.lstat(self.location(path))

    def location(self, path: str) -> str:
        """Where the file really is on this host: in the topmost layer that has it."""
        path = path.strip("/")
        if not path:
            return self._root()
        found = self._find(path)
        if not found:
            raise NotFound(f"/{path} is not in the image")
        return found[0]

    def exists(self, path: str) -> bool:
        """Whether the path leads to something, symlinks followed."""
        try:
            return bool(self._find(self.resolve(path)) or not path.strip("/"))
        except Unsafe:
            return False

    def lexists(self, path: str) -> bool:
        """Whether there is something of this name, be it a dangling symlink."""
        path = path.strip("/")
        return not path or bool(self._find(path))

    def resolve(self, path: str, follow_last: bool = True) -> str:
        """The path without symlinks, as `symlinks.resolve`. What it names may not exist. Raises `Unsafe` on loops."""
        return symlinks.resolve(path, self._target, follow_last)

    def readlink(self, path: str) -> str:
        """A symlink's target as it is written. Raises `NotFound` where it is none."""
        target = self._target(path.strip("/"))
        if target is None:
            raise NotFound(f"/{path.strip('/')} is no symlink in the image")
        return target

    def open(self, path: str) -> BinaryIO:
        """A regular file's content, symlinks followed. Raises `NotFound` where it is no regular file."""
        real = self.resolve(path)
        location = self.location(real)
        if not stat.S_ISREG(os.lstat(location).st_mode):
            raise NotFound(f"/{real} is no regular file in the image")
        return open(os.open(location, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")

    def listdir(self, path: str = "") -> list[str]:
        """The names in a directory, sorted. Raises `NotFound` where it is none."""
        return [name for name, _ in self._list(path.strip("/"))]

    def walk(self, path: str = "") -> Iterator[tuple[str, os.stat_result]]:
        """Everything below a directory (itself not), sorted, a directory before what is in it."""
        path = path.strip("/")
        for name, location in self._list(path):
            inner = f"{path}/{name}" if path else name
            status = os.lstat(location)
            yield inner, status
            if stat.S_ISDIR(status.st_mode):
                yield from self.walk(inner)

    def xattrs(self, path: str) -> dict[str, bytes]:
        """The extended attributes, without overlayfs's own."""
        return read_xattrs(self.location(path))

    def entry(self, path: str) -> Entry | None:
        """The file as a layer's entry (a hard link as a file of its own); None for a socket."""
        location = self.location(path)
        return entry_of(path.strip("/"), location, os.lstat(location))

    def _root(self) -> str:
        for tree in self._trees:
            if os.path.exists(f"{os.path.dirname(tree)}/{ROOT_MARK}"):
                return tree
        if not self._trees:
            raise NotFound("the image has no layers")
        return self._trees[-1]

    def _target(self, path: str) -> str | None:
        found = self._find(path)
        try:
            return os.readlink(found[0]) if found else None
        except OSError:
            return None

    def _find(self, path: str) -> list[str]:
        """Where a path is: the directories that are merged there, top first, or one file, or nothing."""
        return self._look(path)[0]

    def _look(self, path: str) -> tuple[list[str], bool]:
        """As `_find`, and whether it is a directory: nothing else may be descended into, a symlink least of all."""
        if not path:
            return self._trees, True
        if (known := self._known.get(path)) is not None:
            return known, True
        parent, _, name = path.rpartition("/")
        above, directory = self._look(parent)
        found, directory = _merge(above, name) if directory else ([], False)
        if directory and not self._fresh:
            self._known[path] = found
        return found, directory

    def _list(self, path: str) -> list[tuple[str, str]]:
        """The names in a directory and the location of each."""
        stack, directory = self._look(path)
        if not directory:
            raise NotFound(f"/{path} is {'no directory' if stack else 'not'} in the image")
        seen: dict[str, str] = {}
        for tree in stack:
            with os.scandir(tree) as entries:
                for entry in entries:
                    seen.setdefault(entry.name, "" if _hides(entry) else entry.path)
            if overlay.is_opaque(tree):
                break
        return sorted((name, location) for name, location in seen.items() if location)


def _merge(directories: list[str], name: str) -> tuple[list[str], bool]:
    """What `name` is in a stack of merged directories, and whether it is a directory again."""
    found: list[str] = []
    for directory in directories:
        candidate = f"{directory}/{name}"
        try:
            status = os.lstat(candidate)
        except FileNotFoundError:
            continue
        if overlay.is_whiteout(status):
            break
        if not stat.S_ISDIR(status.st_mode):
            return (found, True) if found else ([candidate], False)
        found.append(candidate)
        if overlay.is_opaque(candidate):
            break
    return found, bool(found)


def _hides(entry: os.DirEntry[str]) -> bool:
    plain = entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False) or entry.is_symlink()
    return not plain and overlay.is_whiteout(entry.stat(follow_symlinks=False))


def read_xattrs(location: str) -> dict[str, bytes]:
    """A file's extended attributes, without overlayfs's own. None where the file system has none."""
    try:
        names = os.listxattr(location, follow_symlinks=False)
    except OSError:
        return {}
    shown = sorted(name for name in names if not overlay.is_private(name))
    return {name: os.getxattr(location, name, follow_symlinks=False) for name in shown}


def entry_of(path: str, location: str, status: os.stat_result) -> Entry | None:
    """A file of this host as a layer's entry; None for a socket, which no layer holds."""
    kind = kind_of(status.st_mode)
    if kind is None:
        return None
    device = kind in ("char", "block")
    return Entry(
        path,
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        int(status.st_mtime_ns // 1_000_000_000),
        status.st_size if kind == "file" else 0,
        os.readlink(location) if kind == "symlink" else "",
        os.major(status.st_rdev) if device else 0,
        os.minor(status.st_rdev) if device else 0,
        read_xattrs(location),
    )
