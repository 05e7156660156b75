"""The demo's smallest images: small enough, the same whenever and wherever built, and run under other tools as well."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.real.conftest import Cli

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts/demo"))

import measure  # noqa: E402
import plan  # noqa: E402
import serve  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.network]
NAME = "docker.io/library/go-hello:{}"


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not here: {', '.join(missing)}")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A store with the Go application on `static` and on `scratch`, and their bases, as the demo builds them."""
    cli = Cli(tmp_path_factory.mktemp("demo") / "store")
    for base in plan.BASES:
        if base.name in ("golang:slim", "static"):
            cli.do("base", "-t", base.name, *base.args)
    for recipe in plan.APPS[1].images:
        if recipe.variant in ("static", "scratch"):
            cli.do(*recipe.args, cwd=ROOT)
    return cli


@pytest.mark.parametrize("variant", ["static", "scratch"])
def test_small_and_serving(demo: Cli, variant: str) -> None:
    size = measure.size(demo.root, measure.digest(demo.root, f"go-hello:{variant}"))
    assert size.unpacked < 8_000_000
    served = serve.serve([*demo.args()], f"go-hello:{variant}", os.environ)
    assert "Hello from Go" in served.page
    assert served.status == 0


def test_sizes_are_those_of_the_exported_tree(demo: Cli, tmp_path: Path) -> None:
    """The demo counts layers; pannikin's own view of the whole image has the same files and bytes."""
    out = tmp_path / "tree.tar"
    demo.do("build", "-f", "examples/go-hello/Dockerfile.static", "-o", f"type=tar,dest={out}", "examples/go-hello",
            cwd=ROOT)  # fmt: skip
    with tarfile.open(out) as tar:
        members = [member for member in tar if not member.isdir()]
    size = measure.size(demo.root, measure.digest(demo.root, "go-hello:static"))
    assert len(members) == size.files
    assert sum(member.size for member in members if member.isreg()) == size.unpacked


def test_the_same_digest_elsewhere_and_later(demo: Cli, tmp_path: Path) -> None:
    """Copied to another directory, its files dated otherwise, every step run again."""
    context = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "examples/go-hello", context)
    for path in context.iterdir():
        os.utime(path, (1_000_000_000, 1_000_000_000))
    digest = demo.build(context, "--no-cache", "-f", context / "Dockerfile.scratch")
    assert digest == measure.digest(demo.root, "go-hello:scratch")


@needs("skopeo", "umoci", "crun")
def test_skopeo_umoci_and_crun(demo: Cli, tmp_path: Path) -> None:
    _do("skopeo", "copy", f"oci:{demo.root}:{NAME.format('static')}", f"oci:{tmp_path / 'copied'}:static")
    _do("umoci", "unpack", "--image", f"{tmp_path / 'copied'}:static", str(tmp_path / "bundle"))
    port = _bundle(tmp_path / "bundle/config.json")
    # crun does not take cgroup v1 and v2 mounted together: the second is hidden from it where there are both.
    script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun --root "$1" --cgroup-manager=disabled run -b "$2" $3'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path / "crun"), str(tmp_path / "bundle"), "hello"]
    _serves(words, port)


@needs("buildah")
def test_buildah(demo: Cli, tmp_path: Path) -> None:
    storage = ["--storage-driver", "vfs", "--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run")]
    container = _do("buildah", *storage, "from", "--pull-never", f"oci:{demo.root}:{NAME.format('static')}").strip()
    try:
        described = json.loads(_do("buildah", *storage, "inspect", container))
        assert described["OCIv1"]["config"]["Entrypoint"] == ["/usr/local/bin/go-hello"]
        assert described["FromImageDigest"] == measure.digest(demo.root, "go-hello:static")
        port = serve.free_port()
        run = ["buildah", *storage, "run", "--isolation", "chroot", "--env", f"PORT={port}", container, "--",
               "/usr/local/bin/go-hello"]  # fmt: skip
        _serves(run, port)
    finally:
        _do("buildah", *storage, "rm", container)


def _do(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def _bundle(config: Path) -> int:
    """Fit umoci's bundle to a test: no terminal, the host's network, no cgroups; returns the port to listen on."""
    port = serve.free_port()
    spec = json.loads(config.read_text())
    spec["process"]["terminal"] = False
    spec["process"]["env"].append(f"PORT={port}")
    spec["process"].pop("rlimits", None)
    spec["linux"]["namespaces"] = [
        one for one in spec["linux"]["namespaces"] if one["type"] not in ("network", "cgroup")
    ]
    spec["linux"].pop("resources", None)
    spec["mounts"] = [one for one in spec["mounts"] if one["type"] not in ("cgroup", "sysfs")]
    config.write_text(json.dumps(spec))
    return port


def _serves(words: Sequence[str], port: int) -> None:
    """Another tool's container answers, and ends when it is told to."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0)
    try:
        page = next(_pages(process, port))
        assert "Hello from Go" in page
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=20)


def _pages(process: subprocess.Popen[str], port: int) -> Iterator[str]:
    for _ in range(400):
        if process.poll() is not None:
            pytest.fail(f"it ended: {process.communicate()[0]}")
        try:
            yield serve.get(port, "/")
        except OSError:
            time.sleep(0.05)
    pytest.fail("no answer")
