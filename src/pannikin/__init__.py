"""pannikin: small container images, from source to cluster."""

from typing import Any

__version__ = "0.1.0"

_API = {
    "PannikinError": "pannikin.errors",
    "Reference": "pannikin.oci.reference",
    "Platform": "pannikin.oci.platform",
    "Image": "pannikin.oci.image",
    "Store": "pannikin.store",
    "Toolchain": "pannikin.toolchain",
}

__all__ = ["Image", "PannikinError", "Platform", "Reference", "Store", "Toolchain", "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `pannikin --version` pays for none of them."""
    if name not in _API:
        raise AttributeError(f"module 'pannikin' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_API[name]), name)
