"""A suite's Release file: its signature, its dates, and the hashes of its indexes (Debian's RepositoryFormat)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from pannikin.errors import Corrupt, NotFound, Unavailable, UsageError
from pannikin.packages.deb.index import stanza
from pannikin.packages.deb.sources import Source, default_keyrings


@dataclass(frozen=True)
class Release:
    """What a suite says of itself. `hashes` maps a path to (sha256 hex, size in bytes); dates are epoch seconds."""

    fields: dict[str, str]
    hashes: dict[str, tuple[str, int]]
    date: int | None
    valid_until: int | None

    @property
    def by_hash(self) -> bool:
        return self.fields.get("Acquire-By-Hash") == "yes"

    @property
    def priority(self) -> int:
        """apt's default priority for its packages (apt_preferences(5)): backports and experimental stay back."""
        if self.fields.get("NotAutomatic") != "yes":
            return 500
        return 100 if self.fields.get("ButAutomaticUpgrades") == "yes" else 1

    @property
    def names(self) -> frozenset[str]:
        """The names that `package/suite` may use."""
        return frozenset(filter(None, (self.fields.get("Suite"), self.fields.get("Codename"))))


def parse(text: bytes, where: str) -> Release:
    """Read a Release file whose signature was checked. Raises `Corrupt` where it has no SHA256 section."""
    fields = stanza(text.decode("utf-8", "replace"))
    if "SHA256" not in fields:
        raise Corrupt("the Release file has no SHA256 hashes", where=where)
    hashes = {}
    for line in fields["SHA256"].splitlines():
        words = line.split()
        if len(words) == 3:
            hashes[words[2]] = (words[0].lower(), int(words[1]))
    return Release(fields, hashes, _seconds(fields.get("Date")), _seconds(fields.get("Valid-Until")))


def _seconds(text: str | None) -> int | None:
    if not text:
        return None
    try:
        return int(parsedate_to_datetime(text.replace("UTC", "+0000")).timestamp())
    except (ValueError, TypeError):
        return None


def check_dates(release: Release, where: str, *, valid_until: bool, date: bool, now: float | None = None) -> None:
    """Refuse a Release file that has expired, or is from the future, where apt would."""
    now = time.time() if now is None else now
    if valid_until and release.valid_until is not None and release.valid_until < now:
        why = f"Valid-Until was {release.fields['Valid-Until']}"
        hint = "is the clock right? apt's Acquire::Check-Valid-Until false accepts it"
        raise Unavailable("the mirror's Release file has expired", where=where, why=why, hint=hint)
    if date and release.date is not None and release.date > now + 10:
        why = f"its Date is {release.fields['Date']}"
        raise Unavailable("the mirror's Release file is from the future", where=where, why=why, hint="set the clock")


def certificates(source: Source, root: Path = Path("/")) -> list[Any]:
    """The OpenPGP certificates that may sign a source. Raises `NotFound`/`Corrupt` naming the keyring."""
    from pysequoia import Cert

    if source.inline_key:
        blobs = [(source.inline_key.encode(), source.where)]
    else:
        paths = source.keyrings or default_keyrings(root)
        if not paths:
            hint = "install debian-archive-keyring, or give --keyring"
            raise NotFound("no keyring to check the archive with", where=source.where or None, hint=hint)
        blobs = [(_read(path, source), path) for path in paths]
    found = []
    for raw, where in blobs:
        if not raw:
            continue  # apt keeps an empty trusted.gpg on some systems
        try:
            found += Cert.split_bytes(raw)
        except Exception as error:  # pysequoia raises bare exceptions
            if source.keyrings or source.inline_key:
                raise Corrupt("not an OpenPGP keyring", where=where, why=str(error).split("\n")[0]) from None
    wanted = source.fingerprints
    return [cert for cert in found if not wanted or any(cert.fingerprint.endswith(f) for f in wanted)]


def _read(path: str, source: Source) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NotFound(
            "can't read the keyring", where=path, why=error.strerror or "", hint=f"named in {source.where}"
        ) from None


def verify(raw: bytes, certs: Sequence[Any], where: str, signature: bytes | None = None) -> bytes:
    """The signed text of an InRelease file, or a Release file with its detached `signature`.

    Raises `Corrupt` unless one of `certs` made a valid signature over all of it.
    """
    import pysequoia

    asked: list[str] = []

    def store(ids: Iterable[str]) -> list[Any]:
        asked.extend(ids)
        return list(certs)

    try:
        if signature is None:
            result = pysequoia.verify(raw, store=store)
            text = bytes(result.bytes or b"")
        else:
            result = pysequoia.verify(raw, store=store, signature=pysequoia.Sig.from_bytes(signature))
            text = raw
        signed = bool(result.valid_sigs)
        why = "no valid signature"
    except Exception as error:  # pysequoia raises bare exceptions with a backtrace in the text
        signed, why = False, str(error).split("\n")[0].rstrip(".")
    if not signed:
        known = {cert.fingerprint for cert in certs}
        ids = ", ".join(sorted({one[-16:].upper() for one in asked} - {one[-16:].upper() for one in known}))
        hint = f"signed by {ids}; does the keyring have them? (--keyring, Signed-By)" if ids else "give --keyring"
        raise Corrupt("the archive's signature is not valid", where=where, why=why, hint=hint)
    return text


def unsigned(raw: bytes) -> bytes:
    """The text of an InRelease file without a look at its signature, for a source marked as trusted."""
    if not raw.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        return raw
    body = raw.split(b"\n\n", 1)[1].split(b"-----BEGIN PGP SIGNATURE-----", 1)[0]
    return b"\n".join(line.removeprefix(b"- ") for line in body.split(b"\n"))


def wanted(release: Release, source: Source, suite: str, architectures: Sequence[str]) -> list[str]:
    """The Packages files to fetch, by their plain path. Raises `UsageError` for a component that is not there."""
    if suite.endswith("/"):
        return ["Packages"]
    found = []
    for component in source.components:
        paths = [f"{component}/binary-{arch}/Packages" for arch in architectures]
        there = [path for path in paths if path in release.hashes or _packed(release, path)]
        if not there:
            known = release.fields.get("Components", "")
            raise UsageError(
                f"suite {suite} has no {component} for {architectures[0]}", where=source.where or None,
                hint=f"components: {known}; architectures: {release.fields.get('Architectures', '')}",
            )  # fmt: skip
        # `all` has a Packages file of its own only where the Release file says both of these (as apt reads it).
        listed = "all" in release.fields.get("Architectures", "").split()
        separate = listed and release.fields.get("No-Support-for-Architecture-all") != "Packages"
        found += there if separate else [path for path in there if "/binary-all/" not in path]
    return found


def _packed(release: Release, path: str) -> bool:
    return any(path + suffix in release.hashes for suffix in (".gz", ".xz"))
