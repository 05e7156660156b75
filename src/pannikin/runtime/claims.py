"""Directories that belong to a living process: made, locked, and swept away when their owner has died.

A claim is a directory with an exclusive `flock` on it. The kernel drops the lock with the process, however
it ends, so a directory that can be locked by somebody else is a leftover. Unlike process numbers this also
holds between containers that share the file system.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


class Claim:
    """One claimed directory; `path` is its place. Use as a context manager, or call `close`."""

    def __init__(self, parent: Path, prefix: str, remove: Callable[[Path], None] | None = None) -> None:
        """Make a fresh directory `prefix-<random>` in `parent`. Raises OSError where that can't be."""
        self._remove = remove or _remove_tree
        while True:
            self.path = parent / f"{prefix}-{os.urandom(6).hex()}"
            self.path.mkdir(mode=0o700)
            self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            # Between mkdir and flock a sweep may have taken it for a leftover.
            if os.fstat(self._fd).st_nlink and self.path.exists():
                return
            os.close(self._fd)

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the directory, if it is still there, and give up the lock."""
        if self._fd >= 0:
            try:
                self._remove(self.path)
            finally:
                os.close(self._fd)
                self._fd = -1


def sweep(parent: Path, prefix: str, remove: Callable[[Path], None] | None = None) -> int:
    """Remove the claims in `parent` whose owners are gone; returns how many. Never raises for what it can't remove."""
    removed = 0
    for path in _candidates(parent, prefix):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(fd).st_uid != os.geteuid():
                continue
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (remove or _remove_tree)(path)
            removed += 1
        except OSError:
            continue
        finally:
            os.close(fd)
    return removed


def _candidates(parent: Path, prefix: str) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            return [Path(entry.path) for entry in entries if entry.name.startswith(f"{prefix}-")]
    except OSError:
        return []


def _remove_tree(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
