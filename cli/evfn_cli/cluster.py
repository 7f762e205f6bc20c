"""Manifests that run a project in a Kubernetes cluster."""

from evfn.manifest.duration import render
from evfn.trigger import Isolation
from evfn_cli.deployment import Deployment, comment_lines, fill, mapping, quoted

_SERVE = [
    "Instances: they dispatch all triggers and run the functions of those with isolation: process.",
]
_RQ_WORKER = ["RQ workers: they run the jobs of the triggers with isolation: job."]
_SCALED_SERVE = [
    "By what waits for the triggers that run in the instances. Never below {least}: they are who answers /scale, who",
    "dispatches, and who takes over from one another; functions without work cost nothing, for their processes end.",
]
_SCALED_RQ_WORKER = [
    "By what waits for jobs, down to none: the instances answer /scale and enqueue, so the first event of a job",
    "wakes a workload of zero.",
]


_SHARE = 100, "How many of these one pod is to have before another is started."
_JOB_SHARE = 1, "A pod runs one job at a time (--count): each job that waits or runs is to have one."


def cluster(made: Deployment, namespace: str, image: str, tag: str) -> dict[str, str]:
    """The files, by name."""
    name = made.name
    common = {"name": name, "namespace": namespace}
    simple = ["namespace", "serviceaccount", "configmap", "service", "poddisruptionbudget", "networkpolicy"]
    settings = mapping(made.settings, 2).lstrip("\n")
    files = {
        f"{each}.yaml": fill(f"kubernetes/{each}.yaml", **_only(each, common, drain=made.drain, environment=settings))
        for each in simple
    }
    files["deployment-serve.yaml"] = _deployment(made, "serve", _SERVE, made.instances)
    scaled = {"serve": (_SCALED_SERVE, made.triggers(Isolation.PROCESS), made.instances)}
    if made.has_jobs:
        files["deployment-rq-worker.yaml"] = _deployment(made, "rq-worker", _RQ_WORKER, made.rq_workers)
        scaled["rq-worker"] = (_SCALED_RQ_WORKER, made.triggers(Isolation.JOB), 0)
    scaled = {component: each for component, each in scaled.items() if each[1]}
    resources = "\n".join(f"  - {each}" for each in sorted(files))
    files["kustomization.yaml"] = fill(
        "kubernetes/kustomization.yaml", **common, resources=resources, image=quoted(image), tag=quoted(tag)
    )
    patches = [fill("kubernetes/keda/patch.yaml", workload=f"{name}-{component}") for component in scaled]
    files["keda/kustomization.yaml"] = fill(
        "kubernetes/keda/kustomization.yaml", namespace=namespace, patches="".join(patches)
    )
    objects = [_scaled(made, namespace, component, *each) for component, each in scaled.items()]
    files["keda/scaledobject.yaml"] = "---\n".join(objects)
    return files


def _only(file: str, common: dict[str, str], **others: str) -> dict[str, str]:
    return {**common, **others} if file == "configmap" else common


def _deployment(made: Deployment, component: str, about: list[str], replicas: int) -> str:
    named = f" ({', '.join(made.variables)})" if made.variables else ""
    serves = component == "serve"
    drain = made.drain if serves else render(made.job_drain)
    return fill(
        "kubernetes/deployment.yaml",
        about=comment_lines(about),
        name=made.name,
        workload=f"{made.name}-{component}",
        component=component,
        replicas=replicas,
        drain=drain,
        stop_seconds=made.stop_seconds if serves else made.job_stop_seconds,
        arguments=component if serves else f"{component}, --drain-timeout, {drain}",
        variables=named,
        probes=fill("kubernetes/probes.yaml") if serves else "",
        secret=f"{made.name}-redis" if serves else f"{made.name}-redis-rq-worker",
    )


def _scaled(made: Deployment, namespace: str, component: str, about: list[str], triggers: list[str], least: int) -> str:
    serves = component == "serve"
    replicas = made.instances if serves else made.rq_workers
    target = _SHARE if serves else _JOB_SHARE
    signals = "".join(
        fill(
            "kubernetes/keda/trigger.yaml",
            name=made.name,
            namespace=namespace,
            trigger=each,
            target=target[0],
            about=target[1],
        )
        for each in triggers
    )
    return fill(
        "kubernetes/keda/scaledobject.yaml",
        about=comment_lines([line.format(least=least) for line in about]),
        name=made.name,
        workload=f"{made.name}-{component}",
        least=least,
        most=max(10, replicas),
        replicas=replicas,
        triggers=signals.rstrip("\n"),
    )
