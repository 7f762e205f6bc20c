"""`evfn emit`: publish one event, or a file of them."""

import os
import re
from datetime import UTC, datetime
from typing import Any

import click
from click.core import ParameterSource

from evfn.errors import UsageError
from evfn_cli.options import common
from evfn_cli.render import escape, say

_NEGATIVE = re.compile(r"-\.?\d")
_SHIELD = "\0"


class _TakesNegativeNumbers(click.Command):
    """`evfn emit numbers -5`: an argument that begins like a negative number is data, not an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, [_SHIELD + arg if _NEGATIVE.match(arg) else arg for arg in args])
        ctx.params = {name: _unshielded(value) for name, value in ctx.params.items()}
        return rest


@click.command("emit", cls=_TakesNegativeNumbers)
@click.argument("topic")
@click.argument("data", required=False)
@click.option("--file", "file", metavar="FILE", help="Many events, JSON lines: data, or CloudEvents. - reads stdin.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["json", "text", "bytes"]),
    help="What DATA is; else JSON if it begins with { or [.",
)
@click.option("--type", "type_", metavar="TYPE", help="What kind of fact it is.  [default: the topic's name]")
@click.option("--source", metavar="URI", help="Where it comes from.  [default: evfn/cli]")
@click.option("--subject", metavar="TEXT", help="What it is about.")
@click.option("--id", "id_", metavar="ID", help="The same id and source is stored once within two minutes.")
@click.option("--time", "time", metavar="TIME", help="When it happened, RFC 3339.  [default: now]")
@click.option("--ext", "ext", metavar="K=V", multiple=True, help="An extension attribute; may be repeated.")
@click.option("--wait", is_flag=True, help="Follow all that it causes until it is settled.")
@click.option("--timeout", metavar="TIME", default="30s", show_default=True, help="How long to --wait at most.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object an event; with --wait one an outcome, and a summary."
)
@common
@click.pass_context
def command(
    context: click.Context,
    *,
    topic: str,
    data: str | None,
    file: str | None,
    kind: str | None,
    type_: str | None,
    source: str | None,
    subject: str | None,
    id_: str | None,
    time: str | None,
    ext: tuple[str, ...],
    wait: bool,
    timeout: str,
    as_json: bool,
) -> int:
    """Publish one event, or many from a file.

    DATA is JSON if it begins with { or [, else text; - reads it from stdin. Prints the event's stream id, and says on
    stderr which triggers take it, which do not and why.

    With --wait it shows instead what every trigger makes of it, and of what is emitted there. It ends with 0 when all
    succeeded or was skipped, 3 when something became a dead letter, 1 when the time is up or a function does not load.
    """
    if file is not None and (data is not None or kind is not None or id_ is not None):
        raise click.UsageError("--file goes with neither DATA, --as nor --id: its lines say all that", context)
    if not wait and context.get_parameter_source("timeout") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--timeout says how long to --wait: add it", context)
    # What publishes is imported only now: `evfn emit --help` needs none of it.
    from evfn.topic import check_name
    from evfn.tracing.program import traced
    from evfn_cli.draft import Attributes
    from evfn_cli.opened import open_routes
    from evfn_cli.publishing import publish_file, publish_one

    try:
        check_name(topic)
    except ValueError as error:
        raise UsageError(str(error)) from error
    attributes = Attributes(type_, source, subject, id_, _time(time), tuple(map(_extension, ext)))
    with traced(os.environ, "evfn-emit", say):
        if wait:
            from evfn_cli.following import follow_file, follow_one, patience

            most = patience(timeout)
            opened = open_routes(context)
            if file is None:
                return follow_one(opened, topic, data, kind, attributes, most=most, as_json=as_json)
            return follow_file(opened, topic, file, attributes, most=most, as_json=as_json)
        opened = open_routes(context)
        if file is None:
            publish_one(opened, topic, data, kind, attributes, as_json=as_json)
        else:
            publish_file(opened, topic, file, attributes, as_json=as_json)
        return 0


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--time {escape(text)!r} is no RFC 3339 time; write 2026-11-23T10:00:00Z") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _extension(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--ext {escape(text)!r} lacks a value; write --ext name=value")
    return name, value


def _unshielded(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(_SHIELD)
    return tuple(map(_unshielded, value)) if isinstance(value, tuple) else value
