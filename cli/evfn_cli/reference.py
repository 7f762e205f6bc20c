"""The command line's page of the docs, made from its help: `python -m evfn_cli.reference > docs/command-line.md`."""

import click

from evfn_cli.main import COMMANDS, cli
from evfn_cli.options import OPTIONS, described

WIDTH = 100

_HEAD = """\
# The command line

<!-- Made by `python -m evfn_cli.reference > docs/command-line.md`; a test checks that it is fresh. -->

`evfn` works on the project in whose folder, or below it, you are: the one with `triggers.yaml`.

## What every command shares

These options may stand before or after the command. Each has a variable; an option wins over it.

| option | variable | meaning |
|---|---|---|
"""

_SERVER = """
Every other option has a variable as well, named in its help or after its command: `EVFN_RUN_UNTIL_IDLE=1` is
`evfn run --until-idle`.

**The server** is the one of `--redis` or `--redis-file`, else of `EVFN_REDIS_URL`, else of the file that
`EVFN_REDIS_URL_FILE` names, else the one that the instance running in this project
uses, else the embedded one, whose events live in `.evfn/` and survive restarts. Every command says on stderr which
one it uses, and never shows a password. `EVFN_VALKEY_SERVER` names another program for the embedded server.

**Data go to stdout, messages to stderr.** What comes from an event or a function is printed with its control characters
escaped. What prints data has `--json`, one object or one a line.

| exit code | meaning |
|---|---|
| 0 | done; a completed drain too |
| 1 | failed; functions were killed because a drain took too long |
| 2 | wrong usage, an invalid manifest, a function that does not load |
| 3 | finished, but events were dead-lettered (`run --until-idle`) |
| by a signal | aborted by it |
"""


def markdown() -> str:
    """The whole page."""
    rows = "".join(f"| `{flag} {metavar}` | `{variable}` | {text} |\n" for flag, metavar, text, variable in OPTIONS)
    root = click.Context(cli, info_name="evfn", terminal_width=WIDTH, help_option_names=["-h", "--help"])
    sections = [section for name in COMMANDS for section in _sections(name, cli.get_command(root, name), root)]
    return _HEAD + rows + _SERVER + "".join(sections)


def _sections(name: str, command: click.Command | None, parent: click.Context) -> list[str]:
    if command is None:
        raise LookupError(name)
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    command.format_help_text(context, formatter)
    # Told by what they say: `init` has a --name of its own.
    shared = {described(text, variable) for *_, text, variable in OPTIONS}
    own = [each for each in command.get_params(context) if isinstance(each, click.Option) and each.help not in shared]
    records = [record for each in own if (record := each.get_help_record(context)) is not None]
    with formatter.section("Options"):
        formatter.write_dl(records)
    command.format_epilog(context, formatter)
    text = "\n".join(line.rstrip() for line in formatter.getvalue().splitlines())
    sections = [f"\n## `{context.command_path}`\n\n```text\n{text}\n```\n"]
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            sections += _sections(inner, command.get_command(context, inner), context)
    return sections


if __name__ == "__main__":
    click.echo(markdown(), nl=False)
