"""What `evfn doctor` concludes from what a server says: every subject, in its good and its bad forms."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from evfn.broker.facts import Facts, of_information
from evfn.broker.findings import SUBJECTS, Gravity, findings, grave_at_start
from evfn.broker.known_holes import open_holes
from evfn.broker.server import Server
from evfn_cli.checkup import file_system

PAGE = Path(__file__).parents[2] / "docs" / "servers.md"

GOOD = replace(
    of_information(
        {
            "valkey_version": "9.1.1",
            "cluster_enabled": "0",
            "maxmemory_policy": "noeviction",
            "maxmemory": "0",
            "used_memory": "1000",
            "aof_enabled": "1",
            "aof_last_write_status": "ok",
            "role": "master",
            "connected_slaves": "1",
            "connected_clients": "5",
        },
        embedded=False,
    ),
    settings={
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "save": "",
        "min-replicas-to-write": "1",
        "timeout": "0",
        "maxclients": "10000",
        "proto-max-bulk-len": "536870912",
    },
    keys=7,
    pushes=True,
    ping=timedelta(milliseconds=1),
    ahead=timedelta(0),
    file_system="ext4",
)


def gravity(facts: Facts, subject: str) -> str:
    return next(each.gravity.value for each in findings(facts) if each.subject == subject)


def with_info(**facts: str) -> Facts:
    return replace(GOOD, info={**(GOOD.info or {}), **facts})


def with_settings(**settings: str) -> Facts:
    return replace(GOOD, settings={**(GOOD.settings or {}), **{k.replace("_", "-"): v for k, v in settings.items()}})


def test_a_good_server_gets_one_line_a_subject_and_nothing_to_do() -> None:
    found = findings(GOOD)
    assert [each.subject for each in found] == list(SUBJECTS)
    assert {each.subject: each.gravity.value for each in found if each.gravity is not Gravity.OK} == {
        "replication": "note"
    }


@pytest.mark.parametrize(
    ("facts", "subject", "expected"),
    [
        (replace(GOOD, server=Server("redis", (6, 2, 14))), "version", "grave"),
        (replace(GOOD, server=Server("valkey", (7, 2, 5))), "version", "grave"),
        (replace(GOOD, server=Server("redis", (7, 0, 15))), "version", "ok"),
        (replace(GOOD, server=Server("redis", (7, 0, 15))), "known holes", "warning"),
        (with_info(cluster_enabled="1"), "cluster mode", "grave"),
        (with_info(maxmemory_policy="allkeys-lru"), "eviction", "note"),
        (with_info(maxmemory_policy="allkeys-lru", maxmemory="2000"), "eviction", "grave"),
        (with_info(maxmemory_policy="volatile-lru", maxmemory="2000"), "eviction", "grave"),
        (with_info(maxmemory="2000"), "memory", "ok"),
        (with_info(maxmemory="1100"), "memory", "warning"),
        (with_info(aof_enabled="0"), "persistence", "grave"),
        (with_info(aof_last_write_status="err"), "persistence", "grave"),
        (with_settings(appendfsync="everysec"), "persistence", "note"),
        (with_settings(appendfsync="no"), "persistence", "warning"),
        (with_settings(no_appendfsync_on_rewrite="yes"), "persistence", "warning"),
        (replace(with_info(aof_enabled="0"), settings={"save": "900 1"}), "persistence", "warning"),
        (replace(with_info(aof_enabled="0"), settings=None), "persistence", "warning"),
        (replace(GOOD, settings=None), "persistence", "note"),
        (replace(GOOD, server=Server("redis", (7, 0, 15)), default_user_cut=True), "persistence", "grave"),
        (replace(GOOD, server=Server("redis", (7, 0, 15)), default_user_cut=False), "persistence", "ok"),
        (replace(GOOD, server=Server("valkey", (9, 1, 2)), default_user_cut=True), "persistence", "ok"),
        (replace(GOOD, missing_rights=("xadd on t",), other_role="producer"), "rights", "note"),
        (replace(GOOD, missing_rights=("xadd on t",), acl_line="ACL SETUSER"), "rights", "grave"),
        (with_info(role="slave"), "replication", "grave"),
        (with_info(connected_slaves="0"), "replication", "note"),
        (with_settings(min_replicas_to_write="0"), "replication", "warning"),
        (replace(with_info(connected_slaves="0"), settings=None, sentinels=3), "replication", "warning"),
        (replace(GOOD, pushes=False), "pushes", "note"),
        (replace(GOOD, settings=None), "settings", "note"),
        (with_settings(timeout="5"), "idle timeout", "note"),
        (with_settings(timeout="300"), "idle timeout", "ok"),
        (with_settings(maxclients="20"), "clients", "warning"),
        (with_settings(proto_max_bulk_len="1048576"), "event size", "warning"),
        (replace(GOOD, ping=timedelta(milliseconds=50)), "latency", "warning"),
        (replace(GOOD, keys=200_000), "keys", "ok"),
        (replace(GOOD, keys=200_000, patterns=True), "keys", "note"),
        (replace(GOOD, ahead=timedelta(minutes=-3)), "clock", "note"),
        (replace(GOOD, file_system="nfs4"), "state folder", "warning"),
        (replace(GOOD, file_system="nfs4", embedded=True), "state folder", "grave"),
    ],
)
def test_what_is_wrong_is_weighed_and_comes_with_a_remedy(facts: Facts, subject: str, expected: str) -> None:
    """Each of these says what it means; what is more than worth knowing also says what to do."""
    assert gravity(facts, subject) == expected
    found = next(each for each in findings(facts) if each.subject == subject)
    assert bool(found.means) == (expected != "ok")
    if expected in ("warning", "grave"):
        assert found.remedy


def test_a_server_that_tells_nothing_is_unknown_and_never_called_good_or_grave() -> None:
    silent = findings(Facts(None))
    assert {each.gravity for each in silent if each.subject not in ("rights", "known holes")} == {Gravity.NOTE}
    assert all("unknown" in each.what or "not permitted" in each.what for each in silent if each.gravity != Gravity.OK)
    assert grave_at_start(Facts(None)) == []


def test_at_a_start_only_what_is_grave_is_said() -> None:
    bad = with_info(maxmemory_policy="allkeys-lru", maxmemory="2000", aof_enabled="0", cluster_enabled="1")
    assert [each.subject for each in grave_at_start(bad)] == ["cluster mode", "eviction", "persistence"]
    assert grave_at_start(GOOD) == []


@pytest.mark.parametrize(
    ("server", "open_"),
    [
        (Server("redis", (7, 0, 15)), {"CVE-2025-49844", "Redis's security releases of July 2026"}),
        (Server("redis", (7, 2, 11)), {"Redis's security releases of July 2026"}),
        (Server("redis", (8, 8, 1)), set()),
        (Server("redis", (9, 0, 0)), set()),
        (Server("valkey", (8, 1, 3)), {"CVE-2025-49844", "CVE-2026-23479"}),
        (Server("valkey", (9, 0, 4)), {"CVE-2026-63639"}),
        (Server("valkey", (9, 1, 1)), set()),
        (Server("unknown", ()), set()),
    ],
)
def test_published_holes_are_known_by_version(server: Server, open_: set[str]) -> None:
    assert {each.advisory for each in open_holes(server)} == open_


def test_the_file_system_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path}/my\\040files nfs4 rw 0 0\n")
    assert file_system(tmp_path / "my files" / "project" / ".evfn", mounts) == "nfs4"
    assert file_system(tmp_path / "my filesystem", mounts) == "ext4"
    assert file_system(tmp_path, tmp_path / "none") is None


def test_the_page_about_servers_lists_everything_that_is_looked_at() -> None:
    page = PAGE.read_text()
    listed = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert set(SUBJECTS) <= set(listed), "docs/servers.md: a row for each of evfn.broker.findings.SUBJECTS"
