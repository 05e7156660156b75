"""Layers: a deterministic streaming tar writer, a safe streaming reader, whiteouts (image-spec layer.md).

Written: ustar, and PAX records only where ustar can't say it (long or non-ASCII names, large numbers, xattrs).
Read: all that Python's tarfile reads (ustar, PAX, GNU long names, GNU and PAX sparse files), with every path
checked: none may leave the root.
"""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, BinaryIO, Literal, cast

from pannikin.errors import Corrupt, Unsafe
from pannikin.oci.compress import BLOCK, MEDIA_TYPES, Compression, Compressor, Decompressed, Writable
from pannikin.oci.headers import Header
from pannikin.oci.image import Layer
from pannikin.oci.model import Descriptor

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
MAX_PATH = 4096
"""Bytes: Linux's PATH_MAX; a longer name in an archive is refused."""

Kind = Literal["file", "dir", "symlink", "hardlink", "char", "block", "fifo"]
_KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
}  # fmt: skip
_FLAGS: dict[Kind, bytes] = {
    "file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6",
}  # fmt: skip
_TYPES: dict[bytes, Kind] = {flag: kind for kind, flag in _FLAGS.items()} | {
    b"\0": "file", b"7": "file", b"S": "file",
}  # fmt: skip
_XATTR = "SCHILY.xattr."
_MAGIC = b"ustar\x0000" + bytes(64)
_NO_DEVICE = b"0000000\x000000000\0"


@dataclass(slots=True)
class Entry:
    """One member of a layer.

    `path` is relative with `/` between its parts and none at its ends ("" is the root directory itself), bytes
    that are not UTF-8 as surrogates; `mode` the permission bits (07777); `mtime` whole seconds; `size` bytes;
    `link` a symlink's target as written, or the path (form as `path`) that a hard link shares its content with.
    """

    path: str
    kind: Kind = "file"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    link: str = ""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)


def kind_of(mode: int) -> Kind | None:
    """The kind of a file by its `st_mode`; None for a socket, which no layer can hold."""
    return _KINDS.get(stat.S_IFMT(mode))


class LayerWriter:
    """Writes entries, in the order given, as one layer. The caller sorts: the writer never holds more than a block.

    >>> writer = LayerWriter(out)
    >>> writer.add(Entry("etc/motd", size=5), b"hello")
    >>> layer = writer.finish()
    """

    def __init__(self, out: Writable, compression: Compression = "gzip", level: int | None = None) -> None:
        self._pack = Compressor(out, compression, level)
        self._buffer = bytearray()
        self.entries = 0

    def add(self, entry: Entry, content: BinaryIO | bytes | None = None) -> None:
        """Write one entry; `content` is read for exactly `entry.size` bytes. Raises `Corrupt` where it is shorter."""
        self.entries += 1
        self._buffer += header(entry)
        if entry.kind == "file" and entry.size:
            if isinstance(content, bytes | bytearray | memoryview):
                if len(content) != entry.size:
                    raise Corrupt(f"{entry.path}: {len(content)} bytes given, {entry.size} announced")
                self._buffer += content
            elif content is not None:
                self._stream(entry, content)
            else:
                raise Corrupt(f"{entry.path}: {entry.size} bytes announced, none given")
            self._buffer += bytes(-entry.size % 512)
        if len(self._buffer) >= BLOCK:
            self._flush()

    def finish(self) -> Layer:
        """Close the archive. The layer's blob is all that was written to `out`."""
        self._buffer += bytes(1024)
        self._flush()
        self._pack.close()
        media_type = MEDIA_TYPES[self._pack.kind]
        return Layer(
            self._pack.plain,
            Descriptor(media_type=media_type, digest=self._pack.packed, size=self._pack.written),
        )

    @property
    def size(self) -> int:
        """Plain bytes so far."""
        return self._pack.size + len(self._buffer)

    def _stream(self, entry: Entry, content: BinaryIO) -> None:
        left = entry.size
        while left:
            chunk = content.read(min(left, BLOCK))
            if not chunk:
                raise Corrupt(f"{entry.path} became shorter while it was read", hint="run the command again")
            left -= len(chunk)
            self._buffer += chunk
            if len(self._buffer) >= BLOCK:
                self._flush()

    def _flush(self) -> None:
        self._pack.write(bytes(self._buffer))
        self._buffer.clear()


