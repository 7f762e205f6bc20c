"""Every error evfn raises, split by what its reader can do about it."""


class EvfnError(Exception):
    """Root of all errors raised by evfn itself."""


class UsageError(EvfnError):
    """The command or call cannot be carried out as it was written; nothing was changed."""


class ManifestError(UsageError):
    """The manifest has mistakes. `problems` holds every one of them, each ready to print."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LoadError(EvfnError):
    """A function cannot be loaded or bound. The message names the place and what to write instead."""


class InvalidData(EvfnError):  # noqa: N818 - named after the dead letter reason it becomes
    """An event's data cannot be read as declared or does not fit the function's annotation."""


class BrokerError(EvfnError):
    """Redis refused or could not be reached. The message names the server, never its password."""


class BrokerUnavailable(BrokerError):  # noqa: N818 - reads as a state
    """The server cannot serve right now (down, loading, full, read-only): the same call may pass later."""


class PublishUnknown(BrokerError):  # noqa: N818 - reads as a state
    """No reply came before the deadline, so the event may or may not be stored.

    Publishing it again with the same source and id within the publish window cannot store it twice.
    """


class Fenced(BrokerError):  # noqa: N818 - reads as a state
    """This instance lost its lease and must not settle anything."""
