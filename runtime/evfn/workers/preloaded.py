"""Parts of the standard library that functions often import: where the template has them, no worker takes time for it.

None of them looks at the environment, opens anything, or starts anything while it is imported.
"""

import importlib
import os
import sys
import sysconfig
from collections.abc import Iterable

MODULES = (
    "json", "datetime", "re", "random", "time", "math", "hashlib", "collections", "itertools", "functools", "pathlib",
    "decimal", "uuid", "csv", "urllib.parse", "urllib.request", "http.client", "sqlite3", "statistics", "subprocess",
    "tempfile", "shutil", "base64", "hmac", "secrets", "string", "textwrap", "html", "gzip", "zipfile", "email.message",
    "email.utils", "xml.etree.ElementTree", "fractions", "copy", "pickle", "heapq", "queue", "unicodedata", "ipaddress",
)  # fmt: skip
_STANDARD = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})


class Preloaded:
    """What of them this process has imported for others."""

    def __init__(self) -> None:
        self._left = list(reversed(MODULES))
        self._names: set[str] = set()

    @property
    def complete(self) -> bool:
        return not self._left

    def one_more(self) -> None:
        """Import the next. Takes some milliseconds."""
        before, path = set(sys.modules), sys.path[:]
        # From nowhere else, whatever PYTHONPATH says: no code of a user's runs here.
        sys.path[:] = [each for each in path if each.startswith(_STANDARD) and "-packages" not in each]
        try:
            importlib.import_module(self._left.pop())
        except ImportError:
            pass  # This Python was built without.
        finally:
            sys.path[:] = path
        self._names |= sys.modules.keys() - before

    def give_way(self, folders: Iterable[str]) -> None:
        """In a worker: what these folders have modules of their own for is theirs, as they come first."""
        for folder in folders:
            try:
                own = {entry.partition(".")[0] for entry in os.listdir(folder)}  # noqa: PTH208 - a tenth of the time
            except OSError:
                continue
            for name in [each for each in self._names if each.partition(".")[0] in own]:
                sys.modules.pop(name, None)
