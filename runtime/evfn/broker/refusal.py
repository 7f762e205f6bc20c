"""What the server's refusals and the network's failures mean: later, never, or a key that is something else."""

import asyncio
import re

from redis import exceptions

from evfn.errors import BrokerError, BrokerUnavailable

LATER = (
    "OOM",
    "LOADING",
    "READONLY",
    "MISCONF",
    "BUSY",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "FAILOVER",
    "NOTREADY",
)
"""Error codes of a server that may well carry out the same command a moment later."""
_NOT_PERMITTED_TO_A_SCRIPT = re.compile("ACL failure in script|The user executing the script can't ")
"""What Valkey and Redis say where a script, allowed itself, comes to a command or key that is not."""
_IN_A_SCRIPT = re.compile(r" script: (\w+, )?on @user_script:\d+\.?")


class ReplyLost(BrokerUnavailable):
    """The connection broke or stayed silent after the command was sent: it may have been carried out or not."""


class KeyTaken(BrokerError):  # noqa: N818 - reads as a state
    """A key evfn needs holds something of another type. `key` is its name."""

    def __init__(self, key: str, server: str) -> None:
        super().__init__(f"the key {key} on {server} holds something else than evfn keeps there; rename or remove it")
        self.key = key


class GroupGone(BrokerError):  # noqa: N818 - reads as a state
    """The stream or its consumer group vanished: someone deleted it, or the server lost its data."""


class ScriptMissing(BrokerError):  # noqa: N818 - reads as a state
    """The server does not know a script by its hash (restarted, failed over, flushed)."""


def translate(error: BaseException, server: str, *, sent: bool) -> BrokerError:
    """The evfn error for one that redis-py raised. `server` is its URL, masked; `sent` whether a command went out.

    Refusals that depend on a key carry Redis's own words; callers that know the key name it.
    """
    text = _one_line(error)
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return BrokerError(f"{server} does not accept the user or password: {text}")
    if isinstance(error, exceptions.BusyLoadingError):
        return BrokerUnavailable(f"{server} is loading its data")
    if isinstance(error, exceptions.NoScriptError):
        return ScriptMissing(f"{server} does not know the script")
    if isinstance(error, exceptions.NoPermissionError):
        return BrokerError(f"{server} does not permit it to this user (NOPERM): {text}")
    if isinstance(error, exceptions.InvalidResponse):
        return BrokerError(f"what answers at {server} speaks another protocol (is it another service's port?)")
    if isinstance(error, exceptions.ResponseError):
        return _refused(error, text, server)
    if "Connection reset" in text and not sent:
        return BrokerUnavailable(f"{server} closed the connection at once")
    if isinstance(error, exceptions.TimeoutError | TimeoutError | asyncio.TimeoutError):
        kind = ReplyLost if sent else BrokerUnavailable
        hint = " (does it speak TLS?)" if not sent and server.startswith("rediss:") else ""
        return kind(f"{server} did not answer in time{hint}")
    return _unreachable(error, text, server, sent=sent)


def is_stale(refusal: exceptions.ResponseError) -> bool:
    """Whether the server is no master any more: the next socket may lead to the one that is."""
    return isinstance(refusal, exceptions.ReadOnlyError) or str(refusal).startswith("READONLY")


def _refused(error: exceptions.ResponseError, text: str, server: str) -> BrokerError:
    code = (error.status_code or text.partition(" ")[0]).removeprefix("-")
    if code in LATER:
        words = text if text.startswith(code) else f"{code} {text}"
        return BrokerUnavailable(f"{server} cannot do it now: {words}")
    if _NOT_PERMITTED_TO_A_SCRIPT.match(text):
        return BrokerError(f"{server} does not permit it to this user (NOPERM): {_IN_A_SCRIPT.sub('', text)}")
    if code == "NOGROUP":
        return GroupGone(f"{server}: {text}")
    if "DB index is out of range" in text or "invalid DB index" in text:
        return BrokerError(f"{server} has no such database number")
    if "max number of clients" in text:
        return BrokerUnavailable(f"{server} has as many clients as it takes")
    return BrokerError(f"{server} refused: {text}")


def _unreachable(error: BaseException, text: str, server: str, *, sent: bool) -> BrokerError:
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return BrokerError(f"the certificate of {server} is not trusted: {text}")
    if "SSL" in text or "ssl" in text:
        return BrokerError(f"{server} does not speak TLS as asked for (is it a redis:// server?): {text}")
    if re.search(r"Name or service not known|nodename nor servname|getaddrinfo|name resolution", text):
        return BrokerUnavailable(f"the host of {server} is not known")
    if "No such file or directory" in text:
        return BrokerUnavailable(f"there is no socket at {server}")
    if "Permission denied" in text:
        return BrokerError(f"this user may not open the socket {server}")
    if sent:
        return ReplyLost(f"the connection to {server} broke")
    if "refused" in text.lower() or "111" in text:
        return BrokerUnavailable(f"nothing listens at {server}")
    return BrokerUnavailable(f"{server} cannot be reached: {text}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
