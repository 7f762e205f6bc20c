"""A function is tested like any other: called with an event made by hand."""

from evfn import Event

from functions.greet import hello


def test_whoever_arrives_is_greeted_by_name() -> None:
    arrived = Event(data={"name": "Ada"})
    assert hello(arrived) == {"name": "Ada", "greeting": "hello Ada"}
