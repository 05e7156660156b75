"""Other tools read what we write, and we read what they write: skopeo, umoci, buildah, crun."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import struct
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.real.conftest import Cli

pytestmark = [
    pytest.mark.root, pytest.mark.network, pytest.mark.slow,
    pytest.mark.skipif(not all(map(shutil.which, ("skopeo", "umoci", "buildah", "crun"))), reason="peers are missing"),
]  # fmt: skip


def command(*arguments: str | Path, **options: Any) -> str:
    """Run a peer; it must succeed."""
    done = subprocess.run(
        list(map(str, arguments)), capture_output=True, text=True, check=False, timeout=200, **options
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr}{done.stdout}"
    return done.stdout


@pytest.fixture
def app(with_debian: Cli, tmp_path: Path) -> str:
    """The digest of an image `app` of several layers in the store, which says `it runs` when run."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "say").write_text("#!/bin/sh\necho it $1\n")
    (context / "Dockerfile").write_text(
        "FROM debian:test\nCOPY --chmod=755 say /usr/local/bin/\nRUN echo x > /srv/x && rm -r /var/cache/apt\n"
        'ENTRYPOINT ["say"]\nCMD ["runs"]\nLABEL a=b\n'
    )
    return with_debian.build(context, "-t", "app")


def manifest_digest(reference: str) -> str:
    """The digest of what skopeo reads as manifest."""
    raw = subprocess.run(["skopeo", "inspect", "--raw", reference], capture_output=True, check=True).stdout
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


# Ours, read by others


def test_skopeo_copies_our_layouts_bit_for_bit(with_debian: Cli, app: str, tmp_path: Path) -> None:
    with_debian.do("save", "--format", "oci-dir", "-o", tmp_path / "layout", "app")
    with_debian.do("save", "--format", "oci", "-o", tmp_path / "layout.tar", "app")
    name = "docker.io/library/app:latest"
    for number, source in enumerate(
        (f"oci:{tmp_path}/layout:{name}", f"oci-archive:{tmp_path}/layout.tar:{name}", f"oci:{with_debian.root}:{name}")
    ):
        command("skopeo", "copy", "--quiet", source, f"oci:{tmp_path}/copy{number}:app")
        assert manifest_digest(f"oci:{tmp_path}/copy{number}:app") == app
        about = json.loads(command("skopeo", "inspect", source))
        assert about["Digest"] == app and about["Labels"] == {"a": "b"} and about["Architecture"] == "amd64"


def test_skopeo_reads_our_docker_archive(with_debian: Cli, app: str, tmp_path: Path) -> None:
    with_debian.do("save", "-o", tmp_path / "app.tar", "app")
    about = json.loads(command("skopeo", "inspect", f"docker-archive:{tmp_path}/app.tar:app:latest"))
    assert len(about["Layers"]) == 3 and about["Labels"] == {"a": "b"}
    command("skopeo", "copy", "--quiet", f"docker-archive:{tmp_path}/app.tar", f"oci:{tmp_path}/copy:app")
    config = json.loads(command("skopeo", "inspect", "--config", f"oci:{tmp_path}/copy:app"))
    ours = json.loads(command("skopeo", "inspect", "--config", f"oci:{with_debian.root}:docker.io/library/app:latest"))
    assert config["rootfs"] == ours["rootfs"] and config["config"] == ours["config"]


def test_umoci_unpacks_and_crun_runs_ours(with_debian: Cli, app: str, tmp_path: Path) -> None:
    with_debian.do("save", "--format", "oci-dir", "-o", tmp_path / "layout", "app")
    command(
        "skopeo", "copy", "--quiet", f"oci:{tmp_path}/layout", f"oci:{tmp_path}/named:app"
    )  # umoci wants plain names
    bundle = tmp_path / "bundle"
    command("umoci", "unpack", "--image", f"{tmp_path}/named:app", bundle)
    spec = json.loads((bundle / "config.json").read_text())
    assert spec["process"]["args"] == ["say", "runs"]
    spec["process"]["terminal"] = False
    spec["process"]["rlimits"] = []
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] != "cgroup"]
    spec["linux"].pop("resources", None)
    (bundle / "config.json").write_text(json.dumps(spec))
    # crun 1.8 refuses a hybrid of both cgroup versions: it is undone in a mount namespace of its own
    script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun --cgroup-manager=disabled run --bundle "$1" "$2"'
    said = command("unshare", "-m", "sh", "-c", script, "sh", bundle, f"pannikin-test-{os.getpid()}")
    assert said == "it runs\n"


class Buildah:
    """Debian's buildah with a storage of its own."""

    def __init__(self, root: Path) -> None:
        self.options = ["--storage-driver", "vfs", "--root", str(root / "storage"), "--runroot", str(root / "run")]

    def do(self, *arguments: str | Path) -> str:
        return command("buildah", *self.options, *arguments).strip()


