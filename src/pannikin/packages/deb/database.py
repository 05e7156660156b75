"""dpkg's database, written as dpkg itself would after unpacking: /var/lib/dpkg, so that dpkg can configure it.

Layout: `status` (one stanza a package, with its state and the hashes of its conffiles), `info/` (format 1: one
file a control file, `name:arch` in front where the package is Multi-Arch: same), `triggers/`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pannikin.packages.deb.index import Record, stanza
from pannikin.packages.deb.unpack import Root, Unpacked

ADMIN = "var/lib/dpkg"
_STATUS = re.compile(r"^Status: .*\n", re.MULTILINE)
_NOT_KEPT = frozenset({"control", "md5sums"})


def installed(root: Path) -> list[Record]:
    """What is installed in a root, from its dpkg status; nothing where there is none."""
    found = []
    for text in _stanzas(root):
        fields = stanza(text)
        if "Package" in fields and fields.get("Status", "").endswith((" installed", " unpacked", "triggers-pending")):
            found.append(Record(fields))
    return found


def unconfigured(root: Path) -> list[str]:
    """Names of packages in a state other than installed (or removed)."""
    settled = (" installed", " not-installed", " config-files")
    stanzas = [stanza(text) for text in _stanzas(root)]
    return [s["Package"] for s in stanzas if "Package" in s and not s.get("Status", "").endswith(settled)]


def _stanzas(root: Path) -> list[str]:
    try:
        text = (root / ADMIN / "status").read_text("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [part for part in text.split("\n\n") if part.strip()]


class Owners:
    """Which installed package has a path. The lists are read at the first question: most layers ask none."""

    def __init__(self, root: Path) -> None:
        self._info = root / ADMIN / "info"
        self._paths: dict[str, str] | None = None

    def __call__(self, path: str) -> str | None:
        if self._paths is None:
            self._paths = {}
            for file in sorted(self._info.glob("*.list")):
                owner = file.stem.partition(":")[0]
                for line in file.read_text("utf-8", "surrogateescape").splitlines():
                    self._paths.setdefault(line, owner)
        # On a merged /usr, /lib/x and /usr/lib/x are one file, listed under either name.
        return self._paths.get(path) or self._paths.get(path.removeprefix("/usr")) or self._paths.get("/usr" + path)


def info_name(record: Record) -> str:
    """The stem of a package's files in info/."""
    return f"{record.name}:{record.architecture}" if record.multi_arch == "same" else record.name


def record(root: Path, found: Sequence[Unpacked]) -> None:
    """Enter freshly unpacked packages as `install ok unpacked`, beside what the root already has."""
    admin = root / ADMIN
    for name in ("info", "alternatives", "parts", "triggers", "updates"):
        (admin / name).mkdir(parents=True, exist_ok=True)
    for name in ("available", "diversions", "statoverride"):
        (admin / name).touch()
    (admin / "info/format").write_text("1\n")
    new = {one.record.name for one in found}
    keep = [text for text in _stanzas(root) if stanza(text).get("Package") not in new]
    texts = [text.strip("\n") for text in keep] + [_status(one) for one in found]
    _replace(admin / "status", "\n\n".join(sorted(texts)) + "\n\n" if texts else "")
    for one in found:
        _info(admin / "info", one)
    _triggers(admin / "triggers", found, new)


def _status(one: Unpacked) -> str:
    text = one.control["control"].decode("utf-8", "surrogateescape").strip("\n") + "\n"
    text = _STATUS.sub("", text)
    first, _, rest = text.partition("\n")
    lines = [first, "Status: install ok unpacked", rest.rstrip("\n")]
    if one.conffiles:
        lines += ["Conffiles:", *(f" {path} {digest}" for path, digest in sorted(one.conffiles.items()))]
    return "\n".join(lines)


def _info(folder: Path, one: Unpacked) -> None:
    stem = info_name(one.record)
    # "" is the root itself, which dpkg writes as /.
    listing = "".join(f"/{path or '.'}\n" for path in one.paths)
    (folder / f"{stem}.list").write_text(listing, "utf-8", "surrogateescape")
    if "md5sums" in one.control:
        (folder / f"{stem}.md5sums").write_bytes(one.control["md5sums"])
    for name, content in one.control.items():
        if name in _NOT_KEPT:
            continue
        path = folder / f"{stem}.{name}"
        path.write_bytes(content)
        script = name in ("preinst", "postinst", "prerm", "postrm", "config")
        path.chmod(0o755 if script else 0o644)


def _triggers(folder: Path, found: Iterable[Unpacked], new: set[str]) -> None:
    """Register what packages are interested in (deb-triggers(5)), and wake those that were there before."""
    files = _lines(folder / "File")
    woken: set[str] = set()
    for one in found:
        for line in one.control.get("triggers", b"").decode("utf-8", "replace").splitlines():
            words = line.partition("#")[0].split()
            if len(words) != 2 or not words[0].startswith("interest"):
                continue
            owner = one.record.name + ("/noawait" if words[0].endswith("-noawait") else "")
            if words[1].startswith("/"):
                files.append(f"{words[1]} {owner}")
            else:
                target = folder / words[1]
                _replace(target, "\n".join(dict.fromkeys([*_lines(target), owner])) + "\n")
    _replace(folder / "File", "".join(f"{line}\n" for line in dict.fromkeys(files)))
    interests = [line.split(" ", 1) for line in files]
    for path, owner in interests:
        if owner.partition("/")[0] not in new and any(_below(one, path) for one in found):
            woken.add(path)
    if woken:
        lines = [*_lines(folder / "Unincorp"), *(f"{path} -" for path in sorted(woken))]
        _replace(folder / "Unincorp", "\n".join(lines) + "\n")


def _below(one: Unpacked, trigger: str) -> bool:
    path = trigger.lstrip("/")
    return any(entry == path or entry.startswith(path + "/") for entry in one.paths)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + "-new")
    temporary.write_text(text, "utf-8", "surrogateescape")
    os.replace(temporary, path)


def clear(root: Root) -> None:
    """Remove dpkg's backups and lock files, which differ from run to run."""
    admin = Path(root.path) / ADMIN
    for name in ("status-old", "diversions-old", "statoverride-old", "available-old", "lock", "lock-frontend"):
        (admin / name).unlink(missing_ok=True)
    (admin / "triggers/Lock").unlink(missing_ok=True)
