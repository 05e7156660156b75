"""docker's USER syntax against an image's own files."""

from __future__ import annotations

import io
from typing import BinaryIO

import pytest

from pannikin.errors import NotFound, UsageError
from pannikin.runtime.users import Identity, owner, resolve


class Image:
    """Two files in memory, in the form that users reads them."""

    def __init__(self, **files: str) -> None:
        self.files = {f"/etc/{name}": text for name, text in files.items()}

    def exists(self, path: str) -> bool:
        return path in self.files

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.files[path].encode())


DEBIAN = Image(
    passwd="root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken\nwww:x:33:34:::/bin/false\n"
    "app:x:1000:1000::/home/app:\n",
    group="root:x:0:\nwww:x:33:\nweb:x:34:app,www\nusers:x:100:app\nadm:x:4:other\n",
)
EMPTY = Image()


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0, (), "/root")),
        ("root", Identity(0, 0, (), "/root")),
        ("0", Identity(0, 0, (), "/root")),
        ("app", Identity(1000, 1000, (34, 100), "/home/app")),
        ("1000", Identity(1000, 1000, (34, 100), "/home/app")),
        ("www", Identity(33, 34, (), "/")),
        ("app:adm", Identity(1000, 4, (), "/home/app")),
        ("app:77", Identity(1000, 77, (), "/home/app")),
        ("12345", Identity(12345, 0, (), "/")),
        ("12345:66", Identity(12345, 66, (), "/")),
    ],
)
def test_users(user: str, expected: Identity) -> None:
    assert resolve(user, DEBIAN) == expected


def test_an_image_without_files_knows_root_and_numbers() -> None:
    assert resolve("", EMPTY) == resolve("root", EMPTY) == resolve("root:root", EMPTY) == Identity(0, 0, (), "/root")
    assert resolve("65532:65532", EMPTY) == Identity(65532, 65532, (), "/")
    with pytest.raises(NotFound, match="no user 'app': it has no /etc/passwd"):
        resolve("app", EMPTY)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(NotFound, match="no user 'apps': its /etc/passwd has root, www, app"):
        resolve("apps", DEBIAN)
    with pytest.raises(NotFound, match="no group 'apps': its /etc/group has root, www"):
        resolve("app:apps", DEBIAN)


@pytest.mark.parametrize("user", [":", "app:", ":0", "4294967295", "0:99999999999"])
def test_what_is_no_user(user: str) -> None:
    with pytest.raises(UsageError):
        resolve(user, DEBIAN)


@pytest.mark.parametrize(
    ("text", "expected"), [("app", (1000, 1000)), ("55", (55, 55)), ("55:66", (55, 66)), ("app:web", (1000, 34)),
                           ("1000", (1000, 1000)), ("7:web", (7, 34))],
)  # fmt: skip
def test_owners(text: str, expected: tuple[int, int]) -> None:
    assert owner(text, DEBIAN) == expected


def test_owners_that_are_numbers_need_no_files() -> None:
    assert owner("55:66", EMPTY) == (55, 66)


@pytest.mark.parametrize("user", ["²", "0:²", "٣", "9" * 5000, "0:" + "9" * 5000])
def test_digits_that_make_no_number_are_refused(user: str) -> None:
    with pytest.raises((NotFound, UsageError)):
        resolve(user, DEBIAN)
    odd = Image(passwd="odd:x:²:²:::\n", group="odd:x:²:odd\n")
    with pytest.raises((NotFound, UsageError)):
        resolve("odd", odd)
