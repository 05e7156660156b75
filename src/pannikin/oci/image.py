"""An image: a root descriptor and the blobs behind it. All else is derived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, Protocol

from pannikin.errors import Corrupt, NotFound
from pannikin.oci import digest as digests
from pannikin.oci.digest import Digest
from pannikin.oci.model import INDEXES, MANIFESTS, MAX_DOCUMENT, Config, Descriptor, Index, Manifest
from pannikin.oci.platform import Platform

MAX_DEPTH = 8
"""Indexes within indexes; no real image is near."""


class Blobs(Protocol):
    """All that a medium must implement for images to be read from it."""

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """The blob's bytes, not yet verified. Raises `NotFound`."""


class Sink(Protocol):
    """All that a medium must implement for images to be written to it."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there already, and will stay while the caller works."""

    def put(self, descriptor: Descriptor, content: BinaryIO) -> None:
        """Take a blob in, verified while it streams. Raises `Corrupt`."""

    def tag(self, name: str, descriptor: Descriptor) -> None:
        """Give the image a name."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: the digest of its plain tar (`diff_id`), and what is stored and pulled (`descriptor`)."""

    diff_id: Digest
    descriptor: Descriptor

    def __hash__(self) -> int:
        return hash((self.diff_id, self.descriptor.digest))


def read(blobs: Blobs, descriptor: Descriptor, limit: int = MAX_DOCUMENT) -> bytes:
    """A small blob, whole and verified. Raises `Corrupt` and `NotFound`."""
    if descriptor.size > limit:
        raise Corrupt(f"{descriptor.digest} is too large to be a document", why=f"{descriptor.size} bytes")
    with blobs.open(descriptor) as stream:
        raw = stream.read(limit + 1)
    hashed = digests.hasher(descriptor.digest)
    hashed.update(raw)
    digests.check(descriptor.digest, hashed, "a document")
    if len(raw) != descriptor.size:
        raise Corrupt(f"{descriptor.digest} has {len(raw)} bytes, its descriptor says {descriptor.size}")
    return raw


@dataclass(frozen=True)
class Image:
    """One image (or an index of images) in any medium."""

    descriptor: Descriptor
    blobs: Blobs

    @cached_property
    def raw(self) -> bytes:
        """The manifest's or index's own bytes, verified."""
        return read(self.blobs, self.descriptor)

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest

    @property
    def is_index(self) -> bool:
        return self.descriptor.media_type in INDEXES

    @cached_property
    def index(self) -> Index:
        """The index. Raises `Corrupt` where this is no index."""
        if not self.is_index:
            raise Corrupt(f"{self.digest} is no index", why=f"its media type is {self.descriptor.media_type}")
        return Index.decode(self.raw, f"index {self.digest}")

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest. Raises `Corrupt` where this is an index or something unknown."""
        if self.descriptor.media_type not in MANIFESTS:
            raise Corrupt(f"{self.digest} is no image", why=f"its media type is {self.descriptor.media_type}")
        return Manifest.decode(self.raw, f"manifest {self.digest}")

    @cached_property
    def config(self) -> Config:
        """The configuration, decoded; its raw bytes are `raw_config`."""
        return Config.decode(self.raw_config, f"config {self.manifest.config.digest}")

    @cached_property
    def raw_config(self) -> bytes:
        return read(self.blobs, self.manifest.config)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, base first. Raises `Corrupt` where manifest and config disagree."""
        diff_ids, stored = self.config.rootfs.diff_ids, self.manifest.layers
        if len(diff_ids) != len(stored):
            raise Corrupt(
                f"image {self.digest} contradicts itself",
                why=f"its config names {len(diff_ids)} layers, its manifest {len(stored)}",
            )
        return tuple(Layer(digests.parse(d), s.bare()) for d, s in zip(diff_ids, stored, strict=True))

    @property
    def compressed_size(self) -> int:
        """Bytes that a pull of all layers and the config moves."""
        return self.manifest.config.size + sum(layer.size for layer in self.manifest.layers)

    def children(self) -> Iterator[Image]:
        """The images of an index, in its order."""
        for descriptor in self.index.manifests:
            yield Image(descriptor, self.blobs)

    def select(self, platform: Platform, seen: set[str] | None = None) -> Image:
        """The image that a machine of this platform runs: itself, or an index's best match. Raises `NotFound`."""
        if not self.is_index:
            return self
        seen = set() if seen is None else seen  # indexes, each looked at once however often it is named
        found: list[Image] = []
        for child in self.children():
            spec = child.descriptor.platform
            if child.is_index:
                if child.digest in seen:
                    continue
                seen.add(child.digest)
                try:
                    found.append(child.select(platform, seen))
                except NotFound:
                    continue
            elif spec is None or platform.runs(spec.platform):
                found.append(child)
        if not found:
            offered = ", ".join(str(d.platform.platform) for d in self.index.manifests if d.platform)
            raise NotFound(f"no image for {platform} in {self.digest}", why=f"it has {offered or 'none'}")
        exact = [c for c in found if c.descriptor.platform and c.descriptor.platform.platform == platform.normal()]
        return (exact or found)[0]

    def walk(self) -> Iterator[Descriptor]:
        """Every descriptor below this image, its own last: the order in which they may safely be written.

        An image of an index that the medium does not hold (a platform that was never pulled) is left out, and an
        index named again is not walked again: a few that name each other many times would make a walk without end.
        Raises `Corrupt` where indexes are nested too deep.
        """
        yield from self._walk(0, set())

    def _walk(self, depth: int, seen: set[str]) -> Iterator[Descriptor]:
        if depth > MAX_DEPTH:
            raise Corrupt(f"indexes are nested more than {MAX_DEPTH} deep", where=str(self.digest))
        if self.is_index:
            for child in self.children():
                if child.digest in seen:
                    continue
                seen.add(child.digest)
                try:
                    # As a whole, so that an image of which a part is missing is left out as a whole.
                    below = list(child._walk(depth + 1, seen))
                except NotFound:
                    continue
                yield from below
        elif self.descriptor.media_type in MANIFESTS:
            yield from self.manifest.layers
            yield self.manifest.config
        yield self.descriptor
