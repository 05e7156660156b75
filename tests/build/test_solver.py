"""The solver is proved with arithmetic: it must know nothing about containers."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from pannikin import progress
from pannikin.build.solver import Solver
from pannikin.errors import PannikinError, Span
from pannikin.graph import Node


@dataclass(frozen=True)
class Value:
    number: int

    @property
    def content(self) -> str:
        return str(self.number)


class Number(Node, frozen=True, kw_only=True, eq=False, dict=True):
    name: str


class Add(Node, frozen=True, kw_only=True, eq=False, dict=True):
    left: Node
    right: Node


class Half(Node, frozen=True, kw_only=True, eq=False, dict=True):
    """Rounds down: different inputs may give the same result."""

    of: Node


class Arithmetic:
    """One op for all three, counting its runs."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self.numbers = numbers
        self.runs: Counter[str] = Counter()
        self.keeps = True

    def key(self, node: Node) -> str:
        return str(self.numbers[node.name]) if isinstance(node, Number) else ""

    def content(self, node: Node, position: int, result: Value) -> str:
        return result.content

    def run(self, node: Node, inputs: Sequence[Value]) -> Value:
        self.runs[type(node).__name__] += 1
        if isinstance(node, Number):
            return Value(self.numbers[node.name])
        if isinstance(node, Half):
            return Value(inputs[0].number // 2)
        return Value(inputs[0].number + inputs[1].number)


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, Value] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, key: str) -> Value | None:
        return self.kept.get(key)

    def put(self, key: str, result: Value) -> None:
        self.kept[key] = result

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            yield


def solver(op: Arithmetic, cache: Memory | None = None, **options: bool) -> Solver:
    return Solver({Number: op, Add: op, Half: op}, cache or Memory(), **options)  # type: ignore[arg-type]


A, B = Number(name="a"), Number(name="b")


def test_solves_and_runs_equal_nodes_once() -> None:
    op = Arithmetic({"a": 3, "b": 4})
    graph = Add(left=Add(left=A, right=B), right=Add(left=Number(name="a"), right=Number(name="b")))
    assert solver(op).solve(graph) == Value(14)
    assert op.runs == {"Number": 2, "Add": 2}


def test_an_unchanged_target_runs_nothing_and_asks_for_no_input() -> None:
    op, cache = Arithmetic({"a": 3, "b": 4}), Memory()
    graph = Half(of=Add(left=A, right=B))
    solver(op, cache).solve(graph)
    before = op.runs.copy()
    again = solver(op, cache)
    assert again.solve(graph) == Value(3)
    assert op.runs == before and again.ran == []


def test_an_input_that_comes_out_the_same_changes_nothing_after_it() -> None:
    cache = Memory()
    graph = Add(left=Half(of=A), right=B)
    solver(Arithmetic({"a": 6, "b": 1}), cache).solve(graph)
    op = Arithmetic({"a": 7, "b": 1})
    assert solver(op, cache).solve(graph) == Value(4)
    assert op.runs == {"Number": 1, "Half": 1}, "7 // 2 is 6 // 2: the Add is known"


def test_a_changed_input_runs_what_follows() -> None:
    cache = Memory()
    graph = Add(left=Half(of=A), right=B)
    solver(Arithmetic({"a": 6, "b": 1}), cache).solve(graph)
    op = Arithmetic({"a": 9, "b": 1})
    assert solver(op, cache).solve(graph) == Value(5)
    assert op.runs == {"Number": 1, "Half": 1, "Add": 1}


def test_without_cache_everything_runs_once() -> None:
    op, cache = Arithmetic({"a": 3, "b": 4}), Memory()
    graph = Add(left=A, right=B)
    solver(op, cache).solve(graph)
    solver(op, cache, use_cache=False).solve(graph)
    assert op.runs == {"Number": 4, "Add": 2}


def test_titles_spans_and_contexts_take_no_part_in_keys() -> None:
    op = Arithmetic({"a": 1})
    named = Number(name="a", title="[1/2] a", where=Span("Dockerfile", 3))
    assert solver(op).key(named) == solver(op).key(A)


def test_an_error_stops_the_build_and_carries_the_span() -> None:
    class Fails(Arithmetic):
        def run(self, node: Node, inputs: Sequence[Value]) -> Value:
            if isinstance(node, Half):
                raise PannikinError("can't halve")
            return super().run(node, inputs)

    op = Fails({"a": 1, "b": 2})
    with pytest.raises(PannikinError) as caught:
        solver(op).solve(Add(left=Half(of=A, where=Span("f", 7)), right=B))
    assert caught.value.where == Span("f", 7)
    assert op.runs["Add"] == 0


def test_independent_nodes_run_side_by_side() -> None:
    barrier = threading.Barrier(2, timeout=10)

    class Meets(Arithmetic):
        def run(self, node: Node, inputs: Sequence[Value]) -> Value:
            if isinstance(node, Number):
                barrier.wait()
            return super().run(node, inputs)

    assert solver(Meets({"a": 1, "b": 2})).solve(Add(left=A, right=B)) == Value(3)


def test_a_deep_graph_needs_no_deep_stack() -> None:
    node: Node = A
    for _ in range(3000):
        node = Half(of=node)
    assert solver(Arithmetic({"a": 1 << 3000})).solve(node) == Value(1)


def test_two_solvers_at_once_run_a_key_once() -> None:
    cache = Memory()
    inside = threading.Event()

    class Slow(Arithmetic):
        def run(self, node: Node, inputs: Sequence[Value]) -> Value:
            inside.set()
            return super().run(node, inputs)

    op = Slow({"a": 5})
    threads = [threading.Thread(target=lambda: solver(op, cache).solve(A)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside.is_set() and op.runs["Number"] == 1


def test_progress_tells_what_came_from_the_cache() -> None:
    cache, events = Memory(), []
    graph = Half(of=Number(name="a", title="a"), title="half")
    with progress.listen(events.append):
        solver(Arithmetic({"a": 8}), cache).solve(graph)
        solver(Arithmetic({"a": 8}), cache).solve(graph)
    ended = [(e.title, e.cached) for e in events if e.kind == "finished"]
    assert ended == [("a", False), ("half", False), ("a", True), ("half", True)]


def test_a_failure_cancels_what_runs() -> None:
    stopped = threading.Event()

    class HalfFails(Arithmetic):
        def run(self, node: Node, inputs: Sequence[Value]) -> Value:
            if isinstance(node, Number) and node.name == "b":
                assert stopped.wait(10), "nobody cancelled"
            if isinstance(node, Half):
                raise PannikinError("no")
            return super().run(node, inputs)

    op = HalfFails({"a": 1, "b": 2})
    with pytest.raises(PannikinError, match="no"):
        solver(op, cancel=stopped.set).solve(Add(left=Half(of=A), right=B))  # type: ignore[arg-type]
