"""The manifest as it is written: every key, its form, default and meaning.

Validation, the JSON Schema and the reference in the docs all come from here. Defaults are given as the text a user
would write, so that they are read, shown and checked like any other value.
"""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from evfn.manifest import forms
from evfn.manifest.form import Many
from evfn.retry import Backoff, Jitter
from evfn.trigger import DataMode, Isolation, Start


def _setting(default: str, description: str) -> Any:
    # The default has the type of what is written, not of what the form reads it as.
    return Field(default=default, validate_default=True, description=description)


def _optional(description: str) -> Any:
    return Field(default=None, description=description)


class Section(BaseModel):
    """Keys that stand together in the manifest; any other key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InstanceSection(Section):
    """Settings of the instance. Each has a variable that wins over it: `EVFN_KEY_PREFIX`, `EVFN_LEASE`."""

    key_prefix: Annotated[str, forms.KEY_PREFIX] = _setting("", "Stands before every Redis key, topics included.")
    lease: Annotated[timedelta, forms.span("1s", "1h")] = _setting(
        "10s",
        "How long an instance may be silent before others take over its deliveries. It beats every fifth of this time.",
    )


class TopicSection(Section):
    """Storage rules of one topic."""

    retention: Annotated[timedelta | None, forms.span("1s", "3650d")] = _optional(
        "Keep events at least this long, then trim what every group has finished, never more. With `max_events` "
        "as well, whichever comes first.",
    )
    max_events: Annotated[int | None, forms.count(1, 10**12)] = _optional(
        "Trim what every group has finished while the stream holds more events than this, never more.",
    )
    data: Annotated[DataMode, forms.choice(DataMode)] = _setting(
        "auto",
        "How the data of entries is read that do not say what they hold. `auto`: JSON if it begins with "
        "`{` or `[` and parses, else text if it is UTF-8, else bytes.",
    )


class RetrySection(Section):
    """When a failed attempt runs again."""

    attempts: Annotated[int, forms.count(1, 1000)] = _setting(
        "5", "Runs in all, the first included; 1 means never retry."
    )
    backoff: Annotated[Backoff, forms.choice(Backoff)] = _setting(
        "exponential",
        "How the delay grows: 1, 2, 4, 8 …; 1, 2, 3, 4 …; or 1, 1, 1, 1 … times `initial_delay`.",
    )
    initial_delay: Annotated[timedelta, forms.span("0s", "7d")] = _setting(
        "1s", "Delay after the first failed attempt; at most `max_delay`."
    )
    max_delay: Annotated[timedelta, forms.span("0s", "30d")] = _setting("5m", "No delay is longer than this.")
    jitter: Annotated[Jitter, forms.choice(Jitter)] = _setting(
        "full",
        "`full` draws each delay evenly from zero to its bound, so that failures that came together do not "
        "return together.",
    )
    give_up_on: Annotated[tuple[str, ...], Many(forms.CLASS)] = Field(
        default=(),
        description="Exceptions, subclasses included, that no retry helps: the event is dead-lettered at once.",
    )
    give_up_after: Annotated[timedelta | None, forms.span("1s", "365d")] = _optional(
        "No attempt starts later than this after the first one; an event that never ran does not expire.",
    )


class WorkersSection(Section):
    """How many processes run the function. More than one worker means no order between events."""

    min: Annotated[int, forms.count(0, 1000)] = _setting(
        "0", "Workers kept while nothing is to be done; 0 scales to zero."
    )
    max: Annotated[int | None, forms.count(1, 1000)] = _optional(
        "Workers at most. Default: the number of cores, or `min` if that is more. With `isolation: job` the jobs that "
        "an instance has queued or running at a time; default: 100.",
    )
    concurrency: Annotated[int, forms.count(1, 1000)] = _setting(
        "1", "Events an `async def` function handles at once in each worker; others handle one."
    )
    idle: Annotated[timedelta, forms.span("0s", "7d")] = _setting(
        "60s", "A worker above `min` ends after this long without an event."
    )
    recycle_after: Annotated[int, forms.count(1, 10**9)] = _setting(
        "10000", "A worker is replaced after this many invocations."
    )
    memory: Annotated[int | None, forms.amount("16MiB", "1024GiB")] = _optional(
        "A worker whose resident memory is above this is replaced. Default: no limit.",
    )
    queue: Annotated[str | None, forms.QUEUE] = _optional(
        "The RQ queue of this trigger's jobs, with `isolation: job`. Default: `evfn:` and the project's name.",
    )


class SourceSection(Section):
    """What belongs to one trigger alone."""

    topic: Annotated[tuple[str, ...], Many(forms.TOPIC_PATTERN, at_least=1)] = Field(
        description="The topic whose events it takes. In a pattern `*` is one segment and `**` any number, none "
        "included; a leading `*` has to be quoted."
    )
    function: Annotated[str, forms.FUNCTION] = Field(
        description="What runs: `climate:alert` is `alert` in `functions/climate.py`; `climate` alone means "
        "`climate:handle`."
    )
    filter: Annotated[str | None, forms.FILTER] = _optional(
        "Only events for which this is true run, others are skipped. Best written as a block (`>-`).",
    )
    emits: Annotated[tuple[str, ...], Many(forms.TOPIC)] = Field(
        default=(), description="The topics it may emit to; what the function returns goes to the first."
    )


class DeliverySection(Section):
    """How events are delivered: what `defaults` may hold, too."""

    start: Annotated[Start, forms.START] = _setting(
        "new",
        "Where a new trigger begins in the streams that exist. A date alone is its midnight in UTC.",
    )
    timeout: Annotated[timedelta, forms.span("1ms", "7d")] = _setting(
        "30s", "An attempt that runs longer is stopped, whatever it does."
    )
    retry: RetrySection = Field(default=RetrySection(), description="When a failed attempt runs again.")
    isolation: Annotated[Isolation, forms.ISOLATION] = _setting(
        "process",
        "`process`: a worker process of this instance. `job`: an RQ job, on any machine that runs `evfn rq-worker`; "
        "for long or heavy work.",
    )
    workers: WorkersSection = Field(default=WorkersSection(), description="How many processes run the function.")
    env: dict[Annotated[str, forms.ENV_NAME], Annotated[str, forms.ENV_VALUE]] = Field(
        default={},
        description="Environment variables of the function. `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$` "
        "are replaced.",
    )
    enabled: Annotated[bool, forms.FLAG] = _setting("true", "`false` fetches nothing: the events wait on the server.")


class TriggerSection(DeliverySection, SourceSection):
    """One trigger."""


class ManifestSection(Section):
    """The whole file."""

    version: Annotated[int, forms.VERSION] = Field(description="The version of this format.")
    name: Annotated[str, forms.NAME] = Field(
        description="The project's name. It prefixes the consumer groups: keep it once events flow."
    )
    settings: InstanceSection = Field(default=InstanceSection(), description="Settings of the instance.")
    defaults: DeliverySection = Field(
        default=DeliverySection(),
        description="What triggers have that do not say otherwise. `retry`, `workers`, `env` are merged key by key.",
    )
    topics: dict[Annotated[str, forms.TOPIC], TopicSection] = Field(default={}, description="Storage rules, by topic.")
    triggers: dict[Annotated[str, forms.NAME], TriggerSection] = Field(
        min_length=1, description="The triggers, each under its own name."
    )
