"""Every fault is tested, or it is said that it is not."""

from chaos.faults import FAULTS, PARTLY, TESTS, UNCOVERED, covered, table


def test_every_fault_has_a_test_or_a_reason() -> None:
    found = covered()
    assert found.keys() <= FAULTS.keys()
    assert found.keys() | UNCOVERED.keys() == FAULTS.keys()
    assert not found.keys() & UNCOVERED.keys()
    assert PARTLY.keys() <= found.keys()


def test_the_docs_have_the_table() -> None:
    """Written anew by `python -m chaos.faults`, in tests/."""
    assert table() in (TESTS.parent / "docs" / "reliability.md").read_text("utf-8")
