"""A whole image: configuration and manifest written over solved layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pannikin import graph
from pannikin.build.results import ImageResult, Layers
from pannikin.oci.model import CONFIG, MANIFEST, Config, History, Manifest, RootFS
from pannikin.store import Store


class ConfigOp:
    """Solves `Config` nodes."""

    keeps = True

    def __init__(self, store: Store) -> None:
        self._store = store

    def key(self, node: graph.Config) -> str:
        return ""

    def content(self, node: graph.Config, position: int, result: Layers) -> str:
        return result.content + "".join(f" {d.digest}" for d in result.descriptors())

    def run(self, node: graph.Config, inputs: Sequence[Layers]) -> ImageResult:
        solved = dict(zip(node.inputs, inputs, strict=True))
        root = solved[node.root]
        config = Config.decode(node.config.encode(), "the configuration")
        config.rootfs = RootFS(diff_ids=[layer.diff_id for layer in root.layers])
        config.created = timestamp(node.epoch)
        config.history = [*config.history, *_history(node, solved)]
        stored = self._store.put_bytes(config.encode(), CONFIG)
        manifest = Manifest(
            media_type=MANIFEST, config=stored, layers=root.descriptors(), annotations=dict(node.annotations)
        )
        descriptor = self._store.put_bytes(manifest.encode(), MANIFEST)
        return ImageResult(descriptor)


def _history(node: graph.Config, solved: Mapping[graph.Node, Layers]) -> list[History]:
    """One line a step; a step whose node added no layer over its first input made none."""
    lines = []
    for made in node.steps:
        empty = made.node is None
        if made.node is not None:
            below = [solved[one] for one in made.node.inputs[:1]]
            empty = len(solved[made.node].layers) == sum(len(one.layers) for one in below)
        lines.append(
            History(
                created=timestamp(node.epoch),
                created_by=made.created_by,
                comment=made.comment,
                author=made.author,
                empty_layer=empty,
            )
        )
    return lines


def timestamp(epoch: int) -> str:
    """RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
