"""The models of the manifest as a tree to walk: what a key is, for the schema and the reference."""

from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from evfn.manifest.form import Form, Many
from evfn.manifest.models import Section


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a section.

    Its value is of a form; or it is a section of its own; or, with `names`, a mapping from names of that form to
    either of these. `default` is the text a user would write, None where there is none to write.
    """

    name: str
    description: str
    required: bool
    default: str | None
    form: Form | Many | None = None
    section: type[Section] | None = None
    names: Form | None = None


def settings(section: type[Section]) -> list[Setting]:
    """The keys of a section in the order they are told in."""
    return [_setting(name, field) for name, field in section.model_fields.items()]


def _setting(name: str, field: FieldInfo) -> Setting:
    default = field.default if isinstance(field.default, str) else None
    description = field.description or ""
    form = _form(field.metadata)
    if form is not None:
        return Setting(name, description, field.is_required(), default, form)
    if get_origin(field.annotation) is dict:
        key, value = get_args(field.annotation)
        names = _form(get_args(key)[1:])
        assert isinstance(names, Form)  # noqa: S101 - the models give every mapping's names a form
        below = value if _is_section(value) else None
        values = _form(get_args(value)[1:]) if below is None else None
        return Setting(name, description, field.is_required(), default, values, below, names)
    assert _is_section(field.annotation)  # noqa: S101 - there is nothing else in the models
    section: Any = field.annotation
    return Setting(name, description, field.is_required(), default, section=section)


def _form(metadata: Any) -> Form | Many | None:
    return next((item for item in metadata if isinstance(item, (Form, Many))), None)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
