"""A function is tested like any other: called with an event made by hand. Or the whole project runs for a test."""

from evfn import Event
from evfn.testing import RunningProject

from functions.greet import hello


def test_whoever_arrives_is_greeted_by_name() -> None:
    arrived = Event(data={"name": "Ada"})
    assert hello(arrived) == {"name": "Ada", "greeting": "hello Ada"}


def test_nobody_is_greeted_without_a_name(evfn_project: RunningProject) -> None:
    assert evfn_project.emit("people.arrived", {"name": "Ada"})["greet"].succeeded
    assert evfn_project.emit("people.arrived", {"name": ""})["greet"].skipped
