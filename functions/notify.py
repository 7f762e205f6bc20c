"""Alerts go out. Here they end in the log."""

import logging
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass
class Alert:
    station: str
    celsius: float
    at: str


def send(alert: Alert) -> None:
    if alert.celsius >= 22:
        log.info("warm in %s: %.1f °C at %s", alert.station, alert.celsius, alert.at)
