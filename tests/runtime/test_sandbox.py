"""Commands in real containers, by crun."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pannikin.errors import CommandFailed, NotFound, Unavailable, Unsafe
from pannikin.runtime import sandbox
from pannikin.runtime.sandbox import Command, Mount, host_access, run

needs_crun = pytest.mark.skipif(not shutil.which("crun") and not shutil.which("runc"), reason="no crun or runc")
pytestmark = [pytest.mark.root, needs_crun]

NAP = f"60.{os.getpid()}"
"""Seconds for sleep(1), by which this run's processes are known from others of this machine."""


@pytest.fixture
def root(rootfs: Path, tmp_path: Path) -> Path:
    """A root file system of this test's own."""
    subprocess.run(["cp", "-a", str(rootfs), str(tmp_path / "root")], check=True)
    return tmp_path / "root"


def sh(root: Path, script: str, **options: Any) -> tuple[int, str]:
    parts: list[bytes] = []
    status = run(root, Command(args=("/bin/sh", "-c", script), **options), output=parts.append)
    return status, b"".join(parts).decode()


def everything(root: Path) -> dict[str, tuple[int, int]]:
    found = {path: path.lstat() for path in [root, *root.rglob("*")]}
    return {str(path.relative_to(root)): (status.st_mode, status.st_mtime_ns) for path, status in found.items()}


def test_status_and_output(root: Path) -> None:
    assert sh(root, "echo out; echo err >&2; echo out; exit 3") == (3, "out\nerr\nout\n")
    assert sh(root, "true") == (0, "")
    assert sh(root, "sleep 9 & kill -9 $!; wait $!")[0] == 137


def test_nothing_stays_in_the_root(root: Path) -> None:
    before = everything(root)
    script = "cat /etc/resolv.conf /etc/hosts >/dev/null; echo 1.2.3.4 me >>/etc/hosts; ls /proc /sys /dev"
    assert sh(root, script)[0] == 0
    assert everything(root) == before


def test_what_the_command_writes_beside_the_stubs_stays(root: Path) -> None:
    shutil.rmtree(root / "etc")
    status, _ = sh(root, "echo mine >/etc/mine")
    assert status == 0
    assert sorted(os.listdir(root / "etc")) == ["mine"]
    assert (root / "etc/mine").stat().st_mtime_ns <= (root / "etc").stat().st_mtime_ns


