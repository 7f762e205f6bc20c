"""`evfn check`: everything that is wrong, before anything runs."""

import json

from sandbox import Sandbox, wait_until


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
    assert "triggers.yaml:6:5: error: broken: " in done.stderr
    assert "no_such_module" in done.stderr
    assert "triggers.yaml:12:5: error: odd: " in done.stderr
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


def test_an_import_that_takes_its_time_is_named_while_it_lasts(sandbox: Sandbox) -> None:
    """After two seconds, with how long it may take; its end is told as ever."""
    sandbox.manifest("store: {topic: readings, function: 'store:handle'}")
    sandbox.function("store", "import time\ntime.sleep(2.5)\ndef handle(event): pass\n")
    done = sandbox.evfn("check")
    assert done.stderr == "store: still importing store:handle; it has 60 s in all\n"
    assert done.stdout == "ok  store: readings → store:handle\n"


def test_a_parameter_for_which_there_is_nothing_is_told_with_what_there_is(sandbox: Sandbox) -> None:
    """At its place in the manifest, with the parameter's name and what a function may ask for."""
    sandbox.manifest("store: {topic: readings, function: 'store:handle'}")
    sandbox.function("store", "def handle(event, data: dict, database: str): pass\n")
    told = sandbox.evfn("check", expect=2).stderr
    assert told.startswith("triggers.yaml:4:28: error: store: store:handle: nothing is passed for the parameter 'datab")
    assert "the event (event), its data (any annotated parameter) and the context (context)" in told


def said(trigger: str, name: str, hint: str) -> str:
    return f"{trigger}: give_up_on: no exception called {name} is imported with store:handle{hint}"


def test_names_to_give_up_on_that_name_nothing_are_warned_of(sandbox: Sandbox) -> None:
    """Where each stands, with the nearest there is; built-in, imported and re-exported classes are known."""
    sandbox.manifest(
        """
        store:
          topic: readings
          function: store:handle
          retry:
            give_up_on: [ValueErorr, LookupError, store.Full, functions.store.Full, json.JSONDecodeError,
              Nonsense]
        keep:
          topic: readings
          function: store:handle
    """,
        head="version: 1\nname: sandbox\ndefaults:\n  retry: {give_up_on: KeyErr}\n",
    )
    sandbox.function("store", "import json\nclass Full(Exception): pass\ndef handle(event): pass\n")
    told = sandbox.evfn("check").stderr.splitlines()
    warned = [line.partition(": warning: ")[::2] for line in told]
    assert warned == [
        ("triggers.yaml:10:20", said("store", "ValueErorr", " (did you mean ValueError?)")),
        ("triggers.yaml:10:45", said("store", "store.Full", " (did you mean functions.store.Full?)")),
        ("triggers.yaml:11:9", said("store", "Nonsense", "")),
        ("triggers.yaml:4:23", said("keep", "KeyErr", " (did you mean KeyError?)")),
    ]


def test_what_keeps_workers_from_being_forked_is_noted(sandbox: Sandbox) -> None:
    """With the place and what it is, for a cold start then takes as long as the import; not where a job runs it."""
    sandbox.manifest(
        """
        slow: {topic: readings, function: store:handle}
        plain: {topic: readings, function: quick:handle}
        job: {topic: readings, function: store:handle, isolation: job}
    """
    )
    sandbox.function("store", "LOG = open(__file__)\ndef handle(event): pass\n")
    sandbox.function("quick", "def handle(event): pass\n")
    assert sandbox.evfn("check").stderr == (
        "triggers.yaml:4:27: note: slow: importing store:handle leaves an open file or socket, so each worker imports"
        " it anew (docs/functions.md, What is imported once)\n"
    )


def test_files_that_no_trigger_uses_come_with_the_lines_to_paste(sandbox: Sandbox) -> None:
    """Not those that a used function imports, nor tests; and what is pasted makes the project complete."""
    sandbox.manifest("store: {topic: readings, function: 'store:handle'}")
    sandbox.function("store", "from .shared import x\ndef handle(event): pass\n")
    sandbox.function("shared", "x = 1\ndef helper(): ...\n")
    sandbox.function("test_store", "def test_it(): ...\n")
    unused = "raise SystemExit('not to be imported')\nasync def alert(event): ...\n"
    (sandbox.folder / "functions" / "heat_alert.py").write_text(unused)
    told = sandbox.evfn("check").stderr
    first, *lines = told.splitlines()
    assert first == (
        "functions/heat_alert.py: no trigger uses it; to run it, paste this below `triggers:` of triggers.yaml"
    )
    (sandbox.folder / "functions" / "heat_alert.py").write_text("async def alert(event): ...\n")
    with (sandbox.folder / "triggers.yaml").open("a") as manifest:
        manifest.write("\n".join(lines) + "\n")
    done = sandbox.evfn("check")
    assert done.stdout.splitlines()[1] == "ok  heat-alert: change.me → heat_alert:alert"
    assert done.stderr == ""


def test_a_broken_project_is_not_told_of_unused_files(sandbox: Sandbox) -> None:
    """What the broken function imports is not known, so nothing can be said to be unused."""
    sandbox.manifest("store: {topic: readings, function: 'store:handle'}")
    sandbox.function("store", "from .shared import y\ndef handle(event): pass\n")
    sandbox.function("shared", "x = 1\ndef helper(): ...\n")
    assert "no trigger uses" not in sandbox.evfn("check", expect=2).stderr


def test_run_says_where_the_manifest_names_a_function_that_does_not_load(sandbox: Sandbox) -> None:
    """At the end of the line, where places of code stand too."""
    sandbox.manifest("store: {topic: readings, function: 'store:handle'}")
    sandbox.function("store", "import no_such_module\n")
    with sandbox.running():
        wait_until(lambda: "broken" in sandbox.log.read_text(), description="the function is said not to load")
        [line] = [line for line in sandbox.log.read_text().splitlines() if "broken" in line]
    assert line.startswith("store  broken: functions/store.py:7: no module named 'no_such_module'; install it into ")
    assert line.endswith(")  triggers.yaml:4:28")
