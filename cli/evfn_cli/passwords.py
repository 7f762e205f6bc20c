"""Passwords that a person hands over in a file, never on a command line that others can see."""

import sys
from collections.abc import Collection
from pathlib import Path

from evfn.errors import UsageError
from evfn.nearest import did_you_mean
from evfn_cli.render import escape


def read(file: str, names: Collection[str]) -> dict[str, str]:
    """Lines NAME=PASSWORD; `-` is stdin. Raises UsageError, which shows no password, for any other line."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except OSError as error:
        raise UsageError(f"--password-file {escape(file)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--password-file {escape(file)} is not UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, password = line.partition("=")
        if not equals or not password:
            raise UsageError(f"{escape(file)}:{number}: error: expected ROLE=PASSWORD")
        if name not in names:
            hint = did_you_mean(name, names)
            raise UsageError(f"{escape(file)}:{number}: error: there is no role {escape(name)!r}{hint}")
        found[name] = password
    return found
