"""Who is dead, from beats alone: whoever stood still over four own beats in a row."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from evfn.lease import BURIED, STILL, Observation, interval

LEASE = timedelta(seconds=10)


def test_a_lease_is_five_beats() -> None:
    assert interval(LEASE) == timedelta(seconds=2)


def test_one_that_stands_still_is_dead_after_four_more_beats() -> None:
    """8 to 10 seconds with the lease of 10: four intervals after the first of ours that saw its last beat."""
    seen = Observation("me", LEASE)
    assert [bool(seen.saw({"me": n, "other": 7}, {})) for n in range(6)] == [False] * STILL + [True, True]
    assert seen.saw({"me": 6, "other": 7}, {}) == {"other": 7}


def test_one_that_moves_is_alive_however_slowly() -> None:
    seen = Observation("me", LEASE)
    for n in range(40):
        assert seen.saw({"other": n // STILL}, {}) == {}


def test_an_outage_of_ours_begins_every_count_anew() -> None:
    """While this instance could not see the others' beats it knows nothing of them."""
    seen = Observation("me", LEASE)
    for _ in range(STILL):
        seen.saw({"other": 1}, {})
    seen.interrupted()
    assert [bool(seen.saw({"other": 1}, {})) for _ in range(STILL + 1)] == [False] * STILL + [True]


def test_an_instance_with_a_longer_lease_is_waited_for_longer() -> None:
    """And one with a shorter lease as long as with our own: each waits for the longer of both."""
    seen = Observation("me", LEASE)
    leases = {"slow": LEASE * 3, "fast": LEASE / 5}
    dead = [seen.saw({"slow": 1, "fast": 1}, leases) for _ in range(3 * STILL + 1)]
    assert [names.keys() for names in dead[STILL : 3 * STILL]] == [{"fast"}] * (2 * STILL)
    assert dead[-1].keys() == {"slow", "fast"}


def test_what_is_left_of_the_long_dead_is_known() -> None:
    seen = Observation("me", LEASE)
    for _ in range(BURIED * STILL):
        seen.saw({"other": 1}, {})
        assert seen.long_gone({}) == {}
    seen.saw({"other": 1}, {})
    assert seen.long_gone({}) == {"other": 1}


@given(st.lists(st.one_of(st.none(), st.booleans()), max_size=60))
def test_dead_means_still_over_the_last_five_views(steps: list[bool | None]) -> None:
    """Whatever comes before: None is a failed own beat, else whether the other beat meanwhile."""
    seen = Observation("me", LEASE)
    counter, views = 0, list[int]()
    for step in steps:
        if step is None:
            seen.interrupted()
            views.clear()
            continue
        counter += step
        views.append(counter)
        dead = seen.saw({"me": 3, "other": counter}, {})
        assert bool(dead) == (len(views) > STILL and len(set(views[-STILL - 1 :])) == 1)
