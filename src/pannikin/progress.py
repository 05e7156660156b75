"""Progress as events and one ContextVar sink: rooms emit, only the CLI and the server draw.

A room says `with progress.step("unpack 84 packages") as step: step.advance(3, 84)`. Where nobody listens
this costs next to nothing. A thread that works for a step must run in a copy of its context
(`contextvars.copy_context().run`), or its events are lost.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["started", "advanced", "output", "finished"]
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one step.

    `done` and `total` are in `unit` ("bytes" or a plural noun); `text` is output or an error's first line;
    `seconds` is set when finished; `cached` says that nothing had to run.
    """

    kind: Kind
    step: int
    title: str
    parent: int | None = None
    done: int = 0
    total: int | None = None
    unit: str = ""
    text: str = ""
    cached: bool = False
    failed: bool = False
    seconds: float = 0.0


Sink = Callable[[Event], None]
_sink: ContextVar[Sink | None] = ContextVar("pannikin_progress", default=None)
_parent: ContextVar[int | None] = ContextVar("pannikin_progress_parent", default=None)


@dataclass(slots=True)
class Step:
    """A piece of work that a person may wait for."""

    number: int
    title: str
    parent: int | None
    sink: Sink | None
    cached: bool = False
    started: float = field(default_factory=time.monotonic)

    def _emit(self, kind: Kind, **fields: object) -> None:
        if self.sink is not None:
            self.sink(Event(kind, self.number, self.title, self.parent, **fields))  # type: ignore[arg-type]

    def advance(self, done: int, total: int | None = None, unit: str = "bytes") -> None:
        """So much is done of `total` (None where it is not known)."""
        self._emit("advanced", done=done, total=total, unit=unit)

    def output(self, text: str) -> None:
        """A piece of what the step's command wrote, whole lines or not."""
        self._emit("output", text=text)

    def from_cache(self) -> None:
        """Nothing had to run: the result was already there."""
        self.cached = True


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Announce a step, and its end however it ends. Steps begun inside it are its children."""
    made = Step(next(_numbers), title, _parent.get(), _sink.get())
    made._emit("started")
    token = _parent.set(made.number)
    failed, text = False, ""
    try:
        yield made
    except BaseException as error:
        failed, text = True, str(error).split("\n", 1)[0]
        raise
    finally:
        _parent.reset(token)
        seconds = time.monotonic() - made.started
        made._emit("finished", cached=made.cached, failed=failed, text=text, seconds=seconds)


def emitter() -> Callable[[str], None]:
    """A function that gives output to the step that runs here and now; it may be called from any thread."""
    sink, number = _sink.get(), _parent.get()
    if sink is None or number is None:
        return lambda text: None
    return lambda text: sink(Event("output", number, "", text=text))


@contextmanager
def listen(sink: Sink) -> Iterator[None]:
    """Send the events of everything inside to `sink`, which may be called from several threads."""
    token = _sink.set(sink)
    try:
        yield
    finally:
        _sink.reset(token)
