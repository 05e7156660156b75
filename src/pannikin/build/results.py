"""What solving a node gives: layers, or a whole image. Both are names of blobs in the store."""

from __future__ import annotations

from dataclasses import dataclass

from pannikin.oci import digest as digests
from pannikin.oci.image import Layer
from pannikin.oci.model import Descriptor


@dataclass(frozen=True)
class Layers:
    """A file system as a stack of layers, base first."""

    layers: tuple[Layer, ...] = ()

    @property
    def content(self) -> str:
        """Two stacks of the same content have the same chain ID, whatever made them and however packed."""
        return digests.chain_id([layer.diff_id for layer in self.layers]) if self.layers else "scratch"

    def descriptors(self) -> list[Descriptor]:
        return [layer.descriptor for layer in self.layers]

    def plus(self, layer: Layer | None) -> Layers:
        """With one more layer on top, or the same where there was nothing to add."""
        return self if layer is None else Layers((*self.layers, layer))


@dataclass(frozen=True)
class ImageResult:
    """An image in the store."""

    descriptor: Descriptor

    @property
    def content(self) -> str:
        return self.descriptor.digest

    def descriptors(self) -> list[Descriptor]:
        return [self.descriptor]
