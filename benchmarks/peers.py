"""The tools that are compared, each with a storage of its own and a base that is there before the clock starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Taken:
    """What a command took, as a whole process: seconds on the wall, and seconds of processor time.

    `cpu` counts the process and its children; a daemon's work is not in it.
    """

    wall: float
    cpu: float


class Peer(Protocol):
    """A tool that builds a Dockerfile. `build` is what is timed."""

    name: str

    def version(self) -> str: ...
    def take(self, archives: Path, names: Sequence[str]) -> None:
        """Bring bases in from docker archives named after them."""

    def build(self, context: Path, tag: str) -> Taken: ...
    def close(self) -> None: ...


def timed(args: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Taken:
    """Run a command to its end. Raises RuntimeError with its last output where it fails."""
    with open(log, "wb") as out:
        began = time.perf_counter()
        process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(args)}\n{log.read_text(errors='replace')[-2000:]}")
    return Taken(wall, usage.ru_utime + usage.ru_stime)


def archive(archives: Path, name: str) -> Path:
    """Where a base's docker archive is."""
    return archives / f"{name.rpartition('/')[2].replace(':', '-')}.tar"


class Pannikin:
    """Ours, as installed beside this interpreter."""

    name = "pannikin"

    def __init__(self, work: Path) -> None:
        self._program = str(Path(sys.executable).with_name("pannikin"))
        self._log = work / "pannikin.log"
        self.root = work / "pannikin"
        # As installed by pip, whose packages come compiled: also where the environment forbids bytecode.
        self._env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self._env["PYTHONPYCACHEPREFIX"] = str(work / "bytecode")

    def version(self) -> str:
        return _said([self._program, "--version"])

    def make(self, name: str, *arguments: str) -> None:
        """A base from the host's own package mirrors."""
        self._do("base", "--progress", "plain", "-t", name, *arguments)

    def save(self, name: str, path: Path) -> None:
        """A docker archive of an image."""
        self._do("save", "--format", "docker", "-o", str(path), name)

    def take(self, archives: Path, names: Sequence[str]) -> None:
        """Nothing: the bases are made here."""

    def build(self, context: Path, tag: str) -> Taken:
        return self._do("build", "-t", tag, str(context))

    def close(self) -> None:
        """Nothing runs."""

    def _do(self, *arguments: str) -> Taken:
        return timed([self._program, "--root", str(self.root), *arguments], self._log, self._env)


class Buildah:
    """Debian's buildah: overlay storage, chroot isolation (its fastest), layers cached."""

    name = "buildah"

    def __init__(self, work: Path) -> None:
        self._log = work / "buildah.log"
        self._storage = work / "buildah"
        self._run = work / "buildah-run"

    def version(self) -> str:
        return _said(["buildah", "--version"])

    def take(self, archives: Path, names: Sequence[str]) -> None:
        for name in names:
            self._do("pull", f"docker-archive:{archive(archives, name)}")

    def build(self, context: Path, tag: str) -> Taken:
        arguments = ["--isolation", "chroot", "--layers", "--network", "host", "--pull-never", "-t", tag, str(context)]
        for _ in range(3):
            try:
                return self._do("bud", *arguments)
            except RuntimeError as error:
                # A race inside buildah 1.28; the run that failed is not counted, and what it did is not repeated.
                if "sealing memfd copy" not in str(error):
                    raise
                print("buildah failed to start a command, and is asked again", file=sys.stderr)
        raise RuntimeError("buildah can't start commands here")

    def close(self) -> None:
        """Take down what it leaves mounted: its storage, and the container of a run that failed."""
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for point in reversed([point for point in mounted if point.startswith(f"{self._storage}/")]):
            subprocess.run(["umount", point], stderr=subprocess.DEVNULL, check=False)

    def _do(self, *arguments: str) -> Taken:
        storage = ["--storage-driver", "overlay", "--root", str(self._storage), "--runroot", str(self._run)]
        return timed(["buildah", *storage, *arguments], self._log)


class BuildKit:
    """BuildKit inside Debian's dockerd: a daemon that stays up between builds, so its start is not timed."""

    name = "buildkit"

    def __init__(self, work: Path) -> None:
        self._log = work / "docker.log"
        self._socket = f"unix://{work / 'docker.sock'}"
        self._config = work / "docker-config"
        self._config.mkdir(parents=True, exist_ok=True)
        self._daemon_log = open(work / "dockerd.log", "wb")  # noqa: SIM115 - closed by close()
        self._daemon = subprocess.Popen(
            [
                "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=overlay2",
                "--data-root", str(work / "docker"), "--exec-root", str(work / "docker-run"),
                "-H", self._socket, "--pidfile", str(work / "dockerd.pid"),
            ],
            stdout=self._daemon_log, stderr=self._daemon_log, start_new_session=True,
        )  # fmt: skip
        self._client = "/usr/bin/docker"  # Debian's: a newer client asks for buildx
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while subprocess.run([self._client, "-H", self._socket, "info"], capture_output=True, check=False).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError("dockerd does not start")
            time.sleep(0.2)

    def version(self) -> str:
        return "dockerd " + _said([self._client, "-H", self._socket, "version", "--format", "{{.Server.Version}}"])

    def take(self, archives: Path, names: Sequence[str]) -> None:
        for name in names:
            self._do("load", "-i", str(archive(archives, name)))

    def build(self, context: Path, tag: str) -> Taken:
        return self._do("build", "--network", "host", "-t", tag, str(context))

    def close(self) -> None:
        """End the daemon, and the containerd that it started."""
        self._daemon.terminate()
        try:
            self._daemon.wait(30)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
        self._daemon_log.close()

    def _do(self, *arguments: str) -> Taken:
        env = {**os.environ, "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(self._config)}
        return timed([self._client, "-H", self._socket, *arguments], self._log, env)


def there() -> list[type[Pannikin] | type[Buildah] | type[BuildKit]]:
    """The tools that this machine has, ours first."""
    found: list[type[Pannikin] | type[Buildah] | type[BuildKit]] = [Pannikin]
    if shutil.which("buildah"):
        found.append(Buildah)
    if shutil.which("dockerd") and os.path.exists("/usr/bin/docker"):
        found.append(BuildKit)
    return found


def _said(args: Sequence[str]) -> str:
    return subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip()
