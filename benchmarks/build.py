"""`make bench`: pannikin against buildah and BuildKit, the same Dockerfiles in the same run.

Every round asks each tool the same, one after the other, in an order that turns; so what else the machine does
falls on all of them. Before the clock starts each tool has the same bases in its own storage, unpacked; nothing
that is timed uses the network. A ratio is pannikin's time divided by the other's, and the median over the rounds
of the ratios within a round; below 1 pannikin is faster.

    cold       a context with contents that no tool has seen
    unchanged  the same again, with nothing touched
    edited     one file's content changed

Needs root (overlayfs), and for the bases a Debian mirror from the host's own apt configuration.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import Pannikin, Peer, Taken, archive, there
from workloads import COMPILER, SLIM, Files, Program, fresh

RESULTS = Path(__file__).parent / "results" / "build.json"
GOALS = {
    ("stages", "cold", "buildah"): 0.9,
    ("stages", "unchanged", "buildah"): 0.75,
    ("files", "cold", "buildah"): 0.6,
}
CASES = ("cold", "unchanged", "edited")


@dataclass
class Runs:
    """All that was measured: for each workload and case, and each tool, one `Taken` a round."""

    taken: dict[tuple[str, str], dict[str, list[Taken]]] = field(default_factory=dict)

    def add(self, workload: str, case: str, peer: str, taken: Taken) -> None:
        self.taken.setdefault((workload, case), {}).setdefault(peer, []).append(taken)

    def median(self, workload: str, case: str, peer: str) -> float:
        """Seconds."""
        return statistics.median(one.wall for one in self.taken[workload, case][peer])

    def ratio(self, workload: str, case: str, peer: str) -> float:
        """Pannikin's time over the peer's: the median of the rounds' ratios."""
        by_peer = self.taken[workload, case]
        pairs = zip(by_peer["pannikin"], by_peer[peer], strict=True)
        return statistics.median(ours.wall / theirs.wall for ours, theirs in pairs)


def main() -> int:
    """Measure, print a table of ratios, and write the raw numbers. Returns 1 where a goal is missed."""
    options = _options()
    with _work(options.work) as work, ExitStack() as stack:
        peers: list[Peer] = []
        for kind in there():
            if not options.only or kind.name in options.only or kind is Pannikin:
                peers.append(kind(work))
                stack.callback(peers[-1].close)
        _bases(peers, work)
        runs = Runs()
        for workload in (Program(), Files(count=options.files)):
            if not options.workload or workload.name == options.workload:
                _measure(workload, peers, work, options.rounds, runs)
        versions = {peer.name: peer.version() for peer in peers}
    missed = _show(runs, list(versions))
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(_report(runs, versions, options), indent=1) + "\n")
    print(f"\nraw numbers: {os.path.relpath(options.results)}")
    return 1 if missed and options.strict else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case [5]")
    parser.add_argument("--files", type=int, default=20_000, help="files in the big context [20000]")
    parser.add_argument("--only", action="append", help="compare with this tool alone; may be repeated")
    parser.add_argument("--workload", choices=["stages", "files"], help="this workload alone")
    parser.add_argument("--work", type=Path, help="directory for storages; kept, so a second run has its bases")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the raw numbers go")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a goal is missed")
    return parser.parse_args()