@pytest.fixture
def buildah(tmp_path: Path) -> Buildah:
    return Buildah(tmp_path / "buildah")


def test_buildah_starts_from_ours(with_debian: Cli, app: str, buildah: Buildah, tmp_path: Path) -> None:
    with_debian.do("save", "--format", "oci-dir", "-o", tmp_path / "layout", "app")
    container = buildah.do("from", f"oci:{tmp_path}/layout")
    assert buildah.do("run", "--isolation", "chroot", container, "--", "say", "well") == "it well"
    config = json.loads(buildah.do("inspect", container))
    assert config["OCIv1"]["config"]["Entrypoint"] == ["say"]
    buildah.do("rm", "--all")


# Theirs, read by us


@pytest.mark.parametrize("form", ["oci", "oci-archive", "docker-archive"])
def test_what_skopeo_writes_loads_and_runs(with_debian: Cli, app: str, tmp_path: Path, form: str) -> None:
    target = tmp_path / "out"
    ours = f"oci:{with_debian.root}:docker.io/library/app:latest"
    command("skopeo", "copy", "--quiet", ours, f"{form}:{target}:example.org/app:2")
    other = Cli(tmp_path / "other")
    other.do("load", "-i", target)
    assert other.do("run", "--rm", "example.org/app:2") == "it runs\n"
    digest = json.loads(other.do("images", "--json"))[0]["digest"]
    if form != "docker-archive":
        assert digest == app
    other.do("store", "check")


