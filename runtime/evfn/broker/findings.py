"""What a server's facts mean for evfn's promises, and what to do about it: pure decisions, one function a subject."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from evfn.broker.facts import Facts
from evfn.broker.known_holes import open_holes
from evfn.broker.server import OLDEST_REDIS, OLDEST_VALKEY, Server
from evfn.broker.topics import SLOW_KEYS
from evfn.broker.watch import POLL

LITTLE_ROOM = 0.8
SLOW_PING = timedelta(milliseconds=20)
SKEW = timedelta(seconds=5)
FEW_CLIENTS = 64
SMALLEST_PAYLOAD = 32 << 20
SHORT_TIMEOUT = 10
_NETWORK_FILES = ("nfs", "cifs", "smb", "9p", "afs", "fuse.sshfs", "glusterfs", "ceph")


class Gravity(Enum):
    """How much it matters: nothing, worth knowing, a promise may be broken one day, a promise is broken."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    GRAVE = "grave"


@dataclass(frozen=True, slots=True)
class Finding:
    """`means` says what becomes of evfn's promises, `remedy` what to do; both are empty where all is well."""

    subject: str
    gravity: Gravity
    what: str
    means: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    gravity: Gravity
    what: str
    means: str = ""
    remedy: str = ""


def _ok(what: str) -> _Said:
    return _Said(Gravity.OK, what)


def _unknown(what: str) -> _Said:
    return _Said(Gravity.NOTE, f"unknown: {what}", "evfn cannot tell", "look at the server's configuration")


def _version(facts: Facts) -> _Said:
    server = facts.server
    if not server.version:
        return _unknown("the server does not tell its version to this user (INFO)")
    oldest = OLDEST_VALKEY if server.name == "valkey" else OLDEST_REDIS
    if server.version < oldest:
        return _Said(
            Gravity.GRAVE,
            f"{server.text} is older than Redis 7.0 or Valkey 8.0",
            "evfn does not run on it: its scripts need commands that it lacks",
            "use a newer server",
        )
    return _ok(server.text)


def _holes(facts: Facts) -> _Said:
    found = open_holes(facts.server)
    if not found:
        return _ok("no published hole of this version is known to this evfn")
    return _Said(
        Gravity.WARNING,
        f"{facts.server.text} has " + "; ".join(f"{each.advisory} ({each.what})" for each in found),
        "who may send commands to the server owns it, and with it every event",
        "update the server (a distribution may have mended it without a new number: see its changelog), let only evfn"
        " and producers reach it",
    )


def _cluster(facts: Facts) -> _Said:
    if facts.info is None:
        return _unknown("INFO is not permitted")
    if facts.said("cluster_enabled") == "1":
        return _Said(
            Gravity.GRAVE,
            "the server runs in cluster mode",
            "not supported: emits to a topic in another slot cannot be recorded together with the ack",
            "use a server without cluster mode, with Sentinel for failover",
        )
    return _ok("no cluster mode")


def _eviction(facts: Facts) -> _Said:
    policy, limit = facts.said("maxmemory_policy"), facts.number("maxmemory")
    if policy is None or limit is None:
        return _unknown("INFO is not permitted")
    if policy == "noeviction":
        return _ok("noeviction")
    if not limit:
        return _Said(
            Gravity.NOTE,
            f"maxmemory-policy is {policy}, but there is no maxmemory",
            "nothing is lost until someone sets maxmemory",
            "CONFIG SET maxmemory-policy noeviction",
        )
    return _Said(
        Gravity.GRAVE,
        f"maxmemory-policy is {policy}",
        "accepted events are lost: a full server throws streams away, events, retries and dead letters with them,"
        " and says nothing",
        "CONFIG SET maxmemory-policy noeviction, and in the configuration file",
    )


def _memory(facts: Facts) -> _Said:
    used, limit = facts.number("used_memory"), facts.number("maxmemory")
    if used is None or limit is None:
        return _unknown("INFO is not permitted")
    if limit and used > LITTLE_ROOM * limit:
        return _Said(
            Gravity.WARNING,
            f"{used / limit:.0%} of maxmemory are used",
            "when it is full nothing can be published, and what runs waits to be recorded until there is room",
            "raise maxmemory, or keep fewer events",
        )
    return _ok(f"{used / limit:.0%} of maxmemory are used" if limit else "no maxmemory")


