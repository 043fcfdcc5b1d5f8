"""Who may do what, as a table beside the code that decides it: every route, for an object of one's own team and of another.

A rule says the lowest role, bound to the object's team, that may (`least`), and what others meet: `refused` who can
see the place but may not do this, `hidden` who cannot see it.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.api.conftest import Client

RANK = {"anyone": 0, "viewer": 1, "member": 2, "manager": 3, "admin": 4, "organisation": 5}
"""`anyone`: a valid token is enough. `organisation`: an admin of the organisation."""

_numbers = itertools.count(1)


def fresh(prefix: str) -> str:
    return f"{prefix}{next(_numbers)}"


@dataclass
class Ask:
    """A request that does something if it is let through."""

    path: str
    json: Any = None
    params: dict[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, client: Client, method: str) -> Any:
        return client.request(method, self.path, json=self.json, params=self.params, content=self.content, headers=self.headers)


_years = itertools.count(2100)


def work_on_it() -> dict[str, Any]:
    """A maintenance window at a time of its own."""
    year = next(_years)
    return {"starts_at": f"{year}-01-01T00:00:00Z", "ends_at": f"{year}-01-02T00:00:00Z", "reason": "new fans"}


@dataclass
class World:
    """`admin` may do everything; `team` is the place whose object is asked for."""

    admin: Client
    team: str

    @property
    def project(self) -> str:
        return f"{self.team}/main"

    def made(self, path: str, **rest: Any) -> dict[str, Any]:
        answer = self.admin.post(path, **rest)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def new_project(self) -> str:
        return self.made("/v1/scopes", json={"path": f"{self.team}/{fresh('p')}"})["path"]

    def new_service(self) -> str:
        return self.made("/v1/principals", json={"name": fresh("robot"), "kind": "service", "scope": self.team})["name"]

    def new_queue(self) -> str:
        parent = self.team.rpartition("/")[2]
        return self.made("/v1/queues", json={"name": fresh("q"), "scope": self.team, "parent": parent})["name"]

    def new_secret(self) -> str:
        name = fresh("S")
        assert self.admin.put(f"/v1/secrets/{name}", params={"scope": self.team}, json={"value": "x"}).status_code == 200
        return name

    def new_binding(self) -> str:
        name = self.new_service()
        assert self.admin.put("/v1/roles", json={"principal": name, "scope": self.team, "role": "viewer"}).status_code == 200
        return name

    def new_token(self) -> str:
        return self.made("/v1/tokens", json={"name": "t", "principal": self.new_service()})["id"]

    def new_user(self) -> str:
        return self.made("/v1/principals", json={"name": fresh("user"), "scope": "home"})["name"]

    def new_job(self, **fields: Any) -> str:
        made = self.made("/v1/jobs", json={"name": fresh("job"), "run": "true", **fields}, params={"project": self.project})
        return made["metadata"]["id"]

    def ended_job(self) -> str:
        job = self.new_job(hold=True)
        assert self.admin.post(f"/v1/jobs/{job}/cancel", json={}).status_code == 200
        return job

    def new_pipeline(self) -> str:
        return self.made("/v1/pipelines", json=a_pipeline(), params={"project": self.project})["name"]

    def paused_pipeline(self) -> str:
        name = self.new_pipeline()
        self.made(f"/v1/pipelines/{name}/pause")
        return name

    def new_run(self) -> str:
        """Its path."""
        name = self.new_pipeline()
        self.made(f"/v1/pipelines/{name}/runs")
        return f"/v1/pipelines/{name}/runs/1"

    def run_with_canary(self) -> str:
        document = {**a_pipeline(), "partitions": ["a", "b"], "canary": {"count": 1}}
        name = self.made("/v1/pipelines", json=document, params={"project": self.project})["name"]
        self.made(f"/v1/pipelines/{name}/runs")
        return f"/v1/pipelines/{name}/runs/1"

    def paused_run(self) -> str:
        path = self.new_run()
        self.made(f"{path}/pause")
        return path

    def ended_run(self) -> str:
        """One of no partitions: it ends as soon as it has begun."""
        windows = {"every": "1d", "start": "2990-01-01T00:00:00Z"}
        document = {**a_pipeline(), "partitions": {"windows": windows}}
        name = self.made("/v1/pipelines", json=document, params={"project": self.project})["name"]
        self.made(f"/v1/pipelines/{name}/runs")
        return f"/v1/pipelines/{name}/runs/1"

    def new_site(self) -> str:
        return self.made("/v1/sites", json={"name": fresh("site")})["name"]

    def new_cluster(self) -> str:
        return self.made("/v1/clusters", json={"name": fresh("cluster"), "site": self.new_site()})["name"]

    def new_window(self) -> int:
        """Of the node n1."""
        known = self.admin.get("/v1/nodes/fleet/n1").json()["maintenance"]
        return (known or self.made("/v1/nodes/fleet/n1/maintenance", json=work_on_it())["maintenance"])[0]["id"]

    def new_place(self) -> str:
        name = fresh("place")
        document = {"url": f"/srv/{name}"}
        assert self.admin.put(f"/v1/storage/{name}", params={"scope": self.team}, json=document).status_code == 200
        return name

    def new_dataset(self) -> str:
        """One with a version that may be deleted. Its name is of this project alone."""
        name = f"{fresh('set')}/frames"
        made = self.admin.put(f"/v1/datasets/{name}", params={"project": self.project}, json={"places": [self.new_place()]})
        assert made.status_code == 201, made.text
        self.made(f"/v1/datasets/{name}/versions", json={"parts": []})
        return name

    def pinned_dataset(self) -> str:
        name = self.new_dataset()
        self.made(f"/v1/datasets/{name}/versions/1/pins", json={"consumer": "model"})
        return name


@dataclass(frozen=True)
class Rule:
    least: str
    ask: Callable[[World], Ask]
    refused: int = 403
    hidden: int = 404
    roleless: int | None = None  # who has no role anywhere, when that is told apart from `hidden`
    writes: bool | None = None  # needs a token that may write; None: every method but GET and HEAD
    audited: bool = True  # doing it leaves an audit row; of routes that change something


def _archive() -> tuple[str, bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(fresh("file"))
        archive.addfile(member, io.BytesIO(b""))
    content = buffer.getvalue()
    return f"sha256:{hashlib.sha256(content).hexdigest()}", content


def a_pipeline() -> dict[str, Any]:
    return {"name": fresh("pipeline"), "stages": {"one": {"run": "true"}}}


def _upload(world: World) -> Ask:
    digest, content = _archive()
    return Ask(f"/v1/projects/{world.project}/blobs/{digest}", content=content, headers={"Content-Type": "application/gzip"})


def _uploaded(world: World) -> Ask:
    ask = _upload(world)
    assert ask.send(world.admin, "PUT").status_code == 201
    return Ask(ask.path)


RULES: dict[tuple[str, str], Rule] = {
    ("GET", "/v1/whoami"): Rule("anyone", lambda w: Ask("/v1/whoami")),
    ("GET", "/v1/scopes"): Rule("viewer", lambda w: Ask("/v1/scopes", params={"under": w.team})),
    ("POST", "/v1/scopes"): Rule("admin", lambda w: Ask("/v1/scopes", json={"path": f"{w.team}/{fresh('new')}"})),
    ("GET", "/v1/scopes/{path}"): Rule("viewer", lambda w: Ask(f"/v1/scopes/{w.project}")),
    ("PATCH", "/v1/scopes/{path}"): Rule("admin", lambda w: Ask(f"/v1/scopes/{w.new_project()}", json={"queue": w.new_queue()})),
    ("DELETE", "/v1/scopes/{path}"): Rule("admin", lambda w: Ask(f"/v1/scopes/{w.new_project()}")),
    ("GET", "/v1/roles"): Rule("viewer", lambda w: Ask("/v1/roles", params={"scope": w.team})),
    ("PUT", "/v1/roles"): Rule("admin", lambda w: Ask("/v1/roles", json={"principal": w.new_service(), "scope": w.team, "role": "admin"})),
    ("DELETE", "/v1/roles"): Rule("admin", lambda w: Ask("/v1/roles", params={"scope": w.team, "principal": w.new_binding()})),
    ("GET", "/v1/principals"): Rule("anyone", lambda w: Ask("/v1/principals")),
    ("POST", "/v1/principals"): Rule(
        "admin", lambda w: Ask("/v1/principals", json={"name": fresh("robot"), "kind": "service", "scope": w.team})
    ),
    ("GET", "/v1/principals/{name}"): Rule("viewer", lambda w: Ask(f"/v1/principals/{w.new_service()}")),
    ("POST", "/v1/principals/{name}/enrol"): Rule(
        "organisation", lambda w: Ask(f"/v1/principals/{w.new_user()}/enrol"), hidden=403, roleless=404
    ),
    ("POST", "/v1/principals/{name}/disable"): Rule("admin", lambda w: Ask(f"/v1/principals/{w.new_service()}/disable")),
    ("POST", "/v1/principals/{name}/enable"): Rule("admin", lambda w: Ask(f"/v1/principals/{w.new_service()}/enable")),
    ("GET", "/v1/tokens"): Rule("admin", lambda w: Ask("/v1/tokens", params={"principal": w.new_service()})),
    ("POST", "/v1/tokens"): Rule("admin", lambda w: Ask("/v1/tokens", json={"name": "t", "principal": w.new_service()})),
    ("POST", "/v1/tokens/{token}/revoke"): Rule("admin", lambda w: Ask(f"/v1/tokens/{w.new_token()}/revoke"), refused=404),
    ("GET", "/v1/queues"): Rule("anyone", lambda w: Ask("/v1/queues")),
    ("GET", "/v1/queue-tree"): Rule("anyone", lambda w: Ask("/v1/queue-tree")),
    ("POST", "/v1/queues"): Rule(
        "admin", lambda w: Ask("/v1/queues", json={"name": fresh("q"), "scope": w.team, "parent": w.team.rpartition("/")[2]})
    ),
    ("GET", "/v1/queues/{name}"): Rule("viewer", lambda w: Ask(f"/v1/queues/{w.new_queue()}")),
    ("PATCH", "/v1/queues/{name}"): Rule("admin", lambda w: Ask(f"/v1/queues/{w.new_queue()}", json={"weight": 5})),
    ("DELETE", "/v1/queues/{name}"): Rule("admin", lambda w: Ask(f"/v1/queues/{w.new_queue()}")),
    ("GET", "/v1/secrets"): Rule("member", lambda w: Ask("/v1/secrets", params={"scope": w.team})),
    ("PUT", "/v1/secrets/{name}"): Rule(
        "manager", lambda w: Ask(f"/v1/secrets/{fresh('S')}", params={"scope": w.team}, json={"value": "x"})
    ),
    ("DELETE", "/v1/secrets/{name}"): Rule("manager", lambda w: Ask(f"/v1/secrets/{w.new_secret()}", params={"scope": w.team})),
    ("GET", "/v1/storage"): Rule("viewer", lambda w: Ask("/v1/storage", params={"scope": w.team})),
    ("PUT", "/v1/storage/{name}"): Rule(
        "manager", lambda w: Ask(f"/v1/storage/{fresh('place')}", params={"scope": w.team}, json={"url": "/srv/data"})
    ),
    ("DELETE", "/v1/storage/{name}"): Rule("manager", lambda w: Ask(f"/v1/storage/{w.new_place()}", params={"scope": w.team})),
    ("GET", "/v1/datasets"): Rule("anyone", lambda w: Ask("/v1/datasets")),
    ("GET", "/v1/lineage/events"): Rule("anyone", lambda w: Ask("/v1/lineage/events")),
    ("GET", "/v1/datasets/{dataset}"): Rule("viewer", lambda w: Ask(f"/v1/datasets/{w.new_dataset()}")),
    ("PUT", "/v1/datasets/{dataset}"): Rule(
        "member", lambda w: Ask(f"/v1/datasets/{fresh('set')}", params={"project": w.project}, json={"places": [w.new_place()]})
    ),
    ("GET", "/v1/datasets/{dataset}/versions"): Rule("viewer", lambda w: Ask(f"/v1/datasets/{w.new_dataset()}/versions")),
    ("POST", "/v1/datasets/{dataset}/versions"): Rule(
        "member", lambda w: Ask(f"/v1/datasets/{w.new_dataset()}/versions", json={"parts": []})
    ),
    ("GET", "/v1/datasets/{dataset}/versions/{version}"): Rule("viewer", lambda w: Ask(f"/v1/datasets/{w.new_dataset()}/versions/1")),
    ("DELETE", "/v1/datasets/{dataset}/versions/{version}"): Rule("manager", lambda w: Ask(f"/v1/datasets/{w.new_dataset()}/versions/1")),
    ("GET", "/v1/datasets/{dataset}/versions/{version}/parts"): Rule(
        "viewer", lambda w: Ask(f"/v1/datasets/{w.new_dataset()}/versions/1/parts")
    ),
    ("GET", "/v1/datasets/{dataset}/versions/{version}/diff"): Rule(
        "viewer", lambda w: Ask(f"/v1/datasets/{w.new_dataset()}/versions/1/diff", params={"against": "1"})
    ),
    ("GET", "/v1/datasets/{dataset}/versions/{version}/lineage"): Rule(
        "viewer", lambda w: Ask(f"/v1/datasets/{w.new_dataset()}/versions/1/lineage")
    ),
    ("POST", "/v1/datasets/{dataset}/versions/{version}/pins"): Rule(
        "member", lambda w: Ask(f"/v1/datasets/{w.new_dataset()}/versions/1/pins", json={"consumer": "model"})
    ),
    ("DELETE", "/v1/datasets/{dataset}/versions/{version}/pins"): Rule(
        "member", lambda w: Ask(f"/v1/datasets/{w.pinned_dataset()}/versions/1/pins", params={"consumer": "model"})
    ),
    ("GET", "/v1/datasets/{dataset}/pins"): Rule("viewer", lambda w: Ask(f"/v1/datasets/{w.pinned_dataset()}/pins")),
    ("GET", "/v1/schemas/pipeline"): Rule("anyone", lambda w: Ask("/v1/schemas/pipeline")),
    ("POST", "/v1/pipelines/plan"): Rule(
        "member", lambda w: Ask("/v1/pipelines/plan", json=a_pipeline(), params={"project": w.project}), audited=False
    ),
    ("POST", "/v1/pipelines"): Rule("member", lambda w: Ask("/v1/pipelines", json=a_pipeline(), params={"project": w.project})),
    ("GET", "/v1/pipelines"): Rule("viewer", lambda w: Ask("/v1/pipelines", params={"project": w.project})),
    ("GET", "/v1/pipelines/{pipeline}"): Rule("viewer", lambda w: Ask(f"/v1/pipelines/{w.new_pipeline()}")),
    ("GET", "/v1/pipelines/{pipeline}/versions"): Rule("viewer", lambda w: Ask(f"/v1/pipelines/{w.new_pipeline()}/versions")),
    ("GET", "/v1/pipelines/{pipeline}/diff"): Rule("viewer", lambda w: Ask(f"/v1/pipelines/{w.new_pipeline()}/diff")),
    ("POST", "/v1/pipelines/{pipeline}/pause"): Rule("member", lambda w: Ask(f"/v1/pipelines/{w.new_pipeline()}/pause")),
    ("POST", "/v1/pipelines/{pipeline}/resume"): Rule("member", lambda w: Ask(f"/v1/pipelines/{w.paused_pipeline()}/resume")),
    ("POST", "/v1/pipelines/{pipeline}/runs"): Rule("member", lambda w: Ask(f"/v1/pipelines/{w.new_pipeline()}/runs")),
    ("GET", "/v1/pipelines/{pipeline}/runs"): Rule("viewer", lambda w: Ask(f"/v1/pipelines/{w.new_pipeline()}/runs")),
    ("GET", "/v1/pipelines/{pipeline}/runs/{run}"): Rule("viewer", lambda w: Ask(w.new_run())),
    ("GET", "/v1/pipelines/{pipeline}/runs/{run}/grid"): Rule("viewer", lambda w: Ask(f"{w.new_run()}/grid")),
    ("GET", "/v1/pipelines/{pipeline}/runs/{run}/partitions"): Rule(
        "viewer", lambda w: Ask(f"{w.new_run()}/partitions", params={"stage": "one"})
    ),
    ("GET", "/v1/pipelines/{pipeline}/runs/{run}/records"): Rule("viewer", lambda w: Ask(f"{w.new_run()}/records")),
    ("GET", "/v1/pipelines/{pipeline}/runs/{run}/why"): Rule(
        "viewer", lambda w: Ask(f"{w.new_run()}/why", params={"stage": "one", "partition": "all"})
    ),
    ("POST", "/v1/pipelines/{pipeline}/runs/{run}/pause"): Rule("manager", lambda w: Ask(f"{w.new_run()}/pause")),
    ("POST", "/v1/pipelines/{pipeline}/runs/{run}/resume"): Rule("manager", lambda w: Ask(f"{w.paused_run()}/resume")),
    ("POST", "/v1/pipelines/{pipeline}/runs/{run}/cancel"): Rule("manager", lambda w: Ask(f"{w.new_run()}/cancel")),
    ("POST", "/v1/pipelines/{pipeline}/runs/{run}/rerun"): Rule("manager", lambda w: Ask(f"{w.ended_run()}/rerun")),
    ("POST", "/v1/pipelines/{pipeline}/runs/{run}/approve"): Rule(
        "manager", lambda w: Ask(f"{w.run_with_canary()}/approve", json={"message": "it is meant to be so"})
    ),
    ("GET", "/v1/audit"): Rule("admin", lambda w: Ask("/v1/audit", params={"scope": w.team})),
    ("GET", "/v1/schemas/job"): Rule("anyone", lambda w: Ask("/v1/schemas/job")),
    ("POST", "/v1/jobs"): Rule("member", lambda w: Ask("/v1/jobs", json={"run": "true"}, params={"project": w.project})),
    ("GET", "/v1/jobs"): Rule("viewer", lambda w: Ask("/v1/jobs", params={"project": w.project})),
    ("GET", "/v1/history"): Rule("viewer", lambda w: Ask("/v1/history", params={"project": w.project})),
    ("GET", "/v1/jobs/{job}"): Rule("viewer", lambda w: Ask(f"/v1/jobs/{w.new_job()}")),
    ("GET", "/v1/jobs/{job}/attempts"): Rule("viewer", lambda w: Ask(f"/v1/jobs/{w.new_job()}/attempts")),
    ("GET", "/v1/jobs/{job}/explain"): Rule("viewer", lambda w: Ask(f"/v1/jobs/{w.new_job()}/explain")),
    ("GET", "/v1/jobs/{job}/estimate"): Rule("viewer", lambda w: Ask(f"/v1/jobs/{w.new_job()}/estimate")),
    ("POST", "/v1/estimates"): Rule(
        "member", lambda w: Ask("/v1/estimates", json={"run": "true"}, params={"project": w.project}), audited=False
    ),
    ("GET", "/v1/jobs/{job}/events"): Rule("viewer", lambda w: Ask(f"/v1/jobs/{w.new_job()}/events")),
    ("GET", "/v1/jobs/{job}/logs"): Rule("viewer", lambda w: Ask(f"/v1/jobs/{w.new_job()}/logs")),
    ("GET", "/v1/jobs/{job}/logs/follow"): Rule("viewer", lambda w: Ask(f"/v1/jobs/{w.ended_job()}/logs/follow")),
    # Cancels what the caller may, and counts the rest as refused: see test_a_filter_cancels_only_what_one_may.
    ("POST", "/v1/jobs/cancel"): Rule(
        "viewer", lambda w: Ask("/v1/jobs/cancel", json={"filter": {"project": w.project}}), writes=False, audited=False
    ),
    ("POST", "/v1/jobs/{job}/cancel"): Rule("manager", lambda w: Ask(f"/v1/jobs/{w.new_job()}/cancel", json={})),
    ("POST", "/v1/jobs/{job}/hold"): Rule("manager", lambda w: Ask(f"/v1/jobs/{w.new_job()}/hold")),
    ("POST", "/v1/jobs/{job}/release"): Rule("manager", lambda w: Ask(f"/v1/jobs/{w.new_job(hold=True)}/release")),
    ("POST", "/v1/jobs/{job}/retry"): Rule("manager", lambda w: Ask(f"/v1/jobs/{w.ended_job()}/retry", json={"only": "all"})),
    ("HEAD", "/v1/projects/{project}/blobs/{digest}"): Rule("member", _uploaded, writes=True),
    ("PUT", "/v1/projects/{project}/blobs/{digest}"): Rule("member", _upload),
    ("GET", "/v1/events"): Rule("viewer", lambda w: Ask("/v1/events", params={"scope": w.team}), roleless=403),
    ("GET", "/v1/sites"): Rule("viewer", lambda w: Ask("/v1/sites")),
    ("POST", "/v1/sites"): Rule("organisation", lambda w: Ask("/v1/sites", json={"name": fresh("site")})),
    ("GET", "/v1/clusters"): Rule("viewer", lambda w: Ask("/v1/clusters")),
    ("POST", "/v1/clusters"): Rule("organisation", lambda w: Ask("/v1/clusters", json={"name": fresh("cluster"), "site": w.new_site()})),
    ("GET", "/v1/clusters/{name}"): Rule("viewer", lambda w: Ask(f"/v1/clusters/{w.new_cluster()}")),
    ("GET", "/v1/clusters/{name}/prices"): Rule("viewer", lambda w: Ask(f"/v1/clusters/{w.new_cluster()}/prices")),
    ("PUT", "/v1/clusters/{name}/prices"): Rule(
        "organisation", lambda w: Ask(f"/v1/clusters/{w.new_cluster()}/prices", json={"prices": {"cpu": 0.04}})
    ),
    ("DELETE", "/v1/clusters/{name}"): Rule("organisation", lambda w: Ask(f"/v1/clusters/{w.new_cluster()}")),
    ("GET", "/v1/nodes"): Rule("viewer", lambda w: Ask("/v1/nodes")),
    ("GET", "/v1/nodes/{cluster}/{node}"): Rule("viewer", lambda w: Ask("/v1/nodes/fleet/n1")),
    ("POST", "/v1/nodes/{cluster}/{node}/cordon"): Rule("organisation", lambda w: Ask("/v1/nodes/fleet/n1/cordon")),
    ("POST", "/v1/nodes/{cluster}/{node}/uncordon"): Rule("organisation", lambda w: Ask("/v1/nodes/fleet/n1/uncordon")),
    ("POST", "/v1/nodes/{cluster}/{node}/maintenance"): Rule(
        "organisation", lambda w: Ask("/v1/nodes/fleet/n1/maintenance", json=work_on_it())
    ),
    ("DELETE", "/v1/nodes/{cluster}/{node}/maintenance/{window}"): Rule(
        "organisation", lambda w: Ask(f"/v1/nodes/fleet/n1/maintenance/{w.new_window()}")
    ),
}
"""Method and path → who may."""

FLEET = ("/v1/sites", "/v1/clusters", "/v1/nodes")
"""Nobody's in particular: a role anywhere is enough to see it, in whatever team."""

AGENT_ROUTES = {("POST", "/v1/agent/sync"), ("GET", "/v1/agent/blobs/{project}/{digest}"), ("POST", "/v1/agent/logs")}
"""For agents, who may ask nothing else; their own tests say what about."""

OPEN_ROUTES = {("GET", "/healthz"), ("GET", "/v1/openapi.json")}
"""Answered to everybody. They say nothing about anybody."""

STREAMS = {("GET", "/v1/events/watch"), ("GET", "/v1/jobs/{job}/logs/follow")}
"""Do not end by themselves, so only their refusals are asked for."""
