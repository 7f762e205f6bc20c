"""What a request asks for: its target and its host, taken at their word or refused."""

import re
from urllib.parse import unquote_to_bytes

HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]*)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def split(target: str) -> tuple[str, str]:
    """Decoded path, and the query as it is. Raises ValueError for what no honest client sends."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        if not HOST.fullmatch(absolute[1]):
            raise ValueError("the target's host is none")
        target = absolute[2] if absolute[2].startswith("/") else f"/{absolute[2]}"
    raw, _, query = target.partition("?")
    if not raw.startswith("/") or "#" in target:
        raise ValueError("the target is no path")
    if _ESCAPE.search(raw):
        raise ValueError("the path has a broken escape")
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise ValueError("the path is not UTF-8") from None
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in path):
        raise ValueError("the path has control characters")
    if {".", ".."} & {*path.replace("\\", "/").split("/")}:
        raise ValueError("the path has dot segments")
    return path, query
