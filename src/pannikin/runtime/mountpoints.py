"""The places that a container's mounts need in its root: made before it starts, gone without a trace after it.

A mount needs something to be mounted on. Where the image has no /proc or no /etc/resolv.conf, an empty stub is
made; left there it would become part of the layer. `Mountpoints` makes the stubs and takes them away again,
with the modification times of the directories that held them.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pannikin.errors import Unsafe
from pannikin.runtime import symlinks

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Stub:
    """`parent` is a descriptor, not a path: the command may have moved the directory and left a symlink there."""

    parent: int
    name: str
    directory: bool
    before: int
    after: int


class Mountpoints:
    """The stubs of one container under `root` (a directory that nobody else writes to meanwhile)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stubs: list[_Stub] = []
        self._covered: list[str] = []

    def add(self, target: str, *, directory: bool) -> str:
        """Make sure that `target` can be mounted on; returns where it really is, symlinks resolved inside the root.

        Raises `Unsafe` where the image has something there that can't be mounted on.
        """
        path = symlinks.resolve(target, self._readlink)
        if not path:
            raise Unsafe(f"can't mount on {target!r}", why="that is the root itself")
        if not any(path.startswith(f"{outer}/") for outer in self._covered):
            self._make(path, directory, target)
        self._covered.append(path)
        return f"/{path}"

    def remove(self) -> None:
        """Take away every stub that is still as it was made. What the command put into it stays."""
        for stub in reversed(self._stubs):
            try:
                _remove(stub)
            except OSError:
                continue
            finally:
                os.close(stub.parent)
        self._stubs.clear()

    def _readlink(self, path: str) -> str | None:
        try:
            return os.readlink(self._root / path)
        except OSError:
            return None

    def _make(self, path: str, directory: bool, target: str) -> None:
        *parents, name = path.split("/")
        at = os.open(self._root, _OPEN)
        try:
            for part in parents:
                self._one(at, part, True, target)
                inner = os.open(part, _OPEN, dir_fd=at)
                os.close(at)
                at = inner
            self._one(at, name, directory, target)
        finally:
            os.close(at)

    def _one(self, parent: int, name: str, directory: bool, target: str) -> None:
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            self._stubs.append(_make(parent, name, directory))
            return
        if stat.S_ISDIR(found.st_mode) != directory:
            kind = "something else than a directory" if directory else "a directory"
            raise Unsafe(f"can't mount on {target!r}", why=f"the image has {kind} at {name!r}")


def _make(parent: int, name: str, directory: bool) -> _Stub:
    before = os.fstat(parent).st_mtime_ns
    if directory:
        os.mkdir(name, 0o755, dir_fd=parent)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o644, dir_fd=parent))
    return _Stub(os.dup(parent), name, directory, before, os.fstat(parent).st_mtime_ns)


def _remove(stub: _Stub) -> None:
    now = os.fstat(stub.parent)
    found = os.stat(stub.name, dir_fd=stub.parent, follow_symlinks=False)
    if stub.directory:
        os.rmdir(stub.name, dir_fd=stub.parent)
    elif stat.S_ISREG(found.st_mode) and found.st_size == 0:
        os.unlink(stub.name, dir_fd=stub.parent)
    else:
        return
    if now.st_mtime_ns == stub.after:
        os.utime(stub.parent, ns=(now.st_atime_ns, stub.before))
