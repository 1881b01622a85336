"""`imgret completion SHELL`: the script with which a shell completes commands, options and file names.

Belongs here: printing click's script. Not here: what is completed (`cli.main`).
"""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes imgret's commands in SHELL.

    For bash, in ~/.bashrc: eval "$(imgret completion bash)". For zsh, in ~/.zshrc: eval "$(imgret completion zsh)".
    For fish: imgret completion fish > ~/.config/fish/completions/imgret.fish
    """
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click has the three
    click.echo(found(click.Command("imgret"), {}, "imgret", "_IMGRET_COMPLETE").source())
