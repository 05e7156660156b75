"""`make demo`: the same two applications as big images and as small ones; built, run, measured.

A user of the `pannikin` command like any other. What is slow is kept in the store, and the times of a first build
in `times.json` beside it, so that a second demo takes seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measure
import plan
import report
import serve
import table

ROOT = Path(__file__).resolve().parents[2]


class Demo:
    """One run of the demo on one store."""

    def __init__(self, store: Path, *, fresh: bool = False) -> None:
        """`fresh` builds everything anew, to measure cold times again."""
        self.store = store
        self.fresh = fresh
        self.pannikin = [str(Path(sys.executable).with_name("pannikin"))]
        self.env = {**os.environ, "PANNIKIN_ROOT": str(store)}
        self.kept_in = store / "times.json"
        self.kept: dict[str, Any] = json.loads(self.kept_in.read_text()) if self.kept_in.exists() else {}

    # Commands

    def command(self, args: Sequence[str]) -> float:
        """Show a command and run it as a user would; returns seconds of the whole process."""
        print(f"\n\033[1m$ pannikin {shlex.join(args)}\033[0m" if _colour() else f"\n$ pannikin {shlex.join(args)}")
        sys.stdout.flush()
        return self.timed(args)

    def timed(self, args: Sequence[str], *, quiet: bool = False) -> float:
        """Run a command; returns seconds. Raises `serve.Failed` if it fails, with its output if that was not shown."""
        started = time.monotonic()
        done = subprocess.run(
            [*self.pannikin, *args], env=self.env, cwd=ROOT, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None,
        )  # fmt: skip
        seconds = time.monotonic() - started
        if done.returncode:
            raise serve.Failed(
                f"`pannikin {shlex.join(args)}` ended with {done.returncode}\n{done.stdout or ''}".strip()
            )
        return seconds

    # Steps

    def base(self, base: plan.Base) -> dict[str, Any]:
        """Make a base; its figures."""
        args = ("base", "-t", base.name, *base.args)
        seconds = self.command(args)
        digest = measure.digest(self.store, base.name)
        kept = self._keep(base.name, digest, {"cold_seconds": seconds, **self._size(digest)})
        command = f"pannikin {shlex.join(args)}"
        return {
            "name": base.name,
            "about": base.about,
            "digest": digest,
            "command": command,
            "seconds": seconds,
            **kept,
        }

    def image(self, recipe: plan.Recipe) -> dict[str, Any]:
        """Build, run and measure an image; its figures."""
        known = recipe.name in self.kept and not self.fresh
        if known:
            self.command(recipe.args)
            known = self.kept[recipe.name]["digest"] == measure.digest(self.store, recipe.name)
        cold = 0.0 if known else self.command((recipe.args[0], "--no-cache", *recipe.args[1:]))
        digest = measure.digest(self.store, recipe.name)
        figures = self._keep(recipe.name, digest, {"cold_seconds": cold, "measured": _now(), **self._size(digest)})
        cached = statistics.median(self.timed((*recipe.args, "--progress", "quiet"), quiet=True) for _ in range(3))
        if measure.digest(self.store, recipe.name) != digest:
            raise serve.Failed(f"{recipe.name}: an unchanged build gave another digest")
        served = self._serve(recipe)
        return {
            "name": recipe.name, "about": recipe.about, "digest": digest, **figures, "cold_is_kept": known,
            "cached_seconds": cached, "dockerfile": recipe.dockerfile, "command": f"pannikin {shlex.join(recipe.args)}",
            **served,
        }  # fmt: skip

    def _serve(self, recipe: plan.Recipe) -> dict[str, Any]:
        print(f"$ pannikin run --rm -e PORT=... {recipe.name}")
        served = serve.serve(self.pannikin, recipe.name, self.env)
        heading = re.search(r"<h1>(.*?)</h1>\s*<p>(.*?), to", served.page, re.DOTALL)
        if heading is None or "Hello" not in heading[1]:
            raise serve.Failed(f"{recipe.name}: not the page that was expected:\n{served.page[:500]}")
        if served.status and recipe.clean_stop:
            raise serve.Failed(f"{recipe.name}: exit code {served.status} after SIGTERM, not 0")
        print(
            f"  {heading[1]}. {heading[2]}. First page {served.first_page:.2f} s after the start; "
            f"stopped in {served.stop:.2f} s with exit code {served.status}"
        )
        return {
            "first_page_seconds": served.first_page, "stop_seconds": served.stop, "exit_code": served.status,
            "runtime": heading[2],
        }  # fmt: skip

    def _size(self, digest: str) -> dict[str, int]:
        known = next((one for one in self.kept.values() if one["digest"] == digest), None)
        if known is not None:
            return {field.name: known[field.name] for field in dataclasses.fields(measure.Size)}
        return dataclasses.asdict(measure.size(self.store, digest))

    def _keep(self, name: str, digest: str, figures: dict[str, Any]) -> dict[str, Any]:
        """The figures of the first time that this very image was made here: these, or the ones that were kept."""
        again = self.fresh and "measured" in figures  # bases are not made anew
        if again or self.kept.get(name, {}).get("digest") != digest:
            self.kept[name] = {"digest": digest, **figures}
            self.kept_in.write_text(json.dumps(self.kept, indent=1))
        return {key: value for key, value in self.kept[name].items() if key != "digest"}

    def everything(self) -> dict[str, Any]:
        """The whole demo; what report.json holds. Sizes are bytes, times seconds."""
        started = time.monotonic()
        print(f"All images of this demo are kept in {_shown(self.store)}: export PANNIKIN_ROOT={_shown(self.store)}")
        bases = [self.base(base) for base in plan.BASES]
        apps = []
        for app in plan.APPS:
            images = [self.image(recipe) for recipe in app.images]
            for image in images:
                image["times_smaller"] = images[0]["unpacked"] / image["unpacked"]
            apps.append({"name": app.name, "title": app.title, "text": app.text, "images": images})
        return {
            "date": _now(), "machine": machine(), "seconds": time.monotonic() - started, "bases": bases, "apps": apps,
            "goals": [_verdict(goal, apps) for goal in plan.GOALS],
        }  # fmt: skip


def _verdict(goal: plan.Goal, apps: list[dict[str, Any]]) -> dict[str, Any]:
    image = next(image for app in apps for image in app["images"] if image["name"] == goal.image)
    met = image["times_smaller"] >= goal.times and (goal.below is None or image["unpacked"] < goal.below)
    return {**dataclasses.asdict(goal), "met": met}


def machine() -> dict[str, Any]:
    """What the figures were taken on: no host name."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return {
        "system": system, "kernel": platform.release(), "architecture": platform.machine(),
        "processor": model[1] if model else platform.processor(), "cores": os.cpu_count(),
        "memory": int(memory[1]) * 1024 if memory else None, "python": platform.python_version(),
    }  # fmt: skip


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def main() -> int:
    """Run the demo; 1 if an image does not work or a goal is missed."""
    parser = argparse.ArgumentParser(prog="demo", description=main.__doc__)
    parser.add_argument("--store", type=Path, default=ROOT / "build/demo-store", help="where images are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="where report.html and report.json go")
    parser.add_argument("--fresh", action="store_true", help="build everything anew, to measure cold times again")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON at the end, not as a table")
    given = parser.parse_args()
    given.store.mkdir(parents=True, exist_ok=True)
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        figures = Demo(given.store.absolute(), fresh=given.fresh).everything()
    except serve.Failed as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    (given.out / "report.json").write_text(json.dumps(figures, indent=1) + "\n")
    (given.out / "report.html").write_text(report.page(figures))
    print(json.dumps(figures, indent=1) if given.json else "\n" + table.draw(figures))
    for verdict in figures["goals"]:
        below = f" and under {verdict['below'] / 1e6:.0f} MB" if verdict["below"] else ""
        print(f"{'met   ' if verdict['met'] else 'MISSED'}  {verdict['image']} {verdict['times']} times smaller{below}")
    print(f"\nThe whole demo took {figures['seconds']:.1f} s. The report: {_shown(given.out / 'report.html')}")
    return 0 if all(verdict["met"] for verdict in figures["goals"]) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
