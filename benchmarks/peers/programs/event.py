"""What is published: the same 200 bytes of JSON that evfn gets, as `benchmarks.ground.body` makes them."""

from typing import Any


def payload(number: int) -> dict[str, Any]:
    """The data of one event."""
    return {"number": number, "celsius": number % 60 - 20, "padding": "x" * 150}
