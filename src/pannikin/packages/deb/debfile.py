"""The .deb format (deb(5)), streamed: an ar archive of two tars, control and data.

The tar reader is ours because half the time of a base is spent here and dpkg writes a small, known dialect (v7,
ustar, GNU long names; PAX where a build asked for it): tarfile takes five times as long for a header.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pannikin.errors import Corrupt, Unavailable

CHUNK = 256 << 10
MAX_CONTROL = 64 << 20
"""Bytes: control.tar unpacked is never larger (the largest in Debian is 4 MB)."""

Kind = Literal["file", "dir", "symlink", "hardlink", "fifo", "device"]
_KINDS: dict[bytes, Kind] = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "hardlink", b"2": "symlink", b"3": "device",
    b"4": "device", b"5": "dir", b"6": "fifo",
}  # fmt: skip


@dataclass(slots=True)
class Member:
    """One tar member. `path` is as written, without `./` at its start and `/` at its end; `link` as written."""

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    link: str


class Packed:
    """An unpacked view of `size` bytes of `file`, read forward only."""

    def __init__(self, file: BinaryIO, size: int, suffix: str, where: str) -> None:
        self.file, self.left, self.where = file, size, where
        self.buffer = b""
        self.at = 0
        self.decoder = _decoder(suffix, where)

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes. Raises `Corrupt` where the stream ends before."""
        found = self.upto(size)
        if len(found) < size:
            parts = [found]
            missing = size - len(found)
            while missing:
                more = self.upto(missing)
                if not more:
                    raise Corrupt("a package is cut off", where=self.where)
                parts.append(more)
                missing -= len(more)
            return b"".join(parts)
        return found

    def upto(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        if self.at >= len(self.buffer):
            self._fill()
        start = self.at
        self.at = min(start + size, len(self.buffer))
        return self.buffer[start : self.at]

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        while size:
            found = len(self.upto(min(size, CHUNK)))
            if not found:
                raise Corrupt("a package is cut off", where=self.where)
            size -= found

    def _fill(self) -> None:
        self.buffer, self.at = b"", 0
        try:
            while not self.buffer:
                needs_input = getattr(self.decoder, "needs_input", True)
                raw = self.file.read(min(CHUNK, self.left)) if needs_input and self.left else b""
                if not raw and needs_input:
                    break
                self.left -= len(raw)
                self.buffer = self.decoder.decompress(raw)
        except Exception as error:  # each codec has an error class of its own
            raise Corrupt("a package is damaged", where=self.where, why=str(error)) from None
        if not self.buffer and (self.left or not getattr(self.decoder, "eof", True)):
            raise Corrupt("a package is cut off", where=self.where)


class _Plain:
    def decompress(self, raw: bytes) -> bytes:
        return raw


class _Xz:
    """lzma with a bounded output: a small input never becomes a large buffer."""

    def __init__(self) -> None:
        import lzma

        self._codec = lzma.LZMADecompressor()

    @property
    def needs_input(self) -> bool:
        return self._codec.needs_input or self._codec.eof

    @property
    def eof(self) -> bool:
        return self._codec.eof

    def decompress(self, raw: bytes) -> bytes:
        return b"" if self._codec.eof else self._codec.decompress(raw, 1 << 20)


def _decoder(suffix: str, where: str) -> Any:
    if suffix == ".xz":
        return _Xz()
    if suffix == ".gz":
        from zlib_ng import zlib_ng

        return zlib_ng.decompressobj(wbits=31)
    if suffix == ".zst":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj()
    if suffix == "":
        return _Plain()
    raise Unavailable(f"can't unpack data.tar{suffix}", where=where, why="only xz, gzip, zstd and none are known")


def members(stream: Packed) -> Iterator[Member]:
    """The members of a tar. A file's content must be read (`stream.exactly`, `upto`) before the next is asked for:
    the caller reads `size` bytes, this skips the padding."""
    name = link = ""
    while True:
        header = stream.exactly(512)
        if header == bytes(512):
            while stream.upto(CHUNK):
                pass  # to the end, where the compressor's own checksum is
            return
        kind = header[156:157]
        size = _number(header[124:136], stream.where)
        if kind in (b"L", b"K", b"x", b"g"):
            name, link = _extension(stream, kind, size, name, link)
            continue
        _check(header, stream.where)
        member = _member(header, size, name, link, stream.where)
        name = link = ""
        yield member
        if member.kind == "file":
            stream.skip(-size % 512)


def _extension(stream: Packed, kind: bytes, size: int, name: str, link: str) -> tuple[str, str]:
    """The name and link that a GNU or PAX extension header sets for the member after it."""
    if size > 1 << 20:
        raise Corrupt("a package has an absurd tar header", where=stream.where)
    raw = stream.exactly(size)
    stream.skip(-size % 512)
    if kind == b"L":
        return _text(raw), link
    if kind == b"K":
        return name, _text(raw)
    records = _pax(raw) if kind == b"x" else {}
    return records.get("path", name), records.get("linkpath", link)


def _pax(raw: bytes) -> dict[str, str]:
    found = {}
    while raw:
        length = int(raw.split(b" ", 1)[0] or b"0")
        record = raw[:length].split(b" ", 1)[1].rstrip(b"\n")
        key, _, value = record.partition(b"=")
        found[key.decode()] = value.decode("utf-8", "surrogateescape")
        raw = raw[length:] if length else b""
    return found


def _member(header: bytes, size: int, name: str, link: str, where: str) -> Member:
    kind = _KINDS.get(header[156:157])
    if kind is None:
        raise Corrupt(f"a package has a tar member of type {header[156:157]!r}", where=where)
    if not name:
        name = _text(header[:100])
        if header[257:263] == b"ustar\0" and header[345]:
            name = f"{_text(header[345:500])}/{name}"
    if kind == "file" and name.endswith("/"):
        kind = "dir"
    path = name.removeprefix("./").rstrip("/")
    return Member(
        "" if path == "." else path,
        kind,
        _number(header[100:108], where) & 0o7777,
        _number(header[108:116], where),
        _number(header[116:124], where),
        _number(header[136:148], where),
        size if kind == "file" else 0,
        link or _text(header[157:257]),
    )


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _number(raw: bytes, where: str) -> int:
    if raw[0] & 0x80:
        return int.from_bytes(raw[1:], "big")
    try:
        return int(raw.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        raise Corrupt("a package has a damaged tar header", where=where) from None


def _check(header: bytes, where: str) -> None:
    if sum(header) - sum(header[148:156]) + 256 != _number(header[148:156], where):
        raise Corrupt("a package has a damaged tar header", where=where)


class Deb:
    """An open .deb: `control()` first, then `data()`. Close it, or use it as a context manager."""

    def __init__(self, path: Path, title: str = "") -> None:
        self.where = title or str(path)
        self._file = open(path, "rb")  # noqa: SIM115
        if self._file.read(8) != b"!<arch>\n":
            self._file.close()
            raise Corrupt("not a Debian package", where=self.where)

    def __enter__(self) -> Deb:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def control(self) -> dict[str, bytes]:
        """The control files by name: control, md5sums, conffiles, postinst and the others."""
        stream = self._open("control.tar")
        found, total = {}, 0
        for member in members(stream):
            if member.kind != "file":
                continue
            total += member.size
            if total > MAX_CONTROL:
                raise Corrupt("a package's control files are too large", where=self.where)
            content = stream.exactly(member.size)
            if "/" not in member.path:
                found[member.path] = content
        if "control" not in found:
            raise Corrupt("a package has no control file", where=self.where)
        self._file.seek(8, io.SEEK_SET)
        return found

    def data(self) -> Packed:
        """The unpacked data.tar, for `members`."""
        return self._open("data.tar")

    def _open(self, wanted: str) -> Packed:
        while header := self._file.read(60):
            if len(header) < 60 or header[58:60] != b"`\n":
                raise Corrupt("a package is cut off", where=self.where)
            name = header[:16].decode("ascii", "replace").strip().rstrip("/")
            size = int(header[48:58])
            if name.startswith(wanted):
                return Packed(self._file, size, name[len(wanted) :], self.where)
            self._file.seek(size + size % 2, io.SEEK_CUR)
        raise Corrupt(f"a package has no {wanted}", where=self.where)


def newest(paths: Iterable[Path]) -> int:
    """The date (epoch seconds) of the newest of some .debs.

    It is the one in the ar header: dpkg-deb writes the build's SOURCE_DATE_EPOCH there and lets no member be
    newer, so this bounds every mtime inside without unpacking anything.
    """
    return max((_date(path) for path in paths), default=0)


def _date(path: Path) -> int:
    with open(path, "rb") as file:
        header = file.read(68)
    try:
        return int(header[24:36])
    except ValueError:
        raise Corrupt("not a Debian package", where=str(path)) from None
