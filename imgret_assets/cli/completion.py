"""`imgret completion SHELL`: the script that makes a shell complete commands, options and file names.

Belongs here: printing the script of click. Not here: the completions themselves (`cli.main`).
"""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    For bash, in ~/.bashrc: eval "$(imgret completion bash)". For zsh, in ~/.zshrc: eval "$(imgret completion zsh)".
    For fish: imgret completion fish > ~/.config/fish/completions/imgret.fish
    """
    completion_class = get_completion_class(shell)
    assert completion_class is not None  # noqa: S101 - click supports these shells
    click.echo(completion_class(click.Command("imgret"), {}, "imgret", "_IMGRET_COMPLETE").source())
