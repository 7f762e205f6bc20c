"""What a shell offers when a command is completed: commands and options by click, names from the manifest, files.

Nothing here starts a server, checks the manifest or says anything: where there is nothing to offer, nothing is.
"""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

from evfn.errors import EvfnError
from evfn.manifest.outline import Outline, outline
from evfn.project import find_manifest
from evfn_cli.main import COMMANDS, COMPLETE, cli
from evfn_cli.options import choices

if TYPE_CHECKING:
    _Type = click.ParamType[str]
else:
    _Type = click.ParamType  # only newer versions of click say of what


class Bash(BashComplete):
    """click's, except that a colon in a topic's name does not end the word: bash takes it for a separator."""

    source_template = """\
# Completion of evfn in bash: eval this, or keep it where bash-completion looks.
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            plain) COMPREPLY+=("$value") ;;
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
        esac
    done < <(_EVFN_LINE="${COMP_LINE:0:$COMP_POINT}" _EVFN_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""

    _written = ""
    """What the shell replaces none of: the part of the word up to its last colon."""

    def source(self) -> str:
        # Not click's: that looks for a bash to ask its version, and the script works in old ones too.
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["_EVFN_LINE"]
        words = split_arg_string(line)
        incomplete = words.pop() if words and not line[-1].isspace() else ""
        if ":" in incomplete and ":" in os.environ.get("_EVFN_BREAKS", "") and not _within_quotes(line):
            self._written = incomplete[: incomplete.rindex(":") + 1]
        return words[1:], incomplete

    def format_completion(self, item: "CompletionItem[str]") -> str:
        return f"{item.type},{item.value.removeprefix(self._written)}"


_CLASSES: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": ZshComplete, "fish": FishComplete}


def _within_quotes(line: str) -> bool:
    """Whether a quote is open at the end; bash ends no word at a colon there."""
    try:
        shlex.split(line)
    except ValueError:
        return True
    return False


def script(shell: str) -> str:
    """What makes this shell ask evfn."""
    return _CLASSES[shell](cli, {}, "evfn", COMPLETE).source()


def answer(asked: str) -> int:
    """Answer a shell that asks, as its script does, by variables; returns the exit code. Never raises."""
    try:
        add_completion_class(Bash)
        _prepare(cli)
        for name in COMMANDS:
            command = cli.get_command(click.Context(cli), name)
            if command is not None:
                _prepare(command)
        return shell_complete(cli, {}, "evfn", COMPLETE, asked)
    except Exception:
        # A line of error in the middle of what somebody types helps nobody.
        return 1


class _Names(_Type):
    """A parameter that takes names from the manifest."""

    name = "name"

    def __init__(self, pick: Callable[[Outline], tuple[str, ...]]) -> None:
        self._pick = pick

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        try:
            manifest = find_manifest(choices(ctx), here=Path.cwd(), environ=os.environ)
        except EvfnError:
            return []
        names = dict.fromkeys(self._pick(outline(manifest)))
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_TYPES: "dict[str, click.ParamType[str]]" = {
    "trigger": _Names(lambda found: found.triggers),
    "target": _Names(lambda found: found.triggers + found.functions),
    "topic": _Names(lambda found: found.topics),
    "file": click.Path(),
    "manifest": click.Path(),
    "folder": click.Path(file_okay=False),
    "functions": click.Path(file_okay=False),
    "state": click.Path(file_okay=False),
}
"""What completes a parameter, by the parameter's name, which is the same in all commands."""


def _prepare(command: click.Command) -> None:
    for parameter in command.params:
        if parameter.name in _TYPES:
            parameter.type = _TYPES[parameter.name]
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _prepare(inner)
