"""The store: an OCI image layout on disk, with tags, leases and garbage collection; archives in and out."""

from pannikin.store.layout import Store, Upload

__all__ = ["Store", "Upload"]
