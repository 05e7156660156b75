"""A command in a root file system, by `crun` or `runc`.

    status = run(root, Command(args=("/bin/sh", "-c", "make install")), output=sink)

Nothing outlives us. The chain of processes is

    pannikin > setpriv (dies with pannikin's thread) > unshare (new mount and process namespaces)
             > crun (process 1 there, dies with unshare) > the command (process 1 of its own namespace)

and each link is killed by the kernel when the one before it ends, by `kill -9` too. The mounts live in
the namespaces, so they go with their last process. What stays of a killed pannikin is a small directory
of configuration, which the next `run` sweeps away.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pannikin.errors import CommandFailed, NotFound, Unavailable
from pannikin.runtime.bundle import CAPABILITIES, Command, Mount, default_mounts, runtime_config
from pannikin.runtime.claims import Claim, sweep
from pannikin.runtime.limits import Limits
from pannikin.runtime.mountpoints import Mountpoints

if TYPE_CHECKING:
    import subprocess

__all__ = ["CAPABILITIES", "Command", "Mount", "host_access", "kill_all", "run"]

Output = Callable[[bytes], None]

_PREFIX = "pannikin-run"
_GRACE = 10.0  # seconds between asking a container to end and killing it, as docker stop waits

# $0 is the process that must still be our parent: it may have died before setpriv asked to die with it
_OUTER = '[ "$PPID" = "$0" ] || exit 125; exec "$@"'
# Join the control groups named before "--"; where cgroup v1 and v2 are mounted together (which crun 1.8 refuses)
# show it v2 alone; then become the runtime.
_INNER = """while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 125; shift; done; shift
if [ -d /sys/fs/cgroup/unified ]; then mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup || exit 125; fi
exec "$@"
"""

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)  # fmt: skip
_BUNDLE_VARIABLES = (
    "SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
)  # fmt: skip
_BUNDLE_TARGET = "/dev/.pannikin/ca.pem"

_running: set[subprocess.Popen[bytes]] = set()
_running_lock = threading.Lock()


def host_access(env: Mapping[str, str]) -> tuple[dict[str, str], tuple[Mount, ...]]:
    """What a build step needs of the host to reach the network: `env` with the proxies and the CA bundle's
    variables added where `env` does not set them, and the mounts that bring the bundle in.

    The bundle lies on the container's own /dev, so that nothing of it reaches the layer.
    """
    found = {}
    for name in _PROXIES:
        for spelled in (name, name.upper()):
            if spelled in os.environ:
                found[spelled] = os.environ[spelled]
    bundle = _host_bundle()
    mounts: tuple[Mount, ...] = ()
    if bundle:
        mounts = (Mount(bundle, _BUNDLE_TARGET, "bind", ("rbind", "ro", "nosuid", "nodev")),)
        found |= dict.fromkeys(_BUNDLE_VARIABLES, _BUNDLE_TARGET)
    return found | dict(env), mounts


def _host_bundle() -> str | None:
    named = [os.environ.get(name, "") for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")]
    return next((path for path in (*named, *_BUNDLES) if path and Path(path).is_file()), None)


def run(root: Path, command: Command, *, output: Output | None = None, stdin: int | IO[Any] | None = None) -> int:
    """Run the command in `root` and wait for it; returns its exit status (128 + n after signal n).

    With `output`, what it writes (stdout and stderr, in order) is given to that function in pieces, and its
    stdin is empty unless `stdin` gives one; without, it has our own stdin, stdout and stderr. Raises
    `CommandFailed` with status 127 or 126 where there is no such program or it can't be started, `Unavailable`
    where no runtime is installed or the kernel refuses, `NotFound` where the source of a mount is missing.
    """
    import tempfile

    runtime = _runtime()
    if not root.is_dir():
        raise NotFound(f"no root file system at {root}")
    temporary = Path(tempfile.gettempdir())
    sweep(temporary, _PREFIX)
    points = Mountpoints(root)
    try:
        with Claim(temporary, _PREFIX) as claim:
            mounts = _place(points, [*default_mounts(_private_files(claim.path, command)), *command.mounts])
            config = runtime_config(command, root, mounts)
            (claim.path / "config.json").write_text(json.dumps(config))
            limits = Limits(command.cpus, command.memory)
            try:
                log = _Log(claim.path / "log")
                argv = _argv(runtime, claim.path, limits.directories, "json" if output else "text")
                status = _attached(argv, stdin) if output is None else _piped(argv, log.filter(output), stdin)
                if output:
                    log.release(status, output)
                return _judge(status, log, command, limits)
            finally:
                limits.close()
    finally:
        points.remove()


def kill_all() -> None:
    """Kill every container that runs now, from any thread: their `run` calls return 137 at once."""
    with _running_lock:
        children = list(_running)
    for child in children:
        _kill(child)


def _runtime() -> str:
    import shutil

    if os.geteuid() != 0:
        hint = "run as root, or enter a user namespace first"
        raise Unavailable("a command in a container needs root, or a user namespace", hint=hint)
    for name in ("crun", "runc"):
        if path := shutil.which(name):
            return path
    raise Unavailable("no container runtime is installed", why="neither crun nor runc is in PATH",
                      hint="apt-get install crun")  # fmt: skip


def _private_files(bundle: Path, command: Command) -> dict[str, str]:
    """The container's own resolv.conf and hosts: copies, so that a command may write to them; the layer stays clean."""
    host = command.network == "host"
    hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    if host:
        hosts = _text("/etc/hosts") or hosts
    if command.hostname not in hosts.split():
        hosts = f"{hosts.rstrip()}\n127.0.1.1 {command.hostname}\n"
    texts = {"/etc/resolv.conf": _text("/etc/resolv.conf") if host else "", "/etc/hosts": hosts}
    files = {}
    for target, text in texts.items():
        file = bundle / Path(target).name
        file.write_text(text)
        file.chmod(0o644)
        files[target] = str(file)
    return files


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _place(points: Mountpoints, mounts: list[Mount]) -> list[Mount]:
    """The mounts with their targets resolved in the root, and something there to be mounted on."""
    placed = []
    for mount in mounts:
        directory = True
        if mount.type == "bind":
            if not os.path.lexists(mount.source):
                what = f"can't mount {mount.source} at {mount.target}"
                raise NotFound(what, why="there is no such file on this host")
            directory = Path(mount.source).is_dir()
        target = points.add(mount.target, directory=directory)
        placed.append(Mount(mount.source, target, mount.type, mount.options))
    return placed


