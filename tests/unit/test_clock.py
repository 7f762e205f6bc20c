"""The server's time, from what it replies and how long that took."""

from datetime import UTC, datetime, timedelta

from evfn.clock import ServerClock

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Machine:
    """A machine whose clock is wrong."""

    def __init__(self, wall: datetime) -> None:
        self.wall = wall
        self.uptime = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.uptime

    async def sleep(self, duration: timedelta) -> None:
        self.uptime += duration.total_seconds()


def test_before_the_first_reply_it_is_the_machines_time() -> None:
    machine = Machine(NOON)
    assert ServerClock(machine).now() == NOON


def test_a_reply_sets_it_right_and_time_goes_on() -> None:
    machine = Machine(NOON - timedelta(hours=1))
    clock = ServerClock(machine)
    clock.saw(NOON, sent=1000.0, received=1000.0)
    machine.uptime += 30
    machine.wall += timedelta(days=1)
    assert clock.now() == NOON + timedelta(seconds=30)


def test_a_slow_reply_that_fits_changes_nothing() -> None:
    machine = Machine(NOON)
    clock = ServerClock(machine)
    clock.saw(NOON, sent=1000.0, received=1000.0)
    machine.uptime = 1005.0
    clock.saw(NOON + timedelta(seconds=1), sent=1000.0, received=1005.0)
    assert clock.now() == NOON + timedelta(seconds=5)


def test_a_step_of_the_server_is_followed_as_far_as_it_is_certain() -> None:
    machine = Machine(NOON)
    clock = ServerClock(machine)
    machine.uptime = 1001.0
    clock.saw(NOON + timedelta(hours=1), sent=1000.0, received=1001.0)
    assert clock.now() == NOON + timedelta(hours=1)
    clock.saw(NOON - timedelta(hours=1), sent=1001.0, received=1001.0)
    assert clock.now() == NOON - timedelta(hours=1)
