"""Places in topics as people write them: how long ago, a time, a stream id, a word."""

from datetime import UTC, datetime, timedelta

from evfn.errors import UsageError
from evfn.manifest import duration
from evfn.manifest import start as starts
from evfn.trigger import Start, StartAt

Place = Start | timedelta
"""A timedelta is how long ago."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse(option: str, text: str) -> Place:
    """Raises UsageError, which names the option, for what is no place."""
    if text[-1:].isalpha() and text[:1].isdigit() and not text.endswith(("Z", "z")):
        try:
            return duration.parse(text)
        except ValueError as error:
            raise UsageError(f"{option} {error}") from error
    try:
        return starts.parse(text)
    except ValueError as error:
        raise UsageError(f"{option} {error}, or how long ago, such as 10m") from error


def start(place: Place, now: datetime | None = None) -> Start:
    """The same without a duration, which is counted back from `now`. No id is older than 1970."""
    if isinstance(place, timedelta):
        # As milliseconds first: a very long time ago is before the first year that a datetime can be in.
        since = max((now or EPOCH) - EPOCH - place, timedelta()) if place < timedelta.max else timedelta()
        place = EPOCH + since
    return StartAt.EARLIEST if isinstance(place, datetime) and place < EPOCH else place
