"""Where a trigger's deliveries come from."""

from enum import Enum


class Source(Enum):
    TOPIC = "topic"
    INBOX = "inbox"
