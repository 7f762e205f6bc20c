"""The scripts: files, headers and wrappers agree, and a server that forgot them is no trouble."""

import importlib
import pkgutil
import re
from importlib import resources

import pytest

import evfn.broker
from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Group, Source
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication, publish, publish_many
from evfn.broker.scripts import Script, scripts
from servers import RealServer


def every_script() -> list[Script]:
    for module in pkgutil.iter_modules(evfn.broker.__path__):
        importlib.import_module(f"evfn.broker.{module.name}")
    return scripts()


def header(script: Script) -> dict[str, str]:
    """The comment block on top, by its `NAME:` paragraphs."""
    block = re.match(r"(?:--.*\n)+", script.text)
    assert block is not None, f"{script.name} has no header"
    text = re.sub(r"^-- ?", "", block[0], flags=re.MULTILINE)
    parts = re.split(r"^(KEYS|ARGV|Returns|Atomic because): ?", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_file_has_one_wrapper() -> None:
    files = {path.name for path in resources.files("evfn.broker").joinpath("lua").iterdir()}
    names = [script.name for script in every_script()]
    assert sorted(files) == sorted(f"{name}.lua" for name in names)


@pytest.mark.parametrize("script", every_script(), ids=lambda script: script.name)
def test_header_and_wrapper_agree(script: Script) -> None:
    parts = header(script)
    assert list(parts) == ["KEYS", "ARGV", "Returns", "Atomic because"]
    assert parts["KEYS"].splitlines()[0].split() == list(script.keys)
    assert all(text.strip() for text in parts.values())


@pytest.mark.parametrize("script", every_script(), ids=lambda script: script.name)
def test_scripts_take_all_keys_from_keys_and_decode_nothing(script: Script) -> None:
    code = re.sub(r"--.*", "", script.text)
    assert "cjson" not in code
    assert "cmsgpack" not in code
    assert "evfn:" not in code
    # With a shebang a full server would refuse the whole script.
    assert not script.text.startswith("#!")


@pytest.mark.parametrize("script", every_script(), ids=lambda script: script.name)
async def test_servers_know_them_by_our_hash(connection: Connection, script: Script) -> None:
    assert (await connection.call("SCRIPT", "LOAD", script.text)).decode() == script.sha


async def test_forgotten_scripts_are_sent_again(
    server: RealServer, connection: Connection, group: Group, keys: Keys
) -> None:
    for number in range(3):
        server.command("SCRIPT", "FLUSH")
        await publish(connection, keys, Publication(group.topic, "test", f"a{number}", [b"n", b"1"]))
        server.command("SCRIPT", "FLUSH")
        many = [Publication(group.topic, "test", f"b{number}.{each}", [b"n", b"1"]) for each in range(10)]
        await publish_many(connection, keys, many)
    entries = await group.fetch(Source.TOPIC, 100)
    assert len(entries) == 33
    server.command("SCRIPT", "FLUSH")
    settled = await group.settle(Source.TOPIC, Batch(acks=[entry for entry, _ in entries]))
    assert settled.acked == 33
