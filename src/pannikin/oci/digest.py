"""Content digests (image-spec 1.1, descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from pannikin.errors import Corrupt, UsageError

Digest = NewType("Digest", str)
"""`algorithm:hex`, checked by `parse`: sha256 or sha512."""

_SIZES = {"sha256": 64, "sha512": 128}
_FORM = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]+")


def parse(text: str) -> Digest:
    """Check a digest's form and algorithm. Raises `UsageError` where it is not one that can be verified."""
    if not isinstance(text, str) or not _FORM.fullmatch(text):
        raise UsageError(f"not a digest: {text!r:.100}", hint="a digest looks like sha256:<64 hex digits>")
    algorithm, _, encoded = text.partition(":")
    if algorithm not in _SIZES:
        raise UsageError(f"digest algorithm {algorithm!r} is not supported", hint="sha256 and sha512 are")
    if len(encoded) != _SIZES[algorithm] or not re.fullmatch("[0-9a-f]+", encoded):
        raise UsageError(f"not a {algorithm} digest: {text!r:.100}")
    return Digest(text)


def of(data: bytes, algorithm: str = "sha256") -> Digest:
    """The digest of bytes in memory."""
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def hasher(digest: Digest | str = "sha256:") -> hashlib._Hash:
    """A fresh hash of the digest's own algorithm, to be fed and compared by `check`."""
    return hashlib.new(digest.partition(":")[0], usedforsecurity=True)


def check(digest: Digest, hashed: hashlib._Hash, what: str = "content") -> None:
    """Raises `Corrupt` where what was hashed is not what the digest names."""
    found = f"{hashed.name}:{hashed.hexdigest()}"
    if found != digest:
        raise Corrupt(f"{what} does not match its digest", why=f"expected {digest}, got {found}")


def short(digest: str) -> str:
    """The first twelve hex digits, as docker shows them."""
    return digest.partition(":")[2][:12]


def chain_id(diff_ids: list[Digest] | tuple[Digest, ...]) -> Digest:
    """The name of a stack of layers (image-spec config.md, "Layer ChainID"). Raises ValueError on none."""
    if not diff_ids:
        raise ValueError("no layers, no chain ID")
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = of(f"{chain} {diff_id}".encode())
    return chain
