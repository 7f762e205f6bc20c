"""`evfn init`: a new project that runs."""

import os
import shlex
from pathlib import Path

import click

from evfn_cli.options import choices, project_name
from evfn_cli.render import escape, say

FALLBACK = "my-project"
"""The name of a project whose folder's name has no letter or digit that a name may have."""


@click.command("init")
@click.argument("folder", metavar="[DIR]", default=".")
@project_name("The project's name.  [default: made from the folder's name]")
@click.pass_context
def command(context: click.Context, *, folder: str) -> None:
    """Make a new project that runs.

    In DIR, by default here: a manifest, one function and its test. Nothing is overwritten: where one of its files is
    there already, nothing is written at all.
    """
    # What writes the schema is imported only now: `evfn init --help` needs none of it.
    from evfn.errors import UsageError
    from evfn.name import is_name, slug
    from evfn.project import enclosing
    from evfn_cli import new_project

    for option in ("manifest", "functions", "redis", "redis-file", "state"):
        if getattr(choices(context), option.replace("-", "_")) is not None:
            raise click.UsageError(f"--{option} means nothing to init; write evfn init DIR --name NAME", context)
    path = Path(os.path.abspath(folder))  # noqa: PTH100 - a path through a symbolic link stays as the user knows it
    named = choices(context).name or os.environ.get("EVFN_NAME")
    if named is not None and not is_name(named):
        near = slug(named)
        hint = f" (did you mean {near}?)" if near is not None else ""
        raise UsageError(
            f"{escape(named)!r} cannot be a project's name{hint}: write a-z, 0-9 and -, at most 63 of them"
        )
    if path.exists() and not path.is_dir():
        raise UsageError(f"{escape(str(path))} is a file; name a folder")
    outer = enclosing(path.parent)
    name = named or slug(path.name)
    new_project.make(path, name or FALLBACK)
    _tell(path, name or FALLBACK)
    if name is None:
        say(f"\nThe folder's name makes no project name, so it is called {FALLBACK}: see `name:` in triggers.yaml.")
    if outer is not None:
        say(f"\nIt lies within the project of {escape(str(outer))}: commands in {_shown(path)} work on the new one.")


def _tell(path: Path, name: str) -> None:
    from evfn_cli.new_project import FILES

    width = max(map(len, FILES))
    say(f"made the project {name} in {_shown(path)}")
    for file, purpose in FILES.items():
        say(f"  {file:{width}}  {purpose}")
    say("\nWhat to type next:\n")
    if path != Path.cwd():
        say(f"  cd {escape(shlex.quote(os.path.relpath(path)))}")
    say("  evfn run")
    say("""  evfn emit people.arrived '{"name": "Ada"}' --wait    # in a second terminal, same folder""")
    say(f"  pytest{'' if _has_pytest() else '    # after pip install -r requirements.txt'}")


def _shown(path: Path) -> str:
    return "this folder" if path == Path.cwd() else escape(os.path.relpath(path))


def _has_pytest() -> bool:
    from importlib.util import find_spec

    return find_spec("pytest") is not None
