"""Images in other forms on a disk: OCI layouts (directory or tar) and docker archives, in and out.

Each is a `Blobs` to read or a `Sink` to write; `oci.transfer.copy` moves images between them and a store.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from pannikin.errors import Corrupt, NotFound
from pannikin.oci import digest as digests
from pannikin.oci.compress import Compressor, Decompressed
from pannikin.oci.digest import Digest
from pannikin.oci.headers import Header
from pannikin.oci.image import Image
from pannikin.oci.layer import Entry, header
from pannikin.oci.model import CONFIG, INDEX, MANIFEST, MAX_DOCUMENT, REF_NAME, Config, Descriptor, Index, Manifest
from pannikin.oci.reference import Reference
from pannikin.store.layout import CONTAINERD_NAME, Store, Upload

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class LayoutDirectory:
    """An OCI layout in a plain directory, as a sink: made where it is missing, added to where it exists."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        if not (root / "oci-layout").exists():
            (root / "oci-layout").write_bytes(_LAYOUT)
        path = root / "index.json"
        self._index = (
            Index.decode(_document(path), str(path)) if path.exists() else Index(media_type=INDEX, manifests=[])
        )

    def _path(self, digest: str) -> Path:
        algorithm, _, encoded = digests.parse(digest).partition(":")
        return self.root / "blobs" / algorithm / encoded

    def has(self, descriptor: Descriptor) -> bool:
        return self._path(descriptor.digest).exists()

    def open(self, descriptor: Descriptor) -> BinaryIO:
        try:
            return _regular(self._path(descriptor.digest))
        except FileNotFoundError:
            raise NotFound(f"blob {descriptor.digest} is not in {self.root}") from None

    def put(self, descriptor: Descriptor, content: BinaryIO) -> None:
        path = self._path(descriptor.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(partial, "wb") as stream:
                _pour(descriptor, content, stream)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def tag(self, name: str, descriptor: Descriptor) -> None:
        _add_name(self._index, name, descriptor)
        partial = self.root / f".index.json.{os.getpid()}"
        partial.write_bytes(self._index.encode())
        partial.replace(self.root / "index.json")


class LayoutTar:
    """An OCI layout as a tar stream, as a sink. `close` writes the index and ends the archive."""

    def __init__(self, out: BinaryIO, epoch: int = 0) -> None:
        self._out = out
        self._epoch = epoch
        self._seen: set[str] = set()
        self._index = Index(media_type=INDEX, manifests=[])
        self._bytes("oci-layout", _LAYOUT)

    def has(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self._seen

    def put(self, descriptor: Descriptor, content: BinaryIO) -> None:
        algorithm, _, encoded = descriptor.digest.partition(":")
        self._out.write(header(Entry(f"blobs/{algorithm}/{encoded}", mtime=self._epoch, size=descriptor.size)))
        _pour(descriptor, content, self._out)
        self._out.write(bytes(-descriptor.size % 512))
        self._seen.add(descriptor.digest)

    def tag(self, name: str | None, descriptor: Descriptor) -> None:
        _add_name(self._index, name, descriptor)

    def close(self) -> None:
        self._bytes("index.json", self._index.encode())
        self._out.write(bytes(1024))

    def _bytes(self, path: str, data: bytes) -> None:
        self._out.write(header(Entry(path, mtime=self._epoch, size=len(data))) + data + bytes(-len(data) % 512))


def save_docker(images: list[tuple[str | None, Image]], out: BinaryIO) -> None:
    """Write images as `docker save` does: `manifest.json`, each config, each layer as a plain tar.

    A layer is unpacked twice, once for its length: nothing of it is held in memory.
    """
    entries: dict[str, dict[str, Any]] = {}
    written: set[str] = set()
    for name, image in images:
        config = f"{image.manifest.config.digest.partition(':')[2]}.json"
        layers = [f"{layer.diff_id.partition(':')[2]}.tar" for layer in image.layers]
        entry = entries.setdefault(config, {"Config": config, "RepoTags": [], "Layers": layers})
        if name is not None:
            entry["RepoTags"].append(Reference.parse(name).familiar)
        for path, layer in zip(layers, image.layers, strict=True):
            if path not in written:
                written.add(path)
                _plain_layer(image, layer.descriptor, layer.diff_id, path, out)
        if config not in written:
            written.add(config)
            _member(out, config, image.raw_config)
    _member(out, "manifest.json", json.dumps(list(entries.values())).encode())
    out.write(bytes(1024))


def _plain_layer(image: Image, descriptor: Descriptor, diff_id: Digest, path: str, out: BinaryIO) -> None:
    with image.blobs.open(descriptor) as stream:
        plain, size = Decompressed(stream), 0
        while chunk := plain.read(1 << 20):
            size += len(chunk)
    out.write(header(Entry(path, size=size)))
    hashed = digests.hasher(diff_id)
    with image.blobs.open(descriptor) as stream:
        plain = Decompressed(stream, hashed)
        while chunk := plain.read(1 << 20):
            out.write(chunk)
    digests.check(diff_id, hashed, f"layer {diff_id}")
    out.write(bytes(-size % 512))


def _member(out: BinaryIO, path: str, data: bytes) -> None:
    out.write(header(Entry(path, size=len(data))) + data + bytes(-len(data) % 512))


def load(source: Path | BinaryIO, store: Store) -> list[tuple[str | None, Image]]:
    """Bring every image of an OCI layout (directory or tar) or docker archive into the store.

    Tars may be packed (gzip, zstd) or come from a pipe. Returns names (None where it had none) and images; the
    store's tags are set. Raises `Corrupt` where bytes are not what their digests say.
    """
    from pannikin.oci.transfer import copy

    found: list[tuple[str | None, Image]] = []
    with store.lease():
        for name, image in _images(source, store):
            copy(image, store, name)
            found.append((name, Image(image.descriptor, store)))
    return found


def _images(source: Path | BinaryIO, store: Store) -> Iterator[tuple[str | None, Image]]:
    if isinstance(source, Path) and source.is_dir():
        if not (source / "index.json").exists():
            raise Corrupt(f"{source} is no image layout", why="it has no index.json")
        yield from _layout_images(Index.decode(_document(source / "index.json")), LayoutDirectory(source))
        return
    with _Archive(source, store) as archive:
        if archive.holds("index.json"):
            names = archive.docker_names() if archive.holds("manifest.json") else {}
            yield from _layout_images(Index.decode(archive.bytes("index.json")), archive, names)
        elif archive.holds("manifest.json"):
            yield from archive.docker_images()
        else:
            raise Corrupt(f"{_named(source)} is no image archive", why="it has neither index.json nor manifest.json")


def _layout_images(
    index: Index, blobs: LayoutDirectory | _Archive, names: dict[str, list[str]] | None = None
) -> Iterator[tuple[str | None, Image]]:
    for descriptor in index.manifests:
        image = Image(descriptor, blobs)
        given = _name(descriptor)
        known: list[str] = [given] if given else []
        if not known and names and not image.is_index:
            known = list(names.get(image.manifest.config.digest.partition(":")[2], []))
        named: list[str | None] = [*known] if known else [None]
        for name in named:
            yield (str(Reference.parse(name)) if name else None), image


class _Archive:
    """A tar with random access: a plain one is read in place, a packed one or a pipe is spooled to the store's disk."""

    def __init__(self, source: Path | BinaryIO, store: Store) -> None:
        self._store = store
        self._extra: dict[str, bytes] = {}
        self._stream = _seekable(source, store)
        try:
            self._tar = tarfile.open(fileobj=self._stream, mode="r:", tarinfo=Header)  # noqa: SIM115 - closed by __exit__
            self._members = {posixpath.normpath(m.name): m for m in self._tar}
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise Corrupt(f"{_named(source)} is no whole tar archive", why=str(error)) from None

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()
        self._stream.close()

    def holds(self, path: str) -> bool:
        return path in self._members

    def member(self, path: str) -> BinaryIO:
        """A member's bytes; links (older docker archives have them) are followed inside the archive."""
        for _ in range(8):
            member = self._members.get(posixpath.normpath(path))
            if member is None:
                break
            if member.issym():
                path = posixpath.join(posixpath.dirname(posixpath.normpath(path)), member.linkname)
            elif member.islnk():
                path = member.linkname
            elif member.isfile():
                return cast(BinaryIO, self._tar.extractfile(member))
            else:
                break
        raise NotFound(f"the archive has no file {path!r:.200}")

    def bytes(self, path: str) -> bytes:
        with self.member(path) as stream:
            return stream.read(8 << 20)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        if descriptor.digest in self._extra:
            return io.BytesIO(self._extra[descriptor.digest])
        if self._store.path(descriptor.digest).exists() and not self.holds(_blob(descriptor.digest)):
            return self._store.open(descriptor)
        return self.member(_blob(descriptor.digest))

    def _docker(self) -> list[dict[str, Any]]:
        try:
            entries = [dict(entry) for entry in json.loads(self.bytes("manifest.json"))]
            if not all(isinstance(tag, str) for entry in entries for tag in entry.get("RepoTags") or ()):
                raise TypeError("a tag is no text")
            return entries
        except (ValueError, TypeError, RecursionError) as error:
            raise Corrupt("the docker archive's manifest.json is not valid", why=str(error)) from None

    def docker_names(self) -> dict[str, list[str]]:
        """Tags by the config's hex digest, from manifest.json."""
        names = {}
        for entry in self._docker():
            stem = posixpath.basename(str(entry.get("Config", ""))).removesuffix(".json")
            names[stem] = [str(tag) for tag in entry.get("RepoTags") or []]
        return names

    def docker_images(self) -> Iterator[tuple[str | None, Image]]:
        """The images of a docker archive as OCI ones: its layers are packed into the store on the way."""
        for entry in self._docker():
            try:
                raw, paths = self.bytes(entry["Config"]), [str(path) for path in entry["Layers"]]
            except (KeyError, TypeError) as error:
                raise Corrupt("the docker archive's manifest.json is not valid", why=f"no {error}") from None
            config = Config.decode(raw, entry["Config"])
            if len(paths) != len(config.rootfs.diff_ids):
                raise Corrupt("the docker archive contradicts itself", why="layers and diff IDs differ in number")
            layers = [self._pack(p, d) for p, d in zip(paths, config.rootfs.diff_ids, strict=True)]
            stored = Descriptor(media_type=CONFIG, digest=digests.of(raw), size=len(raw))
            manifest = Manifest(media_type=MANIFEST, config=stored, layers=layers).encode()
            descriptor = Descriptor(media_type=MANIFEST, digest=digests.of(manifest), size=len(manifest))
            self._extra |= {stored.digest: raw, descriptor.digest: manifest}
            for tag in entry.get("RepoTags") or [None]:
                yield (str(Reference.parse(tag)) if tag else None), Image(descriptor, self)

    def _pack(self, path: str, diff_id: Digest) -> Descriptor:
        hashed = digests.hasher(digests.parse(diff_id))
        with self.member(path) as stream, self._store.upload() as upload:
            packer = Compressor(upload, "gzip")
            plain = Decompressed(stream, hashed)
            while chunk := plain.read(1 << 20):
                packer.write(chunk)
            packer.close()
            digests.check(diff_id, hashed, f"layer {path}")
            upload.commit(packer.packed)
        return Descriptor(
            media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=packer.packed, size=packer.written
        )


def _regular(path: Path) -> BinaryIO:
    """A layout's file; not a pipe, which would be waited for, nor a device, which has no end. Raises `Corrupt`."""
    stream = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115 - the caller closes
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise Corrupt(f"{path} is no regular file")
    return stream


def _document(path: Path) -> bytes:
    with _regular(path) as stream:
        return stream.read(MAX_DOCUMENT + 1)


def _named(source: Path | BinaryIO) -> str:
    return str(source) if isinstance(source, Path) else "the input"


def _blob(digest: str) -> str:
    algorithm, _, encoded = digests.parse(digest).partition(":")
    return f"blobs/{algorithm}/{encoded}"


def _seekable(source: Path | BinaryIO, store: Store) -> BinaryIO:
    stream = open(source, "rb") if isinstance(source, Path) else source  # noqa: SIM115 - the caller closes it
    if stream.seekable():
        head = stream.read(4)
        stream.seek(0)
        if head[:2] != b"\x1f\x8b" and head != b"\x28\xb5\x2f\xfd":
            return stream
    import tempfile

    spool = tempfile.TemporaryFile(dir=store.temporary)  # noqa: SIM115 - closed with the archive
    plain = Decompressed(stream)
    while chunk := plain.read(1 << 20):
        spool.write(chunk)
    stream.close()
    spool.seek(0)
    return cast(BinaryIO, spool)


def _pour(descriptor: Descriptor, content: BinaryIO, out: BinaryIO | Upload) -> None:
    """Copy a blob, verified on the way."""
    hashed, size = digests.hasher(descriptor.digest), 0
    while chunk := content.read(1 << 20):
        hashed.update(chunk)
        size += len(chunk)
        if size > descriptor.size:
            break
        out.write(chunk)
    if size != descriptor.size:
        raise Corrupt(f"blob {descriptor.digest} has not the {descriptor.size} bytes that its descriptor says")
    digests.check(descriptor.digest, hashed, "a blob")


def _add_name(index: Index, name: str | None, descriptor: Descriptor) -> None:
    """Enter an image in an index, under a name if it has one; the name leaves what had it before."""
    same = descriptor.digest if name is None else None
    index.manifests = [d for d in index.manifests if _name(d) != name or (name is None and d.digest != same)]
    target = descriptor.bare()
    target.platform, target.artifact_type = descriptor.platform, descriptor.artifact_type
    target.annotations = {} if name is None else {REF_NAME: name, CONTAINERD_NAME: name}
    index.manifests.append(target)


def _name(descriptor: Descriptor) -> str | None:
    return descriptor.annotations.get(CONTAINERD_NAME) or descriptor.annotations.get(REF_NAME)
