"""The transfer: any image from any medium into any other, blobs first, names last."""

from __future__ import annotations

from pannikin import progress
from pannikin.oci.image import Image, Sink
from pannikin.oci.model import Descriptor


def copy(image: Image, sink: Sink, name: str | None = None) -> Descriptor:
    """Write an image into a sink and, with `name`, tag it there. What the sink has is not moved again.

    Images of an index whose manifests are not at hand (a platform that was never pulled) are left out: the
    index keeps naming them. Raises `Corrupt` where a blob is not what its descriptor says.
    """
    blobs: dict[str, Descriptor] = {}
    for descriptor in image.walk():
        blobs.setdefault(descriptor.digest, descriptor)
    total = sum(descriptor.size for descriptor in blobs.values())
    with progress.step(f"copy {name or image.digest[:19]}") as step:
        done = 0
        for descriptor in blobs.values():
            if not sink.has(descriptor):
                with image.blobs.open(descriptor) as stream:
                    sink.put(descriptor, stream)
            done += descriptor.size
            step.advance(done, total)
        if name is not None:
            sink.tag(name, image.descriptor)
    return image.descriptor
