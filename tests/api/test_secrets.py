"""Secrets: written by people, read by tasks, shown to nobody."""

from __future__ import annotations

import stat

import pytest

from bushel.api.settings import Settings
from bushel.control.bootstrap import Bootstrapped
from bushel.control.encryption import KEY_FILE, load_key
from bushel.control.secrets import missing, reveal
from bushel.domain.errors import Unavailable
from bushel.store.database import Database
from tests.api.conftest import Client


def put(client: Client, scope: str, name: str, value: str) -> None:
    assert client.put(f"/v1/secrets/{name}", params={"scope": scope}, json={"value": value}).status_code == 200


def test_a_job_gets_the_nearest_value(app_client: Client, database: Database, settings: Settings, installation: Bootstrapped) -> None:
    put(app_client, "home", "A", "organisation")
    put(app_client, "home", "B", "organisation")
    put(app_client, "home/main", "B", "team")
    put(app_client, "home/main", "C", "team")
    put(app_client, "home/main/main", "C", "project")
    key = load_key(settings.state_folder)
    with database.transaction() as tx:
        assert reveal(tx, key, installation.project_id, ["A", "B", "C", "D"]) == {"A": "organisation", "B": "team", "C": "project"}
        assert missing(tx, installation.project_id, ["A", "D"]) == ["D"]


def test_the_key_is_its_owners_alone_and_lies_outside_the_database(app_client: Client, settings: Settings) -> None:
    put(app_client, "home", "A", "value")
    path = settings.state_folder / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32


def test_a_ciphertext_opens_only_in_its_own_place(
    app_client: Client, database: Database, settings: Settings, installation: Bootstrapped
) -> None:
    put(app_client, "home", "A", "for A")
    put(app_client, "home", "B", "for B")
    with database.transaction() as tx:
        tx.execute("update secrets b set nonce = a.nonce, ciphertext = a.ciphertext from secrets a where a.name = 'A' and b.name = 'B'")
    with database.transaction() as tx, pytest.raises(Unavailable):
        reveal(tx, load_key(settings.state_folder), installation.project_id, ["B"])


def test_a_wrong_key_is_named_and_not_guessed_at(app_client: Client, database: Database, installation: Bootstrapped) -> None:
    put(app_client, "home", "A", "value")
    with database.transaction() as tx, pytest.raises(Unavailable, match="which is not here"):
        reveal(tx, bytes(32), installation.project_id, ["A"])


def test_names_are_listed_and_removed(app_client: Client) -> None:
    put(app_client, "home/main", "A", "value")
    listed = app_client.get("/v1/secrets", params={"scope": "home/main"}).json()["items"]
    assert [(item["name"], item["changed_by"]) for item in listed] == [("A", "admin")]
    assert app_client.delete("/v1/secrets/A", params={"scope": "home/main"}).status_code == 204
    assert app_client.delete("/v1/secrets/A", params={"scope": "home/main"}).status_code == 404
