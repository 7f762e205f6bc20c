"""The manifest as it is written: every key, its form, default and meaning.

Validation, the JSON Schema and the reference in the docs all come from here. Defaults are given as the text a user
would write, so that they are read, shown and checked like any other value.
"""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from evfn.manifest import forms
from evfn.manifest.form import Many
from evfn.retry import Backoff, Jitter
from evfn.trigger import DataMode, Isolation, Start


class Section(BaseModel):
    """Keys that stand together in the manifest; any other key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)


class InstanceSection(Section):
    """Settings of the instance. Each has a variable that wins over it: `EVFN_KEY_PREFIX`, `EVFN_LEASE`."""

    key_prefix: Annotated[str, forms.KEY_PREFIX] = Field(
        default="", description="Stands before every Redis key, topics included."
    )
    lease: Annotated[timedelta, forms.span("1s", "1h")] = Field(
        default="10s",
        description="How long an instance may be silent before others take over its deliveries. "
        "It beats every fifth of this time.",
    )


class TopicSection(Section):
    """Storage rules of one topic."""

    retention: Annotated[timedelta | None, forms.span("1s", "3650d")] = Field(
        default=None,
        validate_default=False,
        description="Keep events at least this long; then trim what every group has finished, never more.",
    )
    max_events: Annotated[int | None, forms.count(1, 10**12)] = Field(
        default=None,
        validate_default=False,
        description="Trim what every group has finished when the stream holds more events than this.",
    )
    data: Annotated[DataMode, forms.choice(DataMode)] = Field(
        default="auto",
        description="How the data of entries is read that do not say what they hold. `auto`: JSON if it begins with "
        "`{` or `[` and parses, else text if it is UTF-8, else bytes.",
    )


class RetrySection(Section):
    """When a failed attempt runs again."""

    attempts: Annotated[int, forms.count(1, 1000)] = Field(
        default="5", description="Runs in all, the first included; 1 means never retry."
    )
    backoff: Annotated[Backoff, forms.choice(Backoff)] = Field(
        default="exponential",
        description="How the delay grows: 1, 2, 4, 8 …; 1, 2, 3, 4 …; or 1, 1, 1, 1 … times `initial_delay`.",
    )
    initial_delay: Annotated[timedelta, forms.span("0s", "7d")] = Field(
        default="1s", description="Delay after the first failed attempt; at most `max_delay`."
    )
    max_delay: Annotated[timedelta, forms.span("0s", "30d")] = Field(
        default="5m", description="No delay is longer than this."
    )
    jitter: Annotated[Jitter, forms.choice(Jitter)] = Field(
        default="full",
        description="`full` draws each delay evenly from zero to its bound, so that failures that came together do not "
        "return together.",
    )
    give_up_on: Annotated[tuple[str, ...], Many(forms.CLASS)] = Field(
        default=(),
        description="Exceptions, subclasses included, that no retry helps: the event is dead-lettered at once.",
    )
    give_up_after: Annotated[timedelta | None, forms.span("1s", "365d")] = Field(
        default=None,
        validate_default=False,
        description="No attempt starts later than this after the first one; an event that has never run does not expire.",
    )


class WorkersSection(Section):
    """How many processes run the function. More than one worker means no order between events."""

    min: Annotated[int, forms.count(0, 1000)] = Field(
        default="0", description="Workers kept while nothing is to be done; 0 scales to zero."
    )
    max: Annotated[int | None, forms.count(1, 1000)] = Field(
        default=None,
        validate_default=False,
        description="Workers at most. Default: the number of cores, or `min` if that is more.",
    )
    concurrency: Annotated[int, forms.count(1, 1000)] = Field(
        default="1", description="Events an `async def` function handles at once in each worker; others handle one."
    )
    idle: Annotated[timedelta, forms.span("0s", "7d")] = Field(
        default="60s", description="A worker above `min` ends after this long without an event."
    )
    recycle_after: Annotated[int, forms.count(1, 10**9)] = Field(
        default="10000", description="A worker is replaced after this many invocations."
    )
    memory: Annotated[int | None, forms.amount("16MiB", "1024GiB")] = Field(
        default=None,
        validate_default=False,
        description="A worker whose resident memory is above this is replaced. Default: no limit.",
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
    filter: Annotated[str | None, forms.FILTER] = Field(
        default=None,
        validate_default=False,
        description="Only events for which this is true run; the others count as skipped. Best written as a block (`>-`).",
    )
    emits: Annotated[tuple[str, ...], Many(forms.TOPIC)] = Field(
        default=(), description="The topics it may emit to; what the function returns goes to the first."
    )


class DeliverySection(Section):
    """How events are delivered: what `defaults` may hold, too."""

    start: Annotated[Start, forms.START] = Field(
        default="new",
        description="Where a new trigger begins in the streams that exist. A date alone is its midnight in UTC.",
    )
    timeout: Annotated[timedelta, forms.span("1ms", "7d")] = Field(
        default="30s", description="An attempt that runs longer is stopped, whatever it does."
    )
    retry: RetrySection = Field(default=RetrySection(), description="When a failed attempt runs again.")
    isolation: Annotated[Isolation, forms.ISOLATION] = Field(
        default="process",
        description="`process`: a worker process of this instance. `job`, an RQ job, is not available yet.",
    )
    workers: WorkersSection = Field(default=WorkersSection(), description="How many processes run the function.")
    env: dict[Annotated[str, forms.ENV_NAME], Annotated[str, forms.ENV_VALUE]] = Field(
        default={},
        description="Environment variables of the function. `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$` "
        "are replaced.",
    )
    enabled: Annotated[bool, forms.FLAG] = Field(
        default="true", description="`false` fetches nothing: the events wait on the server."
    )


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
        description="What every trigger has that does not say otherwise. `retry`, `workers` and `env` are merged key by key.",
    )
    topics: dict[Annotated[str, forms.TOPIC], TopicSection] = Field(default={}, description="Storage rules, by topic.")
    triggers: dict[Annotated[str, forms.NAME], TriggerSection] = Field(
        min_length=1, description="The triggers, each under its own name."
    )