def test_environment_directory_and_user(root: Path) -> None:
    status, text = sh(
        root, "pwd; id; echo $A $HOME; hostname; umask; echo $PATH",
        env={"A": "b c", "HOME": "/h"}, cwd="/new/dir", uid=12, gid=34, groups=(56, 78), hostname="box",
    )  # fmt: skip
    assert status == 0
    lines = text.splitlines()
    assert lines[0] == "/new/dir"
    assert "uid=12 gid=34 groups=34,56,78" in lines[1]
    assert lines[2:] == ["b c /h", "box", "0022", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


def test_capabilities(root: Path) -> None:
    _, of_root = sh(root, "cat /proc/self/status")
    _, of_user = sh(root, "cat /proc/self/status", uid=1000)
    _, limited = sh(root, "cat /proc/self/status", capabilities=("CAP_CHOWN",), no_new_privileges=True)

    def field(text: str, name: str) -> int:
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:")), 16)

    docker = 0xA80425FB
    own = field(Path("/proc/self/status").read_text(), "CapBnd")
    assert field(of_root, "CapEff") == field(of_root, "CapBnd") == docker & own
    assert field(of_root, "CapInh") == field(of_root, "CapAmb") == 0
    assert field(of_user, "CapEff") == field(of_user, "CapPrm") == 0
    assert field(limited, "CapBnd") == 1
    assert (field(of_root, "NoNewPrivs"), field(limited, "NoNewPrivs")) == (0, 1)


def test_the_container_is_closed(root: Path) -> None:
    script = "unshare -m true; unshare -U true; mknod /d c 1 3; echo x >/proc/sys/kernel/hostname; ls /proc"
    _, text = sh(root, script)
    assert "Operation not permitted" in text
    assert text.count("unshare failed") == 2
    assert "Read-only file system" in text
    numbers = [name for name in text.split() if name.isdigit()]
    assert len(numbers) < 5
    assert "1" in numbers
    _, text = sh(root, "cat /proc/kcore /proc/keys /proc/timer_list | cat; ls /sys/firmware; echo end")
    assert text.splitlines()[-1] == "end"
    assert len(text) < 300


def test_devices(root: Path) -> None:
    status, text = sh(root, "echo x >/dev/null; for n in zero full tty random urandom ptmx fd stdin shm mqueue pts; do "
                            "ls -d /dev/$n; done; echo y >/dev/shm/f")  # fmt: skip
    assert status == 0
    assert len(text.splitlines()) == 11


def test_networks(root: Path) -> None:
    host = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
    for network, expected in (("host", host), ("none", {"lo"})):
        _, text = sh(root, "cat /proc/net/dev", network=network)
        assert {line.split(":")[0].strip() for line in text.splitlines()[2:]} == expected
    _, routes = sh(root, "cat /proc/net/fib_trie", network="none")
    assert "127.0.0.1" in routes  # lo is up


def test_mounts(root: Path, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/f").write_text("of the host")
    before = everything(root)
    mounts = (
        Mount(str(tmp_path / "host"), "/mnt/deep/host", "bind", ("rbind", "ro")),
        Mount(str(tmp_path / "host/f"), "/etc/one", "bind"),
        Mount("tmpfs", "/scratch", "tmpfs", ("size=1m",)),
    )
    status, text = sh(root, "cat /mnt/deep/host/f /etc/one; touch /scratch/x; touch /mnt/deep/host/no", mounts=mounts)
    assert status == 1
    assert text.startswith("of the hostof the host")
    assert "Read-only" in text
    assert everything(root) == before
    with pytest.raises(NotFound, match="no such file on this host"):
        sh(root, "true", mounts=(Mount("/nonexistent", "/x"),))


def test_read_only(root: Path) -> None:
    status, text = sh(root, "touch /x", read_only=True)
    assert (status, "Read-only" in text) == (1, True)


def test_mount_points_behind_symlinks_stay_inside(root: Path) -> None:
    """An image whose /etc/resolv.conf points out of it, as systemd's does."""
    (root / "etc/resolv.conf").symlink_to("../run/systemd/stub.conf")
    (root / "etc/hosts").symlink_to("/../../../elsewhere/pannikin-test-hosts")
    before = everything(root)
    status, text = sh(root, "cat /etc/hosts /run/systemd/stub.conf")
    assert status == 0
    assert "localhost" in text
    assert everything(root) == before
    assert not Path("/elsewhere").exists()


def test_a_command_that_moves_etc_away_gains_nothing(root: Path, tmp_path: Path) -> None:
    """The stub of /etc/resolv.conf is removed where it is, not where a symlink made meanwhile leads."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "hosts").touch()
    (victim / "resolv.conf").touch()
    status, _ = sh(root, f"mv /etc /etc2; ln -s {victim} /etc")
    assert status == 0
    assert sorted(os.listdir(victim)) == ["hosts", "resolv.conf"]
    assert sorted(os.listdir(root / "etc2")) == ["passwd"]


def test_mounting_on_what_can_not_be_mounted_on(root: Path) -> None:
    shutil.rmtree(root / "etc")
    (root / "etc").write_text("a file")
    with pytest.raises(Unsafe, match="can't mount on '/etc/resolv"):
        sh(root, "true")
    (root / "etc").unlink()
    (root / "etc").symlink_to("etc")
    with pytest.raises(Unsafe, match="symlinks"):
        sh(root, "true")


@pytest.mark.parametrize(
    ("name", "content", "mode", "status", "says"),
    [
        ("nosuch", None, 0, 127, "no such program"),
        ("/bin/nosuch", None, 0, 127, "no such program"),
        ("/plain", b"#!/bin/sh\n", 0o644, 126, "not executable"),
        ("/script", b"#!/no/interpreter\n", 0o755, 127, "interpreter"),
        ("/foreign", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0" + bytes(44), 0o755, 126, "processor"),
        ("/etc", None, 0, 126, "not executable"),
    ],
    ids=["name", "path", "plain", "interpreter", "foreign", "directory"],
)
def test_programs_that_do_not_start(
    root: Path, name: str, content: bytes | None, mode: int, status: int, says: str
) -> None:
    output: list[bytes] = []
    if content is not None:
        (root / name.lstrip("/")).write_bytes(content)
        (root / name.lstrip("/")).chmod(mode)
    with pytest.raises(CommandFailed, match=f"can't start {name}.*{says}") as caught:
        run(root, Command(args=(name,)), output=output.append)
    assert caught.value.status == status
    assert output == []


def test_no_shell_has_a_hint(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandFailed) as caught:
        run(tmp_path / "empty", Command(args=("/bin/sh", "-c", "true")), output=lambda _: None)
    assert "exec form" in caught.value.hint
    assert os.listdir(tmp_path / "empty") == []


def test_no_runtime_installed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable) as caught:
        run(root, Command(args=("true",)))
    assert caught.value.hint == "apt-get install crun"


def test_host_access(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "example.org")
    env, mounts = host_access({"PIP_CERT": "/mine", "A": "b"})
    before = everything(root)
    _, text = sh(root, "cat $SSL_CERT_FILE; env", env=env, mounts=mounts)
    assert "certificates" in text
    for line in ("PIP_CERT=/mine", "A=b", "http_proxy=http://127.0.0.1:1", "NO_PROXY=example.org",
                 "NODE_EXTRA_CA_CERTS=/dev/.pannikin/ca.pem"):  # fmt: skip
        assert line in text.splitlines() or f"certificates{line}" in text
    assert everything(root) == before


def test_limits(root: Path) -> None:
    try:
        status, text = sh(root, "cat /proc/self/cgroup", cpus=0.5, memory=64 << 20)
    except Unavailable as error:
        assert "limit can't be set" in str(error)
        pytest.skip("no writable control groups here")
    assert status == 0
    assert "pannikin-" in text
    with pytest.raises(CommandFailed, match="out of memory"):
        sh(root, "x=0123456789abcdef; while true; do x=$x$x; done", memory=32 << 20)
    started = time.monotonic()
    sh(root, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done", cpus=0.1)
    limited = time.monotonic() - started
    started = time.monotonic()
    sh(root, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
    assert limited > 2 * (time.monotonic() - started)
    left = [path for path in Path("/sys/fs/cgroup").rglob("pannikin-*") if path.is_dir()]
    assert left == []


def test_kill_all_ends_what_runs_in_other_threads(root: Path) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(sh(root, f"echo up; sleep {NAP} & sleep {NAP}")[0]))
    thread.start()
    _wait(lambda: bool(_processes(f"sleep\x00{NAP}")))
    sandbox.kill_all()
    thread.join(10)
    assert found == [137]
    assert not _processes(f"sleep\x00{NAP}")


def test_an_error_in_the_listener_ends_the_command(root: Path) -> None:
    def fail(_: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(root, Command(args=("/bin/sh", "-c", f"echo now; sleep {NAP}")), output=fail)
    assert not _processes(f"sleep\x00{NAP}")
    assert "proc" not in os.listdir(root)


def _processes(line: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if line in path.read_text(errors="replace"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _wait(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


_VICTIM = """
import sys
from pathlib import Path
from pannikin.runtime import namespace
from pannikin.runtime.sandbox import Command, run
from pannikin.runtime.snapshots import Snapshots
from pannikin.oci.image import Layer
from pannikin.oci.model import Descriptor
from pannikin.store import Store
import msgspec
namespace.enter()
home, diff = Path(sys.argv[1]), sys.argv[2]
layer = Layer(diff, msgspec.json.decode(sys.argv[3].encode(), type=Descriptor))
with Snapshots(home / "snapshots", Store(home / "store")).writable([layer]) as work:
    print("mounted", flush=True)
    script = f"sleep {sys.argv[4]} & trap '' TERM INT; echo up; touch /made; sleep {sys.argv[4]}"
    run(work.root, Command(args=("/bin/sh", "-c", script)), output=lambda b: print(b.decode(), flush=True))
"""


def _victim(home: Path, layer: Any) -> subprocess.Popen[bytes]:
    import msgspec

    argv = [sys.executable, "-c", textwrap.dedent(_VICTIM), str(home), layer.diff_id,
            msgspec.json.encode({"mediaType": layer.descriptor.media_type, "digest": layer.descriptor.digest,
                                 "size": layer.descriptor.size}).decode(), NAP]  # fmt: skip
    (home / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(home / "tmp")})


@pytest.mark.parametrize("delay", [None, 0.0, 0.004, 0.01, 0.02])
def test_nothing_outlives_a_kill(base: Any, tmp_path: Path, delay: float | None) -> None:
    """kill -9, when the command runs and at moments before: no process, no mount, and the next start is clean."""
    child = _victim(tmp_path, base)
    assert child.stdout is not None
    assert b"mounted" in child.stdout.readline()
    if delay is None:
        assert b"up" in child.stdout.readline()
        _wait(lambda: len(_processes(f"sleep\x00{NAP}")) == 2)
    else:
        time.sleep(delay)
    child.kill()
    child.wait()
    _wait(lambda: not _processes(f"sleep\x00{NAP}"))
    _wait(lambda: not _mounts(str(tmp_path)))
    _wait(lambda: not _processes(str(tmp_path)))
    from pannikin.runtime.snapshots import Snapshots
    from pannikin.store import Store

    again = Snapshots(tmp_path / "snapshots", Store(tmp_path / "store"))
    assert again.clean() == 1
    assert not list((tmp_path / "snapshots").glob("*/temp-*"))


def test_kills_at_any_moment_leave_a_working_place(base: Any, tmp_path: Path) -> None:
    """From the start of Python over unpacking and mounting to the running command."""
    for step in range(8):
        child = _victim(tmp_path, base)
        time.sleep(0.07 * step)
        child.kill()
        child.wait()
        _wait(lambda: not _processes(f"sleep\x00{NAP}") and not _mounts(str(tmp_path)))
    child = _victim(tmp_path, base)
    assert child.stdout is not None
    assert b"mounted" in child.stdout.readline()
    assert b"up" in child.stdout.readline()
    child.kill()
    child.wait()
    _wait(lambda: not _processes(f"sleep\x00{NAP}"))
    from pannikin.runtime.snapshots import Snapshots
    from pannikin.store import Store

    again = Snapshots(tmp_path / "snapshots", Store(tmp_path / "store"))
    again.clean()
    (tree,) = again.lowers([base])
    assert (tree / "srv/data/old").read_text() == "old"
    assert len(list((tmp_path / "snapshots").glob("*/[!l]*"))) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_pannikin_and_the_container(base: Any, tmp_path: Path, number: int) -> None:
    child = _victim(tmp_path, base)
    assert child.stdout is not None
    assert b"mounted" in child.stdout.readline()
    assert b"up" in child.stdout.readline()
    child.send_signal(number)
    child.wait(10)
    _wait(lambda: not _processes(f"sleep\x00{NAP}"))
    assert not _mounts(str(tmp_path))


_FOREGROUND = """
import sys
from pathlib import Path
from pannikin.runtime.sandbox import Command, run
terminal, root, script = sys.argv[1:]
sys.exit(run(Path(root), Command(args=("/bin/sh", "-c", script), terminal=bool(terminal))))
"""


def test_signals_are_passed_on_in_the_foreground(root: Path) -> None:
    trap = "trap 'echo caught; exit 5' TERM; echo up; while true; do sleep 0.05; done"
    child = subprocess.Popen([sys.executable, "-c", _FOREGROUND, "", str(root), trap], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == b"caught\n"
    assert child.wait(10) == 5


def test_a_terminal(root: Path) -> None:
    import pty

    outer, inner = pty.openpty()
    script = "test -t 0 && test -t 1 && readlink /proc/self/fd/0; exit 7"
    child = subprocess.Popen(
        [sys.executable, "-c", _FOREGROUND, "tty", str(root), script],
        stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    assert child.wait(10) == 7
    assert b"/dev/pts/0" in os.read(outer, 1000)
    os.close(outer)


def _mounts(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            found += [line for line in path.read_text().splitlines() if text in line]
        except OSError:
            continue
    return found


def test_no_root(root: Path) -> None:
    with pytest.raises(NotFound, match="no root file system"):
        run(root / "nowhere", Command(args=("true",)), output=lambda _: None)
