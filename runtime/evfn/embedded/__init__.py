"""The server a project has without asking: a Valkey of its own, whose events outlive every process that uses it."""

from evfn.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer"]
