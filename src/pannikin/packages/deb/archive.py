"""An archive: its sources brought up to date, then asked for packages."""

from __future__ import annotations

import contextvars
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pannikin import progress
from pannikin.errors import Corrupt, NotFound, PannikinError, Unavailable
from pannikin.packages.deb import apt, fetch, index, release, resolve
from pannikin.packages.deb.distroless import unneeded
from pannikin.packages.deb.index import PackageIndex, Record
from pannikin.packages.deb.pins import Pinned
from pannikin.packages.deb.release import Release
from pannikin.packages.deb.sources import Source
from pannikin.packages.deb.transport import Transport, disk_error

MAX_RELEASE = 32 << 20
"""Bytes: no Release file is longer than this."""


@dataclass(frozen=True)
class _Suite:
    """One suite of one source at one URI. `root` is where its Release file lies."""

    source: Source
    uri: str
    name: str

    @property
    def root(self) -> str:
        return f"{self.uri}/{self.name.rstrip('/')}" if self.name.endswith("/") else f"{self.uri}/dists/{self.name}"


class Archive:
    """Debian packages from `sources`, for one `architecture` (Debian's name: amd64), with a `cache` directory.

    >>> archive = Archive(from_host(), cache, "amd64")
    >>> debs = archive.fetch(archive.resolve(["base-files", "libc6"]))
    """

    def __init__(
        self, sources: Sequence[Source], cache: Path, architecture: str, config: apt.AptConfig | None = None
    ) -> None:
        self.sources = tuple(sources)
        self.cache = cache
        self.architecture = architecture
        self.config = apt.load() if config is None else config
        self.transport = Transport(self.config)
        self._universe: resolve.Universe | None = None

    def update(self) -> None:
        """Fetch what has changed of the sources, verified from the signature down.

        Raises `Unavailable`, `NotFound`, `Corrupt` with the URL and, where it helps, apt's file and line.
        """
        suites = [_Suite(source, uri, name) for source in self.sources for uri in source.uris for name in source.suites]
        with progress.step("update package lists"), ThreadPoolExecutor(max(1, len(suites))) as pool:
            jobs = [pool.submit(contextvars.copy_context().run, self._update, suite) for suite in suites]
            indexes = [one for job in jobs for one in job.result()]
        self._universe = resolve.Universe(indexes, self.architecture)

    @property
    def universe(self) -> resolve.Universe:
        """All candidates; brings the sources up to date at first use."""
        if self._universe is None:
            self.update()
        assert self._universe is not None
        return self._universe

    def minimal(self) -> list[str]:
        """The names of a minimal system: Essential, Priority required, and apt (mmdebstrap's minbase)."""
        marks = self.universe.marks
        return sorted({*marks("essential"), *marks("required"), "apt"})

    def resolve(
        self, names: Sequence[str], *, recommends: bool = False, installed: Iterable[Pinned | Record] = (),
        distroless: bool = False,
    ) -> list[Pinned]:  # fmt: skip
        """The packages to add so that `names` work, dependencies first; see `resolve.resolve`.

        `distroless` leaves out what only maintainer scripts need (`distroless.unneeded`).
        """
        records = [self._record(one) for one in installed]
        without = unneeded if distroless else None
        found = resolve.resolve(self.universe, names, recommends=recommends, installed=records, without=without)
        return [pinned(record) for record in found]

    def record(self, pin: Pinned) -> Record:
        """The control stanza of a pin. Raises `NotFound` where the archive no longer has it."""
        for record in self.universe.find(pin.name):
            if record.fields.get("SHA256", pin.sha256) == pin.sha256 and record.version == pin.version:
                return record
        raise NotFound(f"the archive no longer has {pin}")

    def _record(self, one: Pinned | Record) -> Record:
        return one if isinstance(one, Record) else self.record(one)

    def fetch(self, pins: Sequence[Pinned]) -> dict[Pinned, Path]:
        """The .deb files, from the cache or the mirror, every one checked."""
        return fetch.fetch([self._located(pin) for pin in pins], self.cache / "debs", self.transport)

    def _located(self, pin: Pinned) -> Pinned:
        if pin.url or (self.cache / "debs" / f"{pin.sha256}.deb").exists():
            return pin
        base = self.record(pin).base
        return replace(pin, url=f"{base}/{pin.filename}")

    # One suite

    def _update(self, suite: _Suite) -> list[PackageIndex]:
        found = self._release(suite)
        paths = release.wanted(found, suite.source, suite.name, (self.architecture, "all"))
        return [self._index(suite, found, path) for path in paths]

    def _release(self, suite: _Suite) -> Release:
        source, url = suite.source, f"{suite.root}/InRelease"
        try:
            raw, signature = self._cached(url), None
        except NotFound:
            url = f"{suite.root}/Release"
            raw = self._cached(url)
            signature = None if source.trusted else self._cached(f"{url}.gpg")
        if source.trusted:
            text = release.unsigned(raw)
        else:
            text = release.verify(raw, release.certificates(source), url, signature)
        found = release.parse(text, url)
        check = source.check_valid_until
        if check is None:
            check = self.config.flag("Acquire::Check-Valid-Until", True)
        release.check_dates(found, url, valid_until=check, date=self.config.flag("Acquire::Check-Date", True))
        return found

    def _cached(self, url: str) -> bytes:
        """A small file, asked for anew only if it changed since the last time.

        Where the mirror can't be reached the one of the last time serves, as with apt; what is wrong with it (a
        signature, an end of validity) is still found.
        """
        directory = self.cache / "releases"
        path = directory / hashlib.sha256(url.encode()).hexdigest()
        stamp = path.with_suffix(".modified")
        since = stamp.read_text() if stamp.exists() and path.exists() else ""
        try:
            with self.transport.open(url, since=since) as answer:
                if answer.unchanged:
                    return path.read_bytes()
                raw = _all(answer.chunks, url)
        except Unavailable as error:
            if not path.exists():
                raise
            progress.emitter()(f"{error.what} ({error.why}): the list of the last time is used\n")
            return path.read_bytes()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _write(path, raw)
            if answer.modified:
                _write(stamp, answer.modified.encode())
        except OSError as error:
            raise disk_error(error, path) from None
        return raw

    def _index(self, suite: _Suite, found: Release, path: str) -> PackageIndex:
        directory = self.cache / "indexes"
        if path not in found.hashes:
            raise Corrupt("the Release file does not hash its Packages file", where=suite.root, why=path)
        plain = found.hashes[path]
        loaded = index.load(directory, plain[0])
        if loaded is None:
            text = self._packages(suite, found, path)
            check = hashlib.sha256(text).hexdigest()
            if check != plain[0]:
                raise Corrupt("a Packages file is not what the archive signed", where=f"{suite.root}/{path}")
            try:
                index.store(directory, check, text)
            except OSError as error:
                raise disk_error(error, directory / check) from None
            loaded = index.load(directory, check)
        if loaded is None:
            raise Unavailable("can't read the package lists back from the cache", where=str(directory))
        names = {suite.name.rstrip("/"), *found.names}
        loaded.base, loaded.suite, loaded.priority = suite.uri, " ".join(sorted(names)), found.priority
        if suite.name.endswith("/"):
            loaded.base = suite.root
        return loaded

    def _packages(self, suite: _Suite, found: Release, path: str) -> bytes:
        """The unpacked Packages file. gzip before xz: 40% larger, but unpacked in a tenth of the time."""
        last: PannikinError | None = None
        for suffix in (".gz", ".xz", ""):
            if path + suffix not in found.hashes:
                continue
            sha256, size = found.hashes[path + suffix]
            by_hash = found.by_hash if suite.source.by_hash is None else suite.source.by_hash
            folder = path.rpartition("/")[0]
            name = f"{folder}/by-hash/SHA256/{sha256}" if by_hash else path + suffix
            packed = self.cache / "indexes" / f"{sha256}.packed"
            packed.parent.mkdir(parents=True, exist_ok=True)
            try:
                url = f"{suite.root}/{name.lstrip('/')}"
                fetch.download(url, packed, sha256, size, self.transport, what=f"{suite.name} {path}")
            except NotFound as error:
                last = error
                continue
            text = _unpacked(packed.read_bytes(), suffix)
            packed.unlink(missing_ok=True)
            return text
        raise last or Corrupt("the Release file offers no format that is known", where=suite.root, why=path)


def _all(chunks: Iterable[bytes], url: str) -> bytes:
    found = bytearray()
    for chunk in chunks:
        found += chunk
        if len(found) > MAX_RELEASE:
            raise Corrupt("a Release file is too large", where=url)
    return bytes(found)


def _write(path: Path, raw: bytes) -> None:
    import os

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(raw)
    temporary.replace(path)


def _unpacked(raw: bytes, suffix: str) -> bytes:
    if suffix == ".xz":
        import lzma

        return lzma.decompress(raw)
    if suffix == ".gz":
        from zlib_ng import zlib_ng

        return bytes(zlib_ng.decompress(raw, wbits=31))
    return raw


def pinned(record: Record) -> Pinned:
    """The pin of a record from an index. Raises `Corrupt` where the index has no hash for it."""
    fields = record.fields
    try:
        name, size = fields["Filename"].removeprefix("./"), int(fields["Size"])
        sha256 = fields["SHA256"].lower()
    except (KeyError, ValueError):
        raise Corrupt(f"the index has no file, size or SHA-256 for {record.name}", where=record.base) from None
    return Pinned(record.name, record.version, record.architecture, sha256, size, name, f"{record.base}/{name}")
