"""Whether anybody is there to take what a trigger is given."""

from evfn import instance_lock
from evfn.broker.connection import Connection
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn_cli.opened import Opened


async def is_served(connection: Connection, opened: Opened, trigger: str) -> bool:
    """Whether an instance runs that has this trigger, as far as anybody can know."""
    present = await Instances(connection, Keys(opened.project.settings.key_prefix)).present()
    for name, each in present.items():
        # One that was killed here keeps its lease until another takes over; its lock says that it is gone.
        if instance_lock.held(opened.location.state, name) is False:
            continue
        if each.about is None or (each.about.project == opened.project.name and trigger in each.about.functions):
            return True
    return False
