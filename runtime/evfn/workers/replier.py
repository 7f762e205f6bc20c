"""The worker's end of what an event came to: told in its frame's arena, or, once that is full, over the channel."""

from evfn.outcome import EmitForm, Outcome, SucceededFormed
from evfn.workers.arena import Arena
from evfn.workers.channel import Channel
from evfn.workers.ledger import Ledger
from evfn.workers.protocol import Form, FormedReply, pack
from evfn.workers.reply import reply


class Replier:
    """For functions that run one by one. A form is told once a frame, before the first emit that has it, in the same
    place: the arena may be read at any instant, the channel not before the dispatcher comes to it.

    Once something of a frame went over the channel all the rest does: what stands in the arena came before it.
    """

    def __init__(self, channel: Channel, ledger: Ledger) -> None:
        self._channel = channel
        self._ledger = ledger
        self._arena: Arena
        self._forms: dict[EmitForm, int]
        self._over = False

    def begin(self, first: int) -> None:
        """The frame whose first slot this is begins."""
        self._arena = self._ledger.arena(first)
        self._forms = {}
        self._over = False

    def tell(self, slot: int, outcome: Outcome, *, printed: bool) -> None:
        """Written in full when this returns; behind what the event printed, which goes over the channel."""
        if printed or self._over or not self._told(slot, outcome):
            self._over = True
            self._channel.send(reply(slot, outcome))

    def _told(self, slot: int, outcome: Outcome) -> bool:
        """Whether it stands in the arena now."""
        if isinstance(outcome, SucceededFormed):
            number = self._number(outcome.form)
            return number is not None and self._arena.add(pack(FormedReply(slot, number, outcome.own)))
        return self._arena.add(pack(reply(slot, outcome)))

    def _number(self, form: EmitForm) -> int | None:
        number = self._forms.get(form)
        if number is None and self._arena.add(pack(Form(form.topic, form.fields, form.naming))):
            number = self._forms[form] = len(self._forms)
        return number
