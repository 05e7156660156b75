"""docker's USER syntax, read against the image's own /etc/passwd and /etc/group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from pannikin.errors import NotFound, UsageError

_LIMIT = 4 << 20  # bytes of passwd or group that are read; no real one is near
_LARGEST = 2**32 - 2  # the last one means "no change" to chown(2)


class Files(Protocol):
    """Where the image's files are read: a `snapshots.View`, or anything with the same two methods."""

    def exists(self, path: str) -> bool: ...

    def open(self, path: str) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a process runs as; `groups` are the supplementary ones, `home` the directory for HOME."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve(user: str, files: Files) -> Identity:
    """`name`, `uid`, `name:group` or `uid:gid` (runtime of docker's USER); "" is root.

    A name gets its own group and its supplementary groups; where a group is given, that one alone. A number
    that is not in passwd has group 0. Raises `NotFound` for a name that the image does not know.
    """
    name, colon, group = user.partition(":")
    if (colon and not group) or (not name and colon):
        raise UsageError(f"not a user: {user!r}", hint="write user, user:group, uid or uid:gid")
    accounts = list(_lines(files, "/etc/passwd", 7))
    uid, gid, home, known = _account(name or "0", accounts)
    if group:
        return Identity(uid, _group(group, files), (), home)
    extra = tuple(
        int(fields[2]) for fields in _lines(files, "/etc/group", 4)
        if known and known in fields[3].split(",") and _decimal(fields[2]) and int(fields[2]) != gid
    )  # fmt: skip
    return Identity(uid, gid, extra, home)


def owner(text: str, files: Files) -> tuple[int, int]:
    """The uid and gid of COPY --chown: as `resolve`, but a lone number is the group's number too (as docker has it)."""
    name, colon, group = text.partition(":")
    if _decimal(name) and not colon:
        return _number(name, text), _number(name, text)
    if _decimal(name) and _decimal(group):
        return _number(name, text), _number(group, text)  # needs no file of the image
    identity = resolve(text, files)
    return identity.uid, identity.gid


def _account(name: str, accounts: list[list[str]]) -> tuple[int, int, str, str]:
    """uid, gid, home and login name ("" where passwd does not have it)."""
    for fields in accounts:
        if fields[0] == name and _decimal(fields[2]) and _decimal(fields[3]):
            return int(fields[2]), int(fields[3]), fields[5] or "/", fields[0]
    if _decimal(name):
        for fields in accounts:
            if fields[2] == name and _decimal(fields[3]):
                return int(name), int(fields[3]), fields[5] or "/", fields[0]
        uid = _number(name, name)
        return uid, 0, "/root" if uid == 0 else "/", ""
    if name == "root":
        return 0, 0, "/root", "root"
    raise _unknown("user", name, [fields[0] for fields in accounts], "/etc/passwd")


def _group(name: str, files: Files) -> int:
    groups = list(_lines(files, "/etc/group", 4))
    for fields in groups:
        if fields[0] == name and _decimal(fields[2]):
            return int(fields[2])
    if _decimal(name):
        return _number(name, name)
    if name == "root":
        return 0
    raise _unknown("group", name, [fields[0] for fields in groups], "/etc/group")


def _decimal(text: str) -> bool:
    """Whether this is a number as passwd(5) has it: `str.isdigit` also takes ² and other scripts' digits."""
    return text.isascii() and text.isdigit()


def _number(digits: str, text: str) -> int:
    if len(digits) > 20 or int(digits) > _LARGEST:
        raise UsageError(f"not a user or group number: {text!r:.60}", why=f"the largest is {_LARGEST}")
    return int(digits)


def _unknown(what: str, name: str, names: list[str], file: str) -> NotFound:
    if not names:
        return NotFound(f"the image has no {what} {name!r}", why=f"it has no {file}", hint="give a number instead")
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    hint = f"make the {what} first, or give a number"
    return NotFound(f"the image has no {what} {name!r}", why=f"its {file} has {shown}", hint=hint)


def _lines(files: Files, path: str, width: int) -> Iterator[list[str]]:
    """The records of a colon-separated file; nothing where it is missing."""
    if not files.exists(path):
        return
    with files.open(path) as stream:
        text = stream.read(_LIMIT).decode("utf-8", "surrogateescape")
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= width and not line.startswith("#"):
            yield fields
