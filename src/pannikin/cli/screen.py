"""What people see: errors, progress (live, plain or JSON), sizes, tables. Nothing here is imported to do work."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from pannikin import progress
from pannikin.errors import PannikinError, render
from pannikin.progress import Event

MODES = ("auto", "plain", "tty", "json", "quiet")


def coloured(stream: TextIO) -> bool:
    """Whether a stream takes colours: a terminal, and NO_COLOR is not set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show_error(error: PannikinError) -> None:
    """The error, on stderr."""
    bold, reset = ("\033[1m", "\033[0m") if coloured(sys.stderr) else ("", "")
    print(f"pannikin: {render(error, bold=bold, reset=reset)}", file=sys.stderr)


def warn(text: str) -> None:
    """A line that does not stop anything, on stderr."""
    print(f"warning: {text}", file=sys.stderr)


def size(count: float) -> str:
    """Bytes for people: `12.3 MB`, powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5 or unit == "GB":
            return (
                f"{count:.0f} {unit}"
                if unit == "B"
                else f"{count:.3g} {unit}"
                if count < 100
                else f"{count:.0f} {unit}"
            )
        count /= 1000
    raise AssertionError


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Columns on stdout, aligned; `right` are the numbers of those set to the right."""
    cells = [list(headers), *[[harmless(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    for row in cells:
        aligned = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("   ".join(aligned).rstrip())


def harmless(text: str) -> str:
    """Text of unknown origin without what a terminal would obey: control characters, shown as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def dump(value: Any) -> None:
    """JSON on stdout, for people and programs."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print("".join(char if char == "\n" or char.isprintable() else json.dumps(char)[1:-1] for char in text))


@contextmanager
def showing(mode: str) -> Iterator[None]:
    """Draw the progress of everything inside on stderr. `auto` is live on a terminal, plain lines elsewhere."""
    if mode == "auto":
        mode = "tty" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    if mode == "quiet":
        yield
        return
    if mode == "json":
        with progress.listen(_json):
            yield
        return
    lines = Plain(sys.stderr)
    if mode == "plain":
        with progress.listen(lines):
            yield
        return
    from pannikin.cli.live import Live

    with Live(sys.stderr, lines) as live, progress.listen(live):
        yield


_json_lock = threading.Lock()


def _json(event: Event) -> None:
    fields = {name: getattr(event, name) for name in Event.__slots__}
    line = json.dumps(
        {"time": round(time.time(), 3), **{k: v for k, v in fields.items() if v not in (None, "", False)}}
    )
    with _json_lock:
        print(line, file=sys.stderr, flush=True)


class Plain:
    """One line an event: `#3 [build 2/4] RUN make`, `#3 0.42 output`, `#3 DONE 1.2s`. Numbers are given as met."""

    def __init__(self, stream: TextIO, write: Callable[[str], None] | None = None) -> None:
        self._stream = stream
        self._write = write or self._print
        self._lock = threading.RLock()
        self._numbers: dict[int, int] = {}
        self._started: dict[int, float] = {}
        self._partial: dict[int, str] = {}
        self._told: dict[int, float] = {}
        self._totals: dict[int, Event] = {}

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def __call__(self, event: Event) -> None:
        with self._lock:
            getattr(self, event.kind)(event)

    def _number(self, step: int) -> int:
        return self._numbers.setdefault(step, len(self._numbers) + 1)

    def started(self, event: Event) -> None:
        self._started[event.step] = time.monotonic()
        self._write(f"#{self._number(event.step)} {event.title}")

    def advanced(self, event: Event) -> None:
        """At most a line every two seconds."""
        now = time.monotonic()
        self._totals[event.step] = event
        if now - self._told.get(event.step, self._started.get(event.step, now)) >= 2:
            self._told[event.step] = now
            self._write(f"#{self._number(event.step)} {amount(event)}")

    def output(self, event: Event) -> None:
        text = self._partial.pop(event.step, "") + event.text
        lines = text.split("\n")
        self._partial[event.step] = lines.pop()
        seconds = time.monotonic() - self._started.get(event.step, time.monotonic())
        for line in lines:
            self._write(f"#{self._number(event.step)} {seconds:.2f} {overwritten(line)}")

    def finished(self, event: Event) -> None:
        if rest := self._partial.pop(event.step, ""):
            self._write(f"#{self._number(event.step)} {event.seconds:.2f} {rest}")
        number = self._number(event.step)
        if event.failed:
            self._write(f"#{number} FAILED {event.seconds:.1f}s")
        else:
            done = f" {amount(self._totals[event.step])}" if event.step in self._totals else ""
            self._write(f"#{number} CACHED" if event.cached else f"#{number} DONE {event.seconds:.1f}s{done}")


def overwritten(line: str) -> str:
    """What a terminal would still show of a line with carriage returns in it."""
    return line.rstrip("\r").rpartition("\r")[2]


def amount(event: Event) -> str:
    """`12.3 MB / 40 MB` or `3/84 packages`."""
    if event.unit == "bytes":
        return size(event.done) + (f" / {size(event.total)}" if event.total else "")
    return f"{event.done}" + (f"/{event.total}" if event.total else "") + f" {event.unit}"
