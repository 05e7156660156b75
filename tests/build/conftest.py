"""Real builds, in process."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pannikin.oci.validate import problems
from pannikin.runtime.export import export_tar
from pannikin.toolchain import BuildRequest, Built, Toolchain

Build = Callable[..., Built]


@pytest.fixture
def tools(tmp_path: Path) -> Toolchain:
    return Toolchain(tmp_path / "store")


@pytest.fixture
def build(tools: Toolchain, tmp_path: Path) -> Build:
    """Build a Dockerfile with a context of these files (text, or None for a directory); the image must be valid."""

    def run(dockerfile: str, files: Mapping[str, str | bytes | None] | None = None, **request: object) -> Built:
        context = tmp_path / "context"
        context.mkdir(exist_ok=True)
        for name, content in (files or {}).items():
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        built = tools.build(BuildRequest(context, text=dockerfile, **request))  # type: ignore[arg-type]
        assert problems(built.image) == []
        return built

    return run


@pytest.fixture
def tree(tools: Toolchain) -> Callable[[Built], dict[str, tarfile.TarInfo]]:
    """The merged file system of what was built, by path."""

    def read(built: Built) -> dict[str, tarfile.TarInfo]:
        with tools.working():
            out = io.BytesIO()
            export_tar(tools.snapshots.view(built.image.layers), out)
        out.seek(0)
        with tarfile.open(fileobj=out) as archive:
            return {member.name: member for member in archive}

    return read
