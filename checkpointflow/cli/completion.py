"""`cpf completion`: what a shell needs to complete the words of cpf."""

from __future__ import annotations

import click

VARIABLE = "_CPF_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion of commands, options, runs, events, steps, workflows and topics for SHELL.

    bash: eval "$(cpf completion bash)" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc, after compinit;
    fish: cpf completion fish > ~/.config/fish/completions/cpf.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    click.echo(kind(context.find_root().command, {}, "cpf", VARIABLE).source())
