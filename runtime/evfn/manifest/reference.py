"""The reference of the manifest in the docs: `python -m evfn.manifest.reference > docs/manifest.md` writes it anew."""

import sys

from evfn.manifest.models import (
    DeliverySection,
    InstanceSection,
    ManifestSection,
    RetrySection,
    Section,
    TopicSection,
    TriggerSection,
    WorkersSection,
)
from evfn.manifest.settings import Setting, settings

_INTRODUCTION = """\
# The manifest

<!-- Written by `python -m evfn.manifest.reference`; change the models in `runtime/evfn/manifest` instead. -->

`triggers.yaml` binds functions to topics. The least that works:

```yaml
version: 1
name: climate
triggers:
  heat-alert:
    topic: readings.temperature
    function: climate:alert
```

Every value is the text as it is written: `V: 1.10`, `on`, `12:30:45` and `start: 2026-11-01` mean what they look
like. Unknown and duplicate keys, tags, anchors and aliases are errors. `evfn check` tells all mistakes at once, each
with its line and column. `evfn schema` prints the JSON Schema for editors.
"""

_FORMS = """\
## How values are written

**Duration**: whole numbers with `ms`, `s`, `m`, `h`, `d` or `w`, the larger unit first: `500ms`, `30s`, `1h30m`, `7d`.
A number alone is refused.

**Size**: a whole number with `kB`, `MB`, `GB` (powers of 1000) or `KiB`, `MiB`, `GiB` (powers of 1024): `512MiB`.

**Topic**: up to 128 of `A-Z a-z 0-9 . _ : / -`, beginning with a letter or digit, but not with `evfn:` or `rq:`. Dots
split it into segments. In a pattern `*` is one whole segment and `**` any number of them, none included: `readings.*`
matches `readings.a`, and `readings.**` matches `readings`, `readings.a` and `readings.a.b`. YAML needs quotes around a
pattern that begins with `*`.

**Function**: `module:name` below the functions folder. `climate:alert` is `alert` in `functions/climate.py`,
`sensors.climate:alert` in `functions/sensors/climate.py`, and `climate` alone means `climate:handle`.

**Filter**: an expression in CEL, the Common Expression Language, over `event`: `event.data.celsius > 30`,
`event.type == 'reading' && has(event.data.station)`. Write it as a block, then no rule of YAML applies to it:

```yaml
    filter: >-
      event.data.celsius > 30
```

An attribute that is not one of an event's own (`event.partitionkey`) is read as a CloudEvents extension; fields of the
data are below `event.data`. Where a field is missing or has another type, the filter fails for that event: the event is
not run, and counted as a filter error. `has(event.data.x)` asks first. CEL compares whole numbers with fractions, but
adds and multiplies only like with like: `double(event.data.x) * 1.8`.

**Start**: `new` takes events from now on, `earliest` all that the streams still hold. A time (RFC 3339) begins with the
first event after it, a date alone with its midnight in UTC, and a stream id with that event. It decides only when a
trigger is new.

**Variables**, in the values of `env` only: `${VAR}` (an error where it is not set), `${VAR:-default}`,
`${VAR:?message}` (an error with that message where it is not set or empty), and `$$` for a dollar.
"""


def markdown() -> str:
    """Every key of the manifest with its form, default and meaning."""
    delivery = ", ".join(f"`{setting.name}`" for setting in settings(DeliverySection))
    parts = [
        _INTRODUCTION,
        _table("The file", ManifestSection),
        _table("`settings`", InstanceSection, _first_line(InstanceSection)),
        f"## `defaults`\n\nWhat triggers have that do not say otherwise: any of {delivery}.\n",
        _table("`topics.<topic>`", TopicSection, _first_line(TopicSection)),
        _table("`triggers.<name>`", TriggerSection),
        _table("`retry`", RetrySection, _first_line(RetrySection)),
        _table("`workers`", WorkersSection, _first_line(WorkersSection)),
        _FORMS,
    ]
    return "\n".join(parts)


def _first_line(section: type[Section]) -> str:
    return (section.__doc__ or "").strip()


def _table(title: str, section: type[Section], text: str = "") -> str:
    lines = [
        f"## {title}",
        "",
        *([text, ""] if text else []),
        "| key | value | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{setting.name}` | {_cell(_value(setting))} | {_default(setting)} | {_cell(setting.description)} |"
        for setting in settings(section)
    ]
    return "\n".join(lines) + "\n"


def _value(setting: Setting) -> str:
    if setting.form is None:
        return "section, see below" if setting.names is None else "sections by name, see below"
    return setting.form.words if setting.names is None else f"{setting.form.words} by {setting.names.words}"


def _default(setting: Setting) -> str:
    if setting.required:
        return "*required*"
    if setting.default is None:
        return ""
    return f"`{setting.default}`" if setting.default else '`""`'


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(markdown())
