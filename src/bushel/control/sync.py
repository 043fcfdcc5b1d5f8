"""One exchange with an agent: take its reports and renew its lease, then say what is wanted.

Guarantees:

- The lease is renewed when the request arrives, in the transaction that applies its reports: either both happened or neither.
- Under one epoch there is one holder. A new holder (another state folder) gets a new epoch, and only once nothing made under the old
  one can still be running: at once if nothing was, else after the old lease was waited out.
- The same state folder goes on under its epoch until that was declared lost, so a restarted agent takes its tasks over.
- An answer of version 7 holds everything that was wanted up to version 7, or up to it since `known_version`. An agent that names a live
  attempt which is not wanted gets a complete answer, and thereby stops it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bushel.control.attempt_reports import parse_reports
from bushel.control.fleet import apply_nodes, operator_path
from bushel.control.reports import apply_reports, end_empty_logs
from bushel.control.secrets import reveal
from bushel.control.stage_context import contexts
from bushel.domain.errors import Conflict, NotFound, StaleEpoch
from bushel.domain.failpoints import reach
from bushel.domain.foreign import clean_text
from bushel.domain.ids import attempt_id
from bushel.domain.lifecycle import AttemptState
from bushel.spec.agent import DesiredAttempt, DesiredTasks, SyncAnswer, SyncRequest
from bushel.store import attempts, clusters
from bushel.store.attempts import AttemptKey
from bushel.store.database import SCHEDULE, Database, Event, Transaction

LONGEST_AGENT_TEXT = 200


@dataclass(frozen=True, slots=True)
class Received:
    """What a request came to. `forget` are attempts that the agent called ended, and that are."""

    cluster_id: int
    epoch: int
    version: int  # the cluster's desired version when the request had been applied
    known_version: int  # 0: the answer must be complete
    forget: tuple[AttemptKey, ...] = ()
    only_reports: bool = False  # it asks for nothing: another request waits for what is wanted

    @property
    def news(self) -> bool:
        """Whether there is more to say than that it arrived, so that the answer should not be held back."""
        if self.only_reports:
            return self.known_version == 0
        return self.known_version == 0 or self.version > self.known_version or bool(self.forget)


def receive(database: Database, cluster_id: int, request: SyncRequest, lease_seconds: float) -> Received:
    """Apply a request.

    Raises:
        StaleEpoch: the lease has passed on; the agent ends its tasks and asks for a new one.
        Conflict: another holder's tasks may still be running; ask again later.
        NotFound: the cluster was removed.
    """
    with database.transaction() as tx:
        received = _renew_only(tx, cluster_id, request, lease_seconds) or _apply(tx, cluster_id, request, lease_seconds)
        reach("sync.before_commit")
    reach("sync.after_commit")
    return received


def exchange(
    database: Database, cluster_id: int, request: SyncRequest, lease_seconds: float, secret_key: bytes
) -> tuple[Received, SyncAnswer | None]:
    """Apply a request. Its answer too, if that should not be held back. Raises as `receive` and `answer` do."""
    received = receive(database, cluster_id, request, lease_seconds)
    if received.news:
        return received, answer(database, received, lease_seconds, secret_key)
    return received, no_news(received, lease_seconds) if received.only_reports else None


def news(database: Database, received: Received, lease_seconds: float, secret_key: bytes) -> SyncAnswer | None:
    """The answer, if more is wanted by now. Raises as `answer` does."""
    with database.transaction() as tx:
        cluster = clusters.read(tx, received.cluster_id)
        if cluster is not None and cluster["desired_version"] <= received.version:
            return None
        return _answer(tx, cluster, received, lease_seconds, secret_key)


def no_news(received: Received, lease_seconds: float) -> SyncAnswer:
    """The answer when nothing is wanted that the agent does not know, or when it only reported. Asks nobody."""
    return SyncAnswer(
        epoch=received.epoch,
        lease_seconds=lease_seconds,
        version=received.known_version if received.only_reports else received.version,
        complete=False,
        attempts=[],
        forget=[attempt_id(*key) for key in sorted(received.forget)],
        server_time=datetime.now(UTC).isoformat(),
    )


def answer(database: Database, received: Received, lease_seconds: float, secret_key: bytes) -> SyncAnswer:
    """What is wanted now.

    Raises:
        StaleEpoch: the lease has passed on since the request was received.
    """
    with database.transaction() as tx:
        return _answer(tx, clusters.read(tx, received.cluster_id), received, lease_seconds, secret_key)


def _answer(tx: Transaction, cluster: dict[str, Any] | None, received: Received, lease_seconds: float, secret_key: bytes) -> SyncAnswer:
    """`cluster` was read before anything else, so all of its version is visible to what is read here."""
    if cluster is None or cluster["epoch"] != received.epoch:
        raise _stale(received.epoch)
    known = received.known_version
    wanted: list[DesiredAttempt] = []
    forget = set(received.forget)
    if cluster["desired_version"] > known or known == 0:
        wanted = _desired(tx, cluster["id"], received.epoch, known, secret_key)
        forget.update(attempts.forgettable(tx, cluster["id"], received.epoch, known) if known else ())
    return SyncAnswer(
        epoch=received.epoch,
        lease_seconds=lease_seconds,
        version=cluster["desired_version"],
        complete=known == 0,
        attempts=wanted,
        forget=[attempt_id(*key) for key in sorted(forget)],
        server_time=datetime.now(UTC).isoformat(),
    )


def _renew_only(tx: Transaction, cluster_id: int, request: SyncRequest, lease_seconds: float) -> Received | None:
    """The common case, one statement: nothing is reported and the lease goes on."""
    epoch, known = request["epoch"], request["known_version"]
    if epoch is None or request["attempts"] or request.get("nodes") or request.get("parked") or request.get("agent"):
        return None
    if request["complete"] and known:  # something may be missing
        return None
    version = clusters.renew(tx, cluster_id, epoch, request["incarnation"], lease_seconds, leaves_parking=False)
    return None if version is None else Received(cluster_id, epoch, version, known if 0 <= known <= version else 0)


def _apply(tx: Transaction, cluster_id: int, request: SyncRequest, lease_seconds: float) -> Received:
    cluster = clusters.read(tx, cluster_id)
    if cluster is None or cluster["removed_at"] is not None:
        raise NotFound("this cluster was removed", suggestion="bushel cluster add")
    same_holder = cluster["leased"] and cluster["incarnation"] == request["incarnation"]
    if request["epoch"] is None and not same_holder:
        return _begin(tx, cluster_id, cluster["name"], request, lease_seconds)
    if not same_holder or request["epoch"] not in (None, cluster["epoch"]):
        raise _stale(request["epoch"])
    epoch, actor = cluster["epoch"], f"agent/{cluster['name']}"
    known = request["known_version"] if request["epoch"] is not None and request["known_version"] <= cluster["desired_version"] else 0
    unwanted, forget = _reports(tx, cluster_id, epoch, known, actor, request)
    apply_nodes(tx, cluster_id, cluster["name"], actor, request.get("nodes"), complete=request["complete"])
    parked = bool(request.get("parked"))
    version = clusters.renew(
        tx, cluster_id, epoch, request["incarnation"], lease_seconds, parked=parked, agent=_agent_facts(tx.now, request)
    )
    if version is None:  # the lease was declared lost while we came here
        raise _stale(epoch)
    if parked != cluster["parked"]:
        _tell(tx, cluster["name"], "cluster.parked" if parked else "cluster.joined", actor, epoch)
    only_reports = bool(request["attempts"]) and request["wait_seconds"] <= 0 and not request["complete"]
    return Received(cluster_id, epoch, version, 0 if unwanted else known, forget, only_reports)


def _begin(tx: Transaction, cluster_id: int, name: str, request: SyncRequest, lease_seconds: float) -> Received:
    """A new holder, a new epoch."""
    actor = f"agent/{name}"
    apply_nodes(tx, cluster_id, name, actor, request.get("nodes"), complete=request["complete"])
    cluster = clusters.lock(tx, cluster_id)  # so that nothing is placed here between the look and the grant
    if cluster is None or cluster["removed_at"] is not None:
        raise NotFound("this cluster was removed", suggestion="bushel cluster add")
    if cluster["leased"] and cluster["incarnation"] == request["incarnation"]:
        raise Conflict("two requests of one agent asked for a lease at once", suggestion="ask again")
    live = clusters.live_count(tx, cluster_id, cluster["epoch"])
    if live:
        until = "never, because it was parked" if cluster["parked"] else f"at {cluster['lease_free_at']:%H:%M:%S} UTC or when they end"
        raise Conflict(
            f"{live} attempts of the agent before may still be running; they are given up {until}",
            suggestion="start the agent with its old state folder" + ("" if not cluster["parked"] else ", or remove the cluster by force"),
        )
    granted = clusters.grant(tx, cluster_id, request["incarnation"], lease_seconds, _agent_facts(tx.now, request))
    _tell(tx, name, "cluster.joined", actor, granted["epoch"])
    return Received(cluster_id, granted["epoch"], granted["desired_version"], 0)


def _reports(
    tx: Transaction, cluster_id: int, epoch: int, known: int, actor: str, request: SyncRequest
) -> tuple[bool, tuple[AttemptKey, ...]]:
    """Apply the reports. Whether some attempt is live there and not here, and those that ended on both sides."""
    reports = parse_reports(request["attempts"])
    live = attempts.live_among(tx, cluster_id, epoch, list(reports))
    newer = {key: report for key, report in reports.items() if key in live and report.version > live[key]}
    missing: list[AttemptKey] = []
    if request["complete"] and known:
        missing = [key for key in attempts.given_up_to(tx, cluster_id, epoch, known) if key not in reports]
    ended = apply_reports(tx, cluster_id, actor, newer, missing) if newer or missing else set()
    over = {key: report for key, report in reports.items() if key not in live and report.state is AttemptState.ENDED}
    end_empty_logs(tx, cluster_id, over)
    ended.update(over)
    unwanted = any(key not in live and report.state is not AttemptState.ENDED for key, report in reports.items())
    return unwanted, tuple(ended)


def _desired(tx: Transaction, cluster_id: int, epoch: int, known: int, secret_key: bytes) -> list[DesiredAttempt]:
    rows = attempts.desired(tx, cluster_id, epoch, known)
    nodes = attempts.node_names(tx, rows)
    secrets: dict[tuple[int, tuple[str, ...]], dict[str, str]] = {}
    for row in rows:
        names = (row["project_id"], tuple(row["spec"].get("secrets", ())))
        if names not in secrets:
            secrets[names] = reveal(tx, secret_key, *names)
    told = contexts(tx, rows)
    made = []
    for row in rows:
        wanted = _desired_attempt(row, nodes, secrets[row["project_id"], tuple(row["spec"].get("secrets", ()))])
        if context := told.get((row["job_id"], row["index"])):
            wanted["context"] = context
        made.append(wanted)
    return made


def _desired_attempt(row: dict[str, Any], nodes: dict[int, str], secrets: dict[str, str]) -> DesiredAttempt:
    placement = row["placement"]
    return {
        "id": attempt_id(row["job_id"], row["index"], row["number"]),
        "job_name": row["job_name"],
        "project": row["project"],
        "queue": row["queue"],
        "attempt": row["number"],
        "index": row["index"],
        "array": "array" in row["spec"],
        "task_count": sum(part["ranks"][1] - part["ranks"][0] for part in placement),
        "element_count": row["element_count"],
        "spec": row["spec"],
        "secrets": secrets,
        "placement": [_desired_tasks(part, nodes) for part in placement],
        "submitted_at": row["submitted_at"].isoformat(),
        "resume_from": row["resume_from"],
        "stop": None
        if row["state"] != AttemptState.STOPPING or row["stop_reason"] is None
        else {"reason": row["stop_reason"], "grace_seconds": row["stop_grace_seconds"] or 0.0},
    }


def _desired_tasks(part: dict[str, Any], nodes: dict[int, str]) -> DesiredTasks:
    tasks = DesiredTasks(
        group=part["group"], ranks=(part["ranks"][0], part["ranks"][1]), node=nodes.get(part["node"], ""), amounts=part["amounts"]
    )
    if "devices" in part:
        tasks["devices"] = part["devices"]
    return tasks


def _agent_facts(now: datetime, request: SyncRequest) -> dict[str, Any] | None:
    """For people: what the agent says of itself, and how far its clock is off."""
    told = request.get("agent")
    if not told:
        return None
    facts: dict[str, Any] = {
        clean_text(name, LONGEST_AGENT_TEXT): clean_text(value, LONGEST_AGENT_TEXT) for name, value in _first(told.items(), 20)
    }
    try:
        sent_at = datetime.fromisoformat(request["sent_at"])
        facts["clock_ahead_seconds"] = round((sent_at - now).total_seconds(), 3)
    except (ValueError, TypeError, OverflowError):
        pass  # not a time, or one without a zone
    return facts


def _first(items: Iterable[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    return [item for item, _ in zip(items, range(count), strict=False)]


def _tell(tx: Transaction, name: str, kind: str, actor: str, epoch: int) -> None:
    tx.emit(Event(kind, operator_path(tx), f"cluster/{name}", actor, {"epoch": epoch}))
    tx.wake(SCHEDULE)


def _stale(epoch: int | None) -> StaleEpoch:
    return StaleEpoch(f"the lease of epoch {epoch} has passed on", suggestion="end its tasks, then ask for a lease without an epoch")
