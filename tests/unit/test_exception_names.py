"""Names in `give_up_on` against the exceptions there are."""

import json

import pytest

from evfn.functions.exception_names import unknown


class Full(Exception):  # noqa: N818 - a user's own
    """In a module of its own name."""


@pytest.mark.parametrize(
    "name", ["ValueError", "OSError", "BaseException", "Full", "json.JSONDecodeError", "json.decoder.JSONDecodeError"]
)
def test_exceptions_that_exist_are_known(name: str) -> None:
    """By the same rule by which `give_up_on` finds them: name, full name, or package and name."""
    assert issubclass(json.JSONDecodeError, ValueError)
    assert unknown([name, f"{__name__}.Full"]) == {}


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ValueErorr", "ValueError"),
        ("KeyErr", "KeyError"),
        ("elsewhere.Full", f"{__name__}.Full"),
        ("json.JSONDecodeErorr", "json.decoder.JSONDecodeError"),
        ("UnheardOfError", None),
        ("Nonsense", None),
    ],
)
def test_a_name_of_nothing_gets_the_nearest(name: str, near: str | None) -> None:
    """None where nothing is near: that two names end in Error makes them no neighbours."""
    assert unknown([name, "ValueError"]) == {name: near}


def test_it_does_not_stumble_over_strange_classes() -> None:
    """Exceptions may have attributes of any name."""

    class Odd(Exception):  # noqa: N818 - a user's own
        __subclasses__ = None

    assert unknown(["Odd", "Odder"]) == {"Odder": None}
    assert issubclass(Odd, Exception)
