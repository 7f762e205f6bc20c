"""Looks every reading over. What it raises is retried, and after the last attempt kept as a dead letter."""

from evfn import Context, Event

ABSOLUTE_ZERO = -273.15


def check(event: Event, context: Context) -> None:
    if event.data.get("sensor") == "warming-up" and context.attempt == 1:
        raise RuntimeError("the sensor is still warming up")
    celsius = event.data["celsius"]
    if not isinstance(celsius, int | float):
        raise TypeError(f"{celsius!r} is no temperature")
    if celsius < ABSOLUTE_ZERO:
        raise ValueError(f"{celsius} °C is below absolute zero")
