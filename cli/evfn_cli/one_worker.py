"""Runs functions by hand, one event at a time, in the workers that `evfn run` uses; nothing is retried or stored."""

import asyncio
import os
from collections.abc import Callable

from msgspec import structs

from evfn.trigger import Trigger
from evfn.workers.config import worker_config
from evfn.workers.member import LOAD_SECONDS
from evfn.workers.one_worker import Broken, OneWorker
from evfn.workers.protocol import Ready
from evfn.workers.template_process import Template
from evfn_cli.opened import Opened


def one_worker(
    opened: Opened, trigger: Trigger, template: Template, on_output: Callable[[str, str], None]
) -> OneWorker:
    """A worker for one trigger of this project, told all that one of an instance is told."""
    config = worker_config(
        opened.project,
        trigger,
        folder=opened.location.folder,
        functions=opened.location.functions,
        environ=os.environ,
        env_file=opened.env_file,
    )
    config = structs.replace(config, give_up_on=list(trigger.retry.give_up_on), inspected=True)
    return OneWorker(config, trigger, template, on_output)


SLOW_SECONDS = 2.0
"""An import that takes longer is named while it lasts."""


async def load_all(
    opened: Opened, on_output: Callable[[str], None], on_slow: Callable[[Trigger, float], None]
) -> dict[str, Ready | Broken]:
    """Load the function of every trigger; `on_output` gets the lines that importing them prints.

    `on_slow` gets the trigger whose function is being imported for some time, and how many seconds it has in all.
    """
    template = Template()
    verdicts: dict[str, Ready | Broken] = {}
    try:
        # One after the other: what importing one function prints is not mixed with another's.
        for trigger in opened.project.triggers:
            worker = one_worker(opened, trigger, template, lambda _, text: on_output(text))
            loading = asyncio.create_task(worker.load())
            if not (await asyncio.wait([loading], timeout=SLOW_SECONDS))[0]:
                on_slow(trigger, LOAD_SECONDS)
            verdicts[trigger.name] = await loading
            await worker.close()
    finally:
        await template.stop()
    return verdicts
