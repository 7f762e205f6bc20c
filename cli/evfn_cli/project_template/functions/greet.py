"""Greets whoever arrives. A function is a plain callable; triggers.yaml says which events run it."""

from evfn import Event


def hello(event: Event) -> dict[str, str]:
    """What it prints is shown by `evfn run`; what it returns becomes an event on the trigger's `emits`."""
    name = event.data["name"]
    print(f"hello {name}")
    return {"name": name, "greeting": f"hello {name}"}
