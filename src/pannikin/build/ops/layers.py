"""The small ops: no layers (`Scratch`), an image's layers (`Image`), a directory (`Make`)."""

from __future__ import annotations

from collections.abc import Sequence

from pannikin import graph
from pannikin.build.ops.plan import LayerPlan
from pannikin.build.results import Layers
from pannikin.errors import UsageError
from pannikin.oci.image import Image
from pannikin.oci.layer import Entry
from pannikin.oci.model import MANIFEST, Descriptor
from pannikin.runtime import users
from pannikin.runtime.snapshots import Snapshots
from pannikin.store import Store


class ScratchOp:
    """Solves `Scratch`: nothing."""

    keeps = False

    def key(self, node: graph.Scratch) -> str:
        return ""

    def content(self, node: graph.Scratch, position: int, result: object) -> str:
        raise AssertionError("scratch has no inputs")

    def run(self, node: graph.Scratch, inputs: Sequence[object]) -> Layers:
        return Layers()


class ImageOp:
    """Solves `Image`: the layers of an image that the resolver has brought into the store."""

    keeps = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def key(self, node: graph.Image) -> str:
        return ""

    def content(self, node: graph.Image, position: int, result: object) -> str:
        raise AssertionError("an image has no inputs")

    def run(self, node: graph.Image, inputs: Sequence[object]) -> Layers:
        path = self._store.path(node.manifest)
        size = path.stat().st_size if path.exists() else 0
        image = Image(Descriptor(media_type=MANIFEST, digest=node.manifest, size=size), self._store)
        return Layers(image.layers)


class MakeOp:
    """Solves `Make`: a directory that must exist; no layer where it does."""

    keeps = True

    def __init__(self, store: Store, snapshots: Snapshots) -> None:
        self._store = store
        self._snapshots = snapshots

    def key(self, node: graph.Make) -> str:
        return ""

    def content(self, node: graph.Make, position: int, result: Layers) -> str:
        return result.content

    def run(self, node: graph.Make, inputs: Sequence[Layers]) -> Layers:
        base = inputs[0]
        view = self._snapshots.view(base.layers)
        owner = users.owner(node.owner, view) if node.owner else (0, 0)
        plan = LayerPlan(view, node.epoch, owner)
        path = node.path.strip("/")
        if plan.is_directory(path):
            return base
        try:
            plan.add(Entry(path, "dir", 0o755, *owner, node.epoch), None)
        except UsageError as error:
            raise UsageError(f"can't make the directory /{path}", why=error.what, where=node.where) from None
        return base.plus(plan.commit(self._store))
