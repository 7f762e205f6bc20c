"""Which commands evfn sends to the server; what a user lacks of them is found out in ways that change nothing."""

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
    "client|tracking",
    "eval_ro",
    "evalsha_ro",
    "exec",
    "hello",
    "hkeys",
    "hsetnx",
    "info",
    "multi",
    "role",
    "sadd",
    "select",
    "unlink",
    "xread",
    "xreadgroup",
)

INSTANCE = frozenset({*_ANYWHERE, *_OWN, *_STREAM, *("|".join(each) for each in _SUB), *_UNASKED})
"""All that an instance sends, and every command of evfn that changes something on the server."""
_CONNECTING = frozenset({"hello", "info", "ping", "role", "select"})
PRODUCER = _CONNECTING | frozenset(
    {"eval", "evalsha", "hget", "hlen", "hset", "pexpireat", "sadd", "time", "type", "xadd"}
)
"""Publishing, once each; a plain XADD too. Nothing that reads an event."""
READ_ONLY = _CONNECTING | frozenset(
    {
        *("dbsize", "scan", "time", "type", "eval_ro", "evalsha_ro", "multi", "exec"),
        *("hexists", "hget", "hgetall", "hkeys", "hlen", "hmget", "smembers", "zcard", "zrange", "zrangebyscore"),
        *("xinfo|consumers", "xinfo|groups", "xinfo|stream", "xlen", "xpending", "xrange", "xread", "xrevrange"),
    }
)
"""Looking at triggers, topics and dead letters."""
JOB = _CONNECTING | frozenset(
    {"eval", "evalsha", "hdel", "hexists", "hget", "hincrby", "hmget", "hset", "time", "type", "xpending", "xrange"}
)
"""What a job sends about the one delivery that it runs: it takes it, beats, and reports. It settles nothing."""
RQ = frozenset(
    {
        *("client|info", "client|setname", "ping", "info", "time"),
        *("multi", "exec", "watch", "unwatch", "discard", "eval", "evalsha", "script|load", "script|exists"),
        *("publish", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"),
        *("get", "set", "del", "exists", "type", "expire", "persist", "ttl", "pttl"),
        *("hset", "hget", "hgetall", "hmget", "hdel", "hexists", "hincrby", "hincrbyfloat"),
        *("lpush", "rpush", "lpop", "blpop", "lmove", "blmove", "lrem", "llen", "lrange", "lpos"),
        *("sadd", "srem", "smembers", "scard", "sismember"),
        *("zadd", "zrem", "zrange", "zrevrange", "zrangebyscore", "zremrangebyscore", "zcard", "zcount", "zscore"),
        *("xadd", "xlen", "xread", "xrevrange"),
    }
)
"""What RQ sends, to enqueue jobs and to work on them; on its own keys."""


async def missing(connection: Connection, keys: Keys, project: str, topics: Sequence[str]) -> tuple[str, ...]:
    """The rights this user lacks, as `command on key`. Raises BrokerUnavailable."""
    own = keys.probe(project)
    asked: list[tuple[str, tuple[Argument, ...]]] = [
        *((name, (name, *rest)) for name, rest in _ANYWHERE.items()),
        *((f"{name} on {own}", (name, own, *rest)) for name, rest in _OWN.items()),
        *((f"type on {key}", ("type", key)) for key in (keys.instances, keys.topics, keys.trace("doctor"))),
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
