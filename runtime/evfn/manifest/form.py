"""What the value of a setting looks like: how it is read, and how that is told to people and to editors."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from evfn.manifest.surroundings import Surroundings


@dataclass(frozen=True)
class Form:
    """A value written as one text.

    `read` turns it into the value, or raises ValueError with a message for the user; it gets the surroundings, or None
    where there are none. `words` describe it in the reference, `schema` in the JSON Schema.
    """

    words: str
    read: Callable[[str, Surroundings | None], object]
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read the text and nothing else: pydantic's own parsing of the type does not take part."""
        return core_schema.with_info_plain_validator_function(self._validate)

    def _validate(self, value: object, info: core_schema.ValidationInfo[Surroundings | None]) -> object:
        if not isinstance(value, str):
            raise PydanticCustomError("not_text", "expected {words}", {"words": self.words})
        return self.read(value, info.context)


@dataclass(frozen=True)
class Many:
    """A list of values of one form; where there is one only, it need not be a list. Repeated values count once."""

    form: Form
    at_least: int = 0

    @property
    def words(self) -> str:
        """The form, and that it may be a list."""
        return f"{self.form.words}, or a list of them"

    @property
    def schema(self) -> dict[str, Any]:
        """The form's schema, or a list of it."""
        items: dict[str, Any] = {"type": "array", "items": dict(self.form.schema)}
        if self.at_least:
            items["minItems"] = self.at_least
        return {"anyOf": [dict(self.form.schema), items]}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A tuple of what the form reads."""
        item = self.form.__get_pydantic_core_schema__(source, handler)
        return core_schema.chain_schema(
            [
                core_schema.no_info_plain_validator_function(self._listed),
                core_schema.tuple_variable_schema(item, strict=False),
                core_schema.no_info_plain_validator_function(lambda values: tuple(dict.fromkeys(values))),
            ]
        )

    def _listed(self, value: object) -> object:
        if isinstance(value, dict):
            raise PydanticCustomError("not_text", "expected {words}", {"words": self.words})
        values = value if isinstance(value, (list, tuple)) else (value,)
        if len(values) < self.at_least:
            raise ValueError(f"the list is empty; write at least {self.at_least}")
        return values


def text_form(words: str, pattern: str, explain: Callable[[str], str]) -> Form:
    """Text that matches `pattern` as a whole; `explain` tells what is wrong with one that does not."""
    compiled = re.compile(pattern)

    def read(text: str, _: Surroundings | None) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(explain(text))
        return text

    return Form(words, read, {"type": "string", "pattern": f"^{pattern}$"})
