"""The JSON Schema that the first line of a manifest points editors at, kept in the state folder."""

import json
from pathlib import Path

from evfn.manifest.schema import json_schema
from evfn.project import prepare_state


def refresh(state: Path) -> None:
    """Write it where it is not there or not that of this evfn. Raises OSError where that cannot be."""
    prepare_state(state)
    path = state / "triggers.schema.json"
    schema = json.dumps(json_schema(), indent=2) + "\n"
    if not path.exists() or path.read_text() != schema:
        path.write_text(schema)
