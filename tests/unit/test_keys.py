"""Key names: the prefix stands before all of them, and what was built can be read back."""

import pytest

from evfn.broker.keys import Keys, PairKey, Part

GROUP = "climate/heat-alert"


@pytest.mark.parametrize("prefix", ["", "staging:", "a.b/"])
def test_every_key_begins_with_the_prefix(prefix: str) -> None:
    keys = Keys(prefix)
    built = [
        keys.topic("readings"),
        keys.inbox("readings", GROUP),
        keys.retry("readings", GROUP),
        keys.bodies("readings", GROUP),
        keys.dead("readings", GROUP),
        keys.stats("readings", GROUP),
        keys.replay("readings", GROUP, "r1"),
        keys.seen("readings", 0),
        keys.topics,
        keys.instances,
        keys.trigger(GROUP),
        keys.trace("7f"),
    ]
    assert all(key.startswith(prefix) for key in built)
    assert len(set(built)) == len(built)


def test_names_are_those_of_the_design() -> None:
    keys = Keys("p:")
    assert keys.inbox("readings", GROUP) == "p:evfn:{p:readings}:climate/heat-alert:inbox"
    assert keys.bodies("readings", GROUP) == "p:evfn:{p:readings}:climate/heat-alert:retry:bodies"
    assert keys.seen("readings", 1) == "p:evfn:{p:readings}:seen:1"
    assert keys.instances == "p:evfn:instances"
    assert keys.trigger(GROUP) == "p:evfn:trigger:climate/heat-alert"
    assert keys.trace("7f") == "p:evfn:trace:7f"


@pytest.mark.parametrize("prefix", ["", "p:"])
@pytest.mark.parametrize("topic", ["readings", "a:b/c.d_e-f", "evil}:x/y:inbox"])
def test_pair_keys_are_read_back(prefix: str, topic: str) -> None:
    keys = Keys(prefix)
    assert keys.parse_pair(keys.inbox(topic, GROUP)) == PairKey(topic, GROUP, Part.INBOX)
    assert keys.parse_pair(keys.retry(topic, GROUP)) == PairKey(topic, GROUP, Part.RETRY)
    assert keys.parse_pair(keys.bodies(topic, GROUP)) == PairKey(topic, GROUP, Part.BODIES)
    assert keys.parse_pair(keys.dead(topic, GROUP)) == PairKey(topic, GROUP, Part.DEAD)
    assert keys.parse_pair(keys.stats(topic, GROUP)) == PairKey(topic, GROUP, Part.STATS)
    assert keys.parse_pair(keys.replay(topic, GROUP, "r:1")) == PairKey(topic, GROUP, Part.REPLAY, "r:1")


@pytest.mark.parametrize(
    "key",
    ["readings", "evfn:instances", "evfn:{readings}:seen:0", "evfn:{readings}:climate:inbox", "evfn:trigger:a/b", ""],
)
def test_other_keys_are_no_pairs(key: str) -> None:
    assert Keys().parse_pair(key) is None


def test_keys_of_another_prefix_are_not_ours() -> None:
    ours = Keys("a:")
    assert ours.parse_pair(Keys("b:").inbox("readings", GROUP)) is None
    assert ours.topic_name("b:readings") is None
    assert ours.topic_name("a:readings") == "readings"


@pytest.mark.parametrize("key", ["evfn:topics", "rq:queue:default"])
def test_keys_of_evfn_and_rq_are_no_topics(key: str) -> None:
    assert Keys().topic_name(key) is None
    assert Keys("p:").topic_name(f"p:{key}") is None


def test_trigger_keys_are_read_back() -> None:
    keys = Keys("p:")
    assert keys.parse_trigger(keys.trigger(GROUP)) == GROUP
    assert keys.parse_trigger("p:evfn:topics") is None
