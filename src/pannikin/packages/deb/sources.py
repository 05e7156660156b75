"""Where packages come from: apt's sources (one-line and deb822, sources.list(5)), or named explicitly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pannikin.errors import NotFound, SyntaxProblem, Unavailable, UsageError

ARCHIVE_KEYRINGS = (
    "usr/share/keyrings/debian-archive-keyring.gpg",
    "usr/share/keyrings/debian-archive-keyring.pgp",
    "usr/share/keyrings/ubuntu-archive-keyring.gpg",
)
_LOGIN = re.compile(r"^(https?://)[^/@]*@")
_ONE_LINE = re.compile(r"^(?P<type>deb|deb-src)\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<rest>\S.*)$")
_SCHEMES = ("http://", "https://", "file:", "copy:")


@dataclass(frozen=True)
class Source:
    """One entry of apt's sources: every URI serves every suite.

    `architectures` empty means the native one. `keyrings` are paths of OpenPGP certificates (binary or
    armoured), `inline_key` an armoured certificate; `fingerprints` restrict which of them may sign. `trusted`
    skips the signature. A suite that ends in `/` is a flat repository and has no components.
    """

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    keyrings: tuple[str, ...] = ()
    inline_key: str = ""
    fingerprints: tuple[str, ...] = ()
    trusted: bool = False
    check_valid_until: bool | None = None
    by_hash: bool | None = None
    where: str = field(default="", compare=False)

    def stanza(self) -> str:
        """This source in the deb822 format, as /etc/apt/sources.list.d/*.sources has it."""
        lines = ["Types: deb", f"URIs: {' '.join(self.uris)}", f"Suites: {' '.join(self.suites)}"]
        if self.components:
            lines.append(f"Components: {' '.join(self.components)}")
        if self.architectures:
            lines.append(f"Architectures: {' '.join(self.architectures)}")
        if self.trusted:
            lines.append("Trusted: yes")
        if self.inline_key:
            armour = [f" {line or '.'}" for line in self.inline_key.strip().splitlines()]
            lines += ["Signed-By:", *armour]
        elif self.fingerprints:
            lines.append(f"Signed-By: {' '.join(self.fingerprints)}")
        elif len(self.keyrings) == 1:
            lines.append(f"Signed-By: {self.keyrings[0]}")
        return "\n".join(lines) + "\n"


def portable(sources: Iterable[Source]) -> list[Source]:
    """The sources as an image may have them: no path, directory or password of this host.

    A keyring that the archive's keyring package brings stays a path; any other becomes an inline key. Local
    directories are left out.
    """
    found = []
    for source in sources:
        uris = tuple(_LOGIN.sub(r"\1", uri) for uri in source.uris if uri.startswith("http"))
        brought = all(path.lstrip("/") in ARCHIVE_KEYRINGS for path in source.keyrings)
        key = source.inline_key if brought else _armoured(source.keyrings)
        if uris:
            keyrings = source.keyrings if brought else ()
            found.append(replace(source, uris=uris, keyrings=keyrings, inline_key=key))
    return found


def _armoured(paths: Iterable[str]) -> str:
    import pysequoia

    certs = [cert for path in paths for cert in pysequoia.Cert.split_bytes(Path(path).read_bytes())]
    raw = b"".join(bytes(cert) for cert in certs)
    return str(pysequoia.armor(raw, pysequoia.ArmorKind.PublicKey))


def default_keyrings(root: Path = Path("/")) -> tuple[str, ...]:
    """The keyrings that apt trusts where a source names none, and the archive keyring packages'."""
    apt = root / "etc/apt"
    found = [apt / "trusted.gpg", *sorted((apt / "trusted.gpg.d").glob("*.gpg"))]
    found += sorted((apt / "trusted.gpg.d").glob("*.asc"))
    found += [root / name for name in ARCHIVE_KEYRINGS]
    return tuple(str(path) for path in found if path.is_file())


def from_host(root: Path = Path("/")) -> list[Source]:
    """Every enabled `deb` source of the apt configuration under `root`.

    Raises `SyntaxProblem` with file and line, `NotFound` where nothing is configured.
    """
    apt = root / "etc/apt"
    lists = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]
    found: list[Source] = []
    for path in lists:
        if path.is_file():
            found += parse_list(_read(path), str(path))
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        found += parse_deb822(_read(path), str(path))
    if not found:
        raise NotFound("no package source is configured", where=str(apt), hint="name one: --mirror --suite")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise Unavailable("can't read apt's sources", where=str(path), why=error.strerror or "") from None


def explicit(
    mirror: str, suites: Sequence[str], components: Sequence[str] = ("main",), keyring: str | None = None
) -> Source:
    """A source from the command line; `mirror` is http(s)://, file:// or a path."""
    if not suites:
        raise UsageError("a mirror needs a suite", hint="--suite bookworm")
    uri = mirror if mirror.startswith(_SCHEMES) else _path_uri(mirror)
    if keyring is not None and not Path(keyring).is_file():
        raise NotFound("the keyring is not there", where=keyring)
    keyrings = (str(Path(keyring).absolute()),) if keyring else ()
    return Source((uri.rstrip("/"),), tuple(suites), tuple(components), keyrings=keyrings, where="--mirror")


def _path_uri(mirror: str) -> str:
    path = Path(mirror)
    if "://" in mirror or not path.is_dir():
        hint = "a mirror is http://…, https://…, file:///… or a directory"
        raise NotFound(f"no mirror at {mirror}", hint=hint)
    return path.absolute().as_uri()


def parse_list(text: str, file: str) -> list[Source]:
    """The one-line format: `deb [options] uri suite component…`."""
    found = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if line:
            source = _one_line(line, f"{file}:{number}")
            if source is not None:
                found.append(source)
    return found


def _one_line(line: str, where: str) -> Source | None:
    match = _ONE_LINE.match(line)
    if not match:
        raise SyntaxProblem("not a package source", where=where, why=line, hint="deb [options] uri suite component…")
    words = match["rest"].split()
    if len(words) < 2:
        raise SyntaxProblem("a source needs a URI and a suite", where=where, why=line)
    fields = {"uris": words[0], "suites": words[1], "components": " ".join(words[2:])}
    for option in (match["options"] or "").split():
        name, equals, value = option.partition("=")
        if not equals:
            raise SyntaxProblem(f"option {name} has no value", where=where)
        fields[_OPTIONS.get(name.rstrip("+-"), name)] = value.replace(",", " ")
    return _make(fields, where) if match["type"] == "deb" else None


_OPTIONS = {"arch": "architectures", "lang": "languages", "target": "targets"}


def parse_deb822(text: str, file: str) -> list[Source]:
    """The deb822 format: stanzas of `Types`, `URIs`, `Suites`, `Components` and options."""
    found = []
    for number, fields in _stanzas(text, file):
        if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off"):
            continue
        if "deb" in fields.get("types", "").split():
            found.append(_make(fields, f"{file}:{number}"))
        elif "types" not in fields:
            raise SyntaxProblem("a source has no Types", where=f"{file}:{number}", hint="Types: deb")
    return found


def _stanzas(text: str, file: str) -> Iterable[tuple[int, dict[str, str]]]:
    """Stanzas with the line they begin at, names in lower case; a continued value keeps its line breaks."""
    fields: dict[str, str] = {}
    first, last = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield first, fields
            fields, last = {}, ""
        elif line[0] in " \t":
            if not last:
                raise SyntaxProblem("a continuation of nothing", where=f"{file}:{number}", why=line.strip())
            fields[last] += "\n" + line[1:]
        else:
            name, colon, value = line.partition(":")
            if not colon:
                raise SyntaxProblem("not a field", where=f"{file}:{number}", why=line)
            first = first if fields else number
            last = name.strip().lower()
            fields[last] = value.strip()


def _make(fields: dict[str, str], where: str) -> Source:
    for name in ("uris", "suites"):
        if not fields.get(name, "").split():
            raise SyntaxProblem(f"a source has no {name.capitalize()}", where=where)
    suites = tuple(fields["suites"].split())
    components = tuple(fields.get("components", "").split())
    flat = [suite for suite in suites if suite.endswith("/")]
    if not components and not flat:
        raise SyntaxProblem("a source has no components", where=where, hint="main, or a suite that ends in /")
    uris = tuple(uri.rstrip("/") for uri in fields["uris"].split())
    for uri in uris:
        if not uri.startswith(_SCHEMES):
            raise SyntaxProblem(f"can't fetch from {uri}", where=where, why="only http, https and file are known")
    keyrings, inline, fingerprints = _signed_by(fields.get("signed-by", ""))
    return Source(
        uris, suites, components, tuple(fields.get("architectures", "").split()), keyrings, inline, fingerprints,
        trusted=fields.get("trusted", "").lower() in ("yes", "true", "1", "on"),
        check_valid_until=_maybe(fields.get("check-valid-until")),
        by_hash=_maybe(fields.get("by-hash")),
        where=where,
    )  # fmt: skip


def _maybe(word: str | None) -> bool | None:
    return None if word is None else word.lower() not in ("no", "false", "0", "off")


def _signed_by(value: str) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Signed-By: keyring paths, an armoured key in the field itself, or fingerprints (`!` as gpg writes it)."""
    if "BEGIN PGP" in value:
        lines = ["" if line.strip() == "." else line.strip() for line in value.strip().splitlines()]
        return (), "\n".join(lines) + "\n", ()
    words = value.replace(",", " ").split()
    paths = tuple(word for word in words if word.startswith("/"))
    return paths, "", tuple(word.rstrip("!").lower() for word in words if not word.startswith("/"))
