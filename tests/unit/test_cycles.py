"""Triggers that feed each other are found, along patterns too."""

from evfn.trigger import Trigger
from evfn_cli.cycles import cycles


def trigger(name: str, topic: str, *emits: str) -> Trigger:
    return Trigger(name, (topic,), "f:f", emits=emits)


def test_a_pipeline_is_no_cycle() -> None:
    """Events that only ever go on."""
    assert cycles((trigger("a", "x", "y"), trigger("b", "y", "z"), trigger("c", "z"))) == []


def test_a_trigger_that_emits_to_its_own_topic_is_one() -> None:
    """The shortest way round."""
    assert cycles((trigger("a", "x", "x"),)) == [["a", "x", "a"]]


def test_a_way_round_is_told_once() -> None:
    """Not once for each trigger on it."""
    found = cycles((trigger("a", "x", "y"), trigger("b", "y", "z"), trigger("c", "z", "x"), trigger("d", "z")))
    assert found == [["a", "y", "b", "z", "c", "x", "a"]]


def test_patterns_count_as_the_topics_they_match() -> None:
    """`**` on everything feeds itself as soon as it emits."""
    assert cycles((trigger("all", "logs.**", "logs.copy"),)) == [["all", "logs.copy", "all"]]
