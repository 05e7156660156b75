"""Distribution packages unpacked over a base, and configured where the image is a full one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from pannikin import graph, progress
from pannikin.build.ops.run import commit
from pannikin.build.results import Layers
from pannikin.errors import CommandFailed
from pannikin.packages import deb
from pannikin.packages.deb import Archive, Pinned
from pannikin.runtime import sandbox
from pannikin.runtime.snapshots import Snapshots, Writable
from pannikin.store import Store


class PackagesOp:
    """Solves `Packages` nodes."""

    keeps = True

    def __init__(self, store: Store, snapshots: Snapshots, archive: Archive) -> None:
        self._store = store
        self._snapshots = snapshots
        self._archive = archive

    def key(self, node: graph.Packages) -> str:
        return ""

    def content(self, node: graph.Packages, position: int, result: Layers) -> str:
        return result.content

    def run(self, node: graph.Packages, inputs: Sequence[Layers]) -> Layers:
        base = inputs[0]
        debs = self._archive.fetch([pinned(package) for package in node.packages])
        architecture = self._archive.architecture
        with self._snapshots.writable(base.layers) as writable:
            if not base.layers:
                writable.root.chmod(0o755)
            if node.mode == "distroless":
                deb.unpack_distroless(writable.root, debs, architecture=architecture, drop=node.drop)
            else:
                deb.install(
                    writable.root, debs, _Configuring(writable, node), architecture=architecture,
                    drop=node.drop, sources=node.sources, epoch=node.epoch,
                )  # fmt: skip
            layer = commit(writable, self._store, node.epoch)
        return base.plus(layer)


class _Configuring:
    """Runs maintainer scripts in the sandbox: no network, their output on the step, the last lines in errors."""

    def __init__(self, writable: Writable, node: graph.Packages) -> None:
        self._writable = writable
        self._node = node
        self._emit = progress.emitter()

    def __call__(self, args: Sequence[str], env: Mapping[str, str]) -> None:
        last: deque[bytes] = deque(maxlen=200)

        def take(data: bytes) -> None:
            self._emit(data.decode("utf-8", "replace"))
            last.append(data)

        command = sandbox.Command(args=tuple(args), env=dict(env), network="none")
        status = sandbox.run(self._writable.root, command, output=take)
        if status:
            output = "\n".join(b"".join(last).decode("utf-8", "replace").splitlines()[-20:])
            raise CommandFailed(
                f"configuring the packages ended with exit code {status}", status=status, output=output,
                where=self._node.where,
            )  # fmt: skip


def pinned(package: graph.Package) -> Pinned:
    """The graph's pin as the archive takes it."""
    return Pinned(
        package.name, package.version, package.architecture, package.sha256, package.size, package.filename
    )  # fmt: skip


def unpinned(pin: Pinned) -> graph.Package:
    """The archive's pin as the graph takes it."""
    return graph.Package(pin.name, pin.version, pin.architecture, pin.sha256, pin.size, pin.filename)