def _persistence(facts: Facts) -> _Said:
    appends = facts.said("aof_enabled")
    if appends is None:
        return _unknown("INFO is not permitted")
    sync, snapshots = facts.setting("appendfsync"), facts.setting("save")
    if appends == "1" and facts.said("aof_last_write_status") not in (None, "ok"):
        return _Said(
            Gravity.GRAVE,
            "the append-only file cannot be written (a full disk?)",
            "the server refuses every write until it can: nothing can be published",
            "make room on its disk",
        )
    if appends == "1" and facts.default_user_cut and not _replays_in_full(facts.server):
        return _Said(
            Gravity.GRAVE,
            "the user default has no rights, and this server replays its append-only file as that user",
            "at its next start all that scripts and transactions wrote is thrown away: events, dead letters, counters",
            "ACL SETUSER default off ~* &* +@all, and in the ACL file: nobody can log in as it all the same",
        )
    if appends != "1":
        if snapshots is None:
            return _Said(
                Gravity.WARNING,
                "there is no append-only file; whether there are snapshots is unknown (CONFIG is not permitted)",
                "accepted events are kept only while the server runs: its end loses those since the last snapshot, or"
                " all",
                "appendonly yes",
            )
        if not snapshots:
            return _Said(
                Gravity.GRAVE,
                "nothing is written to disk",
                "accepted events are kept only while the server runs: at its end every one is lost",
                "CONFIG SET appendonly yes, and in the configuration file",
            )
        return _Said(
            Gravity.WARNING,
            f"snapshots only (save {snapshots})",
            "accepted events may be lost: at a crash all events since the last snapshot are lost",
            "CONFIG SET appendonly yes, and in the configuration file",
        )
    if sync is None:
        return _Said(
            Gravity.NOTE,
            "append-only file; how often it is synced is unknown (CONFIG is not permitted)",
            "a power loss takes the last seconds, unless appendfsync is always",
        )
    if sync == "no":
        return _Said(
            Gravity.WARNING,
            "appendfsync is no",
            "accepted events may be lost: a power loss takes what the system had not written yet, often half a minute",
            "CONFIG SET appendfsync everysec",
        )
    if facts.setting("no-appendfsync-on-rewrite") == "yes":
        return _Said(
            Gravity.WARNING,
            "no-appendfsync-on-rewrite is yes",
            "accepted events may be lost: while the file is rewritten a power loss takes up to half a minute",
            "CONFIG SET no-appendfsync-on-rewrite no",
        )
    if sync == "everysec":
        return _Said(
            Gravity.NOTE,
            "append-only file, synced every second",
            "nothing is lost when the server is killed; a power loss takes the last one or two seconds",
            "CONFIG SET appendfsync always, where that is too much; each publish then waits for the disk",
        )
    return _ok("append-only file, synced at every write")


def _replays_in_full(server: Server) -> bool:
    """Tried with Valkey 9.1; of others it is not known since when (redis/redis#14541, valkey-io/valkey#3983)."""
    return server.name == "valkey" and server.version >= (9, 1)


def _rights(facts: Facts) -> _Said:
    if facts.other_role:
        return _Said(
            Gravity.NOTE,
            f"this is the user for {facts.other_role}",
            "what an instance may do is not looked at",
            "run evfn doctor with the URL of an instance",
        )
    if facts.missing_rights:
        shown = ", ".join(facts.missing_rights[:8])
        more = len(facts.missing_rights) - 8
        return _Said(
            Gravity.GRAVE,
            f"this user may not: {shown}" + (f" and {more} more" if more > 0 else ""),
            "what needs these is not done: triggers are blocked, their events wait",
            facts.acl_line,
        )
    return _ok("this user may do all that evfn asks for")


def _replication(facts: Facts) -> _Said:
    role = facts.said("role")
    if role is None:
        return _unknown("INFO is not permitted")
    if role != "master":
        return _Said(
            Gravity.GRAVE,
            "the server is a replica",
            "it takes no writes: nothing can be published or recorded",
            "name the master, or the sentinels: redis+sentinel://host:26379/master",
        )
    replicas = facts.number("connected_slaves") or 0
    if not replicas and not facts.sentinels:
        return _Said(
            Gravity.NOTE,
            "no replica",
            "while this server is down nothing is published or run; what it keeps on disk is not lost",
        )
    wanted = facts.setting("min-replicas-to-write")
    if wanted in (None, "0"):
        return _Said(
            Gravity.WARNING,
            f"{replicas} replica{'' if replicas == 1 else 's'}, and writes do not wait for any (min-replicas-to-write"
            f" is {wanted or 'unknown'})",
            "accepted events may be lost: a failover loses what was not copied yet, and a master cut off accepts"
            " events that are lost when it comes back",
            "CONFIG SET min-replicas-to-write 1 and min-replicas-max-lag 10",
        )
    return _Said(
        Gravity.NOTE,
        f"{replicas} replica{'' if replicas == 1 else 's'}, at least {wanted} of them within reach for a write",
        "accepted events may be lost: copies are made after the answer, so a failover may lose the last moments",
    )


def _pushes(facts: Facts) -> _Said:
    if facts.pushes is None:
        return _unknown("it was not asked")
    if not facts.pushes:
        return _Said(
            Gravity.NOTE,
            "the server pushes no changes to this user (CLIENT TRACKING)",
            f"events are noticed {POLL // timedelta(milliseconds=1)} ms later and the server is asked all the time",
            "allow client|tracking and hello",
        )
    return _ok("the server pushes changes")


def _settings(facts: Facts) -> _Said:
    if facts.settings is None:
        return _Said(
            Gravity.NOTE,
            "CONFIG GET is not permitted",
            "appendfsync, save, timeout and limits are unknown; the promises may be weaker than shown here",
            "ask who runs the server, or allow config|get",
        )
    return _ok("CONFIG GET is permitted")


