"""The order of the suite: what takes long begins first, so that no worker is at it when the others are done."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Behind whoever shuffles them: sorting leaves the rest as it is."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> float:
    mark = item.get_closest_marker("early")
    return float("inf") if mark is None else mark.args[0]
