"""Relations and versions, against Debian's own implementation."""

import pytest
from debian.debian_support import NativeVersion
from hypothesis import given
from hypothesis import strategies as st

from pannikin.errors import Corrupt
from pannikin.packages.deb import relations, version
from pannikin.packages.deb.relations import Atom

VERSIONS = ["1.0", "1.0~rc1", "1.0-1", "1.0-1+b1", "1:0", "1.0-1~deb12u1", "1.0a", "1.0+", "0", "00", "1.0-0",
            "10", "9", "1.0.1", "2:1.0~~", "1.0~", "1-2-3", "1-2-3~"]  # fmt: skip


@pytest.mark.parametrize("left", VERSIONS)
def test_order_is_dpkgs(left: str) -> None:
    for right in VERSIONS:
        mine = (version.key(left) > version.key(right)) - (version.key(left) < version.key(right))
        theirs = NativeVersion(left)._compare(NativeVersion(right))
        assert mine == (theirs > 0) - (theirs < 0), (left, right)


_part = st.text("019az~+.", min_size=1, max_size=5).map(lambda text: "1" + text)


@given(_part, _part, st.sampled_from(["", "-1", "-1~a", "-0"]), st.sampled_from(["", "-1", "-1+b1", "-0"]))
def test_order_of_any_two(left: str, right: str, one: str, other: str) -> None:
    a, b = left + one, right + other
    theirs = NativeVersion(a)._compare(NativeVersion(b))
    mine = (version.key(a) > version.key(b)) - (version.key(a) < version.key(b))
    assert mine == (theirs > 0) - (theirs < 0)


def test_relation() -> None:
    found = relations.parse("libc6 (>= 2.36), a:any | b (<<1:2~) [!arm64] <!nocheck>, c (= 1)\n , d (> 3)")
    assert found == [
        (Atom("libc6", "", ">=", "2.36"),),
        (Atom("a", "any"), Atom("b", "", "<<", "1:2~")),
        (Atom("c", "", "=", "1"),),
        (Atom("d", "", ">=", "3"),),
    ]
    assert [str(atom) for atom in found[1]] == ["a:any", "b (<< 1:2~)"]


@pytest.mark.parametrize("text", ["a b", "a (1.0)", "a (>= )", "(>= 1)", "a | "])
def test_not_a_relation(text: str) -> None:
    with pytest.raises(Corrupt, match="not a package relation"):
        relations.parse(text)
