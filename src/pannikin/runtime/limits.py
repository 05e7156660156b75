"""CPU and memory limits by a control group of our own (cgroup v1 or v2), where we may make one.

The command's first process puts itself into the group (`Limits.directories`) before it becomes the container,
so all that it starts is inside. A group is a claim: one left by a killed pannikin is removed at the next start.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from pannikin.errors import Unavailable
from pannikin.runtime.claims import Claim, sweep

_PREFIX = "pannikin"
_PERIOD = 100_000  # microseconds, the kernel's own default


class Limits:
    """`cpus` is a number of processors (0.5 is half of one), `memory` bytes; None is no limit.

    `directories` are the groups that a process must join. Raises `Unavailable` where a limit can't be set.
    """

    def __init__(self, cpus: float | None = None, memory: int | None = None) -> None:
        self.directories: list[Path] = []
        self._claims: list[Claim] = []
        wanted = [name for name, value in (("cpu", cpus), ("memory", memory)) if value is not None]
        if not wanted:
            return
        try:
            places = _places(wanted)
            for place in dict.fromkeys(places.values()):
                sweep(place, _PREFIX, _remove)
                self._claims.append(Claim(place, _PREFIX, _remove))
            self.directories = [claim.path for claim in self._claims]
            group = dict(zip(dict.fromkeys(places.values()), self.directories, strict=True))
            if cpus is not None:
                _set_cpu(group[places["cpu"]], cpus)
            if memory is not None:
                _set_memory(group[places["memory"]], memory)
        except OSError as error:
            self.close()
            raise Unavailable(
                f"the {' and '.join(wanted)} limit can't be set",
                why=f"{error.strerror} ({error.filename})" if error.filename else str(error),
                hint="run as root, or leave the limit out",
            ) from None

    def close(self) -> None:
        """Remove the groups. Their processes must have ended."""
        for claim in self._claims:
            try:
                claim.close()
            except OSError:
                pass  # the next start sweeps it away
        self._claims.clear()

    def out_of_memory(self) -> bool:
        """Whether the kernel killed something in the group for want of memory."""
        for directory in self.directories:
            for name in ("memory.events", "memory.oom_control"):
                try:
                    fields = dict(line.split() for line in (directory / name).read_text().splitlines())
                except (OSError, ValueError):
                    continue
                if int(fields.get("oom_kill", "0")):
                    return True
        return False


def _places(controllers: list[str]) -> dict[str, Path]:
    """For each controller the group below which ours is made."""
    mounts = _mounts()
    found: dict[str, Path] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in controllers and name in mounts:
                found[name] = mounts[name] / path.strip("/")
        if not names and "unified" in mounts:
            for name in controllers:
                if name not in found and (place := _unified(mounts["unified"], path.strip("/"), name)):
                    found[name] = place
    for name in controllers:
        if name not in found:
            raise OSError(0, f"no {name} controller", "/sys/fs/cgroup")
    return found


def _unified(mount: Path, own: str, controller: str) -> Path | None:
    """A cgroup v2 group whose children have the controller: beside our own, or at the top."""
    for place in (mount / own, (mount / own).parent if own else mount, mount):
        try:
            if controller in (place / "cgroup.subtree_control").read_text().split():
                return place
        except OSError:
            continue
    return None


def _mounts() -> dict[str, Path]:
    """Where each v1 controller, and v2 as "unified", is mounted."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        place = Path(left.split(" ")[4])
        if kind == "cgroup2":
            found.setdefault("unified", place)
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, place)
    return found


def _set_cpu(group: Path, cpus: float) -> None:
    quota = max(1000, int(cpus * _PERIOD))
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(quota))


def _set_memory(group: Path, memory: int) -> None:
    modern = group / "memory.max"
    (modern if modern.exists() else group / "memory.limit_in_bytes").write_text(str(memory))


def _remove(group: Path) -> None:
    """A group can be removed a moment after its last process has ended, not at once."""
    for attempt in range(50):
        try:
            os.rmdir(group)
            return
        except FileNotFoundError:
            return
        except OSError:
            if attempt == 49:
                raise
            time.sleep(0.01)
