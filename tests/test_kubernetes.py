"""The Kubernetes profile: its jobs by a dry run, and a whole sweep on an API that runs them as processes."""

from __future__ import annotations

import csv
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from fake_kubernetes import Cluster, serve
from spinscape.companion.plan import sweep_plan
from toybook import REPOSITORY, edit, make_book, spinscape

FOLDER = REPOSITORY / "profiles" / "kubernetes"
PROFILE = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
OBJECTS = list(yaml.safe_load_all((FOLDER / "objects.yaml").read_text(encoding="utf-8")))
WORDS = ("sweep", "alpha", "width=5,6", "--", "--profile", str(FOLDER))


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Make a book in which one of two points fails."""
    layout = make_book(tmp_path_factory.mktemp("the $book (b)"))
    edit(layout.book / "alpha.md", "print(double(width), rates)", "print(1 / (width - 5))")
    return layout


def call(layout, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{REPOSITORY / 'lib'}:{FOLDER}"
    return spinscape(*WORDS, *words, root=layout.root, **{**environment, "PYTHONPATH": path})


def test_a_dry_run_lists_the_jobs(layout):
    plan = sweep_plan(layout, "alpha", "quick", {"width": [5, 6]})
    run = call(layout, "--dry-run", KUBECONFIG=os.devnull)
    assert run.returncode == 0, run.stdout + run.stderr
    log = (plan.folder / "logs" / "snakemake.log").read_text(encoding="utf-8")
    assert re.search(r"^execute +2$", log, flags=re.MULTILINE)
    jobs = [part.partition("\n[")[0] for part in log.split("\nrule execute:\n")[1:]]
    assert len(jobs) == 2
    for run in plan.runs.values():
        (job,) = (job for job in jobs if f"wildcards: name={run.name}\n" in f"{job}\n")
        for resource in ("mem_mb=4000", "gpu=0", "gpu_manufacturer=nvidia", "scale=0"):
            assert resource in job


@pytest.fixture(scope="module")
def swept(layout, tmp_path_factory):
    """Sweep once on the fake API."""
    with serve(tmp_path_factory.mktemp("kubernetes") / "api") as (cluster, kubeconfig):
        patience = ("--seconds-between-status-checks", "1", "--latency-wait", "5")
        run = call(layout, *patience, KUBECONFIG=str(kubeconfig))
        yield cluster, run, sweep_plan(layout, "alpha", "quick", {"width": [5, 6]})


def test_a_job_is_one_point_in_the_image_on_the_volume(swept):
    cluster, _, plan = swept
    assert len(cluster.jobs) == 2
    wanted = {run.name for run in plan.runs.values()}
    for job in cluster.jobs.values():
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == PROFILE["container-image"]
        assert container["command"] == ["/bin/sh"]
        flag, command = container["args"]
        assert flag == "-c"
        assert " && python -m snakemake --snakefile " in command
        (name,) = re.findall(r"--target-jobs 'execute:name=([\w-]+)'", command)
        wanted.remove(name)
        assert "pip install" not in command
        claim, path = PROFILE["kubernetes-volume-persistent-volumes"].split(":")
        assert {"name": claim, "mountPath": path} in container["volumeMounts"]
        assert {"name": claim, "persistentVolumeClaim": {"claimName": claim}} in pod["volumes"]
        assert {"cpu": "1000m", "memory": "4000M"}.items() <= container["resources"]["limits"].items()
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert "securityContext" not in container
        assert "securityContext" not in pod
        assert pod["serviceAccountName"] == PROFILE["kubernetes-volume-service-account-name"]
        assert pod["restartPolicy"] == "Never"
        assert job["spec"]["backoffLimit"] == 0
    assert not wanted


def test_the_command_ends_as_it_does_elsewhere(swept):
    cluster, run, plan = swept
    assert run.returncode == 1
    assert "width=5 failed in cell 3 of 3: ZeroDivisionError: division by zero" in run.stdout
    assert "Executed: width=6 (" in run.stdout
    with (plan.folder / "table.csv").open(encoding="utf-8", newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["failed", "done"]
    assert sorted(cluster.deleted) == sorted(cluster.jobs)
    assert not cluster.secrets


def test_the_objects_allow_what_is_asked_for_and_no_more(swept):
    cluster: Cluster = swept[0]
    (role,) = (each for each in OBJECTS if each["kind"] == "Role")
    allowed = {
        (verb, resource) for rule in role["rules"] for verb in rule["verbs"] for resource in rule["resources"]
    }
    assert cluster.asked == allowed


def test_the_objects_fit_the_profile():
    by_kind: dict[str, list[dict]] = {}
    for each in OBJECTS:
        by_kind.setdefault(each["kind"], []).append(each)
    namespace = PROFILE["kubernetes-volume-namespace"]
    assert by_kind["Namespace"][0]["metadata"]["name"] == namespace
    assert all(e["metadata"].get("namespace", namespace) == namespace for e in OBJECTS)
    claim, path = PROFILE["kubernetes-volume-persistent-volumes"].split(":")
    assert [e["metadata"]["name"] for e in by_kind["PersistentVolumeClaim"]] == [claim]
    (pod,) = by_kind["Pod"]
    (container,) = pod["spec"]["containers"]
    assert container["image"] == PROFILE["container-image"]
    assert {"name": "book", "mountPath": path} in container["volumeMounts"]
    accounts = {e["metadata"]["name"]: e for e in by_kind["ServiceAccount"]}
    assert set(accounts) == {
        pod["spec"]["serviceAccountName"],
        PROFILE["kubernetes-volume-service-account-name"],
    }
    (binding,) = by_kind["RoleBinding"]
    assert [s["name"] for s in binding["subjects"]] == [pod["spec"]["serviceAccountName"]]


def test_the_image_holds_the_pins():
    text = Path(FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert "COPY requirements.lock" in text
    assert re.search(r"^USER 1000", text, flags=re.MULTILINE)
