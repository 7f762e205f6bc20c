"""What each user may touch follows from the project; what evfn's scripts send is what an instance may send."""

import re
from hashlib import sha256
from importlib import resources

import pytest

from evfn.broker import acl, rights
from evfn.errors import UsageError
from evfn.trigger import Isolation, Project, Settings, TopicRules, Trigger

PACK = Trigger("pack", ("orders.new",), "pack", emits=("orders.packed",))


def project(*topics: str, prefix: str = "", isolation: Isolation = Isolation.PROCESS) -> Project:
    trigger = Trigger("pack", topics or ("orders.new",), "pack", emits=("orders.packed",), isolation=isolation)
    return Project("shop", (trigger,), settings=Settings(key_prefix=prefix))


def keys(role: acl.Role, of: Project) -> set[str]:
    return set(acl.user(role, of).grants[0].keys)


def test_every_command_of_a_script_is_among_the_rights_of_an_instance() -> None:
    """A command that a script gets later cannot be forgotten in the users that are generated."""
    sent = set()
    for script in resources.files("evfn.broker").joinpath("lua").iterdir():
        text = script.read_text("utf-8")
        found = re.findall(r"redis\.p?call\(\s*'(\w+)'(?:,\s*'([A-Z]+)')?", text)
        sent |= {f"{name}|{inner}" if inner and name.startswith("X") else name for name, inner in found}
    assert len(sent) > 30
    assert {each.lower() for each in sent} <= rights.INSTANCE


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("orders.new", {"~orders.new"}),
        ("orders.*", {"~orders.*"}),
        ("orders.**", {"~orders", "~orders.*"}),
        ("**.new", {"~new", "~*.new"}),
        ("a.**.b", {"~a.b", "~a.*.b"}),
        ("**", {"~*"}),
        ("**.**", {"~*", "~*.*"}),
    ],
)
def test_a_pattern_allows_every_topic_that_it_matches(topic: str, allowed: set[str]) -> None:
    """`**` also stands for no segment at all; an ACL knows no segments, so `*` allows more than the trigger takes."""
    assert {each for each in keys(acl.Role.PRODUCER, project(topic)) if "evfn:" not in each} == allowed


def test_the_key_prefix_stands_before_every_key() -> None:
    """RQ's own keys have none."""
    for role in acl.Role:
        user = acl.user(role, project(prefix="t:", isolation=Isolation.JOB))
        of_rq = {key for grant in user.grants[1:] for key in grant.keys}
        assert of_rq <= {"~rq:*"}
        assert all(re.match(r"(%R)?~t:", key) for key in user.grants[0].keys)


def test_only_an_instance_of_a_project_with_jobs_speaks_with_rq() -> None:
    """The least that each needs."""
    assert len(acl.user(acl.Role.INSTANCE, project()).grants) == 1
    assert len(acl.user(acl.Role.INSTANCE, project(isolation=Isolation.JOB)).grants) == 2
    assert acl.Role.RQ_WORKER not in acl.roles(project())
    assert acl.Role.RQ_WORKER in acl.roles(project(isolation=Isolation.JOB))


def test_nobody_may_change_the_server_or_see_all_of_it() -> None:
    """No user has a command that destroys data of others, reads its settings, or holds it up."""
    forbidden = {"flushall", "flushdb", "keys", "shutdown", "debug", "acl", "monitor", "replicaof", "swapdb", "config"}
    for role in acl.Role:
        for grant in acl.user(role, project(isolation=Isolation.JOB)).grants:
            assert not {each.partition("|")[0] for each in grant.commands} & (forbidden | {"module", "save"})
            assert not grant.commands & {"script", "script|flush", "client", "client|kill", "client|list"}
            assert not any(each.startswith("@") for each in grant.commands)


def test_topics_with_storage_rules_let_an_instance_see_how_far_others_are() -> None:
    """Trimming asks every group; without rules nothing of another project's is touched."""
    rules = Project("shop", (PACK,), topics=(("orders.new", TopicRules(max_events=1)),))
    assert "~evfn:{orders.new}:*:stats" in keys(acl.Role.INSTANCE, rules)
    assert not any(":*:stats" in each for each in keys(acl.Role.INSTANCE, project()))


def test_a_password_is_only_ever_its_hash() -> None:
    """And without one there stands what no server accepts as a hash."""
    user = acl.user(acl.Role.PRODUCER, project())
    assert f" #{sha256(b'secret').hexdigest()} " in user.command("secret")
    assert "secret" not in user.command("secret") + user.line("secret")
    assert f" #{acl.PLACEHOLDER} " in user.command()
    assert user.line().startswith("user shop-producer on #")


def test_a_prefix_that_an_acl_cannot_name_is_refused() -> None:
    """EVFN_KEY_PREFIX may hold anything; blanks and wildcards would mean something else there."""
    with pytest.raises(UsageError, match="cannot stand in an ACL"):
        acl.user(acl.Role.INSTANCE, project(prefix="a b:"))
