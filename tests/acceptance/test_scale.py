"""Many triggers: each is known to be ok, or why not, and none costs a process of its own."""

import json

from sandbox import Sandbox, wait_until

MANY = 40
"""More than get a worker each."""


def states(sandbox: Sandbox) -> dict[str, tuple[str, str]]:
    """Each trigger's state and problem, as `evfn status` tells them."""
    found = json.loads(sandbox.evfn("status", "--json").stdout)["triggers"]
    return {name: (each["state"], each["problem"] or "") for name, each in found.items()}


def test_many_triggers_share_the_worker_that_tries_their_functions(sandbox: Sandbox) -> None:
    """One that does not load is broken and says why, its neighbours are ok, and any of them runs what comes."""
    triggers = [f"good-{n}: {{topic: good.{n}, function: 'good:f{n}'}}" for n in range(MANY)]
    triggers += ["binds-not: {topic: other, function: 'good:takes_two'}"]
    triggers += [f"bad-{n}: {{topic: bad.{n}, function: 'bad:f{n}'}}" for n in range(2)]
    triggers += [f"dies-{n}: {{topic: dies.{n}, function: 'dies:f{n}'}}" for n in range(2)]
    sandbox.manifest("\n".join(triggers))
    functions = "".join(f"def f{n}(event):\n    note({n})\n\n\n" for n in range(MANY))
    sandbox.function("good", "\n" + functions + "def takes_two(event, context, third):\n    pass\n")
    sandbox.function("bad", "\ndef f0(event):\n    pass\n\nf1 = f0\nraise RuntimeError('no such thing')\n")
    sandbox.function("dies", "\ndef f0(event):\n    pass\n\nf1 = f0\nos._exit(3)\n")
    with sandbox.running():
        wait_until(
            lambda: all(state != "loading" for state, _ in states(sandbox).values()), description="all states are known"
        )
        found = states(sandbox)
        assert {found[f"good-{n}"][0] for n in range(MANY)} == {"ok"}
        assert found["binds-not"][0] == "broken"
        assert "third" in found["binds-not"][1]
        for name in ("bad-0", "bad-1"):
            assert found[name][0] == "broken"
            assert "functions/bad.py" in found[name][1]
            assert "no such thing" in found[name][1]
        assert {found[f"dies-{n}"][0] for n in range(2)} == {"broken"}
        assert len(sandbox.processes()) < MANY / 2
        sandbox.emit(f"good.{MANY - 1}", {"n": 1})
        wait_until(lambda: sandbox.notes() == [str(MANY - 1)], description="the last one's function ran")
