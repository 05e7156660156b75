"""Archives and layouts, in and out, against what other tools write and read is in tests/real."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pannikin.errors import Corrupt, NotFound, PannikinError
from pannikin.oci import digest as digests
from pannikin.oci.model import INDEX, Index, RunConfig
from pannikin.oci.transfer import copy
from pannikin.oci.validate import problems
from pannikin.store import Store
from pannikin.store.archive import LayoutDirectory, LayoutTar, load, save_docker
from tests.images import directory, file, image

NAME = "docker.io/library/app:1"


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


def sample(store: Store) -> object:
    run = RunConfig(env=["A=b"], cmd=["/x"])
    return image(store, [directory("d"), file("d/f", b"x" * 100_000)], [file("g", b"y")], name=NAME, run=run)


def oci_tar(store: Store) -> bytes:
    out = io.BytesIO()
    sink = LayoutTar(out)
    sink.tag(NAME, copy(store.find(NAME), sink))
    sink.close()
    return out.getvalue()


def docker_tar(store: Store) -> bytes:
    out = io.BytesIO()
    save_docker([(NAME, store.find(NAME)), ("docker.io/library/again:2", store.find(NAME))], out)
    return out.getvalue()


def test_an_oci_layout_directory_comes_back_the_same(store: Store, other: Store, tmp_path: Path) -> None:
    sample(store)
    sink = LayoutDirectory(tmp_path / "layout")
    copy(store.find(NAME), sink, NAME)
    copy(store.find(NAME), sink, "docker.io/library/second:1")
    names = [name for name, _ in load(tmp_path / "layout", other)]
    assert names == [NAME, "docker.io/library/second:1"]
    assert other.find(NAME).digest == store.find(NAME).digest and problems(other.find(NAME)) == []


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("write", [oci_tar, docker_tar])
def test_tars_come_back(
    store: Store, other: Store, tmp_path: Path, write: Callable[[Store], bytes], packed: bool
) -> None:
    sample(store)
    data = write(store)
    (tmp_path / "a.tar").write_bytes(gzip.compress(data) if packed else data)
    load(tmp_path / "a.tar", other)
    assert other.find(NAME).config == store.find(NAME).config
    assert other.find(NAME).digest == store.find(NAME).digest, "our own packing is deterministic"
    assert problems(other.find(NAME)) == []


def test_a_docker_archive_has_what_docker_save_has(store: Store) -> None:
    sample(store)
    with tarfile.open(fileobj=io.BytesIO(docker_tar(store))) as archive:
        entries = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert [entry["RepoTags"] for entry in entries] == [["app:1", "again:2"]]
        config = json.load(archive.extractfile(entries[0]["Config"]))  # type: ignore[arg-type]
        for path, diff_id in zip(entries[0]["Layers"], config["rootfs"]["diff_ids"], strict=True):
            stream = archive.extractfile(path)
            assert stream is not None and digests.of(stream.read()) == diff_id


def test_a_pipe_is_read_as_well(store: Store, other: Store) -> None:
    sample(store)
    code = (
        "import sys, pathlib\nfrom pannikin.store import Store\nfrom pannikin.store.archive import load\n"
        f"load(sys.stdin.buffer, Store(pathlib.Path({str(other.root)!r})))"
    )
    subprocess.run([sys.executable, "-c", code], input=oci_tar(store), check=True)
    assert problems(other.find(NAME)) == []


def rewrite(data: bytes, change: Callable[[str, bytes], bytes | None]) -> bytes:
    """The tar with every member's content passed through `change` (None leaves it out)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            stream = old.extractfile(member)
            content = change(member.name, stream.read() if stream else b"")
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("write", [oci_tar, docker_tar])
@pytest.mark.parametrize("damage", ["layer", "missing", "cut", "manifest", "empty", "text"])
def test_damage_is_one_error_and_leaves_no_name(
    store: Store, other: Store, tmp_path: Path, write: Callable[[Store], bytes], damage: str
) -> None:
    sample(store)
    data = write(store)
    layers = [la.descriptor.digest[7:] for la in store.find(NAME).layers] + [
        la.diff_id[7:] for la in store.find(NAME).layers
    ]

    def change(name: str, content: bytes) -> bytes | None:
        stem = name.rpartition("/")[2].removesuffix(".tar")
        if damage == "layer" and stem in layers:
            return content[:-600] + bytes(600 - 1) + b"x"
        if damage == "missing" and stem in layers:
            return None
        if damage == "manifest" and name in ("manifest.json", "index.json"):
            return b"{"
        return content

    data = {"cut": data[: len(data) // 2], "empty": b"", "text": b"hello" * 500}.get(damage) or (
        b"" if damage == "empty" else rewrite(data, change)
    )
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises((Corrupt, NotFound)):
        load(tmp_path / "a.tar", other)
    assert other.tags() == {}


def test_names_in_an_archive_can_not_lead_out_of_it(store: Store, other: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("config.json")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
        body = json.dumps([{"Config": "config.json", "RepoTags": None, "Layers": ["../secret"]}]).encode()
        info = tarfile.TarInfo("manifest.json")
        info.size = len(body)
        archive.addfile(info, io.BytesIO(body))
    (tmp_path / "a.tar").write_bytes(out.getvalue())
    with pytest.raises(PannikinError):
        load(tmp_path / "a.tar", other)


def test_indexes_nested_without_end_are_refused(store: Store, other: Store, tmp_path: Path) -> None:
    """Digests forbid a cycle, but not a tower."""
    sample(store)
    descriptor = store.find(NAME).descriptor
    for _ in range(2000):
        descriptor = store.put_bytes(Index(media_type=INDEX, manifests=[descriptor.bare()]).encode(), INDEX)
    store.tag("docker.io/library/tower:1", descriptor)
    with pytest.raises(Corrupt, match="nested"):
        copy(store.find("tower:1"), other)
