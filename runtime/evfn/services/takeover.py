"""What becomes of deliveries that another instance left, or that were given to this one and never arrived."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from evfn.broker.group import Claimed, Entry, Source
from evfn.services.held import Held
from evfn.services.intake import Intake
from evfn.services.subscription import Subscription
from evfn.trigger import Isolation, Trigger


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What some claims came to.

    `trimmed` are gone from their stream: the claim took them off the list, and counted them as dropped. `dropped` are
    none of evfn's, `skipped` those that the filter does not let through. `exhausted` have no attempt left, each with
    how many of its attempts ended with their instance; `held` are to run.
    """

    trimmed: list[bytes] = field(default_factory=list)
    dropped: list[bytes] = field(default_factory=list)
    skipped: list[Entry] = field(default_factory=list)
    exhausted: list[tuple[Held, int]] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)


def take_over(
    claimed: Sequence[Claimed],
    subscription: Subscription,
    source: Source,
    trigger: Trigger,
    intake: Intake,
    now: datetime,
    *,
    charged: bool,
) -> TakenOver:
    """Sort them out. Charged ones may have killed their instance: each runs alone. A job did not run in that instance,
    and runs on without it."""
    now_ms = int(now.timestamp() * 1000)
    taken = TakenOver()
    for claim in claimed:
        if claim.fields is None:
            taken.trimmed.append(claim.id)
            continue
        held = (
            intake.from_topic(subscription, claim.id, claim.fields, now_ms)
            if source is Source.TOPIC
            else intake.from_inbox(subscription, claim.id, claim.fields)
        )
        if held is None:
            taken.dropped.append(claim.id)
            continue
        # It may have been fetched and no more: then nobody asked the filter.
        unasked = source is Source.TOPIC or held.unfiltered
        if unasked and (skipped := intake.skip(held)):
            taken.skipped.append(skipped)
            continue
        died = 0 if trigger.isolation is Isolation.JOB else claim.delivery_count - 1
        held.attempt += died
        held.suspect = charged and died > 0
        held.deliveries = claim.delivery_count
        if held.attempt > trigger.retry.attempts:
            held.attempt = trigger.retry.attempts
            taken.exhausted.append((held, died))
        else:
            taken.held.append(held)
    return taken
