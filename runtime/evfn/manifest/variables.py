"""`${VAR}` in the values of `env`. Pure: the environment is handed in."""

import re
from collections.abc import Mapping

from evfn.nearest import did_you_mean

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$(?:(?P<dollar>\$)|\{{(?P<name>{_NAME})(?::(?P<how>[-?])(?P<rest>[^{{}}]*))?\}})?")


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Replace `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$` (one dollar).

    The default and the message also apply where the variable is empty, as in a shell. What a variable holds is never
    looked at for further variables. Raises ValueError for a variable that is not set, and for any other use of `$`.
    """

    def replace(match: re.Match[str]) -> str:
        if match["dollar"] is not None:
            return "$"
        name = match["name"]
        if name is None:
            raise ValueError(_wrong_dollar(text, match.start()))
        value = environ.get(name)
        if match["how"] is None:
            if value is None:
                near = did_you_mean(name, environ)
                raise ValueError(f"the environment variable {name} is not set{near}; ${{{name}:-…}} gives a default")
            return value
        if value:
            return value
        if match["how"] == "-":
            return match["rest"]
        raise ValueError(f"the environment variable {name} is not set: {match['rest'] or 'it is needed here'}")

    return _VARIABLE.sub(replace, text)


def _wrong_dollar(text: str, at: int) -> str:
    word = re.match(_NAME, text[at + 1 :])
    if word is not None:
        return f"write ${{{word[0]}}} for the variable, or $${word[0]} for the text itself"
    return "$ begins a variable: ${VAR}, ${VAR:-default} or ${VAR:?message}; write $$ for a dollar"
