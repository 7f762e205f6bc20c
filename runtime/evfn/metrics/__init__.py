"""What an instance tells Prometheus: counted from what it is told itself, and read from the server when it is asked."""

from evfn.metrics.metrics import CONTENT_TYPE, Metrics

__all__ = ["CONTENT_TYPE", "Metrics"]
