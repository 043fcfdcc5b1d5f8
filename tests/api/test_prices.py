"""docs/guides/pipelines.md#before-a-run: what a run costs, where clusters have prices, and plain words where it is not known."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Client

WHERE = {"project": "home/main/main"}


def document(**stage: Any) -> dict[str, Any]:
    work = {"run": "true", "expected_duration": "30m", "resources": {"cpu": 2, "memory": "4GiB"}, **stage}
    return {"name": "p", "partitions": ["a", "b", "c"], "stages": {"one": work}}


@pytest.fixture
def two_clusters(app_client: Client) -> Client:
    assert app_client.post("/v1/sites", json={"name": "east"}).status_code == 201
    for name in ("cheap", "dear"):
        assert app_client.post("/v1/clusters", json={"name": name, "site": "east"}).status_code == 201
    return app_client


def set_prices(client: Client, name: str, **prices: Any) -> Any:
    return client.put(f"/v1/clusters/{name}/prices", json={"prices": {key.replace("_", "/"): price for key, price in prices.items()}})


def cost(client: Client, plan: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/pipelines/plan", json=plan, params=WHERE)
    assert answer.status_code == 200, answer.text
    return answer.json()["cost"]


def test_without_prices_the_plan_says_that_the_cost_is_not_known(two_clusters: Client) -> None:
    found = cost(two_clusters, document())
    assert (found["least"], found["most"]) == (None, None)
    assert found["sentence"].startswith("what a run costs is not known: no cluster has a price")


def test_the_cost_goes_from_the_cheapest_cluster_to_the_dearest(two_clusters: Client) -> None:
    set_prices(two_clusters, "cheap", cpu="0.04", memory=0.005)
    found = cost(two_clusters, document())
    assert found["least"] == found["most"] == pytest.approx(1.5 * (2 * 0.04 + 4 * 0.005))
    assert found["sentence"] == "a run costs about $0.15; no price is known of dear"
    set_prices(two_clusters, "dear", cpu="0.08", memory="0.01")
    assert cost(two_clusters, document())["sentence"] == "a run costs $0.15 to $0.30, by the cluster"
    assert cost(two_clusters, document(expected_duration="1s"))["sentence"] == "a run costs less than $0.01"
    only = cost(two_clusters, document(placement={"clusters": ["dear"]}))
    assert (only["least"], only["most"]) == (pytest.approx(0.3), pytest.approx(0.3))


def test_accelerators_are_priced_by_their_model(two_clusters: Client) -> None:
    set_prices(two_clusters, "cheap", cpu=0, gpu_H100="2.50", gpu_A100="1.25")
    four = document(resources={"gpu": "H100:4"})
    assert cost(two_clusters, four)["least"] == pytest.approx(1.5 * 4 * 2.5)
    any_model = document(resources={"gpu": 1})
    assert cost(two_clusters, any_model)["least"] == pytest.approx(1.5 * 1.25)
    other = cost(two_clusters, document(resources={"gpu": "B200:1"}))
    assert other["sentence"].endswith("no cluster where a stage may run has a price for what it needs")
    untimed = document()
    del untimed["stages"]["one"]["expected_duration"]
    assert cost(two_clusters, untimed)["sentence"].endswith("how long a stage takes is not known")


def test_prices_are_exact_and_replaced_whole(two_clusters: Client) -> None:
    set_prices(two_clusters, "cheap", cpu="0.000000001", gpu="3")
    assert two_clusters.get("/v1/clusters/cheap/prices").json() == {"cluster": "cheap", "prices": {"cpu": "0.000000001", "gpu": "3"}}
    assert set_prices(two_clusters, "cheap", memory=1).json()["prices"] == {"memory": "1"}
    for wrong in ({"cpus": 1}, {"cpu": -1}, {"cpu": "a lot"}):
        assert set_prices(two_clusters, "cheap", **wrong).status_code == 422
    assert set_prices(two_clusters, "nowhere", cpu=1).status_code == 404


def test_what_is_no_price_is_said_with_one_that_is(two_clusters: Client) -> None:
    for wrong, said in (("much", "must be a number such as 0.04, not 'much'"), ("0.0000000001", "has more than 9 decimal places")):
        refused = set_prices(two_clusters, "cheap", cpu=wrong)
        assert refused.status_code == 422
        assert said in refused.text
