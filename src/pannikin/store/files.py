"""Files that are whole or not there, and locks between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pannikin.errors import Unavailable

DOCUMENT = "document-"
"""How unfinished documents are named: they live for a moment and carry no lock."""


@contextlib.contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into one clear line."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "free some space (`pannikin prune` removes what nothing refers to) or use another --root",
            errno.EDQUOT: "the quota is used up: `pannikin prune`, or another --root",
            errno.EROFS: "the file system is read-only: choose another --root",
            errno.EACCES: "choose a --root that you may write to",
        }
        if error.errno not in hints:
            raise
        raise Unavailable(f"can't write to {path}", why=os.strerror(error.errno), hint=hints[error.errno]) from None


def write_atomic(path: Path, data: bytes, temporary: Path) -> None:
    """Replace a file in one step: temporary file, fsync, rename."""
    with disk(path):
        fd, name = tempfile.mkstemp(prefix=DOCUMENT, dir=temporary)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fchmod(stream.fileno(), 0o644)
                os.fsync(stream.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in a directory last through a power failure."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold an advisory lock (flock) on a file that is made where it is missing. It ends with the process."""
    with disk(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def is_held(fd: int) -> bool:
    """Whether some other process holds a lock on the open file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        raise
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
