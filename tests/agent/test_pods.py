"""docs/guides/kubernetes.md#what-runs-where: pods are made from an allow-list, and amounts are read as Kubernetes means them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.agent.config import AgentConfig, KubernetesConfig
from bushel.agent.executors.kubernetes import labels
from bushel.agent.executors.kubernetes.amounts import ours, quantity, requested
from bushel.agent.executors.kubernetes.pods import WORKDIR_LIMIT_BYTES, PodMaker
from bushel.agent.requests import CannotRun
from bushel.spec.agent import DesiredAttempt

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
_FREE = {
    "env": st.dictionaries(_NAMES, _TEXT, max_size=3),
    "labels": st.dictionaries(_TEXT.filter(bool), _TEXT, max_size=3),
    "run": _TEXT.filter(bool) | st.lists(_TEXT, min_size=1, max_size=3),
    "setup": st.none() | _TEXT,
    "securityContext": st.just({"privileged": True}),
    "hostNetwork": st.just(True),
    "serviceAccountName": st.just("admin"),
    "volumes": st.just([{"name": "root", "hostPath": {"path": "/"}}]),
    "schedulerName": st.just("default-scheduler"),
    "nodeName": st.just("elsewhere"),
}


def made(spec: dict[str, Any], *, secrets: dict[str, str] | None = None, tasks: int = 1, workdir: str | None = None, **more: Any) -> Any:
    amounts = more.pop("amounts", {"cpu": 1500, "memory": 2**30, "gpu/H100": 2000})
    attempt = {
        "id": "k7q2m.17.2",
        "job_name": "probe",
        "project": "acme/research/vision",
        "attempt": 2,
        "index": 17,
        "task_count": tasks,
        "element_count": 20,
        "spec": {"image": "example.invalid/task:1", "run": "true", **spec},
        "secrets": secrets or {},
        "placement": [{"group": "main", "ranks": [0, tasks], "node": "n1", "amounts": amounts}],
        "resume_from": None,
        **more,
    }
    config = AgentConfig("http://x", "t", "c1", "s", engine="kubernetes", kubernetes=KubernetesConfig(annotations=("team",)))
    ranks = range(tasks)
    return PodMaker(config, "bushel-").make(cast(DesiredAttempt, attempt), ranks=ranks, epoch=7, master_port=0, workdir=workdir, devices={})


@given(st.fixed_dictionaries({}, optional=_FREE), st.dictionaries(_NAMES, _TEXT, max_size=2))
def test_no_document_changes_a_protected_field(spec: dict[str, Any], secrets: dict[str, str]) -> None:
    (request,) = made(spec, secrets=secrets)
    pod = request["pod"]
    protected = pod["spec"]
    assert protected["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = protected["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert not protected["automountServiceAccountToken"]
    assert protected["schedulerName"] == "bushel"
    assert not {"nodeName", "hostNetwork", "hostPID", "hostIPC", "serviceAccountName", "tolerations", "affinity"} & set(protected)
    assert all(set(volume) <= {"name", "emptyDir", "secret"} for volume in protected["volumes"])
    assert set(pod["metadata"]["annotations"]) <= {labels.FACTS, "team"}
    own = {variable["name"]: variable for variable in container["env"]}
    assert len(own) == len(container["env"])
    assert own["BUSHEL_JOB_ID"]["value"] == "k7q2m"


def test_secrets_are_in_the_secret_alone() -> None:
    (request,) = made({"env": {"TOKEN": "shown"}}, secrets={"TOKEN": "hidden-value"})
    assert "hidden-value" not in str(request["pod"])
    assert "shown" not in str(request["pod"])
    assert set(request["secret"]["data"]) == {"env.TOKEN"}


def test_amounts_become_requests_and_limits() -> None:
    (request,) = made({})
    resources = request["pod"]["spec"]["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"] == {"cpu": "1500m", "memory": str(2**30), "nvidia.com/gpu": "2"}
    assert {name: amount for name, amount in requested(request["pod"]).items() if amount} == {
        "cpu": 1500,
        "memory": 2**30,
        "gpu": 2000,
        "pods": 1,
    }


@pytest.mark.parametrize(
    ("spec", "more", "words"),
    [
        ({"image": None}, {}, "names no image"),
        ({}, {"context": {"BUSHEL_STAGE": "s"}}, "stages of pipelines"),
        ({}, {"amounts": {"gpu/H100": 500}}, "0.5 of an accelerator"),
    ],
)
def test_what_cannot_run_there_is_refused_with_a_sentence(spec: dict[str, Any], more: dict[str, Any], words: str) -> None:
    with pytest.raises(CannotRun, match=words):
        made(spec, **more)


def test_a_working_folder_comes_with_the_secret_up_to_a_size(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"x" * 100)
    (request,) = made({}, workdir=str(archive))
    assert "workdir.tar.gz" in request["secret"]["data"]
    archive.write_bytes(b"x" * (WORKDIR_LIMIT_BYTES + 1))
    with pytest.raises(CannotRun, match="put what is large into the image"):
        made({}, workdir=str(archive))


@given(st.integers(0, 10**12))
def test_quantities_are_read_exactly(number: int) -> None:
    assert ours({"cpu": f"{number}m"})["cpu"] == number
    assert ours({"memory": f"{number}Ki"})["memory"] == number * 1024
    assert ours({"memory": f"{number}M"})["memory"] == number * 10**6
    assert quantity("1e3") == 1000
    assert quantity("nonsense") == 0


@given(st.text("abcdefghij-/", min_size=1, max_size=90), st.text("abcdefghij-/", min_size=1, max_size=90))
def test_namespaces_are_names_and_differ_between_projects(first: str, second: str) -> None:
    names = [labels.namespace("bushel-", project) for project in (first, second)]
    assert all(len(name) <= 63 and not name.startswith("-") and not name.endswith("-") and "/" not in name for name in names)
    assert (names[0] == names[1]) == (first == second)