def header(entry: Entry) -> bytes:
    """The tar header of an entry: 512 bytes, after a PAX header where one is needed."""
    name = entry.path.encode("utf-8", "surrogateescape") or b"."
    if entry.kind == "dir":
        name += b"/"
    link = entry.link.encode("utf-8", "surrogateescape")
    size = entry.size if entry.kind == "file" else 0
    records: list[tuple[bytes, bytes]] = []
    prefix, short = _split(name)
    if short is None:
        records.append((b"path", name))
        prefix, short = b"", _ascii(name)[:100]
    if len(link) > 100 or not link.isascii():
        records.append((b"linkpath", link))
        link = _ascii(link)[:100]
    uid, gid = _octal(entry.uid, 7, b"uid", records), _octal(entry.gid, 7, b"gid", records)
    length, mtime = _octal(size, 11, b"size", records), _octal(entry.mtime, 11, b"mtime", records)
    for name_, data in sorted(entry.xattrs.items()):
        records.append(((_XATTR + name_).encode(), data))
    major, minor = (entry.major, entry.minor) if entry.kind in ("char", "block") else (0, 0)
    flag = _FLAGS[entry.kind]
    block = _block(short, entry.mode & 0o7777, uid + gid + length + mtime, flag, link, major, minor, prefix)
    return _pax(records, short) + block if records else block


def _octal(value: int, digits: int, key: bytes, records: list[tuple[bytes, bytes]]) -> bytes:
    """A number field; one that does not fit goes into a PAX record."""
    if 0 <= value < 1 << 3 * digits:
        return b"%0*o\0" % (digits, value)
    records.append((key, b"%d" % value))
    return b"0" * digits + b"\0"


def _block(
    name: bytes, mode: int, numbers: bytes, flag: bytes, link: bytes, major: int, minor: int, prefix: bytes
) -> bytes:
    """One header block. `numbers` are the fields uid, gid, size and mtime, ready."""
    head = b"%b%07o\0%b" % (name.ljust(100, b"\0"), mode, numbers)
    devices = b"%07o\0%07o\0" % (major, minor) if major or minor else _NO_DEVICE
    tail = b"%b%b%b%b%b" % (flag, link.ljust(100, b"\0"), _MAGIC, devices, prefix.ljust(155, b"\0"))
    # The checksum counts its own eight bytes as spaces.
    return b"%b%06o\0 %b" % (head, _sum(head) + _sum(tail) + 256, tail + bytes(12))


def _sum(data: bytes) -> int:
    """Of all bytes; most are zeros, which C leaves out faster than Python adds them."""
    return sum(data.translate(None, b"\0"))


