"""Build results by key, as small files in the store; shared by every process that uses it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import msgspec

from pannikin.build.results import ImageResult, Layers
from pannikin.errors import UsageError
from pannikin.oci import digest as digests
from pannikin.oci.digest import Digest
from pannikin.oci.image import Image, Layer
from pannikin.oci.model import Descriptor
from pannikin.store import Store
from pannikin.store.files import locked, write_atomic


class _Layer(msgspec.Struct, array_like=True):
    diff_id: str
    media_type: str
    digest: str
    size: int


class _Record(msgspec.Struct):
    layers: list[_Layer] | None = None
    image: _Layer | None = None


class StoreCache:
    """The cache that lives in a store: one file a key. A record whose blobs are gone counts as none."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._decoder = msgspec.json.Decoder(_Record)

    def get(self, key: str) -> Layers | ImageResult | None:
        """The result, if all of its blobs are in the store; they are then safe while the lease lives."""
        path = self._store.cache / key
        try:
            result = _result(self._decoder.decode(path.read_bytes()))
        except (FileNotFoundError, msgspec.MsgspecError, UsageError):
            return None
        if not all(self._store.has(d) for d in self._all(result)):
            return None
        return result

    def put(self, key: str, result: Layers | ImageResult) -> None:
        """Remember a result."""
        if isinstance(result, Layers):
            record = _Record(layers=[_pack(la.diff_id, la.descriptor) for la in result.layers])
        else:
            record = _Record(image=_pack("", result.descriptor))
        write_atomic(self._store.cache / key, msgspec.json.encode(record), self._store.temporary)

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """One process makes a key's result; the others wait and find it."""
        with locked(self._store.locks / f"step-{key[:2]}{key[-6:]}"):
            yield

    def roots(self) -> Iterator[Descriptor]:
        """What a garbage collection must keep for the cache's sake."""
        for path in self._store.cache.iterdir():
            with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError, IsADirectoryError, UsageError):
                yield from _result(self._decoder.decode(path.read_bytes())).descriptors()

    def diff_ids(self) -> Iterator[Digest]:
        """The layers of every cached step."""
        for path in self._store.cache.iterdir():
            with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError, IsADirectoryError, UsageError):
                result = _result(self._decoder.decode(path.read_bytes()))
                if isinstance(result, Layers):
                    yield from (layer.diff_id for layer in result.layers)

    def forget(self, older_than: float = 0.0) -> int:
        """Drop records that are older than so many seconds. Returns how many."""
        limit = time.time() - older_than
        count = 0
        for path in self._store.cache.iterdir():
            if path.is_file() and path.stat().st_mtime <= limit:
                path.unlink(missing_ok=True)
                count += 1
        return count

    def _all(self, result: Layers | ImageResult) -> Iterator[Descriptor]:
        yield from result.descriptors()
        if isinstance(result, ImageResult) and self._store.path(result.descriptor.digest).exists():
            image = Image(result.descriptor, self._store)
            yield image.manifest.config
            yield from image.manifest.layers


def _pack(diff_id: str, descriptor: Descriptor) -> _Layer:
    return _Layer(diff_id, descriptor.media_type, descriptor.digest, descriptor.size)


def _result(record: _Record) -> Layers | ImageResult:
    """Raises `UsageError` where the record is damaged."""
    if record.image is not None:
        return ImageResult(_descriptor(record.image))
    return Layers(tuple(Layer(digests.parse(one.diff_id), _descriptor(one)) for one in record.layers or ()))


def _descriptor(one: _Layer) -> Descriptor:
    return Descriptor(media_type=one.media_type, digest=digests.parse(one.digest), size=one.size)
