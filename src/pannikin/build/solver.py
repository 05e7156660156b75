"""The solver: generic, without I/O of its own, knowing nothing about containers.

A node's key is the digest of its definition and its inputs' keys. Where that key is not known, the inputs are
solved and the key is formed again from what they *contain*: an input that was made anew but came out the same
changes nothing after it. Only what the target needs is solved; independent nodes run side by side; equal nodes
run once; of several processes that want the same key, one runs and the others wait.
"""

from __future__ import annotations

import contextvars
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from pannikin import progress
from pannikin.errors import PannikinError
from pannikin.graph import Node, definition

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


class Result(Protocol):
    """What a node becomes. `content` is equal for results that nothing after them could tell apart."""

    @property
    def content(self) -> str: ...


class Op(Protocol):
    """How one type of node is solved.

    `keeps` says whether results go into the cache; a source that is cheap to read again keeps nothing.
    """

    keeps: bool

    def key(self, node: Any) -> str:
        """What stands for the node in keys, beyond its definition: a source's content; else ""."""

    def content(self, node: Any, position: int, result: Any) -> str:
        """The content of input number `position` as far as this node depends on it."""

    def run(self, node: Any, inputs: Sequence[Any]) -> Result:
        """Do it."""


class Cache(Protocol):
    """Results by key, shared by all processes of a store."""

    def get(self, key: str) -> Result | None:
        """A result whose blobs are all there, or None."""

    def put(self, key: str, result: Any) -> None: ...

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Held while a key's result is made."""


class Solver:
    """Solves one graph after another with the same ops and cache.

    >>> Solver({Add: AddOp(), Number: NumberOp()}, cache).solve(Add(Number(1), Number(2)))
    """

    def __init__(
        self,
        ops: Mapping[type, Op],
        cache: Cache,
        *,
        workers: int = 4,
        use_cache: bool = True,
        cancel: Callable[[], None] = lambda: None,
    ) -> None:
        """`workers` bounds the nodes that run at once; without `use_cache` results are written but never read.

        `cancel` is called when a node failed (or the user interrupts), to end the nodes that run at that time.
        """
        self._cancel = cancel
        self._ops = ops
        self._cache = cache
        self._workers = workers
        self._use_cache = use_cache
        self._keys: dict[Node, str] = {}
        self.ran: list[Node] = []
        """The nodes that really ran, in the order of their end: what tests and `--json` look at."""

    def key(self, node: Node) -> str:
        """The key of a node by definition: no input is solved for it."""
        for one in _ordered(node):
            if one not in self._keys:
                self._keys[one] = self._digest(one, [self._keys[i] for i in one.inputs])
        return self._keys[node]

    def solve(self, target: Node) -> Any:
        """The target's result. Raises the first error of any node, with the node's span."""
        self.key(target)
        known: dict[Node, Any] = {}
        needed = self._needed(target, known)
        if target in known:
            return known[target]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self._workers, thread_name_prefix="solve") as pool:
            self._schedule(needed, known, pool)
        return known[target]

    def _digest(self, node: Node, inputs: Sequence[str]) -> str:
        hashed = hashlib.sha256(definition(node))
        for part in (self._op(node).key(node), *inputs):
            hashed.update(b"\0" + part.encode())
        return hashed.hexdigest()

    def _op(self, node: Node) -> Op:
        return self._ops[type(node)]

    def _cached(self, node: Node, key: str) -> Any | None:
        if not self._use_cache or not self._op(node).keeps:
            return None
        return self._cache.get(key)

    def _needed(self, target: Node, known: dict[Node, Any]) -> list[Node]:
        """The nodes that must be solved, inputs first; what the cache has by definition goes into `known`."""
        needed: dict[Node, None] = {}
        pending, seen = [target], {target}
        while pending:
            node = pending.pop()
            found = self._cached(node, self._keys[node])
            if found is not None:
                known[node] = found
                continue
            needed[node] = None
            for one in node.inputs:
                if one not in seen:
                    seen.add(one)
                    pending.append(one)
        told = set(needed)
        for node in known:
            for below in _ordered(node):
                if below.title and below not in told:
                    told.add(below)
                    _announce(below)
        return [node for node in _ordered(target) if node in needed]

    def _schedule(self, needed: list[Node], known: dict[Node, Any], pool: ThreadPoolExecutor) -> None:
        from concurrent.futures import FIRST_COMPLETED, wait

        waits = {node: {one for one in node.inputs if one not in known} for node in needed}
        dependents: dict[Node, list[Node]] = {}
        for node, inputs in waits.items():
            for one in inputs:
                dependents.setdefault(one, []).append(node)
        ready = [node for node in needed if not waits[node]]
        running: dict[Future[Any], Node] = {}
        try:
            while ready or running:
                for node in ready:
                    inputs_known = [known[one] for one in node.inputs]
                    context = contextvars.copy_context()
                    running[pool.submit(context.run, self._one, node, inputs_known)] = node
                ready = []
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    node = running.pop(future)
                    known[node] = future.result()
                    for after in dependents.get(node, ()):
                        waits[after].discard(node)
                        if not waits[after]:
                            ready.append(after)
        except BaseException:
            for future in running:
                future.cancel()
            self._cancel()
            raise

    def _one(self, node: Node, inputs: Sequence[Any]) -> Any:
        try:
            if not node.title:
                return self._solve_one(node, inputs, None)
            with progress.step(node.title) as step:
                return self._solve_one(node, inputs, step)
        except PannikinError as error:
            if error.where is None:
                error.where = node.where
            raise

    def _solve_one(self, node: Node, inputs: Sequence[Any], step: progress.Step | None) -> Any:
        op = self._op(node)
        if not op.keeps:
            return op.run(node, inputs)
        by_content = [op.content(node, at, result) for at, result in enumerate(inputs)]
        key = self._digest(node, by_content)
        with self._cache.lock(key):
            found = self._cached(node, key)
            if found is None:
                found = op.run(node, inputs)
                self.ran.append(node)
                self._cache.put(key, found)
            elif step is not None:
                step.from_cache()
        self._cache.put(self._keys[node], found)
        return found


def _ordered(target: Node) -> Iterator[Node]:
    """A node and all below it, inputs first, each once. No recursion: graphs may be deep."""
    done: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(target, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack += [(one, False) for one in reversed(node.inputs) if one not in done]


def _announce(node: Node) -> None:
    with progress.step(node.title) as step:
        step.from_cache()
