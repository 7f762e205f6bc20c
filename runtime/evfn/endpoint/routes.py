"""The paths of the endpoint, and what each of them answers."""

from collections.abc import Callable
from typing import Protocol

from evfn.endpoint.backlogs import Backlogs
from evfn.endpoint.readiness import Readiness
from evfn.errors import BrokerError, UsageError
from evfn.http import Request, Response, problem

PATHS = ("/healthz", "/readyz", "/metrics", "/scale/TRIGGER")
_ALLOWED = ("GET", "HEAD")


class Metrics(Protocol):
    """What is measured."""

    async def render(self, accept: str) -> tuple[str, bytes]:
        """Content type and text, in the best form of those that the client accepts."""


class Endpoint:
    """A handler. `mask` takes secrets out of what went wrong; without `metrics` there are none."""

    def __init__(
        self,
        readiness: Readiness,
        backlogs: Backlogs,
        mask: Callable[[str], str],
        metrics: Metrics | None = None,
    ) -> None:
        self._readiness = readiness
        self._backlogs = backlogs
        self._mask = mask
        self._metrics = metrics

    async def handle(self, request: Request) -> Response:
        """Answer it."""
        match request.path.split("/")[1:]:
            case ["healthz" | "readyz" | "metrics"] | ["scale", _] if request.method not in _ALLOWED:
                return problem(405, "there is nothing to change here", (("allow", ", ".join(_ALLOWED)),))
            case ["healthz"]:
                # That it is answered says all: what moves events turns in the same loop.
                return Response.json({"status": "alive"})
            case ["readyz"]:
                return self._ready()
            case ["metrics"]:
                return await self._measured(request)
            case ["scale", trigger]:
                return await self._scale(trigger)
        return problem(404, f"there is no such path (there are: {', '.join(PATHS)})")

    def _ready(self) -> Response:
        reasons = [
            {
                "reason": each.lack.value,
                **({"trigger": each.trigger} if each.trigger else {}),
                "problem": self._mask(each.problem),
            }
            for each in self._readiness.reasons
        ]
        return Response.json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def _measured(self, request: Request) -> Response:
        if self._metrics is None:
            return problem(404, "this instance measures nothing")
        kind, text = await self._metrics.render(request.headers.get("accept", ""))
        return Response(200, text, kind)

    async def _scale(self, trigger: str) -> Response:
        try:
            found = await self._backlogs.of(trigger)
        except UsageError as error:
            return problem(404, str(error))
        except BrokerError as error:
            return problem(503, f"the server does not tell: {error}")
        return Response.json(
            {
                "trigger": trigger,
                "value": found.value,
                "lag": found.lag,
                "pending": found.pending,
                "due": found.due,
                "exact": found.exact,
            }
        )
