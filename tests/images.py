"""Images made by hand, for tests of what reads and writes them."""

from __future__ import annotations

from collections.abc import Sequence

from pannikin.oci.image import Image, Layer
from pannikin.oci.layer import Entry, LayerWriter
from pannikin.oci.model import CONFIG, MANIFEST, Config, History, Manifest, RootFS, RunConfig
from pannikin.store import Store

Content = Sequence[tuple[Entry, bytes | None]]


def layer(store: Store, content: Content, compression: str = "gzip") -> Layer:
    """A layer of these entries, in the store."""
    with store.upload() as upload:
        writer = LayerWriter(upload, compression)  # type: ignore[arg-type]
        for entry, data in content:
            writer.add(entry, data)
        made = writer.finish()
        upload.commit(made.descriptor.digest)
    return made


def image(store: Store, *contents: Content, name: str | None = None, run: RunConfig | None = None) -> Image:
    """An image with a layer for each content; tagged where it gets a name."""
    layers = [layer(store, content) for content in contents]
    config = Config(architecture="amd64", created="2024-05-06T07:08:09Z", config=run or RunConfig())
    config.rootfs = RootFS(diff_ids=[one.diff_id for one in layers])
    config.history = [History(created_by=f"layer {number}") for number in range(len(layers))]
    stored = store.put_bytes(config.encode(), CONFIG)
    manifest = Manifest(media_type=MANIFEST, config=stored, layers=[one.descriptor for one in layers])
    descriptor = store.put_bytes(manifest.encode(), MANIFEST)
    if name:
        store.tag(name, descriptor)
    return Image(descriptor, store)


def file(path: str, data: bytes = b"", **fields: object) -> tuple[Entry, bytes]:
    """A regular file as entry and content."""
    return Entry(path, size=len(data), **fields), data  # type: ignore[arg-type]


def directory(path: str, mode: int = 0o755) -> tuple[Entry, None]:
    return Entry(path, "dir", mode), None
