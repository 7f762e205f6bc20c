"""What the HTTP server reports, as lines of the JSON log."""

import traceback

from evfn_cli.json_log import JsonLog


class RequestLog:
    """A reporter."""

    def __init__(self, log: JsonLog) -> None:
        self._log = log

    def refused(self, status: int, why: str, count: int) -> None:
        """So many requests."""
        self._log.say("request_refused", status=status, problem=why, count=count)

    def failed(self, path: str, error: BaseException) -> None:
        """With the place in evfn's own code: it is for whoever mends that."""
        text = "".join(traceback.format_exception(error))
        told = {"type": type(error).__name__, "message": str(error), "traceback": text}
        self._log.say("request_failed", path=path, error=told)
