"""The worker's end of what an event came to: told in its frame's arena, or over the channel where that is full."""

from evfn.outcome import EmitForm, FormedEmit, Outcome, Succeeded
from evfn.workers.channel import Channel
from evfn.workers.ledger import Ledger
from evfn.workers.protocol import Form, FormedReply, FromWorker, pack
from evfn.workers.reply import reply


class Replier:
    """For functions that run one by one. A form is told once, before the first emit that has it."""

    def __init__(self, channel: Channel, ledger: Ledger) -> None:
        self._channel = channel
        self._ledger = ledger
        self._forms: dict[EmitForm, int] = {}

    def begin(self, first: int) -> None:
        """The frame whose first slot this is begins."""
        self._arena = self._ledger.arena(first)

    def tell(self, slot: int, outcome: Outcome) -> None:
        """Written in full when this returns."""
        message = self._message(slot, outcome)
        if not self._arena.add(pack(message)):
            self._channel.send(message)

    def _message(self, slot: int, outcome: Outcome) -> FromWorker:
        if isinstance(outcome, Succeeded) and len(outcome.emits) == 1 and not outcome.unemitted:
            (emit,) = outcome.emits
            if isinstance(emit, FormedEmit):
                return FormedReply(slot, self._number(emit.form), emit.own)
        return reply(slot, outcome)

    def _number(self, form: EmitForm) -> int:
        number = self._forms.get(form)
        if number is None:
            number = self._forms[form] = len(self._forms)
            self._channel.send(Form(form.topic, form.fields))
        return number