def _timeout(facts: Facts) -> _Said:
    text = facts.setting("timeout")
    if text is None:
        return _unknown("CONFIG GET is not permitted")
    if 0 < int(text) < SHORT_TIMEOUT:
        return _Said(
            Gravity.NOTE,
            f"the server closes connections that are idle for {text} s",
            "no promise of evfn breaks: each is opened again when it is needed, which costs time",
            "CONFIG SET timeout 0",
        )
    return _ok("idle connections stay open" if text == "0" else f"idle connections are closed after {text} s")


def _clients(facts: Facts) -> _Said:
    most, now = facts.setting("maxclients"), facts.number("connected_clients")
    if most is None or now is None:
        return _unknown("INFO or CONFIG GET is not permitted")
    if int(most) - now < FEW_CLIENTS:
        return _Said(
            Gravity.WARNING,
            f"{now} of {most} clients are connected",
            "recovery may fail: an instance that cannot connect cannot take over or go on",
            "raise maxclients",
        )
    return _ok(f"{now} of {most} clients are connected")


def _payload(facts: Facts) -> _Said:
    text = facts.setting("proto-max-bulk-len")
    if text is None:
        return _unknown("CONFIG GET is not permitted")
    if int(text) < SMALLEST_PAYLOAD:
        return _Said(
            Gravity.WARNING,
            f"proto-max-bulk-len is {int(text):,} bytes",
            "larger events are refused, and an attempt that emits more cannot be recorded",
            f"CONFIG SET proto-max-bulk-len {512 << 20}",
        )
    return _ok(f"events of up to {int(text) >> 20} MiB")


def _latency(facts: Facts) -> _Said:
    if facts.ping is None:
        return _unknown("it was not asked")
    shown = f"{facts.ping / timedelta(milliseconds=1):.1f} ms"
    if facts.ping > SLOW_PING:
        return _Said(
            Gravity.WARNING,
            f"an answer takes {shown}",
            "no promise of evfn breaks, but every event waits for several answers",
            "run evfn near its server; SLOWLOG GET shows what keeps it busy",
        )
    return _ok(f"an answer takes {shown}")


def _keys(facts: Facts) -> _Said:
    if facts.keys is None:
        return _unknown("DBSIZE is not permitted")
    if facts.keys > SLOW_KEYS and facts.patterns:
        return _Said(
            Gravity.NOTE,
            f"{facts.keys:,} keys, and triggers with patterns",
            "topics that match are searched among all keys: new ones are found late",
            "write exact topics, or give evfn a database of its own",
        )
    return _ok(f"{facts.keys:,} keys")


def _clock(facts: Facts) -> _Said:
    if facts.ahead is None:
        return _unknown("TIME is not permitted")
    off = facts.ahead.total_seconds()
    if abs(facts.ahead) > SKEW:
        return _Said(
            Gravity.NOTE,
            f"the server's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the one here",
            "no promise of evfn breaks: leases count beats. Retries are due and times shown by the server's clock",
            "let both follow a time server",
        )
    return _ok("the server's clock and the one here agree")


def _files(facts: Facts) -> _Said:
    system = facts.file_system
    if system is None:
        return _unknown("the state folder's file system")
    if system.startswith(_NETWORK_FILES):
        means = "locks may not hold between machines: two servers could work on the same events"
        return _Said(
            Gravity.GRAVE if facts.embedded else Gravity.WARNING,
            f"the state folder is on a network ({system})",
            means if facts.embedded else "instances on other machines may be taken for local ones",
            "name a folder on a local disk with --state",
        )
    return _ok(f"the state folder is on {system}")


SUBJECTS: dict[str, Callable[[Facts], _Said]] = {
    "version": _version,
    "known holes": _holes,
    "cluster mode": _cluster,
    "eviction": _eviction,
    "memory": _memory,
    "persistence": _persistence,
    "rights": _rights,
    "replication": _replication,
    "pushes": _pushes,
    "settings": _settings,
    "idle timeout": _timeout,
    "clients": _clients,
    "event size": _payload,
    "latency": _latency,
    "keys": _keys,
    "clock": _clock,
    "state folder": _files,
}
"""Everything that is looked at, by the name it is shown under."""
AT_START = ("version", "cluster mode", "eviction", "persistence", "replication")
"""What one INFO tells and `run` looks at; only what is grave is said there."""


def findings(facts: Facts) -> list[Finding]:
    """One a subject, whatever was found."""
    return [_finding(facts, name) for name in SUBJECTS]


def grave_at_start(facts: Facts) -> list[Finding]:
    """What breaks a promise and can be told from the facts of a start."""
    every = [_finding(facts, name) for name in AT_START]
    return [each for each in every if each.gravity is Gravity.GRAVE]


def _finding(facts: Facts, subject: str) -> Finding:
    said = SUBJECTS[subject](facts)
    return Finding(subject, said.gravity, said.what, said.means, said.remedy)
