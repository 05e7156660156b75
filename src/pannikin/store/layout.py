"""An OCI image layout (image-spec image-layout.md) that many processes may write at once.

    oci-layout, index.json, blobs/<algorithm>/<hex>      the layout: skopeo and others read it as it is
    cache/     results of build steps by key              (written by `build`)
    snapshots/ layers unpacked for overlayfs              (written by `runtime`)
    leases/ locks/ tmp/                                   who is at work, and unfinished files

A blob appears by rename, after fsync, once its digest was checked. The collector holds `locks/gc` alone;
whoever adds a blob or relies on one holds it shared for that moment and renews the blob's time, so that a
collection during a lease keeps everything that its holder wrote or found.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pannikin.errors import Corrupt, NotFound, Unavailable, UsageError
from pannikin.oci import digest as digests
from pannikin.oci.digest import Digest
from pannikin.oci.image import Image
from pannikin.oci.model import INDEX, MAX_DOCUMENT, REF_NAME, Descriptor, Index
from pannikin.oci.platform import Platform
from pannikin.oci.reference import Reference
from pannikin.store.files import disk, locked, sync_directory, write_atomic

CONTAINERD_NAME = "io.containerd.image.name"


class Upload:
    """A blob on its way in: hashed while written, named when it is committed."""

    def __init__(self, store: Store, algorithm: str = "sha256") -> None:
        self._store = store
        with disk(store.root), locked(store.collecting, shared=True):
            fd, self._name = tempfile.mkstemp(prefix="upload-", dir=store.temporary)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # tells `prune` that somebody is writing it
        self._stream = os.fdopen(fd, "wb", buffering=0)
        self._hash = hashlib.new(algorithm)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add bytes. Raises `Unavailable` where the disk is full."""
        self._hash.update(data)
        self.size += len(data)
        view = memoryview(data)
        with disk(self._store.root):
            while view:
                view = view[self._stream.write(view) :]

    @property
    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return Digest(f"{self._hash.name}:{self._hash.hexdigest()}")

    def commit(self, expected: Digest | None = None, size: int | None = None) -> Digest:
        """Give the blob its place. Raises `Corrupt` where it is not what was expected."""
        try:
            if expected is not None:
                digests.check(expected, self._hash, "a blob")
            if size is not None and size != self.size:
                raise Corrupt(f"a blob has {self.size} bytes, its descriptor says {size}")
            digest = self.digest
            path = self._store.path(digest)
            with disk(self._store.root):
                os.fchmod(self._stream.fileno(), 0o644)
                os.fsync(self._stream.fileno())
                with locked(self._store.collecting, shared=True):
                    os.utime(self._stream.fileno())
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(self._name, path)
                sync_directory(path.parent)
        except BaseException:
            self.abort()
            raise
        self._stream.close()
        return digest

    def abort(self) -> None:
        """Forget what was written."""
        self._stream.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name)

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._stream.closed:
            self.abort()


