"""The JSON Schema and the reference come from the models that validate."""

import json
import re
from pathlib import Path
from typing import Any

from evfn.manifest.models import ManifestSection, RetrySection, TriggerSection, WorkersSection
from evfn.manifest.reference import markdown
from evfn.manifest.schema import json_schema

_ROOT = Path(__file__).parents[2]


def test_the_reference_in_the_docs_is_the_one_of_the_models() -> None:
    """Write it anew with `python -m evfn.manifest.reference > docs/manifest.md`."""
    assert (_ROOT / "docs" / "manifest.md").read_text() == markdown()


def test_the_reference_tells_every_key() -> None:
    """No key is without its row."""
    told = set(re.findall(r"^\| `(\w+)` \|", markdown(), re.MULTILINE))
    for section in (ManifestSection, TriggerSection, RetrySection, WorkersSection):
        assert set(section.model_fields) <= told


def _walk(schema: dict[str, Any]) -> list[dict[str, Any]]:
    below = [*schema.get("properties", {}).values()]
    if isinstance(schema.get("additionalProperties"), dict):
        below.append(schema["additionalProperties"])
    return [schema, *(inner for part in below for inner in _walk(part))]


def test_the_schema_describes_every_key_and_allows_no_other() -> None:
    """An editor shows the meaning of each key and marks any unknown one."""
    schema = json_schema()
    json.dumps(schema)
    for part in _walk(schema):
        if "properties" in part:
            assert part["additionalProperties"] is False
            assert all(key.get("description") for key in part["properties"].values())
    trigger = schema["properties"]["triggers"]["additionalProperties"]
    assert trigger["required"] == ["topic", "function"]
    assert schema["required"] == ["version", "name", "triggers"]
    assert "topic" not in schema["properties"]["defaults"]["properties"]


def test_the_schemas_patterns_agree_with_what_is_read() -> None:
    """A value that the schema marks in an editor is one that `load` refuses, and the other way round."""
    schema = json_schema()
    trigger = schema["properties"]["triggers"]["additionalProperties"]["properties"]
    timeout = trigger["timeout"]["pattern"]
    assert all(re.search(timeout, text) for text in ("30s", "1h30m", "500ms", "1m", "2w1ms"))
    assert not any(re.search(timeout, text) for text in ("30", "1.5h", "m", "30m1h", "1h 30m", "5mm"))
    memory = trigger["workers"]["properties"]["memory"]["pattern"]
    assert re.search(memory, "512MiB")
    assert not re.search(memory, "512Mi")
    function = trigger["function"]["pattern"]
    assert re.search(function, "a.b:c")
    assert not re.search(function, "../a:b")
    assert trigger["isolation"]["enum"] == ["process", "job"]
