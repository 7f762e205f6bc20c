"""The manifests: valid by Kubernetes' own schemas, locked up, and true to one another."""

from datetime import timedelta
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deployments import ALERT, REPORT, deployment
from evfn.trigger import Project
from evfn_cli.cluster import cluster
from evfn_cli.deployment import Deployment

VERSIONS = ("1.29", "1.37")
"""The oldest Kubernetes that providers still serve, and the newest whose schema there is."""
MADES = [deployment(), deployment("3d-a--b-"), deployment("x" * 63), deployment("j", REPORT), deployment("p", ALERT)]
IDS = ["plain", "odd", "long", "only jobs", "no jobs"]


_PARSED: dict[Project, dict[str, list[dict[str, Any]]]] = {}


def objects(made: Deployment) -> dict[str, list[dict[str, Any]]]:
    """What the files hold, by file."""
    if made.project not in _PARSED:
        files = cluster(made, "space", "registry.example.com/climate", "1")
        _PARSED[made.project] = {
            name: [each for each in yaml.load_all(text, yaml.CSafeLoader) if each] for name, text in files.items()
        }
    return _PARSED[made.project]


def one(made: Deployment, kind: str, end: str = "") -> dict[str, Any]:
    [found] = [
        each
        for file in objects(made).values()
        for each in file
        if each["kind"] == kind and each.get("metadata", {}).get("name", "").endswith(end)
    ]
    return found


@pytest.mark.parametrize(
    ("made", "version"), [(MADES[0], VERSIONS[0]), *((made, VERSIONS[1]) for made in MADES)], ids=["oldest", *IDS]
)
def test_kubernetes_knows_every_field(made: Deployment, version: str) -> None:
    """By the API's schema, in which an unknown field is an error. Kustomizations and KEDA's objects have none there."""
    checked = 0
    for file, found in objects(made).items():
        for each in found:
            if each["kind"] not in ("Kustomization", "ScaledObject"):
                kubernetes_validate.validate(each, version, strict=True)
                checked += 1
            assert each["kind"] != "Secret", f"{file} would hold a secret"
    assert checked >= 7


@pytest.mark.parametrize("made", MADES, ids=IDS)
def test_names_are_such_as_everything_may_bear(made: Deployment) -> None:
    """Services and labels may be no longer than 63, and begin with a letter; two projects never share one."""
    names = [each["metadata"]["name"] for file in objects(made).values() for each in file if "metadata" in each]
    assert all(len(name) <= 63 and name[0].isalpha() and name[-1].isalnum() for name in names)
    assert deployment("x" * 62 + "y").name != deployment("x" * 63).name
    assert deployment("a-").name != deployment("a").name


@pytest.mark.parametrize("component", ["serve", "rq-worker"])
def test_pods_meet_the_restricted_profile(component: str) -> None:
    """Of the Pod Security Standards, which the namespace enforces; no token, nothing that can be written but /tmp."""
    spec = one(deployment(), "Deployment", component)["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"]["cpu"]
    mounted = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert set(mounted) == {"/run/secrets/evfn", "/run/evfn", "/tmp"}
    assert set(mounted.values()) == {each["name"] for each in spec["volumes"]}
    labels = one(deployment(), "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_pod_is_asked_whether_it_is_up_and_gets_the_time_to_drain() -> None:
    """Alive is not ready: an instance that waits for Redis is not restarted."""
    made = deployment()
    spec = one(made, "Deployment", "serve")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > made.drain_timeout.total_seconds()
    [container] = spec["containers"]
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    spec = one(made, "Deployment", "rq-worker")["spec"]["template"]["spec"]
    [worker] = spec["containers"]
    # A job that is ended runs anew, for just as long: it gets the time that its trigger allows.
    assert worker["args"] == ["rq-worker", "--drain-timeout", "20m"]
    assert spec["terminationGracePeriodSeconds"] > timedelta(minutes=20).total_seconds()
    assert "livenessProbe" not in worker
    assert one(made, "ConfigMap")["data"]["EVFN_DRAIN_TIMEOUT"] == "1m30s"


def test_everything_that_is_referred_to_is_there() -> None:
    """Selectors find the pods, and names agree."""
    made = deployment()
    pods = {
        component: one(made, "Deployment", component)["spec"]["template"]["metadata"]["labels"]
        for component in ("serve", "rq-worker")
    }
    assert one(made, "Service")["spec"]["selector"] == pods["serve"]
    assert one(made, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == pods["serve"]
    policy = one(made, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pods["rq-worker"].items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    for component, labels in pods.items():
        spec = one(made, "Deployment", component)["spec"]
        assert spec["selector"]["matchLabels"] == labels
        assert spec["template"]["spec"]["serviceAccountName"] == one(made, "ServiceAccount")["metadata"]["name"]
        [container] = spec["template"]["spec"]["containers"]
        assert container["envFrom"][0]["configMapRef"]["name"] == one(made, "ConfigMap")["metadata"]["name"]
        for constraint in spec["template"]["spec"]["topologySpreadConstraints"]:
            assert constraint["labelSelector"]["matchLabels"] == labels
    files = objects(made)
    assert sorted(files["kustomization.yaml"][0]["resources"]) == sorted(
        name for name in files if "/" not in name and name != "kustomization.yaml"
    )


@pytest.mark.parametrize("made", MADES, ids=IDS)
def test_keda_scales_each_workload_by_its_own_triggers(made: Deployment) -> None:
    """Instances never to none, for they answer /scale; RQ workers to none, for instances wake them."""
    files = objects(made)
    service = one(made, "Service")["metadata"]["name"]
    scaled = {each["spec"]["scaleTargetRef"]["name"]: each["spec"] for each in files["keda/scaledobject.yaml"]}
    deployments = {each["metadata"]["name"] for file in files.values() for each in file if each["kind"] == "Deployment"}
    assert set(scaled) <= deployments
    asked = []
    for workload, spec in scaled.items():
        assert spec["minReplicaCount"] == (0 if workload.endswith("rq-worker") else 2)
        assert spec["maxReplicaCount"] >= spec["minReplicaCount"]
        for trigger in spec["triggers"]:
            assert trigger["type"] == "metrics-api"
            assert trigger["metricType"] == "AverageValue", "what a fallback needs"
            assert trigger["metadata"]["valueLocation"] == "value"
            assert all(isinstance(value, str) for value in trigger["metadata"].values())
            url = trigger["metadata"]["url"]
            assert url.startswith(f"http://{service}.space.svc.cluster.local:9464/scale/")
            asked.append(url.rpartition("/")[2])
    assert sorted(asked) == sorted(each.name for each in made.project.triggers)
    patched = {each["target"]["name"] for each in files["keda/kustomization.yaml"][0]["patches"]}
    assert patched == set(scaled), "else an apply would set KEDA's number back"
