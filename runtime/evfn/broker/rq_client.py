"""redis-py's own client, which RQ insists on, made from a checked URL."""

import redis
from redis.backoff import NoBackoff
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from evfn.broker.link import CONNECT_SECONDS, REPLY_SECONDS
from evfn.broker.url import Url

FAILURES = (RedisError, OSError)
"""What its calls raise where the server does not serve, or refuses."""
_KINDS = {"redis": redis.Connection, "rediss": redis.SSLConnection, "unix": UnixDomainSocketConnection}


def rq_client(url: Url) -> redis.Redis:
    """A client that opens sockets as it needs them, and repeats nothing by itself."""
    options = {
        **url.options,
        "protocol": 2,
        "socket_timeout": REPLY_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
    }
    if not url.sentinels.places:
        return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=_KINDS[url.scheme], **options))
    is_tls = url.scheme == "rediss+sentinel"
    asked = {**url.sentinels.options, "socket_timeout": CONNECT_SECONDS, "ssl": is_tls}
    sentinel = Sentinel(url.sentinels.places, sentinel_kwargs=asked, ssl=is_tls, **options)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(url.sentinels.master)  # type: ignore[no-untyped-call]
    return client
