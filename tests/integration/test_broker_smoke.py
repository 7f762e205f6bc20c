from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Entry, Group, Source
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication, publish
from evfn.outcome import Emit
from evfn.trigger import StartAt


async def test_smoke(connection: Connection, keys: Keys) -> None:
    print(await connection.probe())
    g = Group(connection, keys, "a.b", "p/t", "me")
    await Instances(connection, keys).register("me")
    print(await g.start(StartAt.NEW, False))
    print(await publish(connection, keys, Publication("a.b", "s", "1", [b"data", b"x"])))
    print(await publish(connection, keys, Publication("a.b", "s", "1", [b"data", b"x"])))
    print(await publish(connection, keys, Publication("a.b", "s", "2", [b"data", b"x"])))
    got = await g.fetch(Source.TOPIC, 10)
    print(got)
    print(await g.settle(Source.TOPIC, Batch(acks=[got[0][0]], counters={"succeeded": 1}, last_delivered=got[-1][0])))
    print(
        await g.settle(
            Source.TOPIC, Batch(entries=[Entry.ack(got[1][0], [Emit("o", (b"a", b"b"))], counters={"e": 2})])
        )
    )
    print(await g.status())
    print(await g.promote(10))
