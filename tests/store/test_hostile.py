"""Layouts, archives and records made to hurt: the store stays usable, and nothing hangs or grows without end."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from pannikin.build.cache import StoreCache
from pannikin.build.results import Layers
from pannikin.errors import Corrupt, Unavailable
from pannikin.oci.model import INDEX, MAX_DOCUMENT, Index
from pannikin.oci.platform import Platform
from pannikin.oci.transfer import copy
from pannikin.oci.validate import problems
from pannikin.store import Store, collect
from pannikin.store.archive import LayoutDirectory, load
from tests.images import file, image

NAME = "docker.io/library/app:1"


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


def test_names_that_nothing_could_read_again_are_refused(store: Store) -> None:
    descriptor = image(store, [file("a", b"x")], name=NAME).descriptor
    descriptor.annotations = {"note": "x" * (MAX_DOCUMENT * 5 // 8)}
    store.tag("docker.io/library/large:1", descriptor)
    with pytest.raises(Unavailable, match="no room"):
        store.tag("docker.io/library/large:2", descriptor)
    assert sorted(store.tags()) == [NAME, "docker.io/library/large:1"]
    store.untag("docker.io/library/large:1")
    store.tag("docker.io/library/large:2", descriptor)


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("place", ["index", "blob"])
def test_a_layout_of_pipes_and_devices_is_refused_at_once(
    store: Store, other: Store, tmp_path: Path, kind: str, place: str
) -> None:
    sink = LayoutDirectory(tmp_path / "layout")
    descriptor = copy(image(store, [file("a", b"x")], name=NAME), sink, NAME)
    path = tmp_path / "layout" / "index.json"
    if place == "blob":
        path = tmp_path / "layout" / "blobs" / "sha256" / descriptor.digest.partition(":")[2]
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    started = time.monotonic()
    with pytest.raises(Corrupt, match="no regular file"):
        load(tmp_path / "layout", other)
    assert time.monotonic() - started < 2


def tower(store: Store, floors: int, width: int) -> Any:
    """Indexes that each name the next one `width` times."""
    below = image(store, [file("a", b"x")]).descriptor
    for _ in range(floors):
        below = store.put_bytes(Index(media_type=INDEX, manifests=[below] * width).encode(), INDEX)
    store.tag(NAME, below)
    return store.find(NAME)


def test_indexes_that_multiply_are_walked_once(store: Store, other: Store, tmp_path: Path) -> None:
    made = tower(store, 7, 20)
    started = time.process_time()
    sink = LayoutDirectory(tmp_path / "layout")
    copy(made, sink, NAME)
    load(tmp_path / "layout", other)
    there = other.find(NAME)
    assert problems(there) == [] and collect.check(other) == []
    assert not there.select(Platform.host()).is_index
    assert collect.prune(other).blobs == 0
    assert time.process_time() - started < 2


def archive(**members: bytes) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    out.seek(0)
    return out


@pytest.mark.parametrize(
    "manifest",
    [
        json.dumps([{"Config": "c.json", "Layers": [], "RepoTags": 5}]).encode(),
        json.dumps([{"Config": "c.json", "Layers": [], "RepoTags": [5]}]).encode(),
        json.dumps([{"Config": "c.json", "Layers": 5}]).encode(),
        json.dumps(5).encode(),
        b"[" * 100_000,
    ],
    ids=["tags", "tag", "layers", "number", "deep"],
)
def test_a_docker_manifest_of_the_wrong_form_is_named(store: Store, manifest: bytes) -> None:
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}}).encode()
    with pytest.raises(Corrupt, match=r"manifest\.json is not valid"):
        load(archive(c_json=config, manifest_json=manifest), store)


def test_an_archive_whose_member_begins_before_itself_ends(store: Store) -> None:
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfa\x00"
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:512]) + 256)
    with pytest.raises(Corrupt, match="no whole tar archive"):
        load(io.BytesIO(bytes(header) + bytes(1024)), store)


@pytest.mark.parametrize("damage", ["sha25\u00e9:", "sha256:../", "md5:"])
def test_a_damaged_record_counts_as_none(store: Store, damage: str) -> None:
    cache = StoreCache(store)
    cache.put("key", Layers(image(store, [file("a", b"x")]).layers))
    assert cache.get("key") is not None
    path = store.cache / "key"
    path.write_text(path.read_text().replace("sha256:", damage))
    assert cache.get("key") is None
    assert list(cache.roots()) == [] and list(cache.diff_ids()) == []
