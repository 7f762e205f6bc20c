"""Instances that share a server and do not agree are told so, once, and share the work all the same."""

import signal
from datetime import timedelta

from chaos.machines import FUNCTION, Machines
from sandbox import wait_until


def test_b18_who_has_another_lease_is_waited_for_as_long_as_it_needs(machines: Machines) -> None:
    """Both say so; the one with the short lease does not take over before the long one has lapsed."""
    machines.project(lease=timedelta(seconds=3))
    machines.hold("one")
    with machines.running("one", "--no-reload") as one:
        machines.emit(1)
        machines.wait_for_runs(1)
        machines.project(lease=timedelta(seconds=1))
        with machines.running("two", "--no-reload") as two:
            for each, there, here in ((one, 1, 3), (two, 3, 1)):
                words = f"has a lease of {there} s, this one of {here} s"
                wait_until(lambda each=each, words=words: each.said(words), description=words)  # type: ignore[misc]
            one.send(signal.SIGSTOP)
            machines.let_go("one")
            wait_until(lambda: len(machines.runs()) == 2, description="it is taken over")
            one.send(signal.SIGCONT)
            machines.wait_for_effects([1])
            assert one.log.read_text().count("has a lease of 1 s") == 1


def test_who_runs_another_function_for_the_same_trigger_is_named(machines: Machines) -> None:
    """Each event goes to one of them: nobody should have to find that out."""
    with machines.running("one", "--no-reload") as one:
        machines.box.function("fast", FUNCTION)
        manifest = machines.box.folder / "triggers.yaml"
        manifest.write_text(manifest.read_text().replace("slow:run", "fast:run"))
        with machines.running("two", "--no-reload") as two:
            wait_until(lambda: two.said("slow runs fast:run here and slow:run on"), description="the second says it")
            wait_until(lambda: one.said("slow runs slow:run here and fast:run on"), description="so does the first")
            machines.emit(*range(4))
            machines.wait_for_effects(range(4))
            assert two.log.read_text().count("each event goes to one of them") == 1


def test_who_is_fenced_while_it_drains_ends_without_a_word_to_the_server(machines: Machines) -> None:
    """It stands still during its drain for longer than the lease: what it ran is another's, and it ends by itself."""
    machines.hold("one")
    with machines.running("one") as one:
        machines.emit(1)
        machines.wait_for_runs(1)
        with machines.running("two"):
            one.send(signal.SIGTERM)
            wait_until(lambda: one.said("SIGTERM"), description="it drains")
            one.send(signal.SIGSTOP)
            machines.wait_for_effects([1])
            one.send(signal.SIGCONT)
            assert one.process.wait(10) == 1  # Not all that ran came to its end.
            machines.let_go("one")
    assert machines.effects() == [1]
    assert not one.said("Traceback")
