"""The embedded server: it belongs to its folder, outlives nobody, and never loses or endangers the folder's events."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from evfn.embedded import EmbeddedServer, socket_path
from evfn.embedded.process import EmbeddedServerFailed
from evfn.embedded.socket_path import UnsafeSocketFolder

# Holds the folder's server until its stdin ends, and says on stdout where it is.
MEMBER = """
import asyncio, sys
from pathlib import Path
from evfn.embedded import EmbeddedServer

async def main():
    server = EmbeddedServer(Path(sys.argv[1]))
    await server.start()
    print(server.url, server.holder, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()

asyncio.run(main())
"""


class Member:
    """A process that shares the folder's server."""

    def __init__(self, state: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MEMBER, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait(self) -> tuple[str, bool]:
        """Its URL and whether it runs the server, once it is ready."""
        assert self.process.stdout is not None
        url, holder = self.process.stdout.readline().split()
        return url, holder == "True"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def leave(self) -> int:
        self.process.communicate()
        return self.process.returncode


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / ".evfn"


@pytest.fixture
def member(state: Path) -> Iterator[Callable[[], Member]]:
    started: list[Member] = []

    def start() -> Member:
        started.append(Member(state))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        for stream in (each.process.stdin, each.process.stdout):
            assert stream is not None
            stream.close()


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=None)


def wait_until(condition: Callable[[], object], description: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {description}"
        time.sleep(0.005)


def answers(url: str) -> bool:
    with contextlib.suppress(redis.ConnectionError), client(url) as connection:
        return bool(connection.ping())
    return False


def server_pid(url: str) -> int:
    with client(url) as connection:
        return int(connection.info("server")["process_id"])


def running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def start_and_stop(state: Path, environ: dict[str, str] | None = None) -> None:
    async def both() -> None:
        server = EmbeddedServer(state, environ)
        await server.start()
        await server.stop()

    asyncio.run(both())


def test_start_returns_a_server_that_answers_and_stop_leaves_none(state: Path) -> None:
    """After `start` the URL can be used at once; after `stop` nobody listens there."""

    async def scenario() -> tuple[str, bool, int]:
        server = EmbeddedServer(state)
        await server.start()
        found = (server.url, answers(server.url), server_pid(server.url))
        await server.stop()
        await server.stop()
        return found

    url, answered, pid = asyncio.run(scenario())
    assert answered
    assert not answers(url)
    assert not running(pid)


def test_it_is_closed_to_everybody_else_and_configured_to_keep_what_it_takes(
    state: Path, member: Callable[[], Member]
) -> None:
    """No TCP port, a socket and folders for the owner only, the log of events on, nothing ever evicted."""
    url, _ = member().wait()
    socket = Path(url.removeprefix("unix://"))
    with client(url) as connection:
        settings = connection.config_get("*")
    expected = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    assert expected == {name: settings[name] for name in expected}
    modes = [path.stat().st_mode & 0o777 for path in (socket, socket.parent, state, state / "data")]
    assert modes == [0o700, 0o700, 0o700, 0o700]
    assert (state / ".gitignore").read_text() == "*\n"


def test_a_signal_for_our_process_group_does_not_reach_it(member: Callable[[], Member]) -> None:
    """Ctrl-C at the terminal goes to the foreground group; the server is in a session of its own."""
    one = member()
    url, _ = one.wait()
    pid = server_pid(url)
    assert os.getsid(pid) == pid
    assert os.getpgid(pid) != os.getpgid(one.process.pid)


def test_two_processes_of_a_folder_share_one_server(member: Callable[[], Member]) -> None:
    """The second finds the first one's server and sees what it holds."""
    first, _ = member().wait()
    with client(first) as connection:
        connection.xadd("t", {"data": "1"})
    second, holder = member().wait()
    assert second == first
    assert not holder
    with client(second) as connection:
        assert connection.xlen("t") == 1


def test_events_survive_a_clean_stop(member: Callable[[], Member]) -> None:
    """What one command stored is there for the next one."""
    one = member()
    url, _ = one.wait()
    with client(url) as connection:
        connection.xadd("t", {"data": "1"})
    assert one.leave() == 0
    url, holder = member().wait()
    assert holder
    with client(url) as connection:
        assert connection.xlen("t") == 1


def test_when_the_holder_is_killed_another_process_starts_the_server_again(member: Callable[[], Member]) -> None:
    """The server ends with its holder, and comes back at the same place with all events while another one is there."""
    first, second = member(), member()
    holders = {each.wait()[1]: each for each in (first, second)}
    url, _ = member().wait()
    pid = server_pid(url)
    with client(url) as connection:
        connection.xadd("t", {"data": "1"})
    holders[True].kill()
    wait_until(lambda: not running(pid), "the first server ends")
    wait_until(lambda: answers(url), "the second server answers")
    with client(url) as connection:
        assert connection.xlen("t") == 1


def test_a_killed_server_is_started_again(member: Callable[[], Member]) -> None:
    """The holder notices that its server died, for whatever reason."""
    url, _ = member().wait()
    pid = server_pid(url)
    with client(url) as connection:
        connection.xadd("t", {"data": "1"})
        connection.execute_command("WAITAOF", 1, 0, 5000)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not running(pid), "the server is gone")
    wait_until(lambda: answers(url), "a new server answers")
    with client(url) as connection:
        assert connection.xlen("t") == 1


def test_after_kill_9_of_everything_nothing_runs_and_nothing_is_lost(member: Callable[[], Member]) -> None:
    """The server writes what it took and goes; a start that comes before it is gone waits for it."""
    members = [member(), member(), member()]
    url = next(each.wait()[0] for each in members)
    pid = server_pid(url)
    with client(url) as connection:
        for number in range(1_000):
            connection.xadd("t", {"data": number})
    for each in members:
        each.process.kill()
    again, _ = member().wait()
    assert not running(pid)
    with client(again) as connection:
        assert connection.xlen("t") == 1_000


def test_ten_starts_at_once_make_one_server(member: Callable[[], Member]) -> None:
    """Whoever gets the lock starts it; all others wait for its answer."""
    members = [member() for _ in range(10)]
    found = [each.wait() for each in members]
    assert len({url for url, _ in found}) == 1
    assert sum(holder for _, holder in found) == 1


def test_leaving_one_after_the_other_never_strands_the_rest(member: Callable[[], Member]) -> None:
    """With each holder that ends, the next one takes over."""
    members = [member() for _ in range(3)]
    url, _ = [each.wait() for each in members][-1]
    for each in members[:-1]:
        assert each.leave() == 0
        wait_until(lambda: answers(url), "somebody runs the server")


def stored(state: Path, events: int = 200) -> Path:
    """Fill the folder with events and return the file that holds them."""

    async def fill() -> None:
        server = EmbeddedServer(state)
        await server.start()
        with client(server.url) as connection:
            for number in range(events):
                connection.xadd("t", {"data": f"event {number}"})
        await server.stop()

    asyncio.run(fill())
    return next((state / "data" / "appendonlydir").glob("*.incr.aof"))


def test_f39_a_torn_end_of_the_log_costs_only_that_event(state: Path) -> None:
    """After a power cut the last write may be half there; the server starts with all before it."""
    log = stored(state)
    os.truncate(log, log.stat().st_size - 7)

    async def count() -> int:
        server = EmbeddedServer(state)
        await server.start()
        with client(server.url) as connection:
            found = int(connection.xlen("t"))
        await server.stop()
        return found

    assert asyncio.run(count()) == 199


def test_f39_a_damaged_log_is_reported_and_kept_and_the_advice_mends_it(state: Path) -> None:
    """In the middle of the log nothing is thrown away unasked; the commands in the message work as they stand."""
    log = stored(state)
    content = bytearray(log.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = b"\xff" * 40
    log.write_bytes(content)
    with pytest.raises(EmbeddedServerFailed) as failure:
        start_and_stop(state)
    assert "nothing was deleted" in str(failure.value)
    assert log.read_bytes() == content
    advice = next(line for line in str(failure.value).splitlines() if line.startswith("  ln "))
    subprocess.run(["/bin/sh", "-c", advice], input=b"y\n", check=True, capture_output=True)
    start_and_stop(state)


def test_somebody_elses_socket_folder_is_never_used(state: Path, tmp_path: Path) -> None:
    """A folder that others may enter, or a link to one, could hold another user's server."""
    runtime = tmp_path / "r"
    (runtime / "evfn").mkdir(parents=True)
    (runtime / "evfn").chmod(0o755)
    with pytest.raises(UnsafeSocketFolder, match="0700"):
        start_and_stop(state, {"XDG_RUNTIME_DIR": str(runtime)})
    (runtime / "evfn").rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (runtime / "evfn").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeSocketFolder, match="0700"):
        start_and_stop(state, {"XDG_RUNTIME_DIR": str(runtime)})


def test_paths_of_any_length_work(tmp_path: Path) -> None:
    """A socket's path holds 107 bytes; a deep state folder or a long runtime folder is no obstacle."""
    deep = tmp_path / ("d" * 90) / ("é" * 60)
    deep.mkdir(parents=True)
    start_and_stop(deep / "state with blanks", {"XDG_RUNTIME_DIR": str(deep)})


def test_a_folder_has_one_socket_whatever_the_environment(state: Path, tmp_path: Path) -> None:
    """A process with another XDG_RUNTIME_DIR (a cron job, say) finds the server that runs."""
    runtime = tmp_path / "r"
    runtime.mkdir()

    async def scenario() -> tuple[str, str]:
        first = EmbeddedServer(state, {"XDG_RUNTIME_DIR": str(runtime)})
        await first.start()
        second = EmbeddedServer(state, {})
        await second.start()
        urls = (first.url, second.url)
        await second.stop()
        await first.stop()
        return urls

    first, second = asyncio.run(scenario())
    assert first == second
    assert first.startswith(f"unix://{runtime}/evfn/")


def test_folders_with_the_same_name_have_servers_of_their_own(tmp_path: Path) -> None:
    """The socket's name comes from the whole path, however it is written."""
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    names = [socket_path.file_name(tmp_path / folder / ".evfn") for folder in ("a", "b", "link")]
    assert names[0] != names[1]
    assert names[0] == names[2]


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The message says what to write instead."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedServerFailed, match=r"file/\.evfn.*--state"):
        start_and_stop(tmp_path / "file" / ".evfn")


def test_another_binary_can_be_named(state: Path) -> None:
    """EVFN_VALKEY_SERVER takes any server that reads the same settings."""
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get("EVFN_REQUIRE_REDIS"):
            pytest.fail("redis-server is required and not installed")
        pytest.skip("redis-server is not installed")
    start_and_stop(state, {"EVFN_VALKEY_SERVER": program})
    assert "Redis" in (state / "valkey.log").read_text()


@pytest.mark.parametrize(
    ("program", "said"), [("/nowhere/valkey-server", "/nowhere/valkey-server"), ("/bin/false", "code 1")]
)
def test_a_binary_that_does_not_work_is_named(state: Path, program: str, said: str) -> None:
    """One that is not there, and one that ends at once."""
    with pytest.raises(EmbeddedServerFailed, match=said):
        start_and_stop(state, {"EVFN_VALKEY_SERVER": program})


def test_a_start_takes_a_fraction_of_a_second(state: Path) -> None:
    """Each command may start it, so it must not be felt; the quickest of some tries, for others may have the cores."""
    start_and_stop(state)
    times: list[float] = []
    while len(times) < 10 and min(times, default=1.0) >= 1.0:
        began = time.monotonic()
        start_and_stop(state)
        times.append(time.monotonic() - began)
    assert min(times) < 1.0, times
