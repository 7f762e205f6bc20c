import time


def handle(event):
    time.sleep(3600)


def stubborn(event):
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass


async def forever(event):
    import asyncio

    await asyncio.sleep(3600)
