"""`.env`: what is read, and how mistakes are told."""

from pathlib import Path

import pytest

from evfn import env_file
from evfn.env_file import EnvFileError


def read(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / ".env").write_text(text)
    return env_file.read(tmp_path / ".env")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("export A=1", "1"),
        ("  A = 1  ", "1"),
        ("A=", ""),
        ("A=# nothing", ""),
        ("A=two words # a comment", "two words"),
        ("A=#fff", ""),
        ("A=x#fff", "x#fff"),
        ("A=redis://u:p@h/0?x=y", "redis://u:p@h/0?x=y"),
        ("A='kept $as #it \\n is'", "kept $as #it \\n is"),
        (r'A="a\nb\t\"c\"\\"', 'a\nb\t"c"\\'),
        (r'A="\d"', r"\d"),
        ("A='1' # a comment", "1"),
        ("A=é\u2028x", "é\u2028x"),
    ],
)
def test_a_line_is_read_as_shells_read_it(tmp_path: Path, line: str, value: str) -> None:
    """Quotes, comments, blanks and `export` mean what they mean elsewhere; nothing is substituted."""
    assert read(tmp_path, f"# first\n\n{line}\r\n") == {"A": value}


def test_a_later_line_wins_and_no_file_is_no_variables(tmp_path: Path) -> None:
    """As in a shell; and a project need not have a `.env`."""
    assert read(tmp_path, "A=1\nA=2\n") == {"A": "2"}
    assert env_file.read(tmp_path / "none") == {}


def test_every_mistake_is_told_with_its_place_and_without_values(tmp_path: Path) -> None:
    """All at once, as file:line:column, and a secret on a wrong line is not shown."""
    with pytest.raises(EnvFileError) as failure:
        read(tmp_path, "GOOD=1\n1BAD=secret\nNAME secret\nA='secret\nB='x' secret\n")
    told = str(failure.value).splitlines()
    places = [line.partition(": error: ")[0].removeprefix(f"{tmp_path}/.env:") for line in told]
    assert places == ["2:1", "3:6", "4:3", "5:6"]
    assert "secret" not in str(failure.value)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    """The line where it stops being UTF-8."""
    (tmp_path / ".env").write_bytes(b"A=1\nB=\xff\n")
    with pytest.raises(EnvFileError, match=r"\.env:2:1: error: the file is not UTF-8"):
        env_file.read(tmp_path / ".env")
