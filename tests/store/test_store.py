"""The store: whole blobs or none, names, leases, collection, checks; between threads and processes too."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pannikin.errors import Corrupt, NotFound, UsageError
from pannikin.oci import digest as digests
from pannikin.oci.model import REF_NAME, Descriptor
from pannikin.oci.platform import Platform
from pannikin.oci.validate import problems
from pannikin.store import Store
from pannikin.store.collect import check, drop, prune
from tests.images import directory, file, image


def blob(data: bytes) -> Descriptor:
    return Descriptor(media_type="a/b", digest=digests.of(data), size=len(data))


def test_a_blob_goes_in_and_comes_out(store: Store) -> None:
    with store.upload() as upload:
        upload.write(b"hello ")
        upload.write(b"world")
        digest = upload.commit()
    assert digest == digests.of(b"hello world")
    with store.open(blob(b"hello world")) as stream:
        assert stream.read() == b"hello world"
    assert list(store.temporary.iterdir()) == []


def test_sha512_blobs_have_a_place_of_their_own(store: Store) -> None:
    descriptor = Descriptor(media_type="a/b", digest=digests.of(b"x", "sha512"), size=1)
    store.put(descriptor, io.BytesIO(b"x"))
    assert (store.root / "blobs" / "sha512" / descriptor.digest[7:]).read_bytes() == b"x"


@pytest.mark.parametrize(("data", "size"), [(b"other", 5), (b"hello!", 5), (b"hell", 5), (b"hello", 4), (b"", 5)])
def test_a_wrong_blob_leaves_nothing(store: Store, data: bytes, size: int) -> None:
    descriptor = Descriptor(media_type="a/b", digest=digests.of(b"hello"), size=size)
    with pytest.raises(Corrupt):
        store.put(descriptor, io.BytesIO(data))
    assert not store.has(descriptor) and list(store.temporary.iterdir()) == []


def test_an_upload_that_is_left_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.upload() as upload:
        upload.write(b"x")
        raise RuntimeError
    assert list(store.temporary.iterdir()) == []


def test_names_are_those_of_an_oci_layout(store: Store) -> None:
    one, two = image(store, [file("a", b"1")], name="docker.io/library/a:1"), image(store, [file("a", b"2")])
    store.tag("docker.io/library/a:2", two.descriptor)
    store.tag("docker.io/library/a:1", two.descriptor)
    index = json.loads((store.root / "index.json").read_bytes())
    assert [m["annotations"][REF_NAME] for m in index["manifests"]] == [
        "docker.io/library/a:2",
        "docker.io/library/a:1",
    ]
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert store.find("a:1").digest == two.digest != one.digest
    store.untag("docker.io/library/a:1")
    with pytest.raises(NotFound):
        store.find("a:1")


def test_images_are_found_as_people_write_them(store: Store) -> None:
    made = image(store, [file("a")], name="docker.io/library/app:latest")
    config = made.manifest.config.digest
    for text in (
        "app",
        "app:latest",
        "docker.io/library/app",
        made.digest,
        made.digest[7:19],
        config[7:19],
        f"app@{made.digest}",
    ):
        assert store.find(text).digest == made.digest, text
    with pytest.raises(NotFound) as caught:
        store.find("apq")
    assert "did you mean app:latest?" in caught.value.hint
    with pytest.raises(UsageError):
        store.find("App")


def test_every_made_image_is_valid(store: Store) -> None:
    made = image(store, [directory("d"), file("d/f", b"x" * 5000)], [file("d/.wh.f")], name="docker.io/library/v:1")
    assert problems(made) == [] and check(store) == []
    assert made.select(Platform.parse("linux/amd64")) is made


def test_collection_keeps_what_names_need_and_takes_the_rest(store: Store) -> None:
    kept = image(store, [file("a", b"1")], [file("b", b"2")], name="docker.io/library/kept:1")
    image(store, [file("a", b"1")], [file("c", b"3")], name="docker.io/library/gone:1")
    loose = store.put_bytes(b"loose", "a/b")
    store.untag("docker.io/library/gone:1")
    dry = prune(store, dry_run=True)
    assert dry.blobs == 4 and store.path(loose.digest).exists(), "manifest, config, one layer, the loose blob"
    freed = prune(store)
    assert (freed.blobs, freed.bytes) == (dry.blobs, dry.bytes) and not store.path(loose.digest).exists()
    assert problems(kept) == [] and check(store) == []


def test_collection_takes_further_roots(store: Store) -> None:
    loose = store.put_bytes(b"loose", "a/b")
    assert prune(store, lambda: iter([loose])).blobs == 0
    assert prune(store).blobs == 1


def test_a_lease_protects_what_is_written_and_what_is_found(store: Store) -> None:
    old = store.put_bytes(b"old", "a/b")
    forgotten = store.put_bytes(b"forgotten", "a/b")
    for one in (old, forgotten):
        os.utime(store.path(one.digest), (1, 1))
    with store.lease():
        new = store.put_bytes(b"new", "a/b")
        assert store.has(old)
        assert prune(store).digests == [forgotten.digest]
        assert store.has(old) and store.has(new)
    assert prune(store).blobs == 2


def test_a_lease_of_a_dead_process_protects_nothing(store: Store) -> None:
    code = f"""
        import os, pathlib
        from pannikin.store import Store
        store = Store(pathlib.Path({str(store.root)!r}))
        with store.lease():
            upload = store.upload()
            upload.write(b"half")
            store.put_bytes(b"whole", "a/b")
            os.kill(os.getpid(), 9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert len(list(store.leases.iterdir())) == 1 and len(list(store.temporary.iterdir())) == 1
    freed = prune(store)
    assert (freed.blobs, freed.leftovers) == (1, 1)
    assert list(store.leases.iterdir()) == [] == list(store.temporary.iterdir())


def test_an_upload_in_progress_is_not_swept(store: Store) -> None:
    with store.upload() as upload:
        upload.write(b"x")
        prune(store)
        assert store.path(upload.commit()).exists()


def _work(root: str, number: int) -> None:
    store = Store(Path(root))
    for turn in range(15):
        with store.lease():
            made = image(store, [file("shared", b"s")], [file("own", f"{number}.{turn}".encode())])
            time.sleep(0.002)
            store.tag(f"docker.io/library/w{number}:{turn}", made.descriptor)


def test_many_processes_write_while_one_collects(tmp_path: Path) -> None:
    store = Store(tmp_path)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(str(tmp_path), number)) for number in range(3)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        prune(store)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(store.tags()) == 45, "no name was lost"
    assert check(store) == []


def test_threads_share_a_store(store: Store) -> None:
    def work(number: int) -> None:
        for turn in range(20):
            store.tag(f"docker.io/library/t{number}:{turn}", image(store, [file("x", b"same")]).descriptor)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.tags()) == 80 and check(store) == []


def test_check_names_each_damage(store: Store) -> None:
    made = image(store, [file("a", b"1")], [file("b", b"2")], name="docker.io/library/hurt:1")
    first, second = (store.path(layer.descriptor.digest) for layer in made.layers)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"!")
    found = check(store)
    assert any(first.name in line and "missing" in line for line in found)
    assert any(second.name in line and "does not match" in line for line in found)
    assert problems(made) != []


def test_a_damaged_index_is_one_clear_error(store: Store) -> None:
    (store.root / "index.json").write_text("{")
    with pytest.raises(Corrupt, match=r"index\.json"):
        store.tags()


def test_what_can_be_had_again_goes_only_when_nobody_works(store: Store) -> None:
    folder = store.root / "packages"
    folder.mkdir()
    with store.lease():
        assert not drop(store, folder) and folder.exists()
    assert drop(store, folder) and not folder.exists()
