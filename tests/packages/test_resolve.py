"""Resolution over a small archive made by hand."""

from collections.abc import Mapping

import pytest

from pannikin.errors import NotFound, PannikinError, Unavailable
from pannikin.packages.deb import distroless, index, resolve
from pannikin.packages.deb.index import PackageIndex, Record

Packages = Mapping[str, str]


def universe(text: str, *more: tuple[str, int, str]) -> resolve.Universe:
    """A universe of `name version; Field: value; …` lines, and further ones as (lines, priority, suite)."""
    indexes = [_index(text, 500, "stable"), *(_index(*one) for one in more)]
    return resolve.Universe(indexes, "amd64")


def _index(text: str, priority: int, suite: str) -> PackageIndex:
    stanzas = []
    for line in filter(None, map(str.strip, text.splitlines())):
        head, *fields = line.split(";")
        name, version = head.split()
        control = {"Package": name, "Version": version, "Architecture": "amd64"}
        control |= {key.strip(): value.strip() for key, _, value in (one.partition(":") for one in fields)}
        stanzas.append("".join(f"{key}: {value}\n" for key, value in control.items()))
    raw = "\n".join(stanzas).encode()
    return PackageIndex(raw, **index.scan(raw), suite=suite, priority=priority)


def names(records: list[Record]) -> list[str]:
    return [record.name for record in records]


def chosen(text: str, *wanted: str, **options: object) -> set[str]:
    found = resolve.resolve(universe(text), wanted, **options)  # type: ignore[arg-type]
    return {f"{one.name}={one.version}" for one in found}


def test_dependencies_come_first() -> None:
    order = names(resolve.resolve(universe("a 1; Depends: b\nb 1; Pre-Depends: c\nc 1\nz 1"), ["a"]))
    assert order == ["c", "b", "a"]


def test_first_alternative_unless_another_is_there_anyway() -> None:
    text = "a 1; Depends: x | y\nb 1; Depends: y\nx 1\ny 1"
    assert chosen(text, "a") == {"a=1", "x=1"}
    assert "y=1" in chosen(text, "a", "b")


def test_second_alternative_where_the_first_is_missing_or_excluded() -> None:
    assert chosen("a 1; Depends: gone | y\ny 1", "a") == {"a=1", "y=1"}
    assert chosen("a 1; Depends: x | y\nb 1; Conflicts: x\nx 1\ny 1", "a", "b") == {"a=1", "b=1", "y=1"}


def test_virtual_package_by_priority() -> None:
    text = "a 1; Depends: awk\ngawk 1; Provides: awk; Priority: optional\nmawk 1; Provides: awk; Priority: required"
    assert chosen(text, "a") == {"a=1", "mawk=1"}
    assert chosen(text, "awk") == {"mawk=1"}
    assert chosen(text, "a", "gawk") == {"a=1", "gawk=1"}


def test_versioned_dependency_on_a_virtual_package() -> None:
    base = "a 1; Depends: v (>= 2)\n"
    with pytest.raises(Unavailable, match=r"a 1 needs v \(>= 2\), which no package provides"):
        chosen(base + "p 9; Provides: v", "a")  # an unversioned Provides meets no versioned relation
    with pytest.raises(Unavailable):
        chosen(base + "p 9; Provides: v (= 1.9)", "a")
    assert chosen(base + "p 9; Provides: v (= 2.0-1)", "a") == {"a=1", "p=9"}


def test_equal_means_equal_to_the_revision() -> None:
    with pytest.raises(Unavailable):
        chosen("a 1; Depends: b (= 1.0)\nb 1.0-1", "a")
    assert chosen("a 1; Depends: b (= 1.0-0)\nb 1.0", "a") == {"a=1", "b=1.0"}


def test_versions_by_debians_order() -> None:
    assert chosen("a 1.0~rc1\na 1.0-1a\na 1.0-1+", "a") == {"a=1.0-1+"}
    assert chosen("a 1; Depends: b (<< 1.0)\nb 1.0~rc1\nb 1.0", "a") == {"a=1", "b=1.0~rc1"}
    assert chosen("a 9.9\na 1:0.1", "a") == {"a=1:0.1"}


def test_newest_of_several_suites_and_what_is_not_automatic_stays_back() -> None:
    both = universe("a 1", ("a 2", 500, "security"), ("a 3\nn 1", 100, "backports"))
    assert resolve.resolve(both, ["a"])[0].version == "2"
    assert resolve.resolve(both, ["a/backports"])[0].version == "3"
    assert resolve.resolve(both, ["a=1"])[0].version == "1"
    assert names(resolve.resolve(both, ["n"])) == ["n"], "the only candidate, whatever its priority"


