"""pannikin's full base against mmdebstrap's minbase: the same packages, from one local mirror, interleaved.

    python benchmarks/base.py [--runs 3] [--work DIRECTORY]

A mirror with just what is needed is copied from this host's own apt sources into the work directory first (once)
and served on the loopback interface, so that no network is in the timed part. Needs root, mmdebstrap, a chroot.
`cold`: nothing is cached. `warm`: pannikin's download cache, and for mmdebstrap the .debs put into its archive
directory. `second`: a base with other packages added, over the first one's layer (overlayfs), against mmdebstrap
making the whole again.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pannikin.packages.deb import Archive, Source, from_host, install
from pannikin.packages.deb.full import Run

MORE = ("ca-certificates", "curl", "python3-minimal")
DROP = ("docs", "man", "locales")
HOOK = Path("/usr/share/mmdebstrap/hooks/merged-usr")
ARCHITECTURE = "amd64" if os.uname().machine == "x86_64" else "arm64"


class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


def copy_mirror(work: Path) -> list[Source]:
    """The host's sources with their indexes and the packages that the benchmark needs, under `work`/mirror."""
    cache = work / "mirror-cache"
    archive = Archive(from_host(), cache, ARCHITECTURE)
    pins = archive.resolve([*archive.minimal(), *MORE])
    debs = archive.fetch(pins)
    found = []
    for number, source in enumerate(archive.sources):
        base = source.uris[0]
        root = work / "mirror" / str(number)
        for suite in source.suites:
            copy_suite(archive, base, suite, root)
        for pin, path in debs.items():
            if pin.url.startswith(base + "/"):
                place = root / pin.filename
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
        found.append(source)
    return found


def copy_suite(archive: Archive, base: str, suite: str, root: Path) -> None:
    folder = root / "dists" / suite
    folder.mkdir(parents=True, exist_ok=True)
    with archive.transport.open(f"{base}/dists/{suite}/InRelease") as answer:
        text = b"".join(answer.chunks)
    (folder / "InRelease").write_bytes(text)
    place = folder / f"main/binary-{ARCHITECTURE}"
    for line in text.decode().split("SHA256:")[1].splitlines():
        words = line.split()
        if len(words) == 3 and words[2] in {f"main/binary-{ARCHITECTURE}/Packages{end}" for end in (".gz", ".xz")}:
            with archive.transport.open(f"{base}/dists/{suite}/{words[2]}") as answer:
                content = b"".join(answer.chunks)
            named = place / "by-hash/SHA256" / words[0]
            named.parent.mkdir(parents=True, exist_ok=True)
            named.write_bytes(content)
            (place / words[2].rpartition("/")[2]).write_bytes(content)


@contextmanager
def serve(root: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def chroot(root: Path) -> Run:
    def run(args: Sequence[str], env: Mapping[str, str]) -> None:
        null = root / "dev/null"
        if not null.exists():
            os.mknod(null, 0o20666, os.makedev(1, 3))
        command = ["unshare", "-m", "-p", "-f", f"--mount-proc={root}/proc", "chroot", str(root), *args]
        subprocess.run(command, env=dict(env), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)  # fmt: skip
        null.unlink()

    return run


def ours(sources: list[Source], cache: Path, root: Path, names: Sequence[str] = ()) -> None:
    """One base, as the API makes it: the minimal system, or `names` on top of one that is in `root`."""
    archive = Archive(sources, cache, ARCHITECTURE)
    pins = archive.resolve(archive.minimal())
    if names:
        pins = archive.resolve(names, installed=pins)
    install(root, archive.fetch(pins), chroot(root), architecture=ARCHITECTURE, drop=DROP)


def theirs(sources: list[Source], root: Path, names: Sequence[str] = (), archives: Path | None = None) -> None:
    """mmdebstrap's minbase with the same packages and the same left out."""
    excluded = ["/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*"]
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in excluded]
    options += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    if names:
        options.append(f"--include={','.join(names)}")
    if archives is not None:
        options += ['--setup-hook=mkdir -p "$1/var/cache/apt/archives"']
        options += [f'--setup-hook=cp {archives}/*.deb "$1/var/cache/apt/archives/"']
    listing = root.parent / "mmdebstrap.sources"
    listing.write_text("\n".join(source.stanza() for source in sources))
    command = ["mmdebstrap", "--variant=minbase", f"--hook-dir={HOOK}", "--quiet", *options,
               sources[0].suites[0], str(root), str(listing)]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def fill(sources: list[Source], cache: Path, archives: Path) -> None:
    """Warm both caches: ours, and a directory of .debs by apt's names."""
    archive = Archive(sources, cache, ARCHITECTURE)
    pins = archive.resolve([*archive.minimal(), *MORE])
    archives.mkdir(exist_ok=True)
    for pin, path in archive.fetch(pins).items():
        name = f"{pin.name}_{pin.version.replace(':', '%3a')}_{pin.architecture}.deb"
        shutil.copyfile(path, archives / name)


