"""ADD of a local archive: its members, each once, ready for a layer. Plain tar, gzip, bzip2, xz and zstd."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import BinaryIO, cast

from pannikin.errors import Corrupt, Unsafe
from pannikin.oci.compress import Decompressed
from pannikin.oci.layer import Entry, read

_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
Open = Callable[[], BinaryIO]


def is_archive(opener: Open) -> bool:
    """Whether docker's ADD would unpack the file: a tar archive, packed or not. A damaged packed one counts."""
    with opener() as stream:
        head = stream.read(6)
    if not head.startswith(_MAGIC):
        with opener() as stream:
            block = stream.read(512)
        return len(block) == 512 and (block[257:262] == b"ustar" or _old_header(block))
    with opener() as stream:
        try:
            block = _plain(stream, head).read(512)
        except (Corrupt, OSError, EOFError, ValueError):
            return False
    return len(block) == 512 and (block[257:262] == b"ustar" or _old_header(block))


def archive_entries(opener: Open, name: str, stack: ExitStack) -> Iterator[tuple[Entry, Open | None]]:
    """The members of an archive, the last one where several have one path; contents are opened when written.

    Raises `Corrupt` for a damaged archive and `Unsafe` where a member would leave the destination.
    """
    what = f"the archive {name!r}"
    last: dict[str, int] = {}
    kinds: dict[str, str] = {}
    for number, (entry, _) in enumerate(_members(opener, what)):
        _check(entry, what)
        last[entry.path], kinds[entry.path] = number, entry.kind
    _check_parents(kinds, what)
    contents = _Contents(lambda: _members(opener, what), stack)
    for number, (entry, _) in enumerate(_members(opener, what)):
        if last[entry.path] == number:
            yield entry, (contents.opener(number) if entry.kind == "file" else None)


class _Contents:
    """Contents of members by number. They are asked for in the order of the layer, which sorts by path.

    An archive is a stream: going back means reading it again, so members are spooled to one temporary file.
    """

    def __init__(self, members: Callable[[], Iterator[tuple[Entry, BinaryIO | None]]], stack: ExitStack) -> None:
        self._members = members
        self._stack = stack
        self._spool: BinaryIO | None = None
        self._places: dict[int, tuple[int, int]] = {}

    def opener(self, number: int) -> Open:
        return lambda: self._open(number)

    def _open(self, number: int) -> BinaryIO:
        if self._spool is None:
            self._fill()
        assert self._spool is not None
        return cast(BinaryIO, _Part(self._spool, *self._places[number]))

    def _fill(self) -> None:
        import shutil
        import tempfile

        self._spool = cast(BinaryIO, self._stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115 - entered at once
        for number, (_, content) in enumerate(self._members()):
            if content is not None:
                start = self._spool.tell()
                shutil.copyfileobj(content, self._spool, 1 << 20)
                self._places[number] = (start, self._spool.tell() - start)


class _Part:
    """A range of a file as a stream of its own."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream, self._at, self._left = stream, start, size

    def read(self, size: int = -1) -> bytes:
        import os

        count = self._left if size < 0 else min(size, self._left)
        self._stream.flush()
        data = os.pread(self._stream.fileno(), count, self._at)
        self._at += len(data)
        self._left -= len(data)
        return data

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None: ...


def _members(opener: Open, what: str) -> Iterator[tuple[Entry, BinaryIO | None]]:
    with opener() as stream:
        head = stream.read(6)
        try:
            yield from read(_plain(stream, head, what), what)
        except (EOFError, OSError, ValueError) as error:
            raise Corrupt(f"{what} is damaged", why=str(error)) from None


def _plain(stream: BinaryIO, head: bytes, what: str = "an archive") -> BinaryIO | Decompressed:
    stream.seek(0)
    if head.startswith(b"BZh"):
        import bz2

        return cast(BinaryIO, bz2.BZ2File(stream))
    if head.startswith(b"\xfd7zXZ\0"):
        import lzma

        return cast(BinaryIO, lzma.LZMAFile(stream))
    return Decompressed(stream, what=what)


def _old_header(block: bytes) -> bool:
    try:
        return bool(tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").name)
    except tarfile.TarError:
        return False


def _check(entry: Entry, what: str) -> None:
    if entry.kind == "hardlink" and not entry.link:
        raise Unsafe(f"{what} has a hard link to nothing: {entry.path!r:.200}")
    if entry.kind in ("char", "block"):
        raise Unsafe(f"{what} has a device: {entry.path!r:.200}", hint="archives with devices are not unpacked")


def _check_parents(kinds: dict[str, str], what: str) -> None:
    """No member may lie below a link or a file of the same archive: that is how archives write elsewhere."""
    for path in kinds:
        parent = path.rpartition("/")[0]
        while parent:
            if kinds.get(parent, "dir") != "dir":
                raise Unsafe(
                    f"{what} writes through {parent!r:.200}, which is a {kinds[parent]}", why=f"member {path!r:.200}"
                )
            parent = parent.rpartition("/")[0]