class Store:
    """The images of one user on one machine. A `Blobs` and a `Sink`.

    >>> store = Store(Path("images"))
    >>> store.find("node:20").config.config.cmd
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.temporary = self.root / "tmp"
        self.snapshots = self.root / "snapshots"
        self.cache = self.root / "cache"
        self.leases = self.root / "leases"
        self.locks = self.root / "locks"
        self.collecting = self.locks / "gc"
        if not (self.root / "oci-layout").is_file():
            self._create()

    def _create(self) -> None:
        with disk(self.root):
            for path in (self.temporary, self.snapshots, self.cache, self.leases, self.locks):
                path.mkdir(parents=True, exist_ok=True)
            (self.root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        with locked(self.locks / "index"):
            if not (self.root / "index.json").exists():
                write_atomic(self.root / "index.json", Index(media_type=INDEX, manifests=[]).encode(), self.temporary)
            if not (self.root / "oci-layout").exists():
                write_atomic(self.root / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}', self.temporary)

    # Blobs

    def path(self, digest: str) -> Path:
        """Where a blob is, or would be."""
        algorithm, _, encoded = digests.parse(digest).partition(":")
        return self.root / "blobs" / algorithm / encoded

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """A blob's bytes. Raises `NotFound`."""
        try:
            return open(self.path(descriptor.digest), "rb")
        except FileNotFoundError:
            raise NotFound(
                f"blob {descriptor.digest} is not in the store", hint="`pannikin store check` tells what is missing"
            ) from None

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there; if so it is safe from collection while a lease of this process lives."""
        path = self.path(descriptor.digest)
        with locked(self.collecting, shared=True):
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
        return True

    def upload(self, algorithm: str = "sha256") -> Upload:
        """Begin a blob whose digest is not known yet."""
        return Upload(self, algorithm)

    def put(self, descriptor: Descriptor, content: BinaryIO) -> None:
        """Take a blob in from a stream, verified. Raises `Corrupt`."""
        with self.upload(descriptor.digest.partition(":")[0]) as upload:
            while chunk := content.read(1 << 20):
                upload.write(chunk)
                if upload.size > descriptor.size:
                    raise Corrupt(f"blob {descriptor.digest} is longer than its {descriptor.size} bytes")
            upload.commit(descriptor.digest, descriptor.size)

    def put_bytes(self, data: bytes, media_type: str) -> Descriptor:
        """Keep a small document."""
        descriptor = Descriptor(media_type=media_type, digest=digests.of(data), size=len(data))
        if not self.has(descriptor):
            with self.upload() as upload:
                upload.write(data)
                upload.commit(descriptor.digest)
        return descriptor

    # Names

    def index(self) -> Index:
        """The layout's index.json. Raises `Corrupt`."""
        return Index.decode((self.root / "index.json").read_bytes(), str(self.root / "index.json"))

    def tags(self) -> dict[str, Descriptor]:
        """All names, sorted, with what they point to."""
        named = {d.annotations[REF_NAME]: d for d in self.index().manifests if REF_NAME in d.annotations}
        return dict(sorted(named.items()))

    def tag(self, name: str, descriptor: Descriptor) -> None:
        """Let a name point to an image; what it pointed to before loses it. Raises `Unavailable` where no more fit."""
        with locked(self.locks / "index"):
            index = self.index()
            index.manifests = [d for d in index.manifests if d.annotations.get(REF_NAME) != name]
            target = descriptor.bare()
            target.platform, target.artifact_type = descriptor.platform, descriptor.artifact_type
            target.annotations = {**descriptor.annotations, REF_NAME: name, CONTAINERD_NAME: name}
            index.manifests.append(target)
            encoded = index.encode()
            if len(encoded) > MAX_DOCUMENT:  # nothing would read it again
                why = f"{len(encoded)} bytes with {len(target.encode())} for {name:.80}; the limit is {MAX_DOCUMENT}"
                raise Unavailable(
                    "the store's index.json has no room for one more name", why=why, hint="`pannikin rmi`"
                )
            write_atomic(self.root / "index.json", encoded, self.temporary)

    def untag(self, name: str) -> Descriptor:
        """Remove a name; the image stays until `prune`. Raises `NotFound`."""
        with locked(self.locks / "index"):
            index = self.index()
            found = [d for d in index.manifests if d.annotations.get(REF_NAME) == name]
            if not found:
                raise NotFound(f"no image named {name}", hint="`pannikin images` lists them")
            index.manifests = [d for d in index.manifests if d.annotations.get(REF_NAME) != name]
            write_atomic(self.root / "index.json", index.encode(), self.temporary)
        return found[0]

    def image(self, descriptor: Descriptor) -> Image:
        """The image behind a descriptor."""
        return Image(descriptor, self)

    def find(self, text: str, platform: Platform | None = None) -> Image:
        """The image that a person means: a name, `name@digest`, a digest or the start of one.

        With `platform`, an index is narrowed to that platform's image. Raises `NotFound`, `UsageError`.
        """
        descriptor = self._lookup(text)
        image = Image(descriptor, self)
        return image.select(platform) if platform else image

    def _lookup(self, text: str) -> Descriptor:
        tags = self.tags()
        prefix = text.removeprefix("sha256:")
        if len(prefix) >= 6 and all(c in "0123456789abcdef" for c in prefix):
            found = {d.digest: d for d in tags.values() if self._answers(d, prefix)}
            if len(found) > 1:
                raise UsageError(f"{text} is the start of several images' digests", hint="write more of it")
            if found:
                return next(iter(found.values()))
        try:
            reference = Reference.parse(text)
        except UsageError:
            if text.startswith("sha256:"):
                raise NotFound(f"no image {text} in the store", hint="`pannikin images` lists them") from None
            raise
        if reference.digest:
            known = {d.digest: d for d in tags.values()}
            if reference.digest in known:
                return known[reference.digest]
        elif str(reference) in tags:
            return tags[str(reference)]
        raise NotFound(f"no image named {reference.familiar} in the store", hint=_nearest(reference, list(tags)))

    def _answers(self, descriptor: Descriptor, prefix: str) -> bool:
        """Whether the digest of the image or, as docker has it, of its config begins so."""
        if descriptor.digest.partition(":")[2].startswith(prefix):
            return True
        image = Image(descriptor, self)
        try:
            return not image.is_index and image.manifest.config.digest.partition(":")[2].startswith(prefix)
        except (Corrupt, NotFound):
            return False

    # Leases

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """While this lasts, nothing that this process wrote or found (`has`) is collected."""
        with disk(self.root), locked(self.collecting, shared=True):
            fd, name = tempfile.mkstemp(prefix=f"{time.time_ns()}-{os.getpid()}-", dir=self.leases)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            os.close(fd)


def _nearest(reference: Reference, names: list[str]) -> str:
    import difflib

    # another tag of the same repository first: long prefixes make all short names look alike
    tags = [name for name in names if Reference.parse(name).repository == reference.repository]
    familiar = {Reference.parse(name).familiar: name for name in names}
    near = tags or [familiar[name] for name in difflib.get_close_matches(reference.familiar, familiar, 1, 0.7)]
    if near:
        return f"did you mean {Reference.parse(near[0]).familiar}?"
    return "`pannikin images` lists what is there"
