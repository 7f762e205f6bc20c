"""What a user must be allowed on the server, found out by asking for it in ways that change nothing."""

from collections.abc import Sequence

from evfn.broker.connection import Argument, Connection
from evfn.broker.keys import Keys
from evfn.errors import BrokerError, BrokerUnavailable

# Rights are checked before a command looks at its key, and none of these finds anything to change there: the key is
# absent, or the arguments make no sense.
_ANYWHERE: dict[str, Sequence[Argument]] = {
    "ping": (),
    "time": (),
    "dbsize": (),
    "scan": (0, "COUNT", 1),
    "eval": ("return 1", 0),
    "evalsha": ("0" * 40, 0),
}
_OWN: dict[str, Sequence[Argument]] = {
    "type": (),
    "expire": (1,),
    "pexpire": (1,),
    "pexpireat": (1,),
    "del": (),
    "hget": ("f",),
    "hmget": ("f",),
    "hgetall": (),
    "hexists": ("f",),
    "hlen": (),
    "hset": ("f", "v", "odd"),
    "hdel": ("f",),
    "hincrby": ("f", "none"),
    "smembers": (),
    "zadd": ("none", "m"),
    "zrem": ("m",),
    "zcard": (),
    "zcount": ("-inf", "+inf"),
    "zrange": (0, 0),
    "zrangebyscore": (0, 0),
}
_STREAM: dict[str, Sequence[Argument]] = {
    "xadd": ("none", "f", "v"),
    "xlen": (),
    "xrange": ("1", "1", "COUNT", 1),
    "xrevrange": ("1", "1", "COUNT", 1),
    "xdel": ("none",),
    "xtrim": ("MINID", "none"),
    "xack": ("evfn/doctor", "none"),
    "xclaim": ("evfn/doctor", "doctor", 0, "none"),
    "xpending": ("evfn/doctor",),
}
_SUB: dict[tuple[str, str], Sequence[Argument]] = {
    ("xgroup", "create"): ("evfn/doctor", "none"),
    ("xgroup", "setid"): ("evfn/doctor", "none"),
    ("xgroup", "delconsumer"): ("evfn/doctor", "doctor"),
    ("xgroup", "destroy"): ("evfn/doctor",),
    ("xinfo", "stream"): (),
    ("xinfo", "groups"): (),
    ("xinfo", "consumers"): ("evfn/doctor",),
}
# What there is no harmless way to ask for, or what evfn can do without.
_UNASKED = (
    "hsetnx",
    "sadd",
    "hello",
    "select",
    "client|tracking",
    "info",
    "role",
    "config|get",
    "xread",
    "xreadgroup",
)


def acl_line(keys: Keys, topics: Sequence[str]) -> str:
    """The line that makes a user with all evfn needs, and no more; `topics` may be patterns."""
    own = [f"~{keys.prefix}evfn:*"]
    streams = [f"~{keys.topic(topic.replace('**', '*'))}" for topic in dict.fromkeys(topics)]
    commands = [*_ANYWHERE, *_OWN, *_STREAM, *("|".join(each) for each in _SUB), *_UNASKED]
    allowed = " ".join(f"+{each}" for each in sorted(commands))
    return f"ACL SETUSER evfn on >PASSWORD resetkeys {' '.join([*own, *streams])} resetchannels -@all {allowed}"


async def missing(connection: Connection, keys: Keys, topics: Sequence[str]) -> tuple[str, ...]:
    """The rights this user lacks, as `command on key`. Raises BrokerUnavailable."""
    own = f"{keys.prefix}evfn:{{doctor}}:probe"
    asked: list[tuple[str, tuple[Argument, ...]]] = [
        *((name, (name, *rest)) for name, rest in _ANYWHERE.items()),
        *((f"{name} on {own}", (name, own, *rest)) for name, rest in _OWN.items()),
    ]
    for key in (own, *(keys.topic(topic) for topic in topics)):
        asked += [(f"{name} on {key}", (name, key, *rest)) for name, rest in _STREAM.items()]
        asked += [(f"{'|'.join(name)} on {key}", (*name, key, *rest)) for name, rest in _SUB.items() if key == own]
        asked.append((f"xreadgroup on {key}", ("XREADGROUP", "GROUP", "evfn/doctor", "doctor", "STREAMS", key, "none")))
    replies = await connection.pipeline([command for _, command in asked])
    found = []
    for (right, _), reply in zip(asked, replies, strict=True):
        if isinstance(reply, BrokerUnavailable):
            raise reply
        if isinstance(reply, BrokerError) and "NOPERM" in str(reply):
            found.append(right)
    return tuple(found)