@contextmanager
def overlay(lower: Path, work: Path) -> Iterator[Path]:
    for name in ("upper", "working", "merged"):
        (work / name).mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={work}/upper,workdir={work}/working"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(work / "merged")], check=True)
    try:
        yield work / "merged"
    finally:
        subprocess.run(["umount", str(work / "merged")], check=True)


def timed(call: Callable[[], None]) -> float:
    os.sync()  # else one tool's fsyncs wait for what the other one wrote
    start = time.monotonic()
    call()
    return time.monotonic() - start


def measure(sources: list[Source], work: Path, runs: int) -> dict[str, list[float]]:
    cache, archives, lower = work / "cache", work / "archives", work / "lower"
    shutil.rmtree(lower, ignore_errors=True)
    lower.mkdir()
    fill(sources, cache, archives)
    ours(sources, cache, lower)
    times: dict[str, list[float]] = {}
    place = work / "run"

    def note(title: str, call: Callable[[], None]) -> None:
        times.setdefault(title, []).append(timed(call))

    for number in range(runs):
        shutil.rmtree(place, ignore_errors=True)
        for name in ("a", "b"):
            (place / name).mkdir(parents=True)
        note("cold pannikin", lambda: ours(sources, place / "fresh", place / "a"))
        note("cold mmdebstrap", lambda: theirs(sources, place / "c"))
        note("warm pannikin", lambda: ours(sources, cache, place / "b"))
        note("warm mmdebstrap", lambda: theirs(sources, place / "d", (), archives))
        with overlay(lower, place / "overlay") as merged:
            note("second pannikin", functools.partial(ours, sources, cache, merged, MORE))
        note("second mmdebstrap", lambda: theirs(sources, place / "e", MORE, archives))
        print(f"run {number + 1}: " + ", ".join(f"{name} {found[-1]:.2f}" for name, found in times.items()))
        shutil.rmtree(place)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/bench-base"))
    options = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        print("needs root and mmdebstrap (apt-get install mmdebstrap)", file=sys.stderr)
        return 1
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    found = copy_mirror(work)
    with serve(work / "mirror") as address:
        sources = [replace(source, uris=(f"{address}/{n}",)) for n, source in enumerate(found)]
        times = measure(sources, work, options.runs)
    print(f"\n{platform.platform()}, {os.cpu_count()} cores, median of {options.runs}, seconds")
    goals = {"cold": 1.0, "warm": 1.0, "second": 0.3}
    missed = False
    for case, goal in goals.items():
        mine, other = (statistics.median(times[f"{case} {who}"]) for who in ("pannikin", "mmdebstrap"))
        missed |= mine / other > goal
        print(f"{case:7} pannikin {mine:6.2f}  mmdebstrap {other:6.2f}  ratio {mine / other:.2f} (goal {goal})")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
