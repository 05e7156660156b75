"""Against this host's own mirrors: real systems, built, run and compared with mmdebstrap's."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pannikin.errors import CommandFailed, Corrupt
from pannikin.packages.deb import Archive, from_host, install, newest, release, sources, unpack_distroless
from pannikin.packages.deb.full import Run

pytestmark = [pytest.mark.network, pytest.mark.root, pytest.mark.slow]
ARCHITECTURE = "amd64" if os.uname().machine == "x86_64" else "arm64"
DROP = ("docs", "man", "locales")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    # Kept between runs where the caller says so: it is a cache, and checked like one.
    place = os.environ.get("PANNIKIN_TEST_CACHE") or tmp_path_factory.mktemp("cache")
    found = Archive(from_host(), Path(place), ARCHITECTURE)
    found.update()
    return found


def chroot(root: Path) -> Run:
    """Runs commands with a chroot in namespaces of their own; as plain as a sandbox can be."""

    def run(args: Sequence[str], env: Mapping[str, str]) -> None:
        null = root / "dev/null"
        if not null.exists():
            subprocess.run(["mknod", "-m", "666", str(null), "c", "1", "3"], check=True)
        command = ["unshare", "-m", "-p", "-f", f"--mount-proc={root}/proc", "chroot", str(root), *args]
        done = subprocess.run(command, env=dict(env), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        null.unlink()
        if done.returncode:
            output = (done.stdout + done.stderr)[-3000:]
            raise CommandFailed(f"{args[0]} failed", status=done.returncode, output=output)

    return run


def inside(root: Path, *args: str) -> str:
    command = ["chroot", str(root), *args]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    env |= {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path with all that a layer would say of it, save directories' and rewritten files' times."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, names in os.walk(root):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            content: object = ""
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            found[os.path.relpath(path, root)] = (info.st_mode, info.st_uid, info.st_gid, content)
    return found


def build(archive: Archive, root: Path, names: Sequence[str] = ()) -> Path:
    root.mkdir()
    pins = archive.resolve([*archive.minimal(), *names])
    stanzas = [source.stanza() for source in archive.sources]
    install(root, archive.fetch(pins), chroot(root), architecture=ARCHITECTURE, drop=DROP, sources=stanzas)
    return root


@pytest.fixture(scope="module")
def minimal(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(archive, tmp_path_factory.mktemp("full") / "root")


def packages(root: Path) -> set[str]:
    command = [
        "dpkg-query",
        f"--admindir={root}/var/lib/dpkg",
        "-W",
        "-f",
        "${Package}=${Version} ${db:Status-Abbrev}\n",
    ]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


def test_full_twice_is_the_same(archive: Archive, minimal: Path, tmp_path: Path) -> None:
    assert tree(build(archive, tmp_path / "again")) == tree(minimal)


def test_everything_is_configured_and_nothing_is_left(minimal: Path) -> None:
    assert all(line.endswith(" ii ") for line in packages(minimal))
    assert inside(minimal, "dpkg", "--audit") == ""
    for name in ("run/pannikin-guard", "usr/sbin/policy-rc.d", "etc/resolv.conf", "var/log/dpkg.log", "dev/null"):
        assert not (minimal / name).exists()
    assert not list((minimal / "var/lib/apt/lists").iterdir())
    assert list((minimal / "usr/share/doc").glob("*/copyright"))
    assert not list((minimal / "usr/share/man").rglob("*.gz"))


def test_apt_works_inside(minimal: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(minimal), str(root)], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    subprocess.run(["mknod", "-m", "666", str(root / "dev/null"), "c", "1", "3"], check=True)
    inside(root, "apt-get", "update")
    inside(root, "apt-get", "install", "-y", "--no-install-recommends", "hello")
    assert inside(root, "hello") == "Hello, world!\n"
    assert not list((root / "usr/share/man").rglob("hello*")), "what the image leaves out, apt leaves out as well"


@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not here")
def test_the_packages_are_mmdebstraps(minimal: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    # Without its hook it converts the root to a merged /usr by a script that needs perl; ours is born merged.
    hook = Path("/usr/share/mmdebstrap/hooks/merged-usr")
    files = [str(path) for path in Path("/etc/apt/sources.list.d").glob("*.sources")]
    suite = next(iter(from_host())).suites[0]
    command = ["mmdebstrap", "--variant=minbase", f"--hook-dir={hook}", "--quiet", suite, str(other), *files]
    subprocess.run(command, check=True, capture_output=True)
    assert packages(minimal) == packages(other)


def test_a_second_layer(archive: Archive, minimal: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(minimal), str(root)], check=True)
    base = archive.resolve(archive.minimal())
    # ucf diverts, python3 compiles in its postinst, ca-certificates works by a trigger.
    more = archive.resolve(["python3", "ca-certificates", "ucf"], installed=base)
    assert not {pin.name for pin in more} & {pin.name for pin in base}
    install(root, archive.fetch(more), chroot(root), architecture=ARCHITECTURE, drop=DROP)
    assert inside(root, "dpkg", "--audit") == ""
    assert inside(
        root, "python3", "-c", "import ssl; print(ssl.create_default_context().cert_store_stats()['x509'] > 99)"
    )
    assert len(packages(root)) == len(base) + len(more)


TARGETS = {
    "static": (("base-files", "ca-certificates", "netbase", "tzdata"), 2_000_000),
    "base": (("base-files", "ca-certificates", "netbase", "tzdata", "libc6", "libssl3"), 18_000_000),
    "python": (("base-files", "ca-certificates", "netbase", "tzdata", "python3"), 45_000_000),
}


@pytest.mark.parametrize("name", TARGETS)
def test_distroless_sizes_and_determinism(archive: Archive, tmp_path: Path, name: str) -> None:
    wanted, limit = TARGETS[name]
    pins = archive.resolve(wanted, distroless=True)
    assert not {pin.name for pin in pins} & {"dpkg", "bash", "dash", "perl-base", "debconf"}
    debs = archive.fetch(pins)
    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        root.mkdir()
        date = unpack_distroless(root, debs, architecture=ARCHITECTURE)
        assert date <= newest(debs.values())
    assert tree(roots[0]) == tree(roots[1])
    sizes = {
        info.st_ino: info.st_size
        for path in roots[0].rglob("*")
        if (info := path.lstat()).st_mode & 0o170000 == 0o100000
    }
    assert sum(sizes.values()) <= limit
    assert not (roots[0] / "usr/bin/sh").exists()
    if name == "python":
        command = ["chroot", str(roots[0]), "/usr/bin/python3", "-c", "import ssl, sqlite3, json, zoneinfo; print(1)"]
        assert subprocess.run(command, check=True, capture_output=True).stdout == b"1\n"


def test_a_tampered_real_release_file(archive: Archive) -> None:
    source = archive.sources[0]
    url = f"{source.uris[0]}/dists/{source.suites[0]}/InRelease"
    with archive.transport.open(url) as answer:
        raw = b"".join(answer.chunks)
    certs = release.certificates(source)
    assert release.parse(release.verify(raw, certs, url), url).hashes
    assert certs and sources.default_keyrings()
    for at in range(100, raw.index(b"-----BEGIN PGP SIGNATURE"), len(raw) // 7):
        bad = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(Corrupt):
            release.verify(bad, certs, url)
