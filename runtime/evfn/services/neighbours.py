"""What the instances elsewhere say of themselves, compared with this one: what a person should know is said once."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from evfn.broker.instances import About
from evfn.trigger import Project


class Neighbours:
    """`project` is asked for what this instance serves now; `warn` says a line to the person who watches."""

    def __init__(self, lease: timedelta, project: Callable[[], Project], warn: Callable[[str], None]) -> None:
        self._lease = lease
        self._project = project
        self._warn = warn
        self._said: set[str] = set()

    def saw(self, others: Mapping[str, About]) -> None:
        """These live, and say this of themselves."""
        project = self._project()
        ours = {trigger.name: trigger.function for trigger in project.triggers if trigger.enabled}
        for about in others.values():
            if about.lease != self._lease:
                self._say(
                    f"an instance on {about.host} has a lease of {about.lease.total_seconds():g} s, this one of"
                    f" {self._lease.total_seconds():g} s: each waits for the longer of both before it takes over;"
                    " give all instances on one server the same settings.lease"
                )
            if about.project != project.name:
                continue
            for name in sorted(ours.keys() & about.functions.keys()):
                if ours[name] != about.functions[name]:
                    self._say(
                        f"{name} runs {ours[name]} here and {about.functions[name]} on {about.host}"
                        f" (pid {about.pid}): each event goes to one of them"
                    )

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._warn(text)