def test_conflicts_and_breaks_say_why() -> None:
    with pytest.raises(Unavailable, match="a 1 excludes b 1"):
        chosen("a 1; Conflicts: b\nb 1", "a", "b")
    with pytest.raises(Unavailable, match="excludes"):
        chosen("a 1; Breaks: b (<< 2)\nb 1", "a", "b")
    assert chosen("a 1; Breaks: b (<< 2)\nb 2", "a", "b") == {"a=1", "b=2"}
    assert chosen("a 1; Conflicts: mta; Provides: mta", "a") == {"a=1"}, "not with itself"


def test_multi_arch_qualifiers() -> None:
    assert chosen("a 1; Depends: py:any (>= 3)\npy 3.11; Multi-Arch: allowed", "a") == {"a=1", "py=3.11"}
    with pytest.raises(Unavailable, match="py:any"):
        chosen("a 1; Depends: py:any\npy 3", "a")  # :any asks for Multi-Arch: allowed
    assert chosen("a 1; Depends: b:amd64\nb 1", "a:amd64") == {"a=1", "b=1"}
    with pytest.raises(Unavailable):
        chosen("a 1; Depends: b:arm64\nb 1", "a")


def test_other_architectures_do_not_exist_and_all_does() -> None:
    assert chosen("a 1; Depends: d\nd 1; Architecture: all", "a") == {"a=1", "d=1"}
    with pytest.raises(NotFound):
        chosen("a 1; Architecture: arm64", "a")


def test_recommends_only_when_asked_and_only_if_possible() -> None:
    text = "a 1; Recommends: r, gone, never\nr 1\nnever 1; Depends: gone"
    assert chosen(text, "a") == {"a=1"}
    assert chosen(text, "a", recommends=True) == {"a=1", "r=1"}


def test_chain_of_reasons() -> None:
    with pytest.raises(Unavailable) as caught:
        chosen("a 1; Depends: b\nb 1; Depends: c (>= 2)\nc 1", "a")
    assert "b 1 needs c (>= 2), which no package provides" in caught.value.why
    assert "\n" not in str(caught.value)


def test_unknown_name_and_version() -> None:
    with pytest.raises(NotFound) as caught:
        chosen("python3 1\nperl 1", "pyhton3")
    assert "did you mean python3" in caught.value.hint
    with pytest.raises(NotFound) as caught:
        chosen("a 1\na 2", "a=3")
    assert "1 (stable), 2 (stable)" in caught.value.hint
    with pytest.raises(NotFound, match="not a package name"):
        chosen("a 1", "a b")


def _installed(text: str) -> list[Record]:
    return [
        record
        for group in (_index(text, 500, "").names,)
        for name in group
        for record in _index(text, 500, "").find(name)
    ]


def test_what_is_installed_stays() -> None:
    base = _installed("b 1; Provides: v")
    assert chosen("a 1; Depends: b, v\nb 2\nw 1; Provides: v", "a", installed=base) == {"a=1"}
    assert chosen("b 2", "b", installed=base) == set(), "it is there already"
    with pytest.raises(Unavailable) as caught:
        chosen("a 1; Depends: b (>= 2)\nb 2", "a", installed=base)
    assert "b" in caught.value.why


def test_distroless_leaves_out_what_scripts_need() -> None:
    text = "ca-certificates 1; Depends: openssl (>= 1), debconf (>= 0.5) | debconf-2.0\nopenssl 3; Depends: libssl\n"
    text += "libssl 3\ndebconf 1\napp 1; Depends: openssl"
    assert chosen(text, "ca-certificates", without=distroless.unneeded) == {"ca-certificates=1"}
    assert "openssl=3" in chosen(text, "app", without=distroless.unneeded)
    assert "debconf=1" in chosen(text, "debconf", without=distroless.unneeded), "asked for by name"
    assert "debconf=1" in chosen(text, "ca-certificates")


def test_merged_usr_needs_no_conversion() -> None:
    text = "i 1; Depends: usrmerge | usr-is-merged\nusrmerge 1; Depends: perl\nperl 1\nusr-is-merged 1"
    assert chosen(text, "i") == {"i=1", "usr-is-merged=1"}


def test_errors_are_of_one_tree() -> None:
    with pytest.raises(PannikinError):
        chosen("a 1; Depends: b c\nb 1", "a")
