"""One machine poses as several clusters of several sites."""

from __future__ import annotations

from tests.installation.conftest import Installation, wait_until


def test_a_machine_poses_as_a_cluster_of_another_site(running: Installation) -> None:
    """docs/guides/install.md"""
    words = ["--site", "east", "--jurisdiction", "cn", "--nodes", "4", "--cpu", "8", "--memory", "32GiB", "--gpu", "H100:8"]
    running.run("cluster", "add", "east-1", *words, "--label", "tier=gold", "--topology", "rack=r1,r2")
    nodes = running.call("GET", "/v1/nodes?cluster=east-1")["items"]
    assert [node["name"] for node in nodes] == ["east-1-n1", "east-1-n2", "east-1-n3", "east-1-n4"]
    assert nodes[0]["capacity"] == {"cpu": 8000, "memory": 32 * 2**30, "gpu/H100": 8000}
    assert nodes[0]["labels"]["tier"] == "gold"
    assert [dict(node["topology"])["rack"] for node in nodes] == ["r1", "r1", "r2", "r2"]
    assert running.call("GET", "/v1/clusters/east-1")["jurisdiction"] == "cn"
    assert running.pid("agent-east-1")

    refused = running.run("cluster", "add", "east-1", "--site", "east", expect=6)
    assert "already" in refused.stderr

    running.run("cluster", "remove", "east-1")
    wait_until("the agent has gone", lambda: "agent-east-1" not in running.parts())
    assert "east-1" not in [cluster["name"] for cluster in running.call("GET", "/v1/clusters")["items"]]
    assert not (running.home.agents / "east-1").exists()


def test_a_name_that_is_none_is_refused(running: Installation) -> None:
    refused = running.run("cluster", "add", "../escape", "--site", "east", expect=2)
    assert "no name of a cluster" in refused.stderr
