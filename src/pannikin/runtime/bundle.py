"""What to run, and the OCI runtime configuration that says so (runtime-spec 1.0, config.md and config-linux.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pannikin.oci.model import DEFAULT_PATH

CAPABILITIES = (
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
)  # fmt: skip
"""What root may do in a container: docker's default set."""

_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/scsi",
    "/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_DENIED = (
    "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module", "finit_module",
    "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kexec_file_load", "kexec_load", "keyctl",
    "lookup_dcookie", "mount", "mount_setattr", "move_mount", "move_pages", "nfsservctl", "open_by_handle_at",
    "open_tree", "perf_event_open", "pivot_root", "query_module", "quotactl",
    "reboot", "request_key", "setns", "settimeofday", "stime", "swapoff", "swapon", "sysfs", "umount", "umount2",
    "unshare", "uselib", "userfaultfd", "ustat", "vm86", "vm86old",
)  # fmt: skip
"""System calls that answer EPERM: those that docker's documentation lists as blocked by its default profile."""

# numbers of the capabilities above (linux/capability.h), to ask for none that we have not got ourselves
_NUMBERS = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_FOWNER": 3, "CAP_FSETID": 4, "CAP_KILL": 5, "CAP_SETGID": 6,
    "CAP_SETUID": 7, "CAP_SETPCAP": 8, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_RAW": 13, "CAP_SYS_CHROOT": 18,
    "CAP_MKNOD": 27, "CAP_AUDIT_WRITE": 29, "CAP_SETFCAP": 31,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount in the container. `type` is "bind" or a file system's name, `options` as mount(8) writes them.

    The source of a bind is a path of the host. A bind takes what is below it along unless an option is `bind`.
    """

    source: str
    target: str
    type: str = "bind"
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command and the conditions that it runs under.

    `env` is the whole environment (PATH is added where it is missing); `cwd` is made where it does not exist;
    `network` is the host's, or an empty one with only `lo`; `cpus` are processors, `memory` bytes; `terminal`
    gives it a terminal of its own, connected to ours; `read_only` forbids changes to the root file system.
    Capabilities go to root only: any other user has none in effect.
    """

    args: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    network: Literal["host", "none"] = "host"
    hostname: str = "pannikin"
    mounts: tuple[Mount, ...] = ()
    no_new_privileges: bool = False
    cpus: float | None = None
    memory: int | None = None
    terminal: bool = False
    read_only: bool = False
    capabilities: tuple[str, ...] = CAPABILITIES


@cache
def in_user_namespace() -> bool:
    """Whether this process is in a user namespace other than the machine's first one."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def default_mounts(files: Mapping[str, str]) -> list[Mount]:
    """The file systems that every container has; `files` are private files to bind, target -> source."""
    nested = in_user_namespace()
    terminal = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
    mounts = [
        Mount("proc", "/proc", "proc", ("nosuid", "noexec", "nodev")),
        Mount("tmpfs", "/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        Mount("devpts", "/dev/pts", "devpts", terminal if nested else (*terminal, "gid=5")),
        Mount("shm", "/dev/shm", "tmpfs", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
        Mount("mqueue", "/dev/mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ]
    if nested:  # a user namespace that does not own the network namespace may not mount sysfs anew
        mounts.append(Mount("/sys", "/sys", "bind", ("rbind", "nosuid", "noexec", "nodev", "ro")))
    else:
        mounts.append(Mount("sysfs", "/sys", "sysfs", ("nosuid", "noexec", "nodev", "ro")))
    mounts += [Mount(source, target, "bind", ("rbind", "nosuid", "nodev")) for target, source in files.items()]
    return mounts


def runtime_config(command: Command, root: Path, mounts: list[Mount]) -> dict[str, Any]:
    """The configuration of one container. `mounts` are all of its mounts, their targets resolved."""
    namespaces = ["pid", "ipc", "uts", "mount"] + (["network"] if command.network == "none" else [])
    return {
        "ociVersion": "1.0.2",
        "process": _process(command),
        "root": {"path": str(root), "readonly": command.read_only},
        "hostname": command.hostname,
        "mounts": [_mount(mount) for mount in mounts],
        "linux": {
            "namespaces": [{"type": name} for name in namespaces],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        }
        | ({} if "CAP_SYS_ADMIN" in command.capabilities else {"seccomp": _seccomp()}),
    }


def _process(command: Command) -> dict[str, Any]:
    held = [name for name in command.capabilities if _has(name)]
    effective = held if command.uid == 0 else []
    env = {"PATH": DEFAULT_PATH} | dict(command.env)
    return {
        "terminal": command.terminal,
        "user": {
            "uid": command.uid, "gid": command.gid, "additionalGids": list(command.groups), "umask": 0o022,
        },
        "args": list(command.args),
        "env": [f"{key}={value}" for key, value in env.items()],
        "cwd": command.cwd,
        "capabilities": {
            "bounding": held, "effective": effective, "permitted": effective, "inheritable": [], "ambient": [],
        },
        "noNewPrivileges": command.no_new_privileges,
    }  # fmt: skip


def _mount(mount: Mount) -> dict[str, Any]:
    options = list(mount.options)
    if mount.type == "bind" and not {"bind", "rbind"} & set(options):
        options.insert(0, "rbind")
    return {"destination": mount.target, "type": mount.type, "source": mount.source, "options": options}


def _seccomp() -> dict[str, Any]:
    new_namespaces = 0x7E020000  # the CLONE_NEW* bits that clone(2) takes
    no_namespaces = {"index": 0, "value": new_namespaces, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": _architectures(),
        "syscalls": [
            {"names": list(_DENIED), "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            # the arguments of clone3 are behind a pointer that no filter can follow: ENOSYS makes libc use clone
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            *(
                {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [
                    {**no_namespaces, "value": bit, "valueTwo": bit}]}
                for bit in (1 << shift for shift in range(17, 32)) if bit & new_namespaces
            ),
        ],
    }  # fmt: skip


def _architectures() -> list[str]:
    machine = os.uname().machine
    return {
        "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    }.get(machine, [])


@cache
def _bounding() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return 0


def _has(name: str) -> bool:
    """Whether our own bounding set has the capability; one that is not in docker's set is asked for as it is."""
    return name not in _NUMBERS or bool(_bounding() >> _NUMBERS[name] & 1)
