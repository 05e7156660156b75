"""A full system: packages unpacked by us, configured by their own scripts and the dpkg inside.

1. Everything is unpacked at once, in parallel, and entered in dpkg's database as `unpacked`.
2. In the root, in one command: every `preinst install` in dependency order, base-passwd's first (it makes
   /etc/passwd); then `dpkg --configure -a`, which orders postinsts and triggers.
3. What differs from run to run (logs, backups, caches, the machine's id) is taken away.

So a preinst runs after its package is unpacked, not before; Debian's look at the version that is there, move old
conffiles or make users, and for a first installation that is the same. Those that divert files are not: their
packages are unpacked by dpkg itself, in step 2. Services are not started: policy-rc.d forbids it, and
start-stop-daemon is a no-op, for the duration of step 2 only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pannikin import progress
from pannikin.errors import CommandFailed
from pannikin.oci.model import DEFAULT_PATH
from pannikin.packages.deb import database, filters
from pannikin.packages.deb.debfile import Deb
from pannikin.packages.deb.pins import Pinned
from pannikin.packages.deb.unpack import Root, Unpacked, merge_usr, plain_umask, unpack

Run = Callable[[Sequence[str], Mapping[str, str]], None]
"""Runs a command (argument vector, environment) in the root; raises `CommandFailed` where it fails."""

GUARD = "run/pannikin-guard"
"""Where the scripts of one configuration lie, relative to the root. Gone after it."""
DROPPED_CONFIG = "etc/dpkg/dpkg.cfg.d/pannikin"


@dataclass
class Pending:
    """What `unpack_full` leaves to `configure`: packages with a preinst, and packages for dpkg to unpack."""

    found: list[Unpacked]
    deferred: list[Path]

    @property
    def newest(self) -> int:
        """The newest mtime (epoch seconds) of any member."""
        return max((one.newest for one in self.found), default=0)


def install(
    root: Path, debs: Mapping[Pinned, Path], run: Run, *, architecture: str, drop: Sequence[str] = (),
    sources: Sequence[str] = (), epoch: int | None = None,
) -> int:  # fmt: skip
    """Add packages to `root`, empty or with packages already in it: unpack, configure, clean.

    `debs` are in dependency order. `sources` are lines or stanzas for apt, which replace what is there. `epoch`
    (seconds) is the scripts' SOURCE_DATE_EPOCH, by default the newest member's time. Returns that time.
    """
    with plain_umask():
        pending = unpack_full(root, debs, architecture=architecture, drop=drop)
        configure(root, run, pending, epoch=pending.newest if epoch is None else epoch)
        if sources:
            write_sources(root, sources)
        clean(root)
    return pending.newest


def unpack_full(root: Path, debs: Mapping[Pinned, Path], *, architecture: str, drop: Sequence[str] = ()) -> Pending:
    """Unpack packages and enter them in dpkg's database as not yet configured."""
    order = sorted(debs.items(), key=lambda item: item[0].name not in ("base-files", "base-passwd"))
    deferred = [path for _pin, path in order if _diverts(path)]
    simple = [(str(pin), path) for pin, path in order if path not in deferred]
    inside = Root(root, database.Owners(root))
    merge_usr(inside, architecture)
    found = unpack(inside, simple, filters.dropper(drop))
    database.record(root, found)
    _configure_drop(root, drop)
    return Pending(found, deferred)


def _diverts(path: Path) -> bool:
    with Deb(path) as deb:
        return b"dpkg-divert" in deb.control().get("preinst", b"")


def _configure_drop(root: Path, drop: Sequence[str]) -> None:
    lines = [line for kind in drop for line in filters.DPKG.get(kind, ())]
    folder = root / DROPPED_CONFIG
    if lines and folder.parent.is_dir() and not folder.exists():
        folder.write_text("# What this image leaves out (pannikin)\n" + "".join(f"{line}\n" for line in lines))


def environment(epoch: int) -> dict[str, str]:
    """What maintainer scripts see: no questions, no locale of the host's, one clock."""
    return {
        "PATH": f"/{GUARD}:{DEFAULT_PATH}", "HOME": "/root", "LC_ALL": "C", "LANGUAGE": "", "TZ": "UTC",
        "DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NONINTERACTIVE_SEEN": "true", "DEBCONF_NOWARNINGS": "yes",
        "SOURCE_DATE_EPOCH": str(epoch),
    }  # fmt: skip


