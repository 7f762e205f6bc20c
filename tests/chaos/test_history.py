"""The history checker finds each kind of broken promise, and nothing in a clean history."""

from __future__ import annotations

from chaos.history import History, Run, judge

NOTHING: frozenset[str] = frozenset()


def test_a_history_in_which_every_event_is_in_one_place_is_kept() -> None:
    """Settled, dead, pending, due and dropped events together are all that was accepted."""
    history = History(
        accepted=frozenset("abcde"),
        indeterminate=frozenset("xy"),
        effects=("a", "x"),
        dead="b",
        pending="c",
        due="d",
        dropped="e",
    )
    assert judge(history).kept


def test_an_accepted_event_that_is_nowhere_is_lost() -> None:
    """An event whose emit got no answer is not lost when it is nowhere; an accepted one is."""
    verdict = judge(History(frozenset("ab"), frozenset("x"), effects=("a",)))
    assert verdict.lost == {"b"}
    assert not verdict.kept


def test_an_effect_committed_twice_is_found() -> None:
    """Two outputs of one event are a doubled effect, also when its emit got no answer."""
    verdict = judge(History(frozenset("a"), frozenset("x"), effects=("a", "a", "x", "x")))
    assert verdict.duplicated == {"a", "x"}
    assert not verdict.kept


def test_an_event_in_two_places_is_doubled() -> None:
    """An event that is settled and still due would take effect again."""
    assert judge(History(frozenset("a"), NOTHING, effects=("a",), due="a")).duplicated == {"a"}


def test_an_effect_that_nobody_emitted_is_unexpected() -> None:
    """What no producer tried to emit must not appear."""
    verdict = judge(History(NOTHING, NOTHING, effects=("z",)))
    assert verdict.unexpected == {"z"}
    assert not verdict.kept


def test_runs_of_one_event_at_once_overlap() -> None:
    """Attempts after each other are fine, attempts at once are not; a killed one has no end."""
    runs = (
        Run("a", 1, 0.0, 5.0),
        Run("a", 2, 1.0, 2.0),
        Run("b", 1, 0.0, 1.0),
        Run("b", 2, 1.0, 2.0),
        Run("c", 1, 0.0, None),
        Run("c", 2, 1.0, 2.0),
    )
    verdict = judge(History(frozenset("abc"), NOTHING, effects=tuple("abc"), runs=runs))
    assert verdict.overlapping == {"a"}
    assert not verdict.kept
