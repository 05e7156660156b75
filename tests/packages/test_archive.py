"""A signed archive made here, read from a directory and over HTTP; and everything that can be wrong with one."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pannikin import progress
from pannikin.errors import Corrupt, NotFound, Unavailable, UsageError
from pannikin.packages.deb import Archive, Source, explicit, fetch, portable
from pannikin.packages.deb.apt import AptConfig, Credential
from pannikin.packages.deb.sources import parse_deb822
from pannikin.packages.deb.transport import Transport

from .making import Deb, key, repository

DEBS = [
    Deb("app", "2.0", fields={"Depends": "lib (>= 1)"}, files={"usr/bin/app": b"app" * 5000}),
    Deb("lib", "1.1", files={"usr/lib/lib.so": bytes(range(256)) * 3000}, suffix=""),
]
CONFIG = AptConfig()


@pytest.fixture(scope="module")
def signer() -> object:
    return key()


@pytest.fixture
def mirror(tmp_path: Path, signer: object) -> Source:
    keyring = repository(tmp_path / "mirror", DEBS, signer)  # type: ignore[arg-type]
    return explicit(str(tmp_path / "mirror"), ["stable"], keyring=str(keyring))


def archive(source: Source, tmp_path: Path, config: AptConfig = CONFIG) -> Archive:
    return Archive([source], tmp_path / "cache", "amd64", config)


def root_of(source: Source) -> Path:
    return Path(source.uris[0].removeprefix("file://"))


def test_from_a_directory(mirror: Source, tmp_path: Path) -> None:
    found = archive(mirror, tmp_path)
    pins = found.resolve(["app"])
    assert [str(pin) for pin in pins] == ["lib=1.1", "app=2.0"]
    paths = found.fetch(pins)
    for pin, path in paths.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == pin.sha256
        assert path.stat().st_size == pin.size
    assert not list((tmp_path / "cache/debs").glob("*.part"))


def test_an_armoured_keyring_and_an_inline_key(mirror: Source, tmp_path: Path, signer: object) -> None:
    armour = str(signer.extract_certificate())  # type: ignore[attr-defined]
    path = tmp_path / "k.asc"
    path.write_text(armour)
    archive(replace(mirror, keyrings=(str(path),)), tmp_path).update()
    archive(replace(mirror, keyrings=(), inline_key=armour), tmp_path).update()
    fingerprint = signer.extract_certificate().fingerprint  # type: ignore[attr-defined]
    archive(replace(mirror, fingerprints=(fingerprint,)), tmp_path).update()
    with pytest.raises(Corrupt, match="signature"):
        archive(replace(mirror, fingerprints=("0" * 40,)), tmp_path).update()


def test_a_changed_release_file_is_refused(mirror: Source, tmp_path: Path) -> None:
    path = root_of(mirror) / "dists/stable/InRelease"
    path.write_bytes(path.read_bytes().replace(b"Origin: Test", b"Origin: Evil"))
    with pytest.raises(Corrupt, match="signature is not valid") as caught:
        archive(mirror, tmp_path).update()
    assert "\n  hint" in str(caught.value) and "backtrace" not in str(caught.value)


def test_text_outside_the_signature_is_not_believed(mirror: Source, tmp_path: Path) -> None:
    path = root_of(mirror) / "dists/stable/InRelease"
    evil = b"Components: evil\n\n" + path.read_bytes() + b"\nComponents: evil\n"
    path.write_bytes(evil)
    try:
        found = archive(mirror, tmp_path)
        found.update()
    except Corrupt:
        return  # refused: as good
    assert [str(pin) for pin in found.resolve(["lib"])] == ["lib=1.1"]


def test_another_key_is_refused_and_named(mirror: Source, tmp_path: Path) -> None:
    other = tmp_path / "other.gpg"
    other.write_bytes(bytes(key().extract_certificate()))
    with pytest.raises(Corrupt) as caught:
        archive(replace(mirror, keyrings=(str(other),)), tmp_path).update()
    assert "signed by" in caught.value.hint
    archive(replace(mirror, keyrings=(str(other),), trusted=True), tmp_path).update()


def test_a_keyring_that_is_none(mirror: Source, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gpg"
    bad.write_text("not a key")
    with pytest.raises(Corrupt, match="not an OpenPGP keyring"):
        archive(replace(mirror, keyrings=(str(bad),)), tmp_path).update()
    with pytest.raises(NotFound, match="keyring"):
        archive(replace(mirror, keyrings=("/nowhere.gpg",)), tmp_path).update()


def test_expired(tmp_path: Path, signer: object) -> None:
    fields = {"Valid-Until": "Sat, 01 Jan 2022 00:00:00 UTC"}
    keyring = repository(tmp_path / "mirror", DEBS, signer, fields=fields)  # type: ignore[arg-type]
    source = explicit(str(tmp_path / "mirror"), ["stable"], keyring=str(keyring))
    with pytest.raises(Unavailable, match="expired"):
        archive(source, tmp_path).update()
    archive(source, tmp_path, AptConfig({"acquire::check-valid-until": "false"})).update()
    archive(replace(source, check_valid_until=False), tmp_path).update()


def test_from_the_future(tmp_path: Path, signer: object) -> None:
    fields = {"Date": "Sat, 01 Jan 2101 00:00:00 UTC"}
    keyring = repository(tmp_path / "mirror", DEBS, signer, fields=fields)  # type: ignore[arg-type]
    source = explicit(str(tmp_path / "mirror"), ["stable"], keyring=str(keyring))
    with pytest.raises(Unavailable, match="future"):
        archive(source, tmp_path).update()


def test_a_changed_index_is_refused(mirror: Source, tmp_path: Path) -> None:
    for path in (root_of(mirror) / "dists/stable/main/binary-amd64").iterdir():
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    with pytest.raises(Corrupt, match="not what the archive signed"):
        archive(mirror, tmp_path).update()
    assert not list((tmp_path / "cache/indexes").iterdir())


def test_a_changed_package_is_refused_and_leaves_nothing(mirror: Source, tmp_path: Path) -> None:
    found = archive(mirror, tmp_path)
    [pin] = found.resolve(["lib"])
    path = root_of(mirror) / pin.filename
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Corrupt, match=r"lib=1\.1 is not what the archive signed"):
        found.fetch([pin])
    assert not list((tmp_path / "cache/debs").iterdir())


def test_a_short_and_a_long_package(mirror: Source, tmp_path: Path) -> None:
    found = archive(mirror, tmp_path)
    [pin] = found.resolve(["lib"])
    path = root_of(mirror) / pin.filename
    raw = path.read_bytes()
    path.write_bytes(raw[:-10])
    with pytest.raises(Unavailable, match="broke off"):
        found.fetch([pin])
    path.write_bytes(raw + b"more")
    with pytest.raises(Corrupt):
        found.fetch([pin])
    path.unlink()
    with pytest.raises(NotFound, match="does not have it"):
        found.fetch([pin])


def test_unknown_component_and_suite(mirror: Source, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        archive(replace(mirror, components=("contrib",)), tmp_path).update()
    assert "components: main" in caught.value.hint
    with pytest.raises(NotFound, match="does not have it"):
        archive(replace(mirror, suites=("sid",)), tmp_path).update()


class Server(http.server.SimpleHTTPRequestHandler):
    """Files with ranges, conditional requests and a log; `ranges` off answers a range with the whole file."""

    log: ClassVar[list[tuple[str, str, str]]] = []
    ranges: ClassVar[bool] = True
    broken: ClassVar[set[str]] = set()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        span = self.headers.get("Range", "")
        self.log.append((self.path, span, self.headers.get("Authorization", "")))
        path = Path(self.translate_path(self.path))
        if self.path in self.broken:
            self.broken.discard(self.path)
            raw = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw[: len(raw) // 2])
            self.close_connection = True
            return
        if span and self.ranges and path.is_file():
            start = int(span.removeprefix("bytes=").rstrip("-"))
            raw = path.read_bytes()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(raw) - 1}/{len(raw)}")
            self.send_header("Content-Length", str(len(raw) - start))
            self.end_headers()
            self.wfile.write(raw[start:])
            return
        super().do_GET()


@pytest.fixture
def web(mirror: Source) -> Iterator[tuple[Source, type[Server]]]:
    class Handler(Server):
        log: ClassVar[list[tuple[str, str, str]]] = []
        broken: ClassVar[set[str]] = set()

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, directory=str(root_of(mirror)), **options)  # type: ignore[arg-type]

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield replace(mirror, uris=(f"http://127.0.0.1:{server.server_port}",)), Handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_over_http_and_a_second_time_nothing_is_sent(web: tuple[Source, type[Server]], tmp_path: Path) -> None:
    source, server = web
    first = archive(source, tmp_path)
    first.fetch(first.resolve(["app"]))
    server.log.clear()
    events: list[progress.Event] = []
    with progress.listen(events.append):
        second = archive(source, tmp_path)
        second.fetch(second.resolve(["app"]))
    assert [path for path, _, _ in server.log] == ["/dists/stable/InRelease"]
    assert [event.title for event in events if event.kind == "started"] == ["update package lists"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_resumed(web: tuple[Source, type[Server]], tmp_path: Path, ranges: bool) -> None:
    source, server = web
    server.ranges = ranges
    found = archive(source, tmp_path)
    [pin] = found.resolve(["lib"])
    server.broken.add(f"/{pin.filename}")
    with pytest.raises(Unavailable, match="broke off"):
        found.fetch([pin])
    [part] = (tmp_path / "cache/debs").iterdir()
    have = part.stat().st_size
    assert 0 < have < pin.size
    server.log.clear()
    path = found.fetch([pin])[pin]
    assert server.log == [(f"/{pin.filename}", f"bytes={have}-", "")]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == pin.sha256


def test_progress_counts_bytes(web: tuple[Source, type[Server]], tmp_path: Path) -> None:
    found = archive(web[0], tmp_path)
    pins = found.resolve(["app"])
    events: list[progress.Event] = []
    with progress.listen(events.append):
        found.fetch(pins)
    total = sum(pin.size for pin in pins)
    assert max(event.done for event in events) == total and events[-1].kind == "finished"


def test_credentials_are_sent(web: tuple[Source, type[Server]], tmp_path: Path) -> None:
    source, server = web
    host = source.uris[0].removeprefix("http://")
    config = AptConfig(credentials=(Credential(f"http://{host}", "me", "pass"),))
    archive(source, tmp_path, config).update()
    assert {auth for _, _, auth in server.log} == {"Basic bWU6cGFzcw=="}


def test_a_login_in_the_uri_is_sent_and_never_shown(web: tuple[Source, type[Server]], tmp_path: Path) -> None:
    source, server = web
    named = replace(source, uris=(source.uris[0].replace("//", "//me:pass@"),))
    archive(named, tmp_path).update()
    assert {auth for _, _, auth in server.log} == {"Basic bWU6cGFzcw=="}
    with pytest.raises(NotFound) as caught:
        archive(replace(named, suites=("none",)), tmp_path).update()
    assert "pass" not in str(caught.value)


def test_portable_sources_name_nothing_of_this_host(mirror: Source, tmp_path: Path) -> None:
    web = replace(mirror, uris=("http://me:pass@example.org/debian",))
    archives = replace(web, keyrings=("/usr/share/keyrings/debian-archive-keyring.gpg",))
    inline, path = portable([mirror, web, archives])
    assert inline.uris == ("http://example.org/debian",) and inline.keyrings == ()
    assert path.keyrings == archives.keyrings and str(tmp_path) not in inline.stanza()
    [again] = parse_deb822(inline.stanza(), "x")
    archive(replace(mirror, keyrings=(), inline_key=again.inline_key), tmp_path).update()


def test_no_mirror_there(tmp_path: Path) -> None:
    source = Source(("http://127.0.0.1:9",), ("stable",), ("main",), trusted=True)
    with pytest.raises(Unavailable, match=r"can't reach the mirror 127\.0\.0\.1:9") as caught:
        archive(source, tmp_path).update()
    assert "refused" in caught.value.why and "object at 0x" not in str(caught.value)


def test_no_proxy_there(tmp_path: Path) -> None:
    source = Source(("http://example.org",), ("stable",), ("main",), trusted=True)
    config = AptConfig({"acquire::http::proxy": "http://127.0.0.1:9"})
    with pytest.raises(Unavailable, match="proxy"):
        archive(source, tmp_path, config).update()


@pytest.mark.root
def test_full_disk(mirror: Source, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=True)
    try:
        raw = bytes(range(256)) * 1000
        source = tmp_path / "big"
        source.write_bytes(raw)
        digest = hashlib.sha256(raw).hexdigest()
        with pytest.raises(Unavailable, match="disk is full"):
            fetch.download(source.as_uri(), small / "x", digest, len(raw), Transport(CONFIG), what="big")
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_the_lists_of_the_last_time_serve_without_a_network(mirror: Source, signer: object, tmp_path: Path) -> None:
    class Handler(Server):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, directory=str(root_of(mirror)), **options)  # type: ignore[arg-type]

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    source = replace(mirror, uris=(f"http://127.0.0.1:{server.server_port}",))
    try:
        online = archive(source, tmp_path)
        pins = online.resolve(["app"])
        online.fetch(pins)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    said: list[str] = []
    with progress.listen(lambda event: said.append(event.text)):
        offline = archive(source, tmp_path)
        assert offline.resolve(["app"]) == pins
        assert set(offline.fetch(pins)) == set(pins)
    assert any("the list of the last time is used" in text for text in said)
    with pytest.raises(Unavailable):
        Archive([source], tmp_path / "empty", "amd64", CONFIG).update()