def configure(root: Path, run: Run, pending: Pending, *, epoch: int) -> None:
    """Run what the packages need to be configured, through `run`, in one command.

    Raises `CommandFailed` with dpkg's words, also where a package stays behind although dpkg ended well.
    """
    guard = root / GUARD
    policy = root / "usr/sbin/policy-rc.d"
    own_policy = not policy.exists()
    # Made anew: a base may have been left by a killed run.
    shutil.rmtree(guard, ignore_errors=True)
    guard.mkdir(parents=True)
    try:
        _script(guard / "start-stop-daemon", "#!/bin/sh\nexit 0\n")
        if own_policy:
            _script(policy, "#!/bin/sh\nexit 101\n")
        for number, path in enumerate(pending.deferred):
            shutil.copyfile(path, guard / f"{number:03}.deb")
        for number, one in enumerate(_preinsts(pending)):
            (guard / f"{number:03}.control").write_bytes(one.control["control"])
        _script(guard / "configure", script(pending))
        with progress.step(f"configure {len(pending.found) + len(pending.deferred)} packages"):
            run(["/bin/sh", f"/{GUARD}/configure"], environment(epoch))
    finally:
        shutil.rmtree(guard, ignore_errors=True)
        if own_policy:
            policy.unlink(missing_ok=True)
    behind = database.unconfigured(root)
    if behind:
        raise CommandFailed(f"packages were left unconfigured: {', '.join(behind)}", status=1)


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _preinsts(pending: Pending) -> list[Unpacked]:
    """The packages with a preinst, base-passwd's first, the others in the order given."""
    found = [one for one in pending.found if "preinst" in one.control]
    return sorted(found, key=lambda one: one.record.name != "base-passwd")


def script(pending: Pending) -> str:
    """The shell script of one configuration."""
    lines = ["set -e", "export DPKG_MAINTSCRIPT_NAME=preinst DPKG_RUNNING_VERSION=1.21 DPKG_ROOT= DPKG_FORCE="]
    lines += ["export DPKG_ADMINDIR=/var/lib/dpkg"]
    for number, one in enumerate(_preinsts(pending)):
        # Where dpkg runs a preinst from, with the control file beside it: debconf looks there for the package.
        lines += ["mkdir -p /var/lib/dpkg/tmp.ci", f"mv /{GUARD}/{number:03}.control /var/lib/dpkg/tmp.ci/control"]
        lines.append(f"cp -p /var/lib/dpkg/info/{database.info_name(one.record)}.preinst /var/lib/dpkg/tmp.ci/preinst")
        owner = f"DPKG_MAINTSCRIPT_PACKAGE={one.record.name} DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1"
        arch = f"DPKG_MAINTSCRIPT_ARCH={one.record.architecture}"
        lines += [f"{owner} {arch} /var/lib/dpkg/tmp.ci/preinst install", "rm -rf /var/lib/dpkg/tmp.ci"]
    lines += ["unset DPKG_MAINTSCRIPT_NAME DPKG_RUNNING_VERSION DPKG_ROOT DPKG_FORCE DPKG_ADMINDIR"]
    if pending.deferred:
        lines.append(f"dpkg --unpack --force-depends --force-unsafe-io /{GUARD}/*.deb")
    lines.append("exec dpkg --force-unsafe-io --configure -a")
    return "\n".join(lines) + "\n"


def write_sources(root: Path, sources: Sequence[str]) -> None:
    """Apt's sources for the image: one-line entries go to sources.list, stanzas to pannikin.sources."""
    folder = root / "etc/apt/sources.list.d"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [text.strip() for text in sources if text.lstrip().startswith("deb")]
    stanzas = [text.strip() for text in sources if not text.lstrip().startswith("deb")]
    if lines:
        (root / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in lines))
    if stanzas:
        (folder / "pannikin.sources").write_text("\n\n".join(stanzas) + "\n")


EMPTIED = ("run", "tmp", "var/tmp", "var/lib/apt/lists", "var/cache/apt/archives", "var/log/apt")
REMOVED = (
    "var/log/dpkg.log", "var/log/bootstrap.log", "var/log/alternatives.log", "var/cache/ldconfig/aux-cache",
    "var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin", "etc/resolv.conf", "etc/hostname", "etc/hosts",
    "var/cache/debconf/config.dat-old", "var/cache/debconf/templates.dat-old", "etc/.pwd.lock",
    "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
    "var/lib/systemd/catalog/database", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed",
)  # fmt: skip


def clean(root: Path) -> None:
    """Take away what differs from run to run and is of no use in an image."""
    for name in EMPTIED:
        folder = root / name
        if not folder.is_dir() or folder.is_symlink():
            continue
        for entry in os.scandir(folder):
            if entry.path == str(root / "run/lock"):
                continue  # base-files makes it, mode 1777
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    for name in REMOVED:
        (root / name).unlink(missing_ok=True)
    identity = root / "etc/machine-id"
    if identity.exists() and not identity.is_symlink():
        identity.write_text("")
    database.clear(Root(root))