def test_what_umoci_writes_loads_and_runs(with_debian: Cli, app: str, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    command("skopeo", "copy", "--quiet", f"oci:{with_debian.root}:docker.io/library/app:latest", f"oci:{layout}:app")
    (tmp_path / "say").write_text("#!/bin/sh\necho umoci $1\n")
    (tmp_path / "say").chmod(0o755)
    command("umoci", "insert", "--image", f"{layout}:app", tmp_path / "say", "/usr/local/bin/say")
    command("umoci", "config", "--image", f"{layout}:app", "--config.cmd", "changed")
    other = Cli(tmp_path / "other")
    other.do("load", "-i", layout)
    assert other.do("run", "--rm", "app") == "umoci changed\n"
    other.do("store", "check")


def test_what_buildah_writes_loads_and_runs(with_debian: Cli, app: str, buildah: Buildah, tmp_path: Path) -> None:
    container = buildah.do("from", f"oci:{with_debian.root}:docker.io/library/app:latest")
    buildah.do(
        "run", "--isolation", "chroot", container, "--", "sh", "-c", "rm /srv/x; echo b > /srv/y; ln /srv/y /srv/z"
    )
    buildah.do("config", "--cmd", "changed", container)
    buildah.do("commit", "--quiet", container, f"oci-archive:{tmp_path}/made.tar:made:latest")
    buildah.do("rm", "--all")
    other = Cli(tmp_path / "other")
    other.do("load", "-i", tmp_path / "made.tar")
    assert other.do("run", "--rm", "made") == "it changed\n"
    assert other.do("run", "--rm", "--entrypoint", "ls", "made", "/srv").split() == ["y", "z"]


# The same digest, whatever the day and the directory


def test_built_twice_on_different_days_in_different_places(debian: Path, tmp_path: Path) -> None:
    dockerfile = (
        "FROM debian:test AS made\nWORKDIR /src\nCOPY . .\n"
        "RUN mkdir out && for f in *.txt; do gzip -k $f; done && mv *.gz out\n"
        "FROM debian:test\nCOPY --from=made /src/out /out\nCOPY sub /sub\n"
        "RUN date > /dev/null; echo done > /state; rm /etc/motd -f\n"
    )
    digests = []
    for number, (place, ahead) in enumerate((("one", ""), ("some/where/else", "+40 days"))):
        context = tmp_path / place
        (context / "sub").mkdir(parents=True)
        names = ["b.txt", "a.txt", "sub/c", "sub/d"]
        for name in names if number else reversed(names):
            (context / name).write_text(f"{name} " * 500)
            os.utime(context / name, (time.time() - 1000 * number, time.time() - 5000 * number))
        (context / "Dockerfile").write_text(dockerfile)
        cli = Cli(tmp_path / f"store{number}")
        cli.do("load", "-i", debian)
        env = {**os.environ, "SOURCE_DATE_EPOCH": ""}
        later = ["faketime", "-f", ahead] if ahead and shutil.which("faketime") else []
        built = command(*later, *cli.args("build", "--no-cache", "-q", "-t", "app", context), env=env)
        digests.append(built.strip())
    assert digests[0] == digests[1]
    assert digests[0].startswith("sha256:")


# Odd files, against umoci's reading of the same image

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""net_bind_service, permitted and effective (vfs_cap_data, revision 2)."""

ODD = """\
FROM debian:test
ADD odd.tar /odd/
RUN cp -a /odd/capable /odd/copied && cd /odd && mkdir run && cd run \\
 && echo 1 > one && ln one two && ln one ../three && ln -s one link && ln -s /nowhere dangling \\
 && mknod null c 1 3 && mknod disk b 8 1 && mkfifo fifo && echo s > suid && chmod 6755 suid && mkdir -m 1777 sticky \\
 && truncate -s 5M sparse && printf x | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none \\
 && long=$(printf 'n%.0s' $(seq 200)) && mkdir -p $long/$long && echo deep > $long/$long/file \\
 && touch "$(printf 'bad\\377\\376name')" 'spaces and "quotes"' "$(printf 'new\\nline')" é \\
 && chown 70000:3000000 suid && chmod 6755 suid && touch -d '1999-12-31 23:59:59' old
RUN rm -r /etc/apt && mkdir /etc/apt && echo new > /etc/apt/only && rm /etc/debian_version /odd/run/two \\
 && rm -r /odd/inner && ln -s run /odd/inner && mv /odd/run/suid /odd/run/moved && chmod 700 /odd/run/sticky
"""


def _odd(path: Path) -> None:
    """An archive with extended attributes, which no file system here needs to know."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("capable", "inner/file", "inner/other"):
            info = tarfile.TarInfo(name)
            info.size, info.mode = 4, 0o755
            if name == "capable":
                value = CAPABILITY.decode("utf-8", "surrogateescape")
                info.pax_headers = {"SCHILY.xattr.security.capability": value, "SCHILY.xattr.user.colour": "blue"}
            archive.addfile(info, io.BytesIO(b"odd\n"))


def tree(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """All that can be told of the files below a directory, by path."""
    found: dict[bytes, tuple[Any, ...]] = {}
    groups: dict[tuple[int, int], bytes] = {}
    for directory, directories, files in os.walk(os.fsencode(root)):
        for name in sorted(directories + files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            inside = os.path.relpath(path, os.fsencode(root))
            regular = stat.S_ISREG(status.st_mode)
            content = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest() if regular else ""
            xattrs = {a: os.getxattr(path, a, follow_symlinks=False) for a in os.listxattr(path, follow_symlinks=False)}
            found[inside] = (
                oct(status.st_mode), status.st_uid, status.st_gid, status.st_size if regular else 0, status.st_rdev,
                os.readlink(path) if stat.S_ISLNK(status.st_mode) else b"", content, sorted(xattrs.items()),
                int(status.st_mtime),
            )  # fmt: skip
            if regular and status.st_nlink > 1:
                groups.setdefault((status.st_dev, status.st_ino), inside)
                found[inside] += (groups[status.st_dev, status.st_ino],)
    return found


def test_odd_files_come_out_as_umoci_has_them(with_debian: Cli, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    _odd(context / "odd.tar")
    (context / "Dockerfile").write_text(ODD)
    with_debian.build(context, "-t", "odd", "-o", f"type=dir,dest={tmp_path / 'ours'}")
    source = f"oci:{with_debian.root}:docker.io/library/odd:latest"
    command("skopeo", "copy", "--quiet", source, f"oci:{tmp_path}/layout:odd")
    command("umoci", "unpack", "--keep-dirlinks", "--image", f"{tmp_path}/layout:odd", tmp_path / "bundle")
    ours, theirs = tree(tmp_path / "ours"), tree(tmp_path / "bundle" / "rootfs")
    assert sorted(ours) == sorted(theirs)
    assert {path: about for path, about in ours.items() if theirs[path] != about} == {}
    _expected(ours)


def _expected(found: dict[bytes, tuple[Any, ...]]) -> None:
    """That both agree proves nothing where both are wrong."""
    assert found[b"odd/capable"][7] == [("security.capability", CAPABILITY), ("user.colour", b"blue")]
    assert found[b"odd/copied"][7] == found[b"odd/capable"][7]
    assert found[b"odd/run/one"][-1] == found[b"odd/three"][-1]
    assert b"odd/run/two" not in found and b"etc/debian_version" not in found and b"odd/inner/other" not in found
    assert found[b"etc/apt/only"][3] == 4 and [p for p in found if p.startswith(b"etc/apt/")] == [b"etc/apt/only"]
    assert found[b"odd/run/null"][4] == os.makedev(1, 3) and found[b"odd/run/disk"][4] == os.makedev(8, 1)
    assert found[b"odd/run/moved"][:3] == ("0o106755", 70000, 3000000)
    assert found[b"odd/run/sticky"][0] == "0o40700" and found[b"odd/inner"][5] == b"run"
    assert found[b"odd/run/sparse"][3] == 5 << 20
    assert b"odd/run/bad\xff\xfename" in found and b"odd/run/new\nline" in found and "odd/run/é".encode() in found
    assert b"odd/run/%b/%b/file" % (b"n" * 200, b"n" * 200) in found
    assert found[b"odd/run/old"][8] == 946684799