@contextmanager
def _work(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    path = Path(tempfile.mkdtemp(prefix="pannikin-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _bases(peers: list[Peer], work: Path) -> None:
    """One pair of bases for all, made by pannikin and carried over as docker archives."""
    print("bases ...", file=sys.stderr, flush=True)
    ours = peers[0]
    assert isinstance(ours, Pannikin)
    archives = work / "archives"
    archives.mkdir(exist_ok=True)
    ours.make(SLIM, "--preset", "minbase", "--drop", "docs", "--drop", "man", "--drop", "locales")
    ours.make(
        COMPILER, "--preset", "minbase", "--drop", "docs", "--drop", "man", "--drop", "locales", "gcc", "libc6-dev"
    )
    for name in (SLIM, COMPILER):
        ours.save(name, archive(archives, name))
    for peer in peers:
        peer.take(archives, (SLIM, COMPILER))


def _measure(workload: Program | Files, peers: list[Peer], work: Path, rounds: int, runs: Runs) -> None:
    context = work / "contexts" / workload.name
    seed = int(time.time())  # a storage that is kept has never seen this content
    fresh(workload, context, seed)
    _round(workload, "warm-up", peers, context, Runs(), 0)
    for number in range(rounds):
        seed += 1
        fresh(workload, context, seed)
        time.sleep(1.5)  # so that the files' times lie behind them, as they do when a person builds
        _round(workload, "cold", peers, context, runs, number)
        _round(workload, "unchanged", peers, context, runs, number)
        workload.change(context, -seed)
        time.sleep(1.5)
        _round(workload, "edited", peers, context, runs, number)
    shutil.rmtree(context, ignore_errors=True)


def _round(workload: Program | Files, case: str, peers: list[Peer], context: Path, runs: Runs, number: int) -> None:
    turn = number % len(peers)
    said = []
    for peer in [*peers[turn:], *peers[:turn]]:
        taken = peer.build(context, f"localhost/bench-{workload.name}:1")
        runs.add(workload.name, case, peer.name, taken)
        said.append(f"{peer.name} {taken.wall:.3f}")
    print(f"{workload.name} {case} {number + 1}: {'  '.join(sorted(said, reverse=True))}", file=sys.stderr, flush=True)


def _show(runs: Runs, names: list[str]) -> list[str]:
    """Print the table. Returns the goals that were missed."""
    others = names[1:]
    print(f"\n{'':<18}" + "".join(f"{name + ' s':>12}" for name in names) + "".join(f"{'/ ' + n:>12}" for n in others))
    missed = []
    for workload, case in runs.taken:
        seconds = "".join(f"{runs.median(workload, case, name):>12.3f}" for name in names)
        ratios = "".join(f"{runs.ratio(workload, case, name):>12.2f}" for name in others)
        print(f"{workload + ' ' + case:<18}{seconds}{ratios}")
        for name in others:
            goal = GOALS.get((workload, case, name))
            if goal is not None and runs.ratio(workload, case, name) > goal:
                missed.append(f"{workload} {case}: {runs.ratio(workload, case, name):.2f} of {name}, goal {goal}")
    for line in missed:
        print(f"missed: {line}")
    return missed


def _report(runs: Runs, versions: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    cases = [
        {
            "workload": workload,
            "case": case,
            "seconds": {name: round(runs.median(workload, case, name), 4) for name in by_peer},
            "ratios": {n: round(runs.ratio(workload, case, n), 3) for n in by_peer if n != "pannikin"},
            "wall": {name: [round(one.wall, 4) for one in taken] for name, taken in by_peer.items()},
            "cpu": {
                name: [round(one.cpu, 4) for one in taken] for name, taken in by_peer.items() if name != "buildkit"
            },
        }
        for (workload, case), by_peer in runs.taken.items()
    ]
    goals = [{"workload": w, "case": c, "of": n, "at_most": goal} for (w, c, n), goal in GOALS.items()]
    return {
        "what": "wall and cpu seconds of a whole build process; ratio = pannikin / other, median of the rounds",
        "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rounds": options.rounds, "files": options.files,
        "machine": _machine(), "versions": versions, "goals": goals, "cases": cases,
    }  # fmt: skip


def _machine() -> dict[str, Any]:
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ": unknown")
    memory = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), ": 0 kB")
    release = next((line for line in _lines("/etc/os-release") if line.startswith("PRETTY_NAME")), "=unknown")
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", tempfile.gettempdir()], capture_output=True, text=True, check=False
    )
    return {
        "processor": model.partition(":")[2].strip(), "cores": os.cpu_count(),
        "memory_bytes": int(memory.split()[1]) * 1024, "kernel": platform.release(),
        "system": release.partition("=")[2].strip().strip('"'), "python": platform.python_version(),
        "file_system": kind.stdout.strip(), "load_before": round(_BEFORE[0], 2),
    }  # fmt: skip


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


_BEFORE = os.getloadavg()

if __name__ == "__main__":
    sys.exit(main())