def _argv(runtime: str, bundle: Path, groups: list[Path], log: str) -> list[str]:
    name = bundle.name
    options = ["--root", str(bundle / "state"), f"--log={bundle / 'log'}", f"--log-format={log}"]
    if Path(runtime).name == "crun":
        options.insert(0, "--cgroup-manager=disabled")
    return [
        "setpriv", "--pdeathsig", "KILL", "--",
        "sh", "-c", _OUTER, str(os.getpid()),
        "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation", "private", "--mount-proc", "--",
        "sh", "-c", _INNER, "pannikin", *map(str, groups), "--",
        runtime, *options, "run", "--bundle", str(bundle), name,
    ]  # fmt: skip


@contextmanager
def _started(argv: list[str], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The process, known to `kill_all`; killed with all its descendants if the block is left early."""
    import subprocess

    try:
        child = subprocess.Popen(argv, **streams)
    except FileNotFoundError as error:
        raise Unavailable(f"{error.filename} is missing", hint="apt-get install util-linux") from None
    with _running_lock:
        _running.add(child)
    try:
        yield child
    finally:
        if child.poll() is None:
            _kill(child)
            child.wait()
        with _running_lock:
            _running.discard(child)


def _piped(argv: list[str], output: Output, stdin: int | IO[Any] | None) -> int:
    import subprocess

    source = subprocess.DEVNULL if stdin is None else stdin
    # a session of its own: Ctrl-C at the terminal is ours to handle
    with _started(
        argv, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as child:
        assert child.stdout is not None
        fd = child.stdout.fileno()
        while chunk := os.read(fd, 64 << 10):
            output(chunk)
        child.stdout.close()
        return child.wait()


_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_MESSAGES = (signal.SIGUSR1, signal.SIGUSR2)  # these do not ask a command to end


def _attached(argv: list[str], stdin: int | IO[Any] | None) -> int:
    """With our own stdio. Signals are passed on; a second one, or ten seconds after the first, kills."""
    import subprocess

    with _started(argv, stdin=stdin) as child, _terminal_restored():
        asked: list[float] = []

        def forward(number: int, _frame: object) -> None:
            if number in _MESSAGES:
                _signal(child, number)
                return
            asked.append(time.monotonic())
            if len(asked) > 1 or not _signal(child, number):
                _kill(child)

        with _handlers(forward, (*_ENDINGS, *_MESSAGES)):
            while True:
                try:
                    return child.wait(timeout=0.5 if asked else None)
                except subprocess.TimeoutExpired:
                    if time.monotonic() - asked[0] > _GRACE:
                        _kill(child)


@contextmanager
def _handlers(handler: Callable[[int, Any], None], numbers: tuple[int, ...]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def _terminal_restored() -> Iterator[None]:
    """A killed runtime leaves the terminal raw."""
    import termios

    try:
        before = termios.tcgetattr(0)
    except termios.error:
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _runtimes(child: subprocess.Popen[bytes]) -> list[int]:
    """The process numbers of what unshare started: the runtime, process 1 of its namespace."""
    try:
        return [int(number) for number in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()]
    except (OSError, ValueError):
        return []


def _signal(child: subprocess.Popen[bytes], number: int, *, itself: bool = False) -> bool:
    """Pass a signal on to the runtime, which passes it to the command; or to the child `itself`. Whether it arrived."""
    sent = False
    for pid in [child.pid] if itself else _runtimes(child):
        try:
            os.kill(pid, number)
            sent = True
        except ProcessLookupError:
            continue
    return sent


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End all that the child has started, then the child. When it is gone, so is every process of the container."""
    if _signal(child, signal.SIGSTOP, itself=True):
        runtimes = _runtimes(child)
        _signal(child, signal.SIGKILL)
        # Process 1 of a namespace is a zombie only when all others in it are gone, and their use of the mounts.
        end = time.monotonic() + _GRACE
        while any(_alive(pid) for pid in runtimes) and time.monotonic() < end:
            time.sleep(0.001)
    child.kill()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _judge(status: int, log: _Log, command: Command, limits: Limits) -> int:
    status = status if status >= 0 else 128 - status
    if status and (said := log.error()):
        raise _failure(said, command)
    if status and limits.out_of_memory():
        raise CommandFailed(f"{command.args[0]} was killed: out of memory", status=137, hint="raise the memory limit")
    return status


_RUNTIME_SAYS = (b"executable file `", b"open executable: ", b'{"msg":"exec container process')


class _Log:
    """What the runtime itself has to say, apart from the command's output.

    crun writes its errors to its log and to stderr; one that it finds after it has left the host's file system
    (exec failed) to stderr alone, as a line of JSON. Either comes before any output of the command, so only the
    first piece can be the runtime's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._late = b""

    def filter(self, output: Output) -> Output:
        """The same listener, without the runtime's own words."""
        first = True

        def pass_on(chunk: bytes) -> None:
            nonlocal first
            if first and (chunk.startswith(_RUNTIME_SAYS) or self.error()):
                self._late = chunk
            else:
                output(chunk)
            first = False

        return pass_on

    def release(self, status: int, output: Output) -> None:
        """Pass on what was held back, where the command said it after all."""
        if self._late and not (status and self.error()):
            output(self._late)

    def error(self) -> str:
        """The last error, empty where the command was started."""
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        for line in reversed([*lines, *self._late.decode(errors="replace").splitlines()]):
            try:
                entry = json.loads(line)
            except ValueError:
                if line.strip() and self._path.exists():  # the text form, used at a terminal
                    return line.strip()
                continue
            if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                return str(entry.get("msg", ""))
        return ""


# part of the runtime's message -> status as a shell gives it, why
_FAILURES = (
    ("not found in $path", 127, "the image has no such program"),
    ("missing dynamic library", 127, "its interpreter or its loader is not in the image"),
    ("exec format error", 126, "the file is for another kind of processor, or is no program"),
    ("no such file or directory", 127, "the image has no such program"),
    ("permission denied", 126, "the file is not executable"),
    ("operation not permitted", 126, "the file is not executable"),
)


def _failure(said: str, command: Command) -> CommandFailed | Unavailable:
    program = command.args[0] if command.args else ""
    lower = said.lower()
    if "exec" in lower:
        for text, status, why in _FAILURES:
            if text in lower:
                hint = "is the image made for this machine's architecture?" if "format" in text else ""
                if status == 127 and program.rpartition("/")[2] == "sh":
                    hint = 'an image without a shell needs the exec form: ["program", "argument"]'
                return CommandFailed(f"can't start {program}: {why}", status=status, hint=hint)
    return Unavailable("the container can't be started", why=said)
