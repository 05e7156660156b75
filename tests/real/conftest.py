"""Whole runs of the command line, as a person starts it, with stores of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

PROGRAM = str(Path(sys.executable).with_name("pannikin"))


class Cli:
    """The `pannikin` command with one store."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def args(self, *arguments: str | Path) -> list[str]:
        return [PROGRAM, "--root", str(self.root), *map(str, arguments)]

    def run(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, whatever the end is."""
        return subprocess.run(
            self.args(*arguments), capture_output=True, text=True, timeout=300, check=False, cwd=cwd,
            stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})},
        )  # fmt: skip

    def do(self, *arguments: str | Path, **options: Any) -> str:
        """Run it, and return its stdout. It must succeed."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def build(self, context: Path, *arguments: str | Path, **options: Any) -> str:
        """Build a context, and return the image's digest."""
        out = self.do("build", "--json", "--progress", "quiet", *arguments, context, **options)
        digest: str = json.loads(out)["digest"]
        return digest


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "store")


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minimal Debian, `debian:test`, in an OCI layout: made once, from the host's own mirror."""
    root = tmp_path_factory.mktemp("debian")
    made = Cli(root / "store")
    made.do("base", "--preset", "minbase", "--drop", "docs", "--drop", "man", "--drop", "locales", "-t", "debian:test")
    made.do("save", "--format", "oci-dir", "-o", root / "layout", "debian:test")
    return root / "layout"


@pytest.fixture
def with_debian(cli: Cli, debian: Path) -> Cli:
    """A store that holds `debian:test`."""
    cli.do("load", "-i", debian)
    return cli


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """After every test: no mount below its directory in any namespace, and no process that works there."""
    yield
    assert mounts(tmp_path) == []
    assert workers(tmp_path) == []


def mounts(below: Path) -> list[str]:
    """Mounts under a directory, in the namespaces of all processes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines = (process / "mountinfo").read_text().splitlines()
        except OSError:
            continue
        found += [f"{process.name}: {line}" for line in lines if str(below) in line]
    return found


def workers(below: Path) -> list[str]:
    """Command lines that name a directory, and processes whose root or working directory is in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            places = [os.readlink(process / "cwd"), os.readlink(process / "root")]
        except OSError:
            continue
        if int(process.name) != os.getpid() and (str(below) in command or any(str(below) in p for p in places)):
            found.append(f"{process.name}: {command}")
    return found
