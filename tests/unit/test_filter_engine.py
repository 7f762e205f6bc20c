"""Where CEL comes from, and what it costs to have it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FILTER = "from evfn.filter import Filter\nassert not Filter.compile('1 > 2').matches(None)\n"


def told(code: str) -> object:
    """What a fresh interpreter prints as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return json.loads(done.stdout)


def test_nothing_of_cel_is_loaded_before_a_filter_is_compiled() -> None:
    """A command without filters does not pay for them."""
    assert told("import sys, json, evfn.filter; print(json.dumps([n for n in sys.modules if 'cel' in n]))") == []


def test_a_filter_needs_the_extension_alone() -> None:
    """The package's command line, with all that it is drawn with, would take 0.2 s."""
    code = FILTER + "import sys, json; print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
    loaded = told(code)
    assert isinstance(loaded, list)
    assert not {"typer", "click", "rich", "pygments", "prompt_toolkit"} & set(loaded)
    assert told(FILTER + "import sys, json; print(json.dumps('cel' in sys.modules))") is False


@pytest.mark.parametrize("before", ["", "import cel\n"])
def test_the_whole_package_still_works_beside_it(before: str) -> None:
    """Whoever imports it, before or after, gets the very same compiler."""
    code = before + FILTER + "import json, cel\nfrom evfn.filter.engine import engine\n"
    assert told(code + "print(json.dumps([cel.compile is engine().compile, cel.evaluate('1 + 1')]))") == [True, 2]


def test_a_package_that_is_built_in_another_way_is_imported_whole(tmp_path: Path) -> None:
    """A later version may be plain Python; filters go on working."""
    (tmp_path / "cel").mkdir()
    (tmp_path / "cel" / "__init__.py").write_text("def compile(source):\n    return 'other'\n")
    code = f"import sys, json; sys.path.insert(0, {str(tmp_path)!r})\nfrom evfn.filter.engine import engine\n"
    assert told(code + "print(json.dumps(engine().compile('1')))") == "other"
