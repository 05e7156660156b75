"""Reading from a mirror: http, https and file URIs, with apt's proxies, certificates and credentials."""

from __future__ import annotations

import errno
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from pannikin.errors import NotFound, PannikinError, Unavailable
from pannikin.packages.deb.apt import AptConfig

if TYPE_CHECKING:
    import urllib3

CHUNK = 256 << 10
"""Bytes read at a time."""


@dataclass(slots=True)
class Answer:
    """What a mirror sent: `chunks` to read once; `offset` where they begin; `size` bytes to come, if known."""

    chunks: Iterator[bytes]
    offset: int = 0
    size: int | None = None
    modified: str = ""
    unchanged: bool = False


class Transport:
    """Opens URLs. One per archive; safe to use from several threads, connections are kept alive."""

    def __init__(self, config: AptConfig, connections: int = 8) -> None:
        self.config = config
        self.connections = connections
        self._managers: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    @contextmanager
    def open(self, url: str, *, offset: int = 0, since: str = "") -> Iterator[Answer]:
        """Open `url` from byte `offset`, or only if modified after the HTTP date `since`.

        Raises `NotFound` (404, or no such file), `Unavailable` (anything else that keeps the mirror from
        answering). A server that ignores the range answers with `offset` 0.
        """
        if urlsplit(url).scheme in ("file", "copy"):
            with _file(url, offset) as answer:
                yield answer
            return
        with self._http(url, offset, since) as answer:
            yield answer

    @contextmanager
    def _http(self, url: str, offset: int, since: str) -> Iterator[Answer]:
        import urllib3

        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        if since:
            headers["If-Modified-Since"] = since
        # No message and no log ever shows a password: from here on the URL is without it.
        url, login = _without_login(url)
        login = login or next((f"{c.login}:{c.password}" for c in self.config.credentials if c.serves(url)), "")
        if login:
            headers |= urllib3.make_headers(basic_auth=login)
        try:
            response = self._manager(url).request("GET", url, headers=headers, preload_content=False)
            try:
                yield _answer(url, response)
            finally:
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise _explain(url, error) from None

    def _manager(self, url: str) -> urllib3.PoolManager:
        import urllib3

        proxy = self.config.proxy(url) or ""
        with self._lock:
            if proxy not in self._managers:
                options: dict[str, Any] = {
                    "maxsize": self.connections,
                    "timeout": urllib3.Timeout(connect=15, read=60),
                    "retries": urllib3.Retry(3, connect=1, backoff_factor=0.3, status_forcelist=(429, 502, 503, 504)),
                    "headers": {"User-Agent": "pannikin"},
                }
                if urlsplit(url).scheme == "https":
                    options["ca_certs"] = self._authorities()
                made = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
                self._managers[proxy] = made
            return self._managers[proxy]

    def _authorities(self) -> str | None:
        chosen = self.config.get("Acquire::https::CAInfo") or os.environ.get("SSL_CERT_FILE")
        return chosen or ssl.get_default_verify_paths().cafile or _system_bundle()


def _without_login(url: str) -> tuple[str, str]:
    """A URL without `user:password@`, and that."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=host).geturl(), unquote(login)


def _system_bundle() -> str | None:
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    return bundle if Path(bundle).is_file() else None


def _answer(url: str, response: Any) -> Answer:
    status = response.status
    modified = response.headers.get("Last-Modified", "")
    if status == 304:
        return Answer(iter(()), unchanged=True, modified=modified)
    if status in (404, 410):
        raise NotFound("the mirror does not have it", where=url, why=f"HTTP {status}")
    if status in (401, 403, 407):
        raise Unavailable("the mirror refuses", where=url, why=f"HTTP {status}", hint="see apt_auth.conf(5)")
    if status not in (200, 206):
        raise Unavailable("the mirror answers with an error", where=url, why=f"HTTP {status}")
    length = response.headers.get("Content-Length")
    offset = 0
    if status == 206:
        span = response.headers.get("Content-Range", "")
        offset = int(span.removeprefix("bytes ").partition("-")[0] or 0)
    return Answer(response.stream(CHUNK), offset, int(length) if length else None, modified)


@contextmanager
def _file(url: str, offset: int) -> Iterator[Answer]:
    path = Path(unquote(urlsplit(url).path))
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise NotFound("the mirror does not have it", where=str(path)) from None
    except OSError as error:
        raise Unavailable("can't read the mirror", where=str(path), why=error.strerror or "") from None
    with file:
        file.seek(offset)
        yield Answer(_chunks(file), offset, os.fstat(file.fileno()).st_size - offset)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _explain(url: str, error: Exception) -> PannikinError:
    """One clear line for what urllib3 raises; `reason` is the cause inside a retry error."""
    import urllib3

    cause: BaseException = getattr(error, "reason", None) or error
    text = str(cause)
    host = urlsplit(url).netloc
    if isinstance(cause, urllib3.exceptions.SSLError) or "CERTIFICATE_VERIFY_FAILED" in text:
        hint = "add the network's CA to the system's store (update-ca-certificates) or set SSL_CERT_FILE"
        return Unavailable(f"can't trust {host}", where=url, why=_tail(text), hint=hint)
    if isinstance(cause, urllib3.exceptions.ProxyError):
        return Unavailable(f"can't reach the proxy for {host}", where=url, why=_tail(text))
    if isinstance(cause, urllib3.exceptions.ProtocolError | urllib3.exceptions.IncompleteRead):
        return Unavailable(f"{host} broke off", where=url, why=_tail(text), hint="run it again: it goes on from there")
    return Unavailable(f"can't reach the mirror {host}", where=url, why=_tail(text), hint="is the network up?")


def _tail(text: str) -> str:
    """The end of urllib3's message: what the system said, without the object's address before it."""
    return text.rpartition(">: ")[2].rstrip(")'\"") or text


def disk_error(error: OSError, path: Path) -> PannikinError:
    """One clear line for a write that failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("the disk is full", where=str(path.parent), hint="free space, or another cache directory")
    return Unavailable("can't write", where=str(path), why=error.strerror or str(error))
