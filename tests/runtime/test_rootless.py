"""Not root: snapshots and containers in a user namespace of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pannikin.oci import layer as layers
from pannikin.oci.image import Layer
from pannikin.oci.layer import Entry
from pannikin.oci.model import Descriptor
from pannikin.store import Store

from .conftest import Pack

pytestmark = [pytest.mark.root]
USER = 65534

_SCRIPT = """
import os, sys
from pathlib import Path
from pannikin.errors import PannikinError
from pannikin.oci.image import Layer
from pannikin.oci.layer import LayerWriter
from pannikin.oci.model import Descriptor
from pannikin.runtime import namespace
from pannikin.runtime.sandbox import Command, run
from pannikin.runtime.snapshots import Snapshots
from pannikin.store import Store
assert os.geteuid() == 65534
namespace.enter()
assert os.geteuid() == 0
home, diff, media, digest, size, script = sys.argv[1:]
store = Store(Path(home) / "store")
layer = Layer(diff, Descriptor(media_type=media, digest=digest, size=int(size)))
snapshots = Snapshots(Path(home) / "snapshots", store)
try:
    with snapshots.writable([layer]) as work:
        status = run(work.root, Command(args=("/bin/sh", "-c", script)), output=lambda b: os.write(2, b))
        with store.upload() as upload:
            writer = LayerWriter(upload)
            changed = work.capture(writer, 1000)
            made = writer.finish()
            upload.commit(made.descriptor.digest)
        if changed:
            work.adopt(made)
    view = snapshots.view([layer, made] if changed else [layer])
    print(status, work.copied, made.diff_id, made.descriptor.media_type, made.descriptor.digest, made.descriptor.size)
    print(" ".join(view.listdir()))
except PannikinError as error:
    print(error, file=sys.stderr)
    sys.exit(9)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pannikin-rootless-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home / "store")


def as_user(home: Path, layer: Layer, script: str, code: str = _SCRIPT) -> subprocess.CompletedProcess[str]:
    for path in [home, *home.rglob("*")]:
        os.chown(path, USER, USER, follow_symlinks=False)
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--"]
    probe = "import pannikin.store, ctypes; assert not ctypes.CDLL(None).unshare(0x10000000)"
    if subprocess.run([*user, sys.executable, "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("another user can't read this installation, or user namespaces are forbidden here")
    d = layer.descriptor
    argv = [*user, sys.executable, "-c", code, str(home), layer.diff_id, d.media_type, d.digest, str(d.size), script]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=os.environ | {"HOME": str(home)})


def test_a_command_over_layers(home: Path, base: Layer, store: Store) -> None:
    script = "id; rm /etc/passwd; echo new >/made; rm -r /tmp; mkdir /tmp; touch /tmp/x; echo >/dev/null"
    done = as_user(home, base, script)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    status, copied, diff, media, digest, size = first.split()
    assert (status, copied) == ("0", "False"), done.stderr
    assert "uid=0" in done.stderr
    made = Layer(diff, Descriptor(media_type=media, digest=digest, size=int(size)))
    with store.open(made.descriptor) as stream:
        found = {entry.path: entry for entry, _ in layers.read(stream)}
    assert list(found) == ["etc", "etc/.wh.passwd", "made", "tmp", "tmp/x"]
    assert (found["made"].uid, found["made"].gid, found["made"].mtime) == (0, 0, 1000)
    assert not {"dev", "proc", "sys"} & set(second.split())
    assert not list((home / "snapshots").glob("*/temp-*"))


def test_an_opaque_directory(home: Path, base: Layer, store: Store) -> None:
    done = as_user(home, base, "rm -r /srv/data; mkdir /srv/data; echo n >/srv/data/n")
    assert done.returncode == 0, done.stderr
    _, _, _, media, digest, size = done.stdout.splitlines()[0].split()
    with store.open(Descriptor(media_type=media, digest=digest, size=int(size))) as stream:
        found = [entry.path for entry, _ in layers.read(stream)]
    assert found == ["srv", "srv/data", "srv/data/.wh..wh..opq", "srv/data/n"]


def test_a_layer_with_other_owners_still_unpacks(home: Path, pack: Pack) -> None:
    """With one mapped number only, or with ranges: never a traceback."""
    layer = pack(Entry("d", "dir", 0o755, 33, 44), (Entry("d/f", uid=33, gid=44), b"x"),
                 Entry("null", "char", 0o666, major=1, minor=3))  # fmt: skip
    done = as_user(home, layer, "true")
    assert "Traceback" not in done.stderr
    assert done.returncode == 9
    assert "can't start /bin/sh" in done.stderr


def test_outside_of_a_namespace_it_says_so(home: Path, base: Layer) -> None:
    code = _SCRIPT.replace("namespace.enter()\nassert os.geteuid() == 0", "")
    done = as_user(home, base, "true", code)
    assert done.returncode == 9, done.stderr
    assert "no private mount namespace" in done.stderr
