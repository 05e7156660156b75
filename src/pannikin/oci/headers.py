"""tar headers of unknown origin, read with limits: `tarfile.TarInfo` trusts what it reads.

A few hundred bytes, packed, can otherwise stand for gigabytes of header held in memory, for a regular expression
that takes hours (CVE-2024-6232), for headers on headers until the stack ends, or for a member that begins
before itself (CVE-2025-8194).
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from typing import Any, Self

LIMIT = 1 << 20
"""Bytes: the longest extended header or long name (Go's archive/tar has the same limit)."""
MAX_HOLES = 64 << 10
"""Pieces of one sparse file."""
_DEEP = 16
"""Headers in front of one member."""
_FIELDS = 4096
"""Fields that extended headers give one member."""
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
             tarfile.GNUTYPE_LONGLINK)  # fmt: skip
_LENGTH = re.compile(rb"(\d{1,9}) ")


class Header(tarfile.TarInfo):
    """To be given to `tarfile.open` as `tarinfo`. What is beyond the limits raises `tarfile.TarError`."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next member, its extended headers applied."""
        depth: int = getattr(archive, "header_depth", 0)
        if depth > _DEEP:
            raise tarfile.ReadError("too many headers for one member")
        archive.header_depth = depth + 1  # type: ignore[attr-defined]
        try:
            member: Self = super().fromtarfile(archive)
        finally:
            archive.header_depth = depth  # type: ignore[attr-defined]
        if member.size < 0:
            raise tarfile.ReadError(f"a member of {member.size} bytes")
        _check_pieces(member)
        return member

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.size < 0:
            raise tarfile.ReadError(f"a member of {self.size} bytes")
        if self.type in _EXTENDED and self.size > LIMIT:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]

    def _proc_pax(self, archive: Any) -> Any:
        """An extended header (POSIX.1-2008, pax Interchange Format), parsed once from its start to its end."""
        raw = archive.fileobj.read(self._block(self.size))[: self.size]  # type: ignore[attr-defined]
        everywhere = self.type == tarfile.XGLTYPE
        fields = archive.pax_headers if everywhere else dict(archive.pax_headers)
        pieces: list[int] = []
        for key, value in _records(raw):
            fields[key] = value
            if key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
                pieces.append(_number(value.encode()))
        if len(fields) > _FIELDS:
            raise tarfile.ReadError("too many fields in extended headers")
        try:
            member = self.fromtarfile(archive)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"nothing follows an extended header: {error}") from None
        if not everywhere:
            self._apply(member, fields, pieces, archive)
        return member

    def _apply(self, member: Any, fields: dict[str, str], pieces: list[int], archive: Any) -> None:
        start = member.offset_data
        if "GNU.sparse.map" in fields:
            member._proc_gnusparse_01(member, fields)
        elif "GNU.sparse.size" in fields:
            member.sparse = list(zip(pieces[::2], pieces[1::2], strict=False))
        elif (fields.get("GNU.sparse.major"), fields.get("GNU.sparse.minor")) == ("1", "0"):
            member._proc_gnusparse_10(member, fields, archive)
        member._apply_pax_info(fields, archive.encoding, archive.errors)
        member.offset = self.offset
        if "size" in fields and (member.isreg() or member.type not in tarfile.SUPPORTED_TYPES):
            archive.offset = start + member._block(_number(fields["size"].encode()))

    def _proc_gnusparse_10(self, following: Any, fields: dict[str, str], archive: Any) -> None:
        """The map in front of a sparse file's content: decimal numbers, each on a line."""
        numbers: list[int] = []
        rest = b""
        count = 1
        while len(numbers) < count:
            block = archive.fileobj.read(512)
            if len(block) < 512 or len(rest) > 512:
                raise tarfile.ReadError("a sparse file's map is not whole")
            *lines, rest = (rest + block).split(b"\n")
            if not numbers and lines:
                count = 1 + 2 * _number(lines[0])
                if count > 2 * MAX_HOLES:
                    raise tarfile.ReadError("a sparse file in too many pieces")
            numbers += [_number(line) for line in lines[: count - len(numbers)]]
        following.offset_data = archive.fileobj.tell()
        following.sparse = list(zip(numbers[1::2], numbers[2::2], strict=True))

    def _proc_sparse(self, archive: Any) -> Any:
        """An old GNU sparse file, its map in blocks of 21 pieces after the header."""
        pieces, more, size = self._sparse_structs  # type: ignore[attr-defined]
        del self._sparse_structs  # type: ignore[attr-defined]
        while more:
            block = archive.fileobj.read(512)
            if len(block) < 512:
                raise tarfile.ReadError("a sparse file's map is not whole")
            for at in range(0, 504, 24):
                offset, length = (tarfile.nti(block[n : n + 12]) for n in (at, at + 12))  # type: ignore[attr-defined]
                if offset and length:
                    pieces.append((offset, length))
            if len(pieces) > MAX_HOLES:
                raise tarfile.ReadError("a sparse file in too many pieces")
            more = bool(block[504])
        self.sparse: Any = pieces
        self.offset_data = archive.fileobj.tell()
        archive.offset = self.offset_data + self._block(self.size)  # type: ignore[attr-defined]
        self.size = size
        return self


def _records(raw: bytes) -> Iterator[tuple[str, str]]:
    """The fields of an extended header: `length key=value` and a newline, the length that of all of it."""
    at = 0
    while at < len(raw) and raw[at]:
        found = _LENGTH.match(raw, at)
        if found is None:
            raise tarfile.ReadError("an extended header is damaged")
        end = at + int(found[1])
        if end > len(raw) or end <= found.end() or raw[end - 1] != 0x0A:
            raise tarfile.ReadError("an extended header is damaged")
        key, equals, value = raw[found.end() : end - 1].partition(b"=")
        if not equals or not key:
            raise tarfile.ReadError("an extended header is damaged")
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        at = end


def _check_pieces(member: tarfile.TarInfo) -> None:
    """A sparse file's pieces stand in order, none outside of the file."""
    pieces: Any = member.sparse
    if pieces is None:
        return
    if len(pieces) > MAX_HOLES:
        raise tarfile.ReadError("a sparse file in too many pieces")
    end = 0
    for offset, length in pieces:
        if not length:  # fills up the header
            continue
        if offset < end or length < 0 or offset + length > member.size:
            raise tarfile.ReadError("a sparse file's map is damaged")
        end = offset + length


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise tarfile.ReadError("a number in an extended header is damaged")
    return int(text)
