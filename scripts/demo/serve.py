"""Start an image as a user would, ask it for its page, and stop it."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_START = 30.0  # seconds that an image has to answer in
_STOP = 15.0


class Failed(Exception):
    """An image that does not do what it is for."""


@dataclass(frozen=True)
class Served:
    """Seconds from the start of `pannikin run` to its first page, seconds to stop, exit code, what the page says."""

    first_page: float
    stop: float
    status: int
    page: str


def serve(pannikin: Sequence[str], image: str, env: Mapping[str, str]) -> Served:
    """Run the image on a free port and get `/` and `/healthz`. Raises `Failed` with what it printed."""
    port = free_port()
    started = time.monotonic()
    process = subprocess.Popen(
        [*pannikin, "run", "--rm", "-e", f"PORT={port}", image],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, text=True,
    )  # fmt: skip
    try:
        page = _first_answer(process, image, port, started)
        first = time.monotonic() - started
        if get(port, "/healthz").strip() != "ok":
            raise Failed(f"{image}: /healthz does not say ok")
    except BaseException:
        process.kill()
        process.communicate()
        raise
    asked = time.monotonic()
    process.terminate()
    try:
        process.communicate(timeout=_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Failed(f"{image}: still there {_STOP:.0f} seconds after SIGTERM") from None
    return Served(first, time.monotonic() - asked, process.returncode, page)


def _first_answer(process: subprocess.Popen[str], image: str, port: int, started: float) -> str:
    why = ""
    while time.monotonic() - started < _START:
        if process.poll() is not None:
            output, _ = process.communicate()
            raise Failed(f"{image}: ended with exit code {process.returncode} before it answered:\n{output[-2000:]}")
        try:
            return get(port, "/")
        except (OSError, http.client.HTTPException) as error:
            why = str(error)
            time.sleep(0.005)
    raise Failed(f"{image}: no answer on port {port} in {_START:.0f} seconds: {why}")


def get(port: int, path: str) -> str:
    """A page of this machine. Raises `Failed` for an answer that is not 200, `OSError` for none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
        if response.status != 200:
            raise Failed(f"port {port}: {path} is answered with {response.status} {response.reason}")
        return body
    finally:
        connection.close()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
