"""apt's sources, in both formats, and its configuration."""

from pathlib import Path

import pytest

from pannikin.errors import NotFound, SyntaxProblem, UsageError
from pannikin.packages.deb import apt, sources
from pannikin.packages.deb.sources import parse_deb822, parse_list


def test_one_line_with_options() -> None:
    text = "# a comment\ndeb-src http://example.org/debian stable main\n\n"
    text += (
        "deb [arch=amd64,arm64 signed-by=/k.gpg trusted=yes] http://example.org/debian/ stable main contrib # more\n"
    )
    [source] = parse_list(text, "sources.list")
    assert source.uris == ("http://example.org/debian",)
    assert source.suites == ("stable",) and source.components == ("main", "contrib")
    assert source.architectures == ("amd64", "arm64") and source.keyrings == ("/k.gpg",) and source.trusted
    assert source.where == "sources.list:4"


def test_flat_repository_has_no_components() -> None:
    [source] = parse_list("deb file:/srv/repo ./", "x")
    assert source.components == () and source.suites == ("./",)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("rpm http://example.org stable main", "not a package source"),
        ("deb http://example.org", "a URI and a suite"),
        ("deb http://example.org stable", "no components"),
        ("deb ftp://example.org stable main", "can't fetch"),
        ("deb [arch] http://example.org stable main", "no value"),
    ],
)
def test_bad_line_names_file_and_line(line: str, what: str) -> None:
    with pytest.raises(SyntaxProblem, match=what) as caught:
        parse_list(f"\n{line}\n", "a.list")
    assert caught.value.where == "a.list:2"


DEB822 = """\
# first
Types: deb deb-src
URIs: http://example.org/debian
 http://example.org/other
Suites: stable stable-updates
Components: main
Signed-By: /usr/share/keyrings/k.gpg

Enabled: no
Types: deb
URIs: http://example.org/off
Suites: stable
Components: main

Types: deb-src
URIs: http://example.org/source
Suites: stable
Components: main

Types: deb
URIs: http://example.org/inline
Suites: stable
Components: main
Check-Valid-Until: no
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_deb822() -> None:
    first, inline = parse_deb822(DEB822, "d.sources")
    assert first.uris == ("http://example.org/debian", "http://example.org/other")
    assert first.suites == ("stable", "stable-updates") and first.keyrings == ("/usr/share/keyrings/k.gpg",)
    assert first.where == "d.sources:2"
    assert inline.check_valid_until is False and inline.keyrings == ()
    assert inline.inline_key == ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBF\n-----END PGP PUBLIC KEY BLOCK-----\n")


def test_a_stanza_reads_back_as_itself() -> None:
    for source in parse_deb822(DEB822, "d.sources"):
        [again] = parse_deb822(source.stanza(), "again")
        assert (again.uris, again.suites, again.components) == (source.uris, source.suites, source.components)
        assert (again.keyrings, again.inline_key) == (source.keyrings, source.inline_key)


def test_deb822_without_types_names_its_line() -> None:
    with pytest.raises(SyntaxProblem) as caught:
        parse_deb822("\n\nURIs: http://example.org\nSuites: s\n", "d.sources")
    assert caught.value.where == "d.sources:3"


def test_from_host_reads_all_files(tmp_path: Path) -> None:
    apt_dir = tmp_path / "etc/apt/sources.list.d"
    apt_dir.mkdir(parents=True)
    with pytest.raises(NotFound, match="no package source"):
        sources.from_host(tmp_path)
    (tmp_path / "etc/apt/sources.list").write_text("deb http://example.org/a s main\n")
    (apt_dir / "b.list").write_text("deb http://example.org/b s main\n")
    (apt_dir / "c.sources").write_text("Types: deb\nURIs: http://example.org/c\nSuites: s\nComponents: main\n")
    (apt_dir / "d.list.disabled").write_text("nonsense")
    assert [source.uris[0][-1] for source in sources.from_host(tmp_path)] == ["a", "b", "c"]


def test_explicit(tmp_path: Path) -> None:
    assert sources.explicit(str(tmp_path), ["s"]).uris == (tmp_path.as_uri(),)
    with pytest.raises(UsageError, match="suite"):
        sources.explicit("http://example.org", [])
    with pytest.raises(NotFound, match="no mirror"):
        sources.explicit("gopher://example.org", ["s"])
    with pytest.raises(NotFound, match="keyring"):
        sources.explicit("http://example.org", ["s"], keyring="/nowhere/k.gpg")


def test_proxy_as_apt_chooses_it() -> None:
    dump = 'Acquire::http::Proxy "http://127.0.0.1:3128";\nAcquire::http::Proxy::direct.example.org "DIRECT";\n'
    config = apt.AptConfig(apt.parse_dump(dump), {"https_proxy": "http://127.0.0.1:1", "no_proxy": ".local, x.org"})
    assert config.proxy("http://example.org/a") == "http://127.0.0.1:3128"
    assert config.proxy("http://direct.example.org/a") is None
    assert config.proxy("https://example.org/a") == "http://127.0.0.1:1"
    assert config.proxy("https://host.local/a") is None


def test_flags_in_apts_spellings() -> None:
    config = apt.AptConfig(apt.parse_dump('Acquire::Check-Valid-Until "false";\nA::B:: "x";\n'))
    assert config.flag("Acquire::Check-Valid-Until", True) is False
    assert config.flag("Acquire::Check-Date", True) is True
    assert config.get("A::B") == "x"


def test_credentials_go_only_where_they_belong() -> None:
    text = "machine example.org/private login me password secret\nmachine http://example.net\nlogin a password b\n"
    private, plain = apt.parse_auth(text)
    assert private.serves("https://example.org/private/x") and not private.serves("https://example.org/other")
    assert not private.serves("http://example.org/private/x"), "never in the clear unless it says so"
    assert plain.serves("http://example.net/x") and not plain.serves("https://example.net.evil.org/x")
    assert "secret" not in repr(private)
