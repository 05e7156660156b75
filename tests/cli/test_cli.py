"""The command line as a user meets it: real processes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pannikin import __all__ as public
from pannikin.cli.verbs import VERBS
from pannikin.oci.model import CONFIG, MANIFEST
from pannikin.store import Store
from tests.images import file, image

ROOT = Path(__file__).parent.parent.parent


def pannikin(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    code = "from pannikin.cli import main; main()"
    environment = {**os.environ, "NO_COLOR": "1", **env}
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, env=environment)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def context(tmp_path: Path) -> str:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a.txt /\nLABEL k=v\n")
    return str(folder)


def test_version() -> None:
    assert pannikin("--version").stdout.startswith("pannikin 0.")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    done = pannikin(verb, "--help")
    assert done.returncode == 0
    assert verb in ("store", "completion") or f"pannikin {verb}" in done.stdout.split("\n", 1)[1]


def test_the_reference_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("cli_docs", ROOT / "scripts" / "cli_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(), "run: python scripts/cli_docs.py"


def test_every_verb_is_in_the_guides() -> None:
    text = "".join(p.read_text() for p in (ROOT / "docs").glob("*.md") if p.name != "cli.md")
    missing = [verb for verb in VERBS if f"pannikin {verb}" not in text]
    assert missing == []


def test_the_public_api_is_there() -> None:
    import pannikin as package

    for name in public:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError):
        package.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["biuld"], 2, "Did you mean 'build'?"),
        (["build"], 2, "PATH"),
        (["build", "--no-such", "."], 2, "--no-such"),
        (["inspect", "nothing"], 1, "no image named nothing:latest"),
        (["tag", "nothing", "Bad"], 2, "not an image reference"),
        (["run", "-v", "x", "img"], 2, "HOST:CONTAINER"),
        (["run", "-m", "lots", "img"], 2, "not a number of bytes"),
        (["run", "-p", "80:80", "img"], 2, "no such option '-p'"),
        (["run", "-t", "img"], 2, "stdin is not a terminal"),
        (["build", "-o", "type=cloud", "."], 2, "no such type 'cloud'"),
        (["build", "--label", "x", "."], 2, "KEY=VALUE"),
        (["build", "--platform", "a/b/c/d", "."], 2, "not a platform"),
        (["build", "/nowhere"], 1, "not a directory"),
        (["base", "--preset", "pyhton"], 2, "did you mean python?"),
    ],
)
def test_wrong_use_is_told_in_a_line(root: str, args: list[str], code: int, text: str) -> None:
    done = pannikin("--root", root, *args)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert text in done.stderr and done.stdout == ""


def test_no_verb_shows_the_help_as_it_is() -> None:
    done = pannikin()
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: pannikin" in done.stderr and "hint:" not in done.stderr


@pytest.mark.root
def test_run_gives_the_statuses_of_a_shell(root: str, context: str) -> None:
    Path(context, "Dockerfile").write_text('FROM scratch\nCOPY a.txt /\nENTRYPOINT ["/a.txt"]\n')
    assert pannikin("--root", root, "build", "-t", "app:1", context).returncode == 0
    refused = pannikin("--root", root, "run", "app:1")
    assert refused.returncode == 126 and "can't start /a.txt: the file is not executable" in refused.stderr
    missing = pannikin("--root", root, "run", "--entrypoint", "", "app:1", "/nothing")
    assert missing.returncode == 127 and "can't start /nothing" in missing.stderr
    alone = pannikin("--root", root, "run", "--entrypoint", "", "app:1")
    assert alone.returncode == 2 and "no entrypoint and no command" in alone.stderr
    other = pannikin("--root", root, "run", "app")
    assert other.returncode == 1 and "did you mean app:1?" in other.stderr


@pytest.mark.root
def test_build_list_look_and_remove(root: str, context: str) -> None:
    built = pannikin("--root", root, "build", "-t", "app", "-t", "app:1", "--json", context)
    summary = json.loads(built.stdout)
    assert summary["tags"] == ["docker.io/library/app:latest", "docker.io/library/app:1"] and summary["steps_run"] == 2
    assert "#1 [1/1] COPY a.txt /" in built.stderr
    images = json.loads(pannikin("--root", root, "images", "--json").stdout)
    assert [(row["name"], row["digest"]) for row in images] == [
        ("app:1", summary["digest"]),
        ("app:latest", summary["digest"]),
    ]
    about = json.loads(pannikin("--root", root, "inspect", "app").stdout)[0]
    assert about["config"]["config"]["Labels"] == {"k": "v"}
    assert [one["diff_id"] for one in about["layers"]] == [one["diff_id"] for one in summary["layers"]]
    lines = [row["created_by"] for row in json.loads(pannikin("--root", root, "history", "--json", "app").stdout)]
    assert lines == ["LABEL k=v", "COPY a.txt /"]
    assert pannikin("--root", root, "validate", "app").stdout == "app: valid\n"
    assert pannikin("--root", root, "rmi", "app:1").stdout == "untagged app:1\n"
    assert pannikin("--root", root, "prune", "--all").returncode == 0
    assert pannikin("--root", root, "store", "check").returncode == 0
    assert pannikin("--root", root, "rmi", "app").returncode == 0
    freed = json.loads(pannikin("--root", root, "prune", "--all", "--json").stdout)
    assert freed["blobs"] == 3, "manifest, config, layer"


@pytest.mark.root
def test_quiet_iidfile_outputs_and_stdin(root: str, context: str, tmp_path: Path) -> None:
    out, ids = tmp_path / "out", tmp_path / "id"
    done = pannikin(
        "--root",
        root,
        "build",
        "-q",
        "--iidfile",
        str(ids),
        "-o",
        str(out),
        "-o",
        f"type=oci,dest={tmp_path}/a.tar",
        context,
    )
    assert done.stdout.strip() == ids.read_text() and done.stderr == ""
    assert (out / "a.txt").read_text() == "a" and (tmp_path / "a.tar").stat().st_size > 1000
    code = "from pannikin.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--root", root, "build", "-"],
        input="FROM scratch\nLABEL a=b\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.root
def test_progress_as_json(root: str, context: str) -> None:
    done = pannikin("--root", root, "build", "--progress", "json", context)
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {event["kind"] for event in events} >= {"started", "finished"}


@pytest.mark.root
def test_settings_come_from_files_and_the_environment(root: str, context: str, tmp_path: Path) -> None:
    (tmp_path / "pannikin.toml").write_text(f'root = "{root}"\n[build]\nlabels = ["from=toml"]\n')
    code = "from pannikin.cli import main; main()"
    env = {**os.environ, "PANNIKIN_BUILD_TARGET": "nowhere"}
    command = [sys.executable, "-c", code, "build", "-t", "x", context]
    wrong = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert wrong.returncode == 1 and "nowhere" in wrong.stderr
    assert subprocess.run(command, capture_output=True, cwd=tmp_path).returncode == 0
    labels = json.loads(pannikin("--root", root, "inspect", "x").stdout)[0]["config"]["config"]["Labels"]
    assert labels["from"] == "toml"


def test_completion_scripts() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_PANNIKIN_COMPLETE" in pannikin("completion", shell).stdout
    done = pannikin(_PANNIKIN_COMPLETE="bash_complete", COMP_WORDS="pannikin bui", COMP_CWORD="1")
    assert "build" in done.stdout


def test_no_file_imports_upward() -> None:
    """The rooms of docs/architecture.md (contracts in pyproject.toml)."""
    tool = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_start_imports_nothing_heavy() -> None:
    code = "import sys; from pannikin.cli import main; main(['--version']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    for heavy in ("click", "rich", "msgspec", "solv", "urllib3", "zstandard", "asyncio"):
        assert f"'{heavy}'" not in done.stdout


def test_what_an_image_says_does_not_reach_the_terminal_as_commands(root: str) -> None:
    store = Store(Path(root))
    made = image(store, [file("a", b"x")])
    config = made.config
    config.created, config.author = "2024-01-01", "\x9b31m"
    config.history[0].created_by = "\x1b]0;title\x07 \x9b2J"
    manifest = made.manifest
    manifest.config = store.put_bytes(config.encode(), CONFIG)
    store.tag("docker.io/library/odd:1", store.put_bytes(manifest.encode(), MANIFEST))
    for verb in (["images"], ["history", "odd:1"], ["history", "--json", "odd:1"], ["inspect", "odd:1"]):
        done = pannikin("--root", root, *verb)
        assert done.returncode == 0 and done.stdout.strip()
        assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 for c in done.stdout)
    assert json.loads(pannikin("--root", root, "inspect", "odd:1").stdout)[0]["config"]["author"] == "\x9b31m"
