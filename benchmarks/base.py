"""pannikin's full base against mmdebstrap's minbase: the same packages, from one local mirror, interleaved.

    python benchmarks/base.py [--runs 3] [--work DIRECTORY]

A mirror with just what is needed is copied from this host's own apt sources into the work directory first (once)
and served on the loopback interface, so that no network is in the timed part. Needs root, mmdebstrap, a chroot.
`cold`: nothing is cached. `warm`: pannikin's download cache, and for mmdebstrap the .debs put into its archive
directory. `second`: a base with other packages added, in a store that has the first one, against mmdebstrap making
the whole again. Ours ends with a packed layer in a store, mmdebstrap's with a directory.
"""

from __future__ import annotations

import argparse
import base64
import functools
import http.server
import os
import pickle
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pannikin.bases import Recipe
from pannikin.packages.deb import Archive, Source, from_host, portable
from pannikin.toolchain import BaseRequest, Toolchain

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


def ours(sources: list[Source], store: Path, names: Sequence[str] = ()) -> None:
    """`pannikin base` as a process of its own: resolved, fetched, unpacked, configured, packed, stored, tagged.

    The command takes one --mirror or the host's sources; here are several, so the same call is made by `child`.
    """
    request = base64.b64encode(pickle.dumps((sources, str(store), tuple(names)))).decode()
    subprocess.run([sys.executable, __file__, "--child", request], check=True, stdin=subprocess.DEVNULL)


def child(request: str) -> None:
    """One base in this process, from the arguments that `ours` packed."""
    sources, store, names = pickle.loads(base64.b64decode(request))
    recipe = Recipe(mode="full", names=names, drop=DROP, sources=tuple(one.stanza() for one in portable(sources)))
    tools = Toolchain(Path(store))
    tools.enter()
    tools.base(BaseRequest(recipe, sources, tags=("base",)))


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


def fill(sources: list[Source], store: Path, archives: Path) -> None:
    """Warm both caches: that of a store, and a directory of .debs by apt's names."""
    archive = Archive(sources, store / "packages", ARCHITECTURE)
    pins = archive.resolve([*archive.minimal(), *MORE])
    archives.mkdir(exist_ok=True)
    for pin, path in archive.fetch(pins).items():
        name = f"{pin.name}_{pin.version.replace(':', '%3a')}_{pin.architecture}.deb"
        shutil.copyfile(path, archives / name)


def timed(call: Callable[[], None]) -> float:
    os.sync()  # else one tool's fsyncs wait for what the other one wrote
    start = time.monotonic()
    call()
    return time.monotonic() - start


def measure(sources: list[Source], work: Path, runs: int) -> dict[str, list[float]]:
    warm, based, archives = work / "warm", work / "based", work / "archives"
    for store in (warm, based):
        shutil.rmtree(store, ignore_errors=True)
    fill(sources, warm, archives)
    shutil.copytree(warm, based)
    ours(sources, based)
    times: dict[str, list[float]] = {}
    place = work / "run"

    def note(title: str, call: Callable[[], None]) -> None:
        times.setdefault(title, []).append(timed(call))

    for number in range(runs):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for store in (warm, based):
            # An unpacked layer has devices and owners, which copytree would lose.
            subprocess.run(["cp", "-a", str(store), str(place / store.name)], check=True)
        note("cold pannikin", lambda: ours(sources, place / "fresh"))
        note("cold mmdebstrap", lambda: theirs(sources, place / "c"))
        note("warm pannikin", lambda: ours(sources, place / "warm"))
        note("warm mmdebstrap", lambda: theirs(sources, place / "d", (), archives))
        note("second pannikin", lambda: ours(sources, place / "based", MORE))
        note("second mmdebstrap", lambda: theirs(sources, place / "e", MORE, archives))
        print(f"run {number + 1}: " + ", ".join(f"{name} {found[-1]:.2f}" for name, found in times.items()), flush=True)
        shutil.rmtree(place)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/bench-base"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
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
