"""`evfn check`: everything that is wrong, before anything runs."""

import json

from sandbox import Sandbox


def test_a_good_project_is_told_trigger_by_trigger(sandbox: Sandbox) -> None:
    """Exit code 0, no server started."""
    sandbox.manifest("""
        store:
          topic: readings
          function: store:handle
          emits: stored
    """)
    sandbox.function("store", "print('imported')\ndef handle(event): pass\n")
    done = sandbox.evfn("check")
    assert done.stdout == "ok  store: readings → store:handle → stored\n"
    assert "│ imported" in done.stderr
    assert not (sandbox.folder / ".evfn").exists()


def test_functions_that_do_not_load_are_all_named(sandbox: Sandbox) -> None:
    """Exit code 2; each with its place in the manifest and the user's own traceback."""
    sandbox.manifest("""
        broken:
          topic: readings
          function: broken:handle
        good:
          topic: readings
          function: good:handle
        odd:
          topic: readings
          function: odd:handle
    """)
    sandbox.function("broken", "import no_such_module\ndef handle(event): pass\n")
    sandbox.function("good", "def handle(event): pass\n")
    sandbox.function("odd", "def handle(one, two, three): pass\n")
    done = sandbox.evfn("check", expect=2)
    assert "triggers.yaml:4:1: error: broken: " in done.stderr
    assert "no_such_module" in done.stderr
    assert "triggers.yaml:10:1: error: odd: " in done.stderr
    assert done.stdout == "ok  good: readings → good:handle\n"
    shown = json.loads(sandbox.evfn("check", "--json", expect=2).stdout)
    assert shown["triggers"]["good"] is None
    assert "no_such_module" in shown["triggers"]["broken"]


def test_an_import_that_ends_the_process_is_a_function_that_does_not_load(sandbox: Sandbox) -> None:
    """It cannot take the command down with it."""
    sandbox.manifest("""
        store:
          topic: readings
          function: store:handle
    """)
    sandbox.function("store", "os._exit(0)\n")
    assert "error: store: " in sandbox.evfn("check", expect=2).stderr


def test_mistakes_in_the_manifest_are_told_all_at_once(sandbox: Sandbox) -> None:
    """As file:line:column, exit code 2; nothing is imported then."""
    sandbox.manifest("""
        store:
          topik: readings
          function: store:handle
          timeout: 5
    """)
    sandbox.function("store", "raise SystemExit('imported')\n")
    done = sandbox.evfn("check", expect=2)
    lines = done.stderr.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("triggers.yaml:") and ": error: " in line for line in lines)
    assert "topic" in done.stderr
    assert "imported" not in done.stderr


def test_an_emit_cycle_is_a_warning(sandbox: Sandbox) -> None:
    """It may be meant; the exit code is 0."""
    sandbox.manifest("""
        one:
          topic: a
          function: both:one
          emits: b
        two:
          topic: b
          function: both:two
          emits: a
    """)
    sandbox.function("both", "def one(event): pass\ndef two(event): pass\n")
    assert "emit cycle one → two → one" in sandbox.evfn("check").stderr


def test_a_mistake_in_the_env_file_is_told_with_its_place(sandbox: Sandbox) -> None:
    """And without the value on that line."""
    sandbox.manifest("""
        store:
          topic: readings
          function: store:handle
    """)
    sandbox.function("store", "def handle(event): pass\n")
    (sandbox.folder / ".env").write_text("GOOD=1\nAPI KEY=secret\n")
    done = sandbox.evfn("check", expect=2)
    assert ".env:2:5: error: " in done.stderr
    assert "secret" not in done.stderr
