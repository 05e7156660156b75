"""RUN: a command in a container over the layers so far; what it changed becomes a layer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pannikin import graph, progress
from pannikin.build.results import Layers
from pannikin.errors import CommandFailed
from pannikin.oci.image import Layer
from pannikin.oci.layer import LayerWriter
from pannikin.oci.model import DEFAULT_PATH
from pannikin.runtime import sandbox, users
from pannikin.runtime.snapshots import Snapshots, Writable
from pannikin.store import Store

_LAST_LINES = 20


class RunOp:
    """Solves `Run` nodes."""

    keeps = True

    def __init__(
        self, store: Store, snapshots: Snapshots, *, cpus: float | None = None, memory: int | None = None
    ) -> None:
        """`cpus` (cores) and `memory` (bytes) limit each command."""
        self._store = store
        self._snapshots = snapshots
        self._limits = {"cpus": cpus, "memory": memory}

    def key(self, node: graph.Run) -> str:
        return ""

    def content(self, node: graph.Run, position: int, result: Layers) -> str:
        return result.content

    def run(self, node: graph.Run, inputs: Sequence[Layers]) -> Layers:
        base = inputs[0]
        identity = users.resolve(node.user, self._snapshots.view(base.layers))
        env = {"PATH": DEFAULT_PATH, "HOME": identity.home, **dict(node.env)}
        # Compilers, archivers and Python's bytecode write this instead of the clock's time.
        env.setdefault("SOURCE_DATE_EPOCH", str(node.epoch))
        env, mounts = sandbox.host_access(env)
        command = sandbox.Command(
            args=node.args, env=env, cwd=node.cwd, uid=identity.uid, gid=identity.gid, groups=identity.groups,
            network=node.network, mounts=mounts, **self._limits,  # type: ignore[arg-type]
        )  # fmt: skip
        with self._snapshots.writable(base.layers) as writable:
            execute(writable, command, node)
            layer = commit(writable, self._store, node.epoch)
        return base.plus(layer)


def execute(writable: Writable, command: sandbox.Command, node: graph.Node) -> None:
    """Run a command to its end, its output going to the current step. Raises `CommandFailed` with the last lines."""
    emit = progress.emitter()
    last: deque[str] = deque(maxlen=_LAST_LINES)
    rest = ""

    def take(data: bytes) -> None:
        nonlocal rest
        text = data.decode("utf-8", "replace")
        emit(text)
        lines = (rest + text).split("\n")
        rest = lines.pop()[-10_000:]
        last.extend(lines)

    status = sandbox.run(writable.root, command, output=take)
    if status:
        output = "\n".join([*last, *([rest] if rest else [])])
        shown = " ".join(command.args)
        shown = shown.removeprefix("/bin/sh -c ")
        raise CommandFailed(
            f"the command ended with exit code {status}: {shown:.300}", status=status, output=output, where=node.where
        )


def commit(writable: Writable, store: Store, epoch: int) -> Layer | None:
    """The difference that a command left, as a layer in the store; None where there is none."""
    with store.upload() as upload:
        writer = LayerWriter(upload)
        if not writable.capture(writer, epoch):
            return None
        layer = writer.finish()
        upload.commit(layer.descriptor.digest)
    writable.adopt(layer)
    return layer
