"""The command line as a whole: its page in the docs, and what it does when evfn itself is wrong."""

from pathlib import Path

import pytest

from evfn_cli import main, reference


def test_the_page_in_the_docs_is_fresh() -> None:
    """It is made from the help: `python -m evfn_cli.reference > docs/command-line.md`."""
    page = Path(__file__).parents[2] / "docs" / "command-line.md"
    assert page.read_text() == reference.markdown()


def test_a_bug_in_evfn_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only then is there a traceback."""
    monkeypatch.setattr("evfn.manifest.schema.json_schema", lambda: 1 / 0)
    assert main.run(["schema"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: this is a bug in evfn; please report it with what follows\nTraceback")
    assert "ZeroDivisionError" in told


def test_windows_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is imported that is not there."""
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(SystemExit, match="on Windows, use it inside WSL 2"):
        main.main()