def _pax(records: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    body = b"".join(_record(key, value) for key, value in records)
    numbers = b"%07o\0%07o\0%011o\0%011o\0" % (0, 0, len(body), 0)
    title = b"PaxHeaders/" + name.rstrip(b"/").rpartition(b"/")[2][:80]
    return _block(title, 0o644, numbers, b"x", b"", 0, 0, b"") + body + bytes(-len(body) % 512)


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    total = length + len(str(length))
    if length + len(str(total)) != total:
        total = length + len(str(total))
    return b"%d %b=%b\n" % (total, key, value)


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """The name as ustar's prefix and name fields; None where it does not fit."""
    if not name.isascii():
        return b"", None
    if len(name) <= 100:
        return b"", name
    cut = name[:156].rfind(b"/", 0, len(name) - 1)
    if cut <= 0 or len(name) - cut - 1 > 100:
        return b"", None
    return name[:cut], name[cut + 1 :]


def _ascii(name: bytes) -> bytes:
    return bytes(byte if byte < 128 else 0x5F for byte in name)


def clean(path: str, what: str = "an archive") -> str:
    """A member's path without `./`, leading and trailing slashes. Raises `Unsafe` for `..`, NUL and overlong ones."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Unsafe(f"{what} has a path that leaves its root: {path!r:.200}")
    if "\0" in path or len(path) > MAX_PATH:
        raise Unsafe(f"{what} has a path that no file system takes: {path!r:.80}")
    return "/".join(parts)


def read(stream: BinaryIO | Decompressed, what: str = "a layer") -> Iterator[tuple[Entry, BinaryIO | None]]:
    """The entries of a tar stream (packed or plain), with a file's content where it is one.

    A content must be read before the next entry is asked for; what is left of it is skipped. Raises `Corrupt`
    where the archive is damaged or cut off, `Unsafe` where a path leaves the root.
    """
    plain = _Counted(stream if isinstance(stream, Decompressed) else Decompressed(stream, what=what))
    end = 0
    try:
        with tarfile.open(fileobj=cast(BinaryIO, plain), mode="r|", bufsize=256 << 10, tarinfo=Header) as archive:
            for member in archive:
                entry = _entry(member, what)
                end = member.offset_data + (member.size if entry.kind == "file" else 0)
                content = _Content(archive.extractfile(member), what) if entry.kind == "file" else None
                yield entry, cast(BinaryIO | None, content)
                archive.members = []  # type: ignore[attr-defined]  # else it keeps every header in memory
    except tarfile.ReadError as error:
        # Some writers (umoci insert 0.4) end at the last byte of content, with no padding: nothing is lost.
        if str(error) == "empty file" or plain.count == end > 0:
            return
        raise Corrupt(f"{what} is not a whole tar archive", why=str(error)) from None
    except (tarfile.TarError, EOFError, UnicodeError, ValueError, OverflowError) as error:
        raise Corrupt(f"{what} is not a valid tar archive", why=str(error)) from None


class _Counted:
    """A stream that knows how many bytes were read from it, and does not let its end be read again and again."""

    def __init__(self, stream: Decompressed) -> None:
        self._stream = stream
        self.count = 0
        self._ends = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        if not data and size:
            self._ends += 1
            if self._ends > 4:  # tarfile skips a member of 10^18 bytes by reading them all
                raise tarfile.ReadError("unexpected end of data")
        return data


class _Content:
    """A member's content, whose readers need to know no error of tarfile's."""

    def __init__(self, stream: IO[bytes] | None, what: str) -> None:
        self._stream = stream
        self._what = what

    def read(self, size: int = -1) -> bytes:
        assert self._stream is not None
        try:
            return self._stream.read(size)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise Corrupt(f"{self._what} is not a whole tar archive", why=str(error)) from None


def _entry(member: tarfile.TarInfo, what: str) -> Entry:
    kind = _TYPES.get(member.type)
    if kind is None:
        if member.issparse():
            kind = "file"
        else:
            raise Corrupt(f"{what} has a member of unknown type {member.type!r}: {member.name!r:.200}")
    link = clean(member.linkname, what) if kind == "hardlink" else member.linkname if kind == "symlink" else ""
    if kind == "symlink" and (not link or "\0" in link or len(link) >= MAX_PATH):
        raise Unsafe(f"{what} has a link that no file system takes: {member.name!r:.200} to {link!r:.80}")
    xattrs = {
        key[len(_XATTR) :]: value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    }
    if any(not name or "\0" in name for name in xattrs):
        raise Unsafe(f"{what} has an attribute that no file system takes: {member.name!r:.200}")
    _check_numbers(member, kind, what)
    size = member.size if kind == "file" else 0
    return Entry(
        clean(member.name, what), kind, member.mode & 0o7777, member.uid, member.gid, int(member.mtime), size,
        link, member.devmajor, member.devminor, xattrs,
    )  # fmt: skip


def _check_numbers(member: tarfile.TarInfo, kind: Kind, what: str) -> None:
    """Refuse numbers that fit into no field of the kernel's."""
    device = kind in ("char", "block")
    for name, value, low, high in (
        ("owner", member.uid, 0, 2**32 - 1),
        ("group", member.gid, 0, 2**32 - 1),
        ("time", int(member.mtime), -(2**60), 2**60),
        ("device number", member.devmajor if device else 0, 0, 2**12 - 1),
        ("device number", member.devminor if device else 0, 0, 2**20 - 1),
    ):
        if not low <= value <= high:
            raise Unsafe(f"{what} has a member with an impossible {name}: {member.name!r:.200}", why=str(value)[:40])
