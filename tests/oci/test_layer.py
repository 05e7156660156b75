"""Layers: what is written is read back by us and by tar, and bytes depend on the content alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pannikin.errors import Corrupt, PannikinError, Unsafe
from pannikin.oci import digest as digests
from pannikin.oci.compress import BLOCK, Compressor, Decompressed
from pannikin.oci.layer import Entry, LayerWriter, header, read

PATHS = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=120).filter(
    lambda s: s not in (".", "..")
)


def pack(entries: list[tuple[Entry, bytes | None]], compression: str = "none") -> tuple[bytes, str, str]:
    """Bytes, diff ID and digest of a layer."""
    out = io.BytesIO()
    writer = LayerWriter(out, compression)  # type: ignore[arg-type]
    for entry, data in entries:
        writer.add(entry, data)
    layer = writer.finish()
    return out.getvalue(), layer.diff_id, layer.descriptor.digest


def unpack(data: bytes) -> list[tuple[Entry, bytes | None]]:
    return [(entry, content.read() if content else None) for entry, content in read(io.BytesIO(data))]


ATTRIBUTES = PATHS.filter(lambda s: "=" not in s and "\n" not in s)

SAMPLE: list[tuple[Entry, bytes | None]] = [
    (Entry("a", "dir", 0o1777, 1, 2, 3), None),
    (Entry("a/" + "long" * 60 + "/" + "name" * 50, size=3), b"abc"),
    (Entry("a/ü", size=2, mode=0o4755, uid=3_000_000_000, gid=2_097_152, mtime=1 << 34), b"xy"),
    (Entry("a/bytes\udcff\udcfe", size=0), b""),
    (Entry("a/link", "symlink", 0o777, link="../" * 50 + "über"), None),
    (Entry("a/hard", "hardlink", link="a/ü"), None),
    (Entry("a/null", "char", major=1, minor=3), None),
    (Entry("a/disk", "block", major=259, minor=70000), None),
    (Entry("a/pipe", "fifo"), None),
    (Entry("a/xattr", size=1, xattrs={"security.capability": b"\x01\0\0\x02\0=\n", "user.é": b""}), b"z"),
    (Entry("a/before1970", mtime=-7), b""),
    (Entry("p" * 150 + "/" + "q" * 99), b""),
    (Entry(".wh.gone"), b""),
]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_what_is_written_is_read_back(compression: str) -> None:
    data, diff_id, digest = pack(SAMPLE, compression)
    assert unpack(data) == SAMPLE
    assert digest == digests.of(data)
    assert diff_id == digests.of(Decompressed(io.BytesIO(data)).read())


def test_gnu_tar_reads_it_too(tmp_path: Path) -> None:
    data, _, _ = pack([one for one in SAMPLE if one[0].kind not in ("char", "block")])
    subprocess.run(["tar", "x", "-C", tmp_path, "--no-same-owner"], input=data, check=True, capture_output=True)
    assert (tmp_path / "a" / "ü").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a" / "hard").samefile(tmp_path / "a" / "ü")
    assert os.path.exists(os.fsencode(tmp_path) + b"/a/bytes\xff\xfe")
    assert os.readlink(tmp_path / "a" / "link").endswith("über")


def test_we_read_gnu_tar(tmp_path: Path) -> None:
    """GNU long names, sparse files and an archive of `.`: as other tools write them."""
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"deep")
    with open(tmp_path / "sparse", "wb") as stream:
        stream.seek(5_000_000)
        stream.write(b"end")
    for form in ("gnu", "posix", "oldgnu"):
        run = subprocess.run(
            ["tar", "c", "--sparse", f"--format={form}", "-C", tmp_path, "."], capture_output=True, check=True
        )
        found = {entry.path: data for entry, data in unpack(run.stdout)}
        assert found[f"{'d' * 120}/{'e' * 120}/f"] == b"deep"
        sparse = found["sparse"]
        assert sparse is not None and len(sparse) == 5_000_003 and sparse.endswith(b"\0end")


def test_bytes_do_not_depend_on_pieces_or_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    data = random.Random(1).randbytes(BLOCK) * 2 + b"tail" * 1000
    digests_found = set()
    for pieces, cores in ((1, 1), (7, 2), (100_000, 8)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        for kind in ("gzip", "zstd"):
            packer = Compressor(io.BytesIO(), kind)  # type: ignore[arg-type]
            step = len(data) // pieces if pieces < 10 else pieces
            for at in range(0, len(data), step):
                packer.write(data[at : at + step])
            packer.close()
            digests_found.add((kind, packer.packed))
    assert len(digests_found) == 2


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        ("gzip", "sha256:7a40b8e62f52985f1916bebc5d7deffd26cef2c0a359e4de5525b2e41b8324d4"),
        ("zstd", "sha256:2c9e27f60804935839efb8fd2023da39dda1ddd9cd1e9672ba4b190caa222262"),
    ],
)
def test_bytes_are_those_of_every_other_machine(kind: str, digest: str) -> None:
    """Pinned: another processor, Python or release of a compressor that writes other bytes shows here.

    The same under qemu's Nehalem and core2duo. Where a new release changes them, the changelog says so.
    """
    packer = Compressor(io.BytesIO(), kind)  # type: ignore[arg-type]
    packer.write(b"".join(hashlib.sha256(b"%d" % (n % 30_000)).hexdigest().encode() for n in range(50_000)))
    packer.close()
    assert packer.packed == digest


def test_gzip_is_one_ordinary_member() -> None:
    data = os.urandom(3 * BLOCK // 2) + bytes(2 * BLOCK)
    out = io.BytesIO()
    packer = Compressor(out)
    packer.write(data)
    packer.close()
    assert gzip.decompress(out.getvalue()) == data
    assert out.getvalue()[4:8] == bytes(4), "no time in the header"
    assert packer.plain == f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_cut_or_damaged_stream_is_corrupt(kind: str) -> None:
    data, _, _ = pack([(Entry("f", size=100_000), os.urandom(100_000))], kind)
    for damaged in (data[:-1], data[: len(data) // 2], data[:20]):
        with pytest.raises(Corrupt):
            for _, content in read(io.BytesIO(damaged)):
                if content:
                    content.read()


def test_several_members_are_one_stream() -> None:
    data, _, _ = pack(SAMPLE)
    half = len(data) // 2
    assert unpack(gzip.compress(data[:half]) + gzip.compress(data[half:])) == SAMPLE


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/../x", "a/..", "..", "a/./../b"])
def test_paths_that_climb_are_unsafe(path: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(path))
    with pytest.raises(Unsafe):
        unpack(out.getvalue())


def test_hard_links_that_climb_are_unsafe() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("ok")
        link.type, link.linkname = tarfile.LNKTYPE, "../../etc/passwd"
        archive.addfile(link)
    with pytest.raises(Unsafe):
        unpack(out.getvalue())


def test_slashes_and_dots_around_paths_go() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("./", "./a", "/b/", "c//d/./e"):
            archive.addfile(tarfile.TarInfo(name))
    assert [entry.path for entry, _ in unpack(out.getvalue())] == ["", "a", "b", "c/d/e"]


def test_content_must_have_the_size_that_was_announced() -> None:
    writer = LayerWriter(io.BytesIO(), "none")
    for content in (b"abc", io.BytesIO(b"abc"), None):
        with pytest.raises(Corrupt):
            writer.add(Entry("f", size=4), content)


def test_a_header_is_whole_blocks() -> None:
    assert all(len(header(entry)) % 512 == 0 for entry, _ in SAMPLE)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.lists(PATHS, min_size=1, max_size=4).map("/".join), st.binary(max_size=600), st.integers(0, 0o7777),
            st.integers(0, 2**32 - 1), st.integers(-(2**33), 2**40),
            st.dictionaries(ATTRIBUTES, st.binary(max_size=40), max_size=2),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_any_file_survives(files: list[tuple[str, bytes, int, int, int, dict[str, bytes]]]) -> None:
    entries: list[tuple[Entry, bytes | None]] = []
    for path, data, mode, uid, mtime, xattrs in files:
        try:
            path.encode("utf-8", "surrogateescape")
            [key.encode() for key in xattrs]
        except UnicodeEncodeError:
            continue
        if any(part in ("", ".", "..") for part in path.split("/")):
            continue
        entries.append((Entry(path, "file", mode, uid, uid, mtime, len(data), xattrs=xattrs), data))
    assert unpack(pack(entries)[0]) == entries


@settings(max_examples=150)
@given(st.binary(max_size=3000), st.booleans())
def test_any_bytes_are_a_layer_or_an_error_of_ours(data: bytes, framed: bool) -> None:
    if framed:
        data = pack(SAMPLE)[0][:512] + data
    try:
        unpack(data)
    except PannikinError:
        pass


def test_archive_that_ends_with_its_last_content() -> None:
    """Without padding and end marks (umoci insert writes so): whole; one byte less is not."""
    data = header(Entry("a", size=3)) + b"one" + bytes(509) + header(Entry("b", size=5)) + b"12345"
    assert [entry.path for entry, _ in read(io.BytesIO(data))] == ["a", "b"]
    with pytest.raises(Corrupt):
        list(read(io.BytesIO(data[:-1])))
