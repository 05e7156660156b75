"""What all tests share: the machine's abilities, and a store of their own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pannikin.store import Store


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need root or a mirror say why they don't run."""
    root = os.geteuid() == 0 and (shutil.which("crun") or shutil.which("runc"))
    for item in items:
        if item.get_closest_marker("root") and not root:
            item.add_marker(pytest.mark.skip(reason="needs root and crun"))
        if item.get_closest_marker("network") and os.environ.get("PANNIKIN_OFFLINE"):
            item.add_marker(pytest.mark.skip(reason="PANNIKIN_OFFLINE is set"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")
