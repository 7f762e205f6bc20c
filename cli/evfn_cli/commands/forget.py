"""`evfn forget`: delete what is left on the server of triggers that are gone."""

import json

import click

from evfn.errors import UsageError
from evfn_cli.options import common
from evfn_cli.render import escape, out, say


@click.command("forget")
@click.argument("names", metavar="(TRIGGER… | --all)", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every trigger that is no longer in the manifest.")
@click.option("--project", metavar="NAME", help="Of a project of another name, as after a rename, on this server.")
@click.option("--yes", is_flag=True, help="Really delete it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@common
@click.pass_context
def command(
    context: click.Context, *, names: tuple[str, ...], every: bool, project: str | None, yes: bool, as_json: bool
) -> None:
    """Delete what is left on the server of triggers that are gone.

    Their consumer groups on all topics, with what these have yet to finish, their retries, dead letters and counters.
    The topics keep their events, until nobody else holds back what a storage rule trims. Without --yes it only says
    what there is. Interrupted, even by kill -9, the same command goes on.
    """
    if bool(names) == every:
        raise click.UsageError("name triggers, or write --all", context)
    from evfn_cli import forgetting
    from evfn_cli.leftover import as_object, as_text
    from evfn_cli.opened import open_project

    opened = open_project(context, filters=False)
    found = forgetting.forget(opened, forgetting.wish(opened, project, names), really=yes)
    objects = [as_object(each) for each in found]
    if as_json:
        out(json.dumps({"version": 1, "forgotten" if yes else "would_forget": objects}))
    else:
        for each in objects:
            out(f"{'' if yes else 'would forget '}{escape(as_text(each))}{'; forgotten' if yes else ''}")
    if not found:
        say("nothing to forget")
    elif not yes:
        raise UsageError("nothing was deleted yet; add --yes to delete it for good")
