"""Warm hours become alerts."""

from evfn import Event


def alert(event: Event) -> dict[str, object]:
    """Runs for readings that pass the trigger's filter; what it returns is published on `alerts.raised`."""
    return {"station": event.data["station"], "celsius": event.data["celsius"], "at": event.data["at"]}
