"""What of a text is secret: values of variables whose names say so, passwords in URLs, and what is labelled as one."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from evfn.trigger import Project

MASK = "***"
LEAST = 6
"""Shorter values are no secrets, and would be found in everything."""
_WORDS = (
    "password passwd passphrase secret token credential credentials authorization api_?key access_?key private_?key"
)
_LABEL = f"(?:{'|'.join(_WORDS.replace('_?', '[_-]?').split())})"
_NAME = re.compile(rf"{_LABEL}$|_(?:key|pass|pwd|dsn|pat|creds)$", re.IGNORECASE)
# Every repetition is bounded, or eats what it has looked at: functions write what they like, and as much.
_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@'\"]{0,200}):[^\s'\"@/]{1,500}@", re.IGNORECASE)
_LABELLED = re.compile(
    rf"({_LABEL}[\"']?\s{{0,3}}[:=]\s{{0,3}})(\"[^\"]*\"?|'[^']*'?|(?:(?:bearer|basic)\s{{1,3}})?[^\s,;&}}\]\"']+)",
    re.IGNORECASE,
)


class Masks:
    """Replaces each of these values, and every URL's password, wherever they stand."""

    def __init__(self, values: Iterable[str]) -> None:
        self._found = frozenset(value for value in values if len(value) >= LEAST)
        longest_first = sorted(self._found, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def joined(self, others: "Masks") -> "Masks":
        """One that replaces the values of both."""
        return Masks(self._found | others._found)

    def mask(self, text: str) -> str:
        """The text without them."""
        if self._values is not None:
            text = self._values.sub(MASK, text)
        return _URL.sub(rf"\1:{MASK}@", text) if "://" in text else text

    def mask_written(self, text: str) -> str:
        """The same for what functions write and events hold, where also the names beside them tell what is secret."""
        return _LABELLED.sub(rf"\1{MASK}", self.mask(text))


def masks(project: Project, *surroundings: Mapping[str, str]) -> Masks:
    """Those of a project: of its triggers' `env`, and of these environments."""
    values: list[str] = []
    for each in (*surroundings, *(dict(trigger.env) for trigger in project.triggers)):
        for name, value in each.items():
            if _NAME.search(name):
                # A key of several lines is written line by line.
                values += [value, *(line.strip() for line in value.splitlines())]
            elif "://" in value:
                values += _password(value)
    return Masks(values)


def _password(url: str) -> list[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        return []
    return [] if password is None else [password, unquote(password)]
