"""Packages and archives made for a test: real .debs, a real signed repository, in a directory."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import zstandard
from pysequoia import SignatureMode, Tsk, sign

EPOCH = 1_700_000_000
PACK = {"": bytes, ".gz": lambda raw: gzip.compress(raw, mtime=0), ".xz": lzma.compress,
        ".zst": zstandard.ZstdCompressor().compress}  # fmt: skip


def entry(path: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """One tar member, as hostile as asked for."""
    info = tarfile.TarInfo(path)
    info.size, info.mtime, info.mode = len(content), EPOCH - 100, 0o644
    for name, value in fields.items():
        setattr(info, name, value)
    return info, content


def folder(path: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return entry(path, type=tarfile.DIRTYPE, mode=mode)


def link(path: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return entry(path, type=kind, linkname=target)


def tar(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def ar(members: Mapping[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, content in members.items():
        out += f"{name:<16}{EPOCH:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        out += b"\n" if len(content) % 2 else b""
    return out


@dataclass
class Deb:
    """A package to make. `fields` are control fields; `files` become 0644 files with their directories."""

    name: str
    version: str = "1.0"
    architecture: str = "amd64"
    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    entries: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)
    scripts: dict[str, bytes] = field(default_factory=dict)
    suffix: str = ".xz"

    @property
    def control(self) -> str:
        fields = {"Package": self.name, "Version": self.version, "Architecture": self.architecture,
                  "Maintainer": "Test <t@example.org>", "Description": "a test"}  # fmt: skip
        return "".join(f"{key}: {value}\n" for key, value in (fields | self.fields).items())

    def bytes(self) -> bytes:
        entries = [folder("./")]
        seen = set()
        for path, content in sorted(self.files.items()):
            for depth in range(1, path.count("/") + 1):
                parent = "/".join(path.split("/")[:depth])
                if parent not in seen:
                    seen.add(parent)
                    entries.append(folder(f"./{parent}/"))
            entries.append(entry(f"./{path}", content))
        sums = "".join(f"{hashlib.md5(c).hexdigest()}  {p}\n" for p, c in sorted(self.files.items()))
        controls = [entry("./control", self.control.encode()), entry("./md5sums", sums.encode())]
        controls += [entry(f"./{name}", text, mode=0o755) for name, text in self.scripts.items()]
        packed = PACK[self.suffix](tar([*entries, *self.entries]))
        return ar({"debian-binary": b"2.0\n", "control.tar.gz": PACK[".gz"](tar(controls)),
                   f"data.tar{self.suffix}": packed})  # fmt: skip

    def write(self, directory: Path) -> Path:
        path = directory / f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"
        path.write_bytes(self.bytes())
        return path


def key() -> Tsk:
    return Tsk.generate("Test archive <archive@example.org>")


def stanza(deb: Deb, raw: bytes, filename: str) -> str:
    return deb.control + f"Filename: {filename}\nSize: {len(raw)}\nSHA256: {hashlib.sha256(raw).hexdigest()}\n"


def repository(
    root: Path, debs: Iterable[Deb], signer: Tsk, *, suite: str = "stable", fields: Mapping[str, str] | None = None
) -> Path:
    """A signed repository under `root` with one suite, component main, for amd64. Returns its keyring's path."""
    pool = root / "pool/main"
    pool.mkdir(parents=True, exist_ok=True)
    stanzas = []
    for deb in debs:
        path = deb.write(pool)
        stanzas.append(stanza(deb, path.read_bytes(), str(path.relative_to(root))))
    packages = "\n".join(stanzas).encode()
    dists = root / "dists" / suite
    (dists / "main/binary-amd64").mkdir(parents=True, exist_ok=True)
    hashes = ""
    for suffix in ("", ".gz", ".xz"):
        packed = PACK[suffix](packages)
        (dists / f"main/binary-amd64/Packages{suffix}").write_bytes(packed)
        digest = hashlib.sha256(packed).hexdigest()
        hashes += f" {digest} {len(packed)} main/binary-amd64/Packages{suffix}\n"
    head = {"Origin": "Test", "Suite": suite, "Codename": suite, "Architectures": "amd64", "Components": "main",
            "Date": formatdate(EPOCH, usegmt=True)} | dict(fields or {})  # fmt: skip
    text = "".join(f"{name}: {value}\n" for name, value in head.items()) + f"SHA256:\n{hashes}"
    signed = sign(signer.signer(), text.encode(), mode=SignatureMode.CLEAR)
    (dists / "InRelease").write_bytes(bytes(signed))
    keyring = root / "keyring.gpg"
    keyring.write_bytes(bytes(signer.extract_certificate()))
    return keyring
