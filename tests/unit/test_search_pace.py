"""How often a command that goes on searches through all keys of a server."""

import asyncio

from evfn_cli.search_pace import SearchPace


def test_the_longer_a_search_takes_the_rarer_it_is() -> None:
    """Every five seconds at most, and never more than a fiftieth of the time."""
    now = 0.0
    pace = SearchPace(lambda: now)

    def search(seconds: float) -> None:
        async def take() -> None:
            nonlocal now
            now += seconds

        asyncio.run(pace.search(take))

    assert pace.due
    search(0.01)
    assert not pace.due
    now = 5.0
    assert pace.due
    search(2.0)
    now = 104.9
    assert not pace.due
    now = 105.0
    assert pace.due
