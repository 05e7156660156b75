"""`pannikin completion`."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script.

    \b
    eval "$(pannikin completion bash)"
    """
    from click.shell_completion import get_completion_class

    from pannikin.cli.verbs import root

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root, {}, "pannikin", "_PANNIKIN_COMPLETE").source())
