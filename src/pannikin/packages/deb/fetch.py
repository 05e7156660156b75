"""Downloads: in parallel, resumed, checked by SHA-256 while they stream, kept by their hash."""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from pannikin import progress
from pannikin.errors import Corrupt, Unavailable
from pannikin.packages.deb.pins import Pinned
from pannikin.packages.deb.transport import Transport, disk_error

WORKERS = 8
"""Downloads at a time. A mirror's latency, not this machine, is what they hide."""


class _Count:
    """Bytes so far of all downloads, told to one step."""

    def __init__(self, step: progress.Step, total: int) -> None:
        self.step, self.total, self.done = step, total, 0
        self.lock = threading.Lock()

    def add(self, size: int) -> None:
        with self.lock:
            self.done += size
            self.step.advance(self.done, self.total)


def fetch(pins: Sequence[Pinned], cache: Path, transport: Transport) -> dict[Pinned, Path]:
    """The files of `pins`, from `cache` (a directory, files named by SHA-256) or from their URLs.

    Raises `Unavailable` (no mirror, disk full), `NotFound` (gone from the mirror), `Corrupt` (wrong hash).
    """
    cache.mkdir(parents=True, exist_ok=True)
    paths = {pin: cache / f"{pin.sha256}.deb" for pin in pins}
    missing = [pin for pin, path in paths.items() if not _whole(path, pin)]
    if not missing:
        return paths
    total = sum(pin.size for pin in missing)
    with progress.step(f"fetch {len(missing)} packages") as step, ThreadPoolExecutor(WORKERS) as pool:
        count = _Count(step, total)
        # The largest first: the last to end is then a small one.
        order = sorted(missing, key=lambda pin: -pin.size)
        jobs = [pool.submit(contextvars.copy_context().run, _fetch, pin, paths[pin], transport, count) for pin in order]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            for job in jobs:
                job.cancel()
            raise
    return paths


def _whole(path: Path, pin: Pinned) -> bool:
    """A file is named by its hash only once that was checked; the length catches a truncated disk."""
    try:
        return path.stat().st_size == pin.size
    except OSError:
        return False


def _fetch(pin: Pinned, path: Path, transport: Transport, count: _Count) -> None:
    download(pin.url, path, pin.sha256, pin.size, transport, what=str(pin), count=count)


def download(
    url: str, path: Path, sha256: str, size: int, transport: Transport, *, what: str, count: _Count | None = None
) -> None:
    """Fetch one file to `path`, which is there only when whole and checked. A `.part` beside it is resumed."""
    # A part of another process that lives is its own; one that this process left is taken up.
    part = path.with_name(f"{path.name}.part")
    try:
        with _claimed(part) as file:
            if not _stream(url, file, sha256, size, transport, count):
                file.seek(0)
                file.truncate()
                if not _stream(url, file, sha256, size, transport, count):
                    part.unlink(missing_ok=True)
                    why, hint = "its SHA-256 is not the one in the index", "try another mirror"
                    raise Corrupt(f"{what} is not what the archive signed", where=url, why=why, hint=hint)
            part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise disk_error(error, path) from None


@contextlib.contextmanager
def _claimed(part: Path) -> Iterator[BinaryIO]:
    """The `.part` file, locked against other processes; a second one waits."""
    import fcntl

    while True:
        file = open(part, "a+b")  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            same = os.fstat(file.fileno()).st_ino == part.stat().st_ino
        except FileNotFoundError:
            same = False
        if same:
            break
        file.close()  # the other process finished it and moved it away
    with file:
        yield file


def _stream(url: str, file: BinaryIO, sha256: str, size: int, transport: Transport, count: _Count | None) -> bool:
    """Complete `file` from where it ends; whether it then has the hash."""
    digest = hashlib.sha256()
    file.seek(0)
    have = 0
    while chunk := file.read(1 << 20):
        digest.update(chunk)
        have += len(chunk)
    if have > size:
        return False
    if have < size or size == 0:
        with transport.open(url, offset=have) as answer:
            if answer.offset != have:
                file.seek(0)
                file.truncate()
                digest, have = hashlib.sha256(), 0
            for chunk in answer.chunks:
                have += len(chunk)
                if have > size:
                    return False
                file.write(chunk)
                digest.update(chunk)
                if count is not None:
                    count.add(len(chunk))
    if have < size:
        raise Unavailable("the mirror broke off", where=url, why=f"{have} of {size} bytes", hint="run it again")
    file.flush()
    return digest.hexdigest() == sha256
