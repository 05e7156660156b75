"""Archives made to hurt: each is refused, soon, without much memory, in a line."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import pytest

from pannikin.errors import Corrupt, PannikinError
from pannikin.oci.compress import Decompressed
from pannikin.oci.headers import MAX_HOLES
from pannikin.oci.layer import read

END = bytes(1024)


def member(name: str, kind: bytes = b"0", data: bytes = b"", length: int | None = None, **fields: str) -> bytes:
    """A header (a PAX one before it where `fields` ask for it) and content."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data) if length is None else length
    info.pax_headers = fields
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


def sparse(count: int, lines: bytes) -> bytes:
    fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "9"}
    data = b"%d\n" % count + lines
    return member("x", data=data + bytes(-len(data) % 512), **fields) + END


def old_sparse(blocks: int) -> bytes:
    header = bytearray(member("x", b"S"))
    header[482] = 1
    header[483:495] = b"77777777777\0"
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:512]) + 256)
    block = b"00000000001\0" * 42 + b"\1" + bytes(7)
    return bytes(header) + block * blocks


def everything(data: bytes) -> int:
    """Bytes of content in all members of an archive."""
    return sum(len(content.read()) for _, content in read(io.BytesIO(data)) if content is not None)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a long header": lambda: member("x", b"x", length=1 << 30) + bytes(3 << 20),
    "a long global header": lambda: member("x", b"g", length=1 << 30) + bytes(3 << 20),
    "a long name": lambda: member("x", b"L", length=1 << 30) + bytes(3 << 20),
    "digits": lambda: member("x", b"x", b"1" * (1 << 20)) + member("y") + END,
    "headers on headers": lambda: member("x", b"x", b"9 a=bcde\n") * 3000 + member("y") + END,
    "names on names": lambda: member("x", b"L", b"long\0") * 3000 + member("y") + END,
    "many fields": lambda: member("x", b"g", b"".join(b"13 k%06d=b\n" % n for n in range(9000))) + member("y") + END,
    "a record longer than its header": lambda: member("x", b"x", b"99 a=b\n") + member("y") + END,
    "a record without a length": lambda: member("x", b"x", b"a=b\n") + member("y") + END,
    "a record of no length": lambda: member("x", b"x", b"0 a=b\n") + member("y") + END,
    "nothing after a header": lambda: member("x", b"x", b"7 a=bc\n"),
    "less than nothing": lambda: member("x", length=512, size="-512") + END,
    "more than there is": lambda: member("x", size=str(10**18)) + END,
    "more than any number": lambda: member("x", size=str(10**30)) + END,
    "cut off": lambda: member("x", data=b"1" * 2000)[:700],
    "a map of many pieces": lambda: sparse(MAX_HOLES + 1, b"0\n1\n" * (MAX_HOLES + 1)),
    "a map without an end": lambda: sparse(1, b"0" * 2000),
    "a map that is no number": lambda: sparse(1, b"0\n-5\n"),
    "pieces in disorder": lambda: sparse(2, b"5\n1\n0\n1\n"),
    "a piece beyond the end": lambda: sparse(1, b"5\n100\n"),
    "an old map of many pieces": lambda: old_sparse(5000),
    "an owner that is too large": lambda: member("x", uid=str(2**32)) + END,
    "a negative owner": lambda: member("x", uid="-5") + END,
    "a large group": lambda: member("x", gid=str(2**40)) + END,
    "a time far off": lambda: member("x", mtime="1e300") + END,
    "a time that is none": lambda: member("x", mtime="nan") + END,
    "a NUL in a link": lambda: member("x", b"2", linkpath="a\0b") + END,
    "a link to nothing": lambda: member("x", b"2") + END,
    "a NUL in an attribute": lambda: member("x", **{"SCHILY.xattr.user.a\0b": "v"}) + END,
    "an attribute without a name": lambda: member("x", **{"SCHILY.xattr.": "v"}) + END,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_at_once(name: str) -> None:
    data = HOSTILE[name]()
    started = time.process_time()
    with pytest.raises(PannikinError):
        everything(data)
    assert time.process_time() - started < 2


def test_an_impossible_size_is_not_skipped_by_reading_for_ever() -> None:
    with pytest.raises(Corrupt):
        list(read(io.BytesIO(member("x", size=str(10**18)) + END)))


def test_digits_in_a_valid_header_take_no_time() -> None:
    data = member("x", **{"SCHILY.xattr.user.a": "1" * 60_000}) + END
    started = time.process_time()
    assert [len(entry.xattrs["user.a"]) for entry, _ in read(io.BytesIO(data))] == [60_000]
    assert time.process_time() - started < 1


def test_a_size_in_an_extended_header_counts() -> None:
    assert everything(member("x", data=b"a" * 3_000_000, size="3000000") + member("y") + END) == 3_000_000


def filled(data: bytes) -> Iterator[int]:
    """Bytes held in memory while a packed stream is read, a few times."""
    plain = Decompressed(cast(BinaryIO, io.BytesIO(data)))
    for _ in range(3):
        plain.read(1)
        yield len(plain._buffer)


def test_a_bomb_is_never_whole_in_memory() -> None:
    run = (128 << 10 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd\x00\x38" + run * 16_000  # stands for 2 GB
    assert 1 << 20 < max(filled(frame)) <= 65 << 20
    assert 1 << 20 < max(filled(gzip.compress(bytes(100 << 20)))) <= 18 << 20
