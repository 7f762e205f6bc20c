"""The forms of all values in a manifest, each with its range."""

from datetime import timedelta
from enum import Enum
from keyword import iskeyword

from evfn import name, topic
from evfn.filter import Filter, FilterSyntaxError
from evfn.manifest import duration, function_reference, size, start, variables
from evfn.manifest.form import Form, text_form
from evfn.manifest.surroundings import Surroundings
from evfn.nearest import did_you_mean
from evfn.trigger import Isolation


def span(low: str, high: str) -> Form:
    """A duration from `low` to `high`."""
    least, most = duration.parse(low), duration.parse(high)

    def read(text: str, _: Surroundings | None) -> timedelta:
        value = duration.parse(text)
        if not least <= value <= most:
            raise ValueError(f"{text!r:.60} is out of range; write {low} to {high}")
        return value

    return Form(f"duration, {low} to {high}", read, {"type": "string", "pattern": f"^{duration.PATTERN}$"})


def amount(low: str, high: str) -> Form:
    """A size in bytes from `low` to `high`."""
    least, most = size.parse(low), size.parse(high)

    def read(text: str, _: Surroundings | None) -> int:
        value = size.parse(text)
        if not least <= value <= most:
            raise ValueError(f"{text!r:.60} is out of range; write {low} to {high}")
        return value

    return Form(f"size, {low} to {high}", read, {"type": "string", "pattern": f"^{size.PATTERN}$"})


def count(low: int, high: int) -> Form:
    """A whole number from `low` to `high`."""

    def read(text: str, _: Surroundings | None) -> int:
        if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()) or len(text) > 20:
            raise ValueError(f"{text!r:.60} is no whole number; write {low} to {high}, in digits only")
        if not low <= int(text) <= high:
            raise ValueError(f"{text} is out of range; write {low} to {high}")
        return int(text)

    schema = {
        "anyOf": [{"type": "integer", "minimum": low, "maximum": high}, {"type": "string", "pattern": "^[0-9]+$"}]
    }
    return Form(f"whole number, {low} to {high}", read, schema)


def choice(kind: type[Enum]) -> Form:
    """One of an enum's values."""
    values = [str(member.value) for member in kind]

    def read(text: str, _: Surroundings | None) -> Enum:
        if text not in values:
            raise ValueError(f"{text!r:.60} is not one of {', '.join(values)}{did_you_mean(text, values)}")
        return kind(text)

    return Form(" | ".join(values), read, {"type": "string", "enum": values})


def _read_flag(text: str, _: Surroundings | None) -> bool:
    if text not in ("true", "false"):
        meant = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}
        hint = meant.get(text.lower(), text.lower())
        near = f" (did you mean {hint}?)" if hint in ("true", "false") else ""
        raise ValueError(f"{text!r:.60} is neither true nor false{near}")
    return text == "true"


def _read_version(text: str, _: Surroundings | None) -> int:
    if text != "1":
        raise ValueError(f"version {text!r:.40} is not known here; this evfn reads version: 1")
    return 1


def _explain_name(text: str) -> str:
    near = name.slug(text)
    hint = f" (did you mean {near}?)" if near is not None and near != text else ""
    return f"{text!r:.80} is no name{hint}; write up to 63 of a-z 0-9 -, beginning with a letter or digit"


def _read_topic(text: str, _: Surroundings | None) -> str:
    topic.check_name(text)
    return text


def _read_topic_pattern(text: str, _: Surroundings | None) -> str:
    return topic.Pattern.compile(text).text


def _read_function(text: str, around: Surroundings | None) -> str:
    module, name = function_reference.parse(text)
    if around is not None:
        function_reference.find_module(module, around.functions_dir)
    return f"{module}:{name}"


def _read_filter(text: str, around: Surroundings | None) -> str:
    if not text.strip():
        raise FilterSyntaxError("the filter is empty; leave it out to take every event")
    if around is not None and around.check_filters:
        Filter.compile(text)
    return text


def _read_start(text: str, _: Surroundings | None) -> object:
    return start.parse(text)


def _read_class(text: str, _: Surroundings | None) -> str:
    parts = text.split(".")
    if not all(part.isascii() and part.isidentifier() and not iskeyword(part) for part in parts) or len(text) > 200:
        raise ValueError(
            f"{text!r:.80} is no class; write its name or module.Class, such as ValueError or requests.HTTPError"
        )
    return text


def _read_env_value(text: str, around: Surroundings | None) -> str:
    return variables.substitute(text, around.environ) if around is not None else text


def _explain_env_name(text: str) -> str:
    if text.upper().startswith("EVFN_"):
        return f"{text!r:.80}: names that begin with EVFN_ are evfn's own and never reach a function"
    return f"{text!r:.80} is no name of an environment variable; write A-Z a-z 0-9 _, not beginning with a digit"


def _explain_prefix(text: str) -> str:
    return f"{text!r:.80} is no key prefix; write up to 64 of A-Z a-z 0-9 . _ : / -, beginning with a letter or digit"


def _explain_queue(text: str) -> str:
    return f"{text!r:.80} is no queue; write up to 64 of A-Z a-z 0-9 . _ : / -, beginning with a letter or digit"


VERSION = Form("1", _read_version, {"anyOf": [{"const": 1}, {"const": "1"}]})
FLAG = Form("true | false", _read_flag, {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}]})
NAME = text_form("name: a-z 0-9 -, up to 63", name.PATTERN, _explain_name)
TOPIC = Form("topic", _read_topic, {"type": "string", "pattern": f"^{topic.NAME.pattern}$"})
TOPIC_PATTERN = Form(
    "topic or pattern", _read_topic_pattern, {"type": "string", "pattern": r"^[A-Za-z0-9*][A-Za-z0-9._:/*-]{0,127}$"}
)
FUNCTION = Form("module:name", _read_function, {"type": "string", "pattern": f"^{function_reference.PATTERN}$"})
FILTER = Form("CEL expression", _read_filter, {"type": "string", "minLength": 1})
START = Form("new | earliest | RFC 3339 time | stream id", _read_start, {"type": "string"})
CLASS = Form("class name or module.Class", _read_class, {"type": "string"})
ISOLATION = choice(Isolation)
KEY_PREFIX = text_form("text", r"([A-Za-z0-9][A-Za-z0-9._:/-]{0,63})?", _explain_prefix)
QUEUE = text_form("text", r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}", _explain_queue)
ENV_NAME = text_form("name", r"(?![Ee][Vv][Ff][Nn]_)[A-Za-z_][A-Za-z0-9_]*", _explain_env_name)
ENV_VALUE = Form("text", _read_env_value, {"type": ["string", "number", "boolean", "null"]})
