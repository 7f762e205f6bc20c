"""Names of projects and triggers: what they look like, and how one is made from any text. Pure."""

import re
import unicodedata

PATTERN = "[a-z0-9][a-z0-9-]{0,62}"
"""What a name looks like; it must match as a whole."""
LONGEST = 63

_FOREIGN = re.compile("[^a-z0-9]+")
_NAME = re.compile(PATTERN)


def is_name(text: str) -> bool:
    """Whether a project or trigger may be called so."""
    return _NAME.fullmatch(text) is not None


def slug(text: str) -> str | None:
    """The name nearest to a text, `heat-alert` of `Heat Alert!`; None where no letter or digit of ASCII is left."""
    # Taken apart, é is an e with a mark that is no letter.
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _FOREIGN.sub("-", plain.lower()).strip("-")[:LONGEST].rstrip("-") or None
