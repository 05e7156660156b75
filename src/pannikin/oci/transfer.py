"""The transfer: any image from any medium into any other, blobs first, names last."""

from __future__ import annotations

from pannikin import progress
from pannikin.errors import Corrupt, NotFound
from pannikin.oci.image import Image, Sink
from pannikin.oci.model import INDEXES, Descriptor

MAX_DEPTH = 8
"""Indexes within indexes; no real image is near."""


def copy(image: Image, sink: Sink, name: str | None = None) -> Descriptor:
    """Write an image into a sink and, with `name`, tag it there. What the sink has is not moved again.

    Images of an index whose manifests are not at hand (a platform that was never pulled) are left out: the
    index keeps naming them. Raises `Corrupt` where a blob is not what its descriptor says.
    """
    blobs = list(dict.fromkeys(_present(image)))
    total = sum(size for _, size in blobs)
    wanted = {digest: None for digest, _ in blobs}
    with progress.step(f"copy {name or image.digest[:19]}") as step:
        done = 0
        for descriptor in _walk(image):
            if descriptor.digest in wanted:
                del wanted[descriptor.digest]
                if not sink.has(descriptor):
                    with image.blobs.open(descriptor) as stream:
                        sink.put(descriptor, stream)
                done += descriptor.size
                step.advance(done, total)
        if name is not None:
            sink.tag(name, image.descriptor)
    return image.descriptor


def _present(image: Image) -> list[tuple[str, int]]:
    return [(descriptor.digest, descriptor.size) for descriptor in _walk(image)]


def _walk(image: Image, depth: int = 0, seen: set[str] | None = None) -> list[Descriptor]:
    """As `Image.walk`, without the images of an index that the medium does not hold; an index named again is left out.

    A few indexes that each name the next one many times would otherwise make a walk without end.
    """
    seen = set() if seen is None else seen
    if depth > MAX_DEPTH:
        raise Corrupt(f"indexes are nested more than {MAX_DEPTH} deep", where=str(image.digest))
    if image.descriptor.media_type not in INDEXES:
        return list(image.walk())
    found: list[Descriptor] = []
    for child in image.children():
        if child.digest in seen:
            continue
        seen.add(child.digest)
        try:
            found += _walk(child, depth + 1, seen)
        except NotFound:
            continue
    return [*found, image.descriptor]
