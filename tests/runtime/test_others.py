"""Another tool unpacks our layers to the very tree that we mount."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pannikin.oci.image import Layer
from pannikin.oci.layer import LayerWriter
from pannikin.oci.model import CONFIG, MANIFEST, Config, Manifest, RootFS
from pannikin.runtime.sandbox import Command, run
from pannikin.runtime.snapshots import Snapshots
from pannikin.store import Store

from .conftest import tree

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("private"),
    pytest.mark.skipif(not shutil.which("umoci") or not shutil.which("crun"), reason="no umoci or no crun"),
]

_SCRIPTS = (
    "mkdir -p a/b c; echo one >a/one; ln a/one a/b/two; ln -s ../one a/b/s; mkfifo p; chmod 4711 bin/ls; chown 7:8 srv",
    "rm a/one; rm -r c; echo file >c; rm -r srv/data; mkdir srv/data; echo n >srv/data/n; chmod 700 tmp; mv a/b moved",
    "rm c; mkdir c; touch c/x; ln moved/two c/again; rm bin/id; cp -a moved copied; mknod null c 1 3; chmod 750 /",
)


def test_umoci_sees_the_same(tmp_path: Path, store: Store, base: Layer) -> None:
    snapshots = Snapshots(tmp_path / "snapshots", store)
    stack = [base]
    for script in _SCRIPTS:
        with snapshots.writable(stack) as work, store.upload() as upload:
            command = Command(args=("/bin/sh", "-ec", script))
            output: list[bytes] = []
            assert run(work.root, command, output=output.append) == 0, output
            os.setxattr(work.root / "bin/sh", "user.mark", script.encode()[:5])
            writer = LayerWriter(upload)
            assert work.capture(writer, 1_700_000_000)
            stack.append(writer.finish())
            upload.commit(stack[-1].descriptor.digest)
            work.adopt(stack[-1])
    config = Config(architecture="amd64", rootfs=RootFS(diff_ids=[one.diff_id for one in stack]))
    manifest = Manifest(
        media_type=MANIFEST,
        config=store.put_bytes(config.encode(), CONFIG),
        layers=[one.descriptor for one in stack],
    )
    store.tag("test", store.put_bytes(manifest.encode(), MANIFEST))
    name = next(iter(store.tags()))
    subprocess.run(
        ["umoci", "unpack", "--image", f"{tmp_path / 'store'}:{name}", str(tmp_path / "bundle")],
        check=True, capture_output=True,
    )  # fmt: skip
    fresh = Snapshots(tmp_path / "fresh", store)
    with snapshots.writable(stack) as adopted, fresh.writable(stack) as unpacked:
        theirs = tree(tmp_path / "bundle/rootfs")
        assert tree(unpacked.root) == theirs
        assert tree(adopted.root) == theirs
        assert unpacked.root.stat().st_mode == (tmp_path / "bundle/rootfs").stat().st_mode
    assert dict(snapshots.view(stack).walk()).keys() == theirs.keys()
    snapshots.close()
    fresh.close()
