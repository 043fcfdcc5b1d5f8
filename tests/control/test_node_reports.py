"""What an agent claims of its nodes is cut to a fleet that can be held and reckoned with."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bushel.api.wellformed import check_json
from bushel.control import node_reports
from bushel.control.node_reports import clean_nodes
from bushel.scheduling.entities import Node
from bushel.scheduling.fleet import Fleet


def node(name: str = "n1", **claims: Any) -> dict[str, Any]:
    return {"name": name, "state": "ready", "capacity": {}, "labels": {}, "topology": [], "detail": {}} | claims


def test_what_can_be_is_taken_as_it_is() -> None:
    capacity = {"cpu": 256_000, "memory": 4 << 40, "disk": 1 << 50, "gpu/H100": 8000, "gpu/A100-40GB": 500}
    whole = node(capacity=capacity, labels={"zone": "a", "名": "b"}, topology=[["rack", "r1"], ["host", "n1"]], detail={"kernel": "6"})
    assert clean_nodes([whole]) == {"n1": whole}


def test_amounts_and_resources_that_cannot_be_are_left_out() -> None:
    claimed = {
        "cpu": 10**18,
        "memory": -1,
        "disk": 2**70,
        "gpu/H100": 10**18,
        "gpu/" + "x" * 100: 1,
        "gpu/a\x1b": 1,
        "luck": 1,
        "gpu/L4": 0,
    }
    assert clean_nodes([node(capacity=claimed)])["n1"]["capacity"] == {"gpu/L4": 0}


def test_a_cluster_of_any_size_can_be_summed() -> None:
    nodes = clean_nodes([node(f"n{number}", capacity={"cpu": 10**8, "memory": 2**50, "disk": 2**50}) for number in range(20_000)])
    assert len(nodes) == node_reports.NODES_LIMIT
    for resource in ("cpu", "memory", "disk"):
        assert sum(one["capacity"].get(resource, 0) for one in nodes.values()) < 2**56


def test_names_that_the_scheduler_keeps_columns_for_are_few() -> None:
    nodes = clean_nodes(
        [
            node(
                f"n{number}",
                capacity={f"gpu/m{number}-{other}": 256_000 for other in range(60)},
                topology=[[f"level-{number}-{other}", "p"] for other in range(60)],
                labels={f"label-{number}-{other}": "v" for other in range(60)},
            )
            for number in range(200)
        ]
    )
    fleet = Fleet()
    for number, one in enumerate(nodes.values()):
        topology = tuple((level, place) for level, place in one["topology"])
        fleet.put_node(Node(number, 1, one["name"], one["capacity"], one["labels"], topology))
    assert len(fleet.column_of) == node_reports.MODELS_LIMIT
    assert len(fleet.places) == node_reports.LEVELS_LIMIT
    assert len(fleet.labels) == node_reports.LABEL_KEYS_LIMIT
    assert fleet.devices_used.shape[2] == 256


_any = st.recursive(st.none() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(st.lists(st.fixed_dictionaries({"name": st.text(), "state": st.just("ready"), "detail": _any, "capacity": _any, "labels": _any})))
def test_any_claim_comes_out_as_something_to_store(reported: list[dict[str, Any]]) -> None:
    check_json(json.dumps(clean_nodes(reported), allow_nan=False).encode())


def test_names_cannot_command_a_terminal() -> None:
    [name] = clean_nodes([node("n\x1b[2J", labels={"a\x1b": "b\x1b"})])
    assert name == "n\ufffd[2J"
