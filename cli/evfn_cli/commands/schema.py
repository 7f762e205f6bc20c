"""`evfn schema`: the JSON Schema of the manifest."""

import json

import click

from evfn_cli.options import common
from evfn_cli.render import out


@click.command("schema")
@common
def command() -> None:
    """Print the JSON Schema of the manifest.

    Editors with a YAML language server complete and check triggers.yaml by it.
    """
    from evfn.manifest.schema import json_schema

    out(json.dumps(json_schema(), indent=2))
