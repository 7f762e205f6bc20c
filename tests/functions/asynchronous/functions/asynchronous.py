import asyncio

running = 0
most = 0


async def handle(event):
    global running, most
    running += 1
    most = max(most, running)
    print(f"started {event.data['n']}")
    await asyncio.sleep(0.05)
    running -= 1
    return {"n": event.data["n"], "most": most}


async def stream(event):
    for n in range(3):
        await asyncio.sleep(0)
        yield {"n": n}


def hidden(event):
    return handle(event)


async def fails(event):
    raise ValueError("in a task")


async def waits(event):
    await asyncio.Event().wait()


async def swallows(event):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return {"swallowed": True}
