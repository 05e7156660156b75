"""How large the distroless bases are, unpacked and compressed, from this host's own Debian mirror.

    python benchmarks/sizes.py [--store DIRECTORY]

Each is made by `pannikin base` and written out as one tar; unpacked is the sum of its files' bytes, a hard link
counted once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

BASES: dict[str, tuple[str, ...]] = {
    "static": ("--preset", "static"),
    "base": ("--preset", "base"),
    "cc": ("--preset", "cc"),
    "python": ("--preset", "python"),
    "python3-minimal alone": ("--mode", "distroless", "python3-minimal"),
}
LIMITS = {"static": 2_000_000, "base": 18_000_000, "python": 45_000_000}


def pannikin(store: str, *args: str) -> bytes:
    command = [str(Path(sys.executable).with_name("pannikin")), "--root", store, *args]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def measure(store: str, args: tuple[str, ...]) -> tuple[int, int]:
    """Bytes unpacked and compressed."""
    made = json.loads(pannikin(store, "base", "--json", "--progress", "quiet", "-t", "sized", *args))
    with tempfile.TemporaryDirectory() as folder:
        dockerfile = Path(folder) / "Dockerfile"
        dockerfile.write_text("FROM sized\n")
        pannikin(store, "build", "-q", "-o", f"type=tar,dest={folder}/root.tar", "-f", str(dockerfile), folder)
        with tarfile.open(f"{folder}/root.tar") as archive:
            return sum(member.size for member in archive if member.isreg()), made["compressed_size"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="build/bench-sizes")
    store = parser.parse_args().store
    missed = False
    for name, args in BASES.items():
        unpacked, compressed = measure(store, args)
        limit = LIMITS.get(name)
        missed |= limit is not None and unpacked > limit
        goal = f"  (goal {limit / 1e6:.0f} MB)" if limit else ""
        print(f"{name:22} {unpacked / 1e6:6.2f} MB unpacked  {compressed / 1e6:6.2f} MB compressed{goal}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
