"""Projects to generate files for: plain, with jobs, and one whose names are as odd as names can be."""

from collections.abc import Mapping
from datetime import timedelta

from evfn.trigger import Isolation, Project, Trigger
from evfn_cli.deployment import Deployment

ALERT = Trigger("heat-alert", ("readings.*",), "climate:alert", emits=("alerts.raised",))
REPORT = Trigger("report", ("reports.wanted",), "reports:make", timeout=timedelta(minutes=20), isolation=Isolation.JOB)
BLANKS = {"EVFN_FUNCTIONS": "my $code", "EVFN_MANIFEST": "other one.yaml"}
ODD = {"EVFN_FUNCTIONS": "my $code 50%\"'\\", "EVFN_MANIFEST": "other one.yaml"}


def deployment(
    name: str = "climate", *triggers: Trigger, settings: Mapping[str, str] | None = None, **others: str
) -> Deployment:
    return Deployment(
        project=Project(name, triggers or (ALERT, REPORT)),
        manifest=others.get("manifest", "triggers.yaml"),
        functions=others.get("functions", "functions"),
        variables=("API_KEY", "LEVEL"),
        settings=settings or {},
        drain="1m30s",
        drain_timeout=timedelta(seconds=90),
        instances=2,
        rq_workers=3,
    )
