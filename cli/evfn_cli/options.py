"""The options that every command shares; they may stand before or after the verb, and the later one wins."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from evfn.project import Choices

_KEY = "evfn_cli.choices"
_Command = TypeVar("_Command", bound=Callable[..., Any])

OPTIONS = [
    ("--manifest", "FILE", "The manifest, or its folder; else triggers.yaml here or in a parent.", "EVFN_MANIFEST"),
    ("--functions", "DIR", "The functions folder, relative to the manifest.  [default: functions]", "EVFN_FUNCTIONS"),
    ("--name", "NAME", "Another project name: its own groups, so its own copy of every event.", "EVFN_NAME"),
    ("--redis", "URL", "The server: redis://, rediss:// or unix://; else the embedded one.", "EVFN_REDIS_URL"),
    (
        "--redis-file",
        "FILE",
        "A file that holds the server's URL: keeps its password off the command line.",
        "EVFN_REDIS_URL_FILE",
    ),
    ("--state", "DIR", "The folder of the embedded server's events.  [default: .evfn]", "EVFN_STATE"),
]


def common(command: _Command) -> _Command:
    """Give a command the common options; read them with `choices`."""
    for flag, metavar, text, variable in reversed(OPTIONS):
        # The variables are read where the project is located: read here, the one of an option given before the verb
        # would win over that option.
        command = _option(flag, metavar, described(text, variable))(command)
    return command


def described(text: str, variable: str) -> str:
    """A common option's line in the help."""
    return f"{text}  [{variable}]"


def project_name(text: str) -> Callable[[_Command], _Command]:
    """Give a command that works on no project yet `--name` alone; read it with `choices`."""
    return _option("--name", "NAME", text)


def choices(context: click.Context) -> Choices:
    """What the user named on the command line, before and after the verb."""
    found: Choices = context.meta.get(_KEY, Choices())
    return found


def same_project(context: click.Context) -> str:
    """`evfn` with the options that this command line named the project and server with, to begin another one.

    A password is masked: what is shown may end up in a chat or a ticket.
    """
    from shlex import quote

    from evfn.broker.url import mask

    chosen = choices(context)
    named = {flag: getattr(chosen, flag.removeprefix("--").replace("-", "_")) for flag, *_ in OPTIONS}
    if chosen.redis is not None:
        named["--redis"] = mask(chosen.redis)
    return " ".join(["evfn", *(f"{flag} {quote(value)}" for flag, value in named.items() if value is not None)])


def name_variables(command: click.Command, prefix: str) -> None:
    """Give every option of a command its variable, where it has none yet: `--until-idle` of `run` has
    EVFN_RUN_UNTIL_IDLE."""
    shared = {flag for flag, *_ in OPTIONS}
    for each in command.params:
        if isinstance(each, click.Option) and each.envvar is None and not shared & {*each.opts}:
            flag = max(each.opts, key=len).lstrip("-")
            each.envvar = f"{prefix}_{flag.replace('-', '_').upper()}"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            name_variables(inner, f"{prefix}_{name.upper()}")


def _option(flag: str, metavar: str, text: str) -> Callable[[_Command], _Command]:
    return click.option(flag, metavar=metavar, help=text, expose_value=False, callback=_remember)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and parameter.name is not None:
        context.meta[_KEY] = replace(choices(context), **{parameter.name: value})
