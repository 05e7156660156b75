"""Live progress on a terminal: the steps that run now, their time, bytes and last lines; what ended scrolls away."""

from __future__ import annotations

import threading
import time
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live as Screen
from rich.text import Text

from pannikin.cli.screen import Plain, amount, overwritten
from pannikin.progress import Event

_LINES = 6


class _Step:
    def __init__(self, event: Event) -> None:
        self.title = event.title
        self.parent = event.parent
        self.began = time.monotonic()
        self.amount = ""
        self.lines: list[str] = []
        self.partial = ""


class Live:
    """A sink of progress events that redraws at most ten times a second."""

    def __init__(self, stream: TextIO, plain: Plain) -> None:
        self._console = Console(file=stream, highlight=False)
        self._steps: dict[int, _Step] = {}
        self._lock = threading.RLock()
        self._screen = Screen(
            console=self._console, refresh_per_second=10, transient=True, get_renderable=self._draw, auto_refresh=True
        )

    def __enter__(self) -> Live:
        self._screen.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._screen.__exit__(None, None, None)

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.kind == "started":
                self._steps[event.step] = _Step(event)
            elif event.kind == "finished":
                self._finish(self._steps.pop(event.step, None), event)
            elif step := self._steps.get(event.step):
                if event.kind == "advanced":
                    step.amount = amount(event)
                else:
                    lines = (step.partial + event.text).split("\n")
                    step.partial = lines.pop()
                    step.lines = [*step.lines, *(line for line in lines if line.strip())][-_LINES:]

    def _finish(self, step: _Step | None, event: Event) -> None:
        if step is None or (step.parent in self._steps and not event.failed):
            return
        mark, style = ("✗", "red") if event.failed else ("●", "cyan") if event.cached else ("✓", "green")
        took = "cached" if event.cached else f"{event.seconds:.1f}s"
        self._console.print(self._line(mark, style, step.title, f"{step.amount}  {took}".strip()))

    def _line(self, mark: str, style: str, title: str, right: str) -> Text:
        width = max(20, self._console.width - len(right) - 4)
        shown = title.replace("\n", " ")
        shown = shown if len(shown) <= width else shown[: width - 1] + "…"
        text = Text(f"{mark} ", style=style)
        text.append(f"{shown:<{width}}", style="default")
        text.append(f" {right}", style="dim")
        return text

    def _draw(self) -> Group:
        with self._lock:
            drawn: list[Text] = []
            for step in list(self._steps.values()):
                seconds = f"{time.monotonic() - step.began:.1f}s"
                drawn.append(self._line("▸", "yellow", step.title, f"{step.amount}  {seconds}".strip()))
                for line in [*step.lines, *([step.partial] if step.partial else [])][-_LINES:]:
                    clean = "".join(c for c in overwritten(line) if c.isprintable())
                    drawn.append(Text(f"    {clean[: self._console.width - 6]}", style="dim"))
            return Group(*drawn)
