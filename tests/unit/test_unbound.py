"""The manifest lines for a file that no trigger uses."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evfn import name
from evfn.functions.unbound import suggestion, unused
from evfn.manifest import load


def suggested(folder: Path, file: str, source: str | bytes, taken: tuple[str, ...] = ()) -> str | None:
    path = folder / "functions" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return suggestion(path, folder / "functions", taken)


def test_the_lines_say_the_trigger_the_topic_to_change_and_the_function(tmp_path: Path) -> None:
    """Indented as they stand below `triggers:`."""
    assert suggested(tmp_path, "heat_alert.py", "def _private(x): ...\nasync def alert(event): ...\n") == (
        "  heat-alert:\n    topic: change.me  # the topic whose events it takes\n    function: heat_alert:alert"
    )


@pytest.mark.parametrize(
    ("file", "source", "function"),
    [
        ("climate.py", "def first(event): ...\ndef handle(event): ...\n", "climate:handle"),
        ("climate.py", "def first(event): ...\ndef second(event): ...\n", "climate:first"),
        ("climate.py", "class Model:\n    def inner(self): ...\ndef outer(event): ...\n", "climate:outer"),
        ("sensors/climate.py", "def alert(event): ...\n", "sensors.climate:alert"),
        ("sensors/__init__.py", "def alert(event): ...\n", "sensors:alert"),
        ("latin.py", "# coding: latin-1\ndef alert(event, unit='°'): ...\n".encode("latin-1"), "latin:alert"),
        ("escapes.py", "import re\ndef alert(event): return re.match('\\d', event)\n", "escapes:alert"),
    ],
)
def test_handle_goes_before_the_first_public_function(
    tmp_path: Path, file: str, source: str | bytes, function: str
) -> None:
    """Also in subfolders, packages, and files of other encodings; nothing is imported."""
    lines = suggested(tmp_path, file, source)
    assert lines is not None
    assert lines.endswith(f"function: {function}")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("broken.py", "def alert(event:\n"),
        ("null.py", b"def alert(event): ...\0"),
        ("bytes.py", b"\xff\xfe def alert"),
        ("deep.py", "x = " + "(" * 2000 + ")" * 2000 + "\ndef alert(event): ...\n"),
        ("constants.py", "LIMIT = 30\ndef _check(event): ...\n"),
        ("empty.py", ""),
        ("not-a-module.py", "def alert(event): ...\n"),
        ("class.py", "def alert(event): ...\n"),
        ("__init__.py", "def alert(event): ...\n"),
        ("__main__.py", "def alert(event): ...\n"),
    ],
)
def test_nothing_is_suggested_for_what_cannot_be_a_trigger(tmp_path: Path, file: str, source: str | bytes) -> None:
    """Files that do not parse, that have no public function, or that no manifest can name."""
    assert suggested(tmp_path, file, source) is None


def test_a_file_elsewhere_or_gone_has_no_lines(tmp_path: Path) -> None:
    """It may have been deleted since it was seen."""
    (tmp_path / "other.py").write_text("def alert(event): ...\n")
    assert suggestion(tmp_path / "other.py", tmp_path / "functions", ()) is None
    assert suggestion(tmp_path / "functions" / "gone.py", tmp_path / "functions", ()) is None


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    """Trigger names are unique in a manifest."""
    lines = suggested(tmp_path, "climate.py", "def alert(event): ...\n", ("climate", "climate-2"))
    assert lines is not None
    assert lines.startswith("  climate-3:\n")


@given(
    stem=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,80}", fullmatch=True).filter(lambda stem: not stem.startswith("__")),
    taken=st.integers(0, 12),
)
def test_whatever_the_file_is_called_the_lines_are_a_valid_trigger(
    tmp_path_factory: pytest.TempPathFactory, stem: str, taken: int
) -> None:
    """Pasted below `triggers:`, the manifest reads them."""
    folder = tmp_path_factory.mktemp("project")
    base = name.slug(stem) or "trigger"
    names = tuple(base if n == 1 else f"{base[: 62 - len(str(n))]}-{n}" for n in range(1, taken + 1))
    lines = suggested(folder, f"{stem}.py", "def alert(event): ...\n", names)
    if lines is None:  # a keyword is no module
        return
    manifest = folder / "triggers.yaml"
    manifest.write_text(f"version: 1\nname: any\ntriggers:\n{lines}\n")
    loaded = load(manifest, functions_dir=folder / "functions", environ={}, cores=1)
    [trigger] = loaded.project.triggers
    assert (trigger.topics, trigger.function) == (("change.me",), f"{stem}:alert")
    assert trigger.name not in names


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Heat Alert!", "heat-alert"),
        ("heat_alert", "heat-alert"),
        ("Café Zürich", "cafe-zurich"),
        ("__", None),
        ("漢字", None),
        ("-x-", "x"),
        ("a" * 62 + "-b", "a" * 62),
    ],
)
def test_a_name_is_made_from_any_text(text: str, made: str | None) -> None:
    """Letters keep their base, everything else becomes one hyphen; None where nothing is left."""
    assert name.slug(text) == made
    assert made is None or name.is_name(made)


def test_unused_files_are_those_that_nothing_used_imports(tmp_path: Path) -> None:
    """Tests, __init__.py, hidden folders and environments are left out; an imported one counts through a link too."""
    functions = tmp_path / "functions"
    functions_files = "b.py a.py used.py sub/c.py sub/__init__.py"
    others = "__main__.py test_a.py a_test.py conftest.py .hid/x.py __pycache__/y.py env/site-packages/z.py notes.txt"
    for file in f"{functions_files} {others}".split():
        (functions / file).parent.mkdir(parents=True, exist_ok=True)
        (functions / file).touch()
    (tmp_path / "link").symlink_to(functions)
    found = unused(tmp_path / "link", [functions / "used.py"])
    assert [str(path.relative_to(tmp_path / "link")) for path in found] == ["a.py", "b.py", "sub/c.py"]
