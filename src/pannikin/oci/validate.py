"""Every invariant of an image, checked down to the last byte: a user's verb, and the tests' universal assertion."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from pannikin.errors import Corrupt, PannikinError
from pannikin.oci import digest as digests
from pannikin.oci.compress import Decompressed
from pannikin.oci.digest import Digest
from pannikin.oci.image import Image, Layer
from pannikin.oci.layer import OPAQUE, WHITEOUT, read
from pannikin.oci.model import MANIFESTS


def problems(image: Image, seen: set[str] | None = None) -> list[str]:
    """What is wrong with an image or index, a line each; empty where all is well. `seen` are not looked at again."""
    seen = set() if seen is None else seen
    seen.add(image.digest)
    try:
        if image.is_index:
            children = (child for child in image.children() if child.digest not in seen)
            return [f"{child.digest}: {line}" for child in children for line in problems(child, seen)]
        return list(_manifest(image))
    except PannikinError as error:
        return [str(error)]


def _manifest(image: Image) -> Iterator[str]:
    if image.descriptor.media_type not in MANIFESTS:
        yield f"media type {image.descriptor.media_type} is no image manifest"
        return
    manifest, config = image.manifest, image.config
    if manifest.schema_version != 2:
        yield f"schemaVersion is {manifest.schema_version}, not 2"
    if manifest.media_type and manifest.media_type != image.descriptor.media_type:
        yield f"the manifest calls itself {manifest.media_type}, its descriptor {image.descriptor.media_type}"
    if not config.architecture or not config.os:
        yield "the config names no platform"
    filled = sum(not line.empty_layer for line in config.history)
    if config.history and filled != len(manifest.layers):
        yield f"history tells of {filled} layers, there are {len(manifest.layers)}"
    for number, layer in enumerate(image.layers):
        for line in _layer(image, layer):
            yield f"layer {number} ({digests.short(layer.descriptor.digest)}): {line}"


def _layer(image: Image, layer: Layer) -> Iterator[str]:
    packed, plain = digests.hasher(layer.descriptor.digest), digests.hasher(layer.diff_id)
    with image.blobs.open(layer.descriptor) as stream:
        counted = _Counted(stream, packed)
        whole = Decompressed(counted, plain)  # type: ignore[arg-type]
        try:
            yield from _entries(whole)
            whole.drain()
            counted.drain()
        except Corrupt as error:
            yield str(error)
            return
    if counted.size != layer.descriptor.size:
        yield f"{counted.size} bytes, the descriptor says {layer.descriptor.size}"
    if Digest(f"{packed.name}:{packed.hexdigest()}") != layer.descriptor.digest:
        yield "its bytes do not match its digest"
    if Digest(f"{plain.name}:{plain.hexdigest()}") != layer.diff_id:
        yield "its contents do not match its diff ID"


def _entries(stream: Decompressed) -> Iterator[str]:
    kinds: dict[str, str] = {}
    for entry, _ in read(stream):
        name = entry.path.rpartition("/")[2]
        if entry.path in kinds and not (entry.kind == "dir" and kinds[entry.path] == "dir"):
            yield f"{entry.path} is there twice"
        if name.startswith(WHITEOUT) and name != OPAQUE and len(name) == len(WHITEOUT):
            yield f"{entry.path} is a whiteout of nothing"
        if entry.kind == "hardlink" and entry.link not in kinds:
            yield f"{entry.path} links to {entry.link}, which does not stand before it"
        parent = entry.path.rpartition("/")[0]
        if kinds.get(parent, "dir") != "dir":
            yield f"{entry.path} lies below a {kinds[parent]}"
        kinds[entry.path] = entry.kind


class _Counted:
    """A stream whose bytes are counted and hashed as they are read."""

    def __init__(self, stream: BinaryIO, hashed: hashlib._Hash) -> None:
        self._stream, self._hashed, self.size = stream, hashed, 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hashed.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            pass
