"""The root command: global options, settings, and the verbs by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from pannikin import __version__

# verb: (module, function, the one line that `pannikin --help` shows without importing it)
VERBS = {
    "base": ("base", "base", "Make a base image from distribution packages."),
    "build": ("build", "build", "Build an image from a Dockerfile."),
    "history": ("inspect", "history", "Show what made each layer of an image."),
    "images": ("images", "images", "List images."),
    "inspect": ("inspect", "inspect", "Show everything about an image, as JSON."),
    "load": ("archive", "load", "Bring in images from an archive or layout."),
    "prune": ("prune", "prune", "Remove what nothing refers to."),
    "rmi": ("images", "rmi", "Remove images' names."),
    "run": ("run", "run", "Run a command in a new container."),
    "save": ("archive", "save", "Write images to an archive."),
    "store": ("store", "store", "Check the store."),
    "tag": ("images", "tag", "Give an image another name."),
    "validate": ("validate", "validate", "Check images down to the last byte."),
    "completion": ("completion", "completion", "Print a shell's completion script."),
}


class Verbs(click.Group):
    """A group whose commands are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, function, _ = VERBS[cmd_name]
        command: click.Command = getattr(import_module(f"pannikin.cli.{module}"), function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, 1, 0.5)
            hint = f" Did you mean {near[0]!r}?" if near else " `pannikin --help` lists the verbs."
            raise click.UsageError(f"No such verb: {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, help_) for name, (_, _, help_) in sorted(VERBS.items())])


def settings(start: Path) -> dict[str, Any]:
    """`pannikin.toml` of the project (the nearest above `start`) over the user's: a table for each verb."""
    import os

    found: dict[str, Any] = {}
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    project = next((p / "pannikin.toml" for p in (start, *start.parents) if (p / "pannikin.toml").is_file()), None)
    for path in (Path(config) / "pannikin" / "pannikin.toml", project):
        if path is not None and path.is_file():
            import tomllib

            from pannikin.errors import UsageError

            try:
                table = tomllib.loads(path.read_text("utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise UsageError(f"{path} is not valid TOML", why=str(error)) from None
            for key, value in table.items():
                if isinstance(value, dict):
                    found[key] = {**found.get(key, {}), **{k.replace("-", "_"): v for k, v in value.items()}}
                else:
                    found[key.replace("-", "_")] = value
    return found


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "PANNIKIN"},
    epilog="Settings: flags, then PANNIKIN_* variables, then pannikin.toml of the project, then the user's.",
)
@click.version_option(__version__, message="pannikin %(version)s")
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), help="Directory of the store [~/.local/share/pannikin]."
)
@click.pass_context
def root(ctx: click.Context, root: Path | None) -> None:
    """Small container images, from source to cluster: one tool, no daemon.

    \b
    pannikin base --preset minbase -t debian:slim     a base from Debian packages
    pannikin build -t app .                           an image from a Dockerfile
    pannikin run --rm app                             a container of it
    """
    found = settings(Path.cwd())
    ctx.default_map = {key: value for key, value in found.items() if isinstance(value, dict)}
    ctx.obj = root or (Path(str(found["root"])).expanduser() if "root" in found else None)
