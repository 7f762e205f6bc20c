"""The `evfn` command: finds the verb, imports only that, and turns every error into a line and an exit code.

Exit codes: 0 done; 1 failed; 2 wrong usage or invalid manifest; 3 finished, but events were dead-lettered. What a
signal aborted ends by that signal.
"""

import contextlib
import gc
import os
import signal
import sys
from importlib import import_module
from typing import NoReturn

import click

from evfn.errors import EvfnError, LoadError, UsageError
from evfn_cli.examples import epilog
from evfn_cli.options import common, name_variables
from evfn_cli.render import escape_lines, say

GROUPS = {
    "Start": {
        "init": "Make a new project that runs.",
        "check": "Validate the manifest and its functions.",
        "run": "Run this project's functions as events arrive.",
        "serve": "Run this project's functions on a server.",
        "rq-worker": "Run the jobs of this project's triggers with isolation: job.",
    },
    "Events": {
        "emit": "Publish one event, or many from a file.",
        "invoke": "Run one function on an event, without a server.",
        "replay": "Give past events to one trigger again.",
    },
    "Look": {
        "tail": "Show the last events of a topic, then those that come.",
        "status": "Show every trigger: what waits, what ran, what failed.",
        "doctor": "Say what of the server may break evfn's promises.",
    },
    "What failed, what is left": {
        "dlq": "Look at, redrive or purge dead letters.",
        "forget": "Delete what is left on the server of triggers that are gone.",
    },
    "On servers": {
        "generate": "Make the files that run the project on servers.",
    },
    "Editor and shell": {
        "schema": "Print the JSON Schema of the manifest.",
        "completion": "Print what makes a shell complete commands and names.",
    },
}
"""Every verb with its line in the help, so that `evfn --help` need not import them all."""

COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}
COMPLETE = "_EVFN_COMPLETE"
"""The variable by which a shell asks for completions."""


class _Verbs(click.Group):
    """A group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"evfn_cli.commands.{cmd_name.replace('-', '_')}").command
        name_variables(command, f"EVFN_{cmd_name.upper().replace('-', '_')}")
        _add_examples(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}{hint} (there are: {', '.join(COMMANDS)})", ctx)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # What one can do goes before how: the common options would push the commands off a small terminal.
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:{width}}", text) for name, text in commands.items()])


def _add_examples(command: click.Command, path: str) -> None:
    command.epilog = epilog(path)
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            _add_examples(inner, f"{path} {name}")


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="evfn", message="evfn %(version)s")
@common
def cli() -> None:
    """Run plain Python functions when events arrive.

    The project is the folder with triggers.yaml, here or in a parent. `evfn COMMAND --help` ends with examples.
    """


def main() -> NoReturn:
    """The command, from its arguments to its exit code."""
    if sys.platform == "win32":
        raise SystemExit("evfn runs on Linux and macOS; on Windows, use it inside WSL 2")
    _open_standard_streams()
    code = 1
    try:
        code = run(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has gone (`evfn dlq ls | head -1`): end as every other filter does.
        _end_by(signal.SIGPIPE)
    except OSError as error:
        _drop_stdout()
        with contextlib.suppress(OSError):
            say(f"error: cannot write: {error.strerror}")
    _leave(code)


def run(arguments: list[str]) -> int:
    """Carry out one command line and return its exit code. Raises only OSError, where stdout cannot be written."""
    if COMPLETE in os.environ:
        from evfn_cli import completion

        return completion.answer(os.environ[COMPLETE])
    try:
        result = cli.main(arguments, prog_name="evfn", standalone_mode=False, color=_color())
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return 2
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "evfn"
        say(f"error: {escape_lines(error.format_message())} (see {path} --help)")
        return 2
    except (click.Abort, KeyboardInterrupt):
        _end_by(signal.SIGINT)
    except (UsageError, LoadError) as error:
        say(_told(error))
        return 2
    except EvfnError as error:
        say(_told(error))
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        say(f"error: {error.filename}: {error.strerror}")
        return 1
    except Exception:
        import traceback

        say("error: this is a bug in evfn; please report it with what follows\n" + escape_lines(traceback.format_exc()))
        return 1


def _color() -> bool | None:
    """False where the user wants none or the terminal has none; else a terminal gets colours and a pipe does not."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def _told(error: EvfnError) -> str:
    text = escape_lines(str(error))
    # Mistakes in a file begin with their place, as editors want them.
    return text if ": error: " in text.partition("\n")[0] else f"error: {text}"


def _open_standard_streams() -> None:
    """A descriptor that is closed (`>&-`) would be taken by the next file or socket, and prints would end up there."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character gets its number instead of a traceback.
            stream.reconfigure(errors="backslashreplace")


def _end_by(number: signal.Signals) -> NoReturn:
    _drop_stdout()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)


def _drop_stdout() -> None:
    """What is still buffered goes nowhere, so that the interpreter does not stumble over it at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _leave(code: int) -> NoReturn:
    gc.freeze()  # else the interpreter looks for cycles among all that was imported, which takes it 70 ms
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.flush()
    raise SystemExit(code)
