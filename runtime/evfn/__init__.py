"""evfn runs plain Python functions when events arrive. Functions need not import it; what they may use is here."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evfn.client import AsyncClient, Client
    from evfn.errors import (
        BrokerError,
        BrokerUnavailable,
        EvfnError,
        InvalidData,
        LoadError,
        ManifestError,
        PublishUnknown,
        UsageError,
    )
    from evfn.event import Event
    from evfn.functions.context import Context
    from evfn.functions.results import InvalidResult
    from evfn.functions.signals import Reject, Retry

__all__ = [
    "AsyncClient",
    "BrokerError",
    "BrokerUnavailable",
    "Client",
    "Context",
    "Event",
    "EvfnError",
    "InvalidData",
    "InvalidResult",
    "LoadError",
    "ManifestError",
    "PublishUnknown",
    "Reject",
    "Retry",
    "UsageError",
]

_HOMES = {
    "AsyncClient": "evfn.client",
    "Client": "evfn.client",
    "Context": "evfn.functions.context",
    "Event": "evfn.event",
    "InvalidResult": "evfn.functions.results",
    "Reject": "evfn.functions.signals",
    "Retry": "evfn.functions.signals",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: most functions need one of these at most, and a client brings all of redis with it.
    if name not in __all__:
        raise AttributeError(f"module 'evfn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "evfn.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
