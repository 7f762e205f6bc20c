"""One line of a log for machines: a JSON object that holds nothing but itself, and is not too long."""

import json
from typing import Any

from evfn_cli.render import UNSAFE

LINE = 16_000
"""Bytes that a line may have: what collects logs (Docker, journald) cuts longer ones into pieces."""
_LONGEST = (8_000, 2_000, 400, 80)


def pack(line: dict[str, Any]) -> str:
    """The line, its texts as long as they may be together."""
    text = ""
    for longest in _LONGEST:
        text = _packed(line, longest)
        if len(text.encode()) <= LINE:
            break
    return text


def _packed(line: dict[str, Any], longest: int) -> str:
    text = json.dumps(_capped(line, longest), ensure_ascii=False, separators=(",", ":"))
    # All that is left of these stands within strings.
    return UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _capped(value: Any, longest: int) -> Any:
    """Texts are cut in the middle: what matters of a traceback stands at its end."""
    if isinstance(value, str) and len(value) > longest:
        left = longest // 4
        return f"{value[:left]} … {len(value) - longest:,} characters left out … {value[left - longest :]}"
    if isinstance(value, dict):
        return {key: _capped(each, longest) for key, each in value.items()}
    if isinstance(value, list):
        return [_capped(each, longest) for each in value]
    return value
