"""The JSON Schema of the manifest, for editors; `load` itself does not use it."""

from typing import Any

from evfn.manifest.models import ManifestSection, Section
from evfn.manifest.settings import Setting, settings


def json_schema() -> dict[str, Any]:
    """The schema, draft 7, which editors for YAML know best.

    Editors see values as YAML types them, so where the manifest's text reads as a number or boolean both are allowed.
    """
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "evfn manifest (triggers.yaml)",
        **_section(ManifestSection),
    }


def _section(section: type[Section]) -> dict[str, Any]:
    keys = settings(section)
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {setting.name: _setting(setting) for setting in keys},
    }
    required = [setting.name for setting in keys if setting.required]
    return {**schema, "required": required} if required else schema


def _setting(setting: Setting) -> dict[str, Any]:
    told = {"description": setting.description}
    if setting.default is not None:
        told["default"] = setting.default
    if setting.form is not None:
        value = dict(setting.form.schema)
    else:
        assert setting.section is not None  # noqa: S101 - a key has a form or a section
        value = _section(setting.section)
    if setting.names is None:
        return {**told, **value}
    mapping: dict[str, Any] = {
        "type": "object",
        "propertyNames": dict(setting.names.schema),
        "additionalProperties": value,
    }
    if setting.required:
        mapping["minProperties"] = 1
    return {**told, **mapping}
