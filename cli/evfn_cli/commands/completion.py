"""`evfn completion`: the script that makes a shell complete evfn's commands."""

import click

from evfn_cli.render import out


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(*, shell: str) -> None:
    """Print what makes a shell complete commands and names.

    Commands, options and files, and the names of triggers and topics in the manifest, here or in a parent. To have it
    in every new shell:

    \b
    bash   add to ~/.bashrc:   eval "$(evfn completion bash)"
    zsh    add to ~/.zshrc, below compinit:   eval "$(evfn completion zsh)"
    fish   evfn completion fish > ~/.config/fish/completions/evfn.fish
    """
    # click's part for shells is imported only now.
    from evfn_cli.completion import script

    out(script(shell))
