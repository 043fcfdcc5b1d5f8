"""Which Bushel: the order of the sources, and that a token goes to its own address alone."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bushel.client.context import NoContext, contexts_file, read_contexts, resolve, set_installation_project, write_contexts


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "api.json").write_text(json.dumps({"url": "http://installed:1", "ca": None}))
    (home / "admin.token").write_text("installed-token\n")
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "BUSHEL_HOME": str(home)}
    stored = {"work": {"url": "https://work:2", "token": "work-token", "project": "acme/ml/x", "ca": "/ca.pem"}}
    write_contexts({"current": "work", "contexts": stored}, environment)
    return environment


def test_what_is_given_wins(environment: dict[str, str]) -> None:
    found = resolve(url="http://other:3", token="t", context="work", environment=environment)
    assert (found.url, found.token) == ("http://other:3", "t")
    found = resolve(context="work", environment=environment)
    assert (found.url, found.token, found.project, found.ca_file) == ("https://work:2", "work-token", "acme/ml/x", "/ca.pem")


def test_then_the_environment(environment: dict[str, str]) -> None:
    found = resolve(environment={**environment, "BUSHEL_URL": "http://env:4", "BUSHEL_TOKEN": "env-token"})
    assert (found.url, found.token) == ("http://env:4", "env-token")
    assert resolve(environment={**environment, "BUSHEL_CONTEXT": "work"}).url == "https://work:2"


def test_then_the_installation_in_bushel_home(environment: dict[str, str]) -> None:
    found = resolve(environment=environment)
    assert (found.url, found.token) == ("http://installed:1", "installed-token")


def test_a_home_without_an_installation_never_falls_through_to_another_bushel(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(NoContext, match="no running installation"):
        resolve(environment={**environment, "BUSHEL_HOME": str(tmp_path / "empty")})


def test_then_the_context_in_use(environment: dict[str, str]) -> None:
    del environment["BUSHEL_HOME"]
    assert resolve(environment=environment).name == "work"


def test_a_token_goes_to_its_own_address_alone(environment: dict[str, str]) -> None:
    assert resolve(url="http://elsewhere:5", environment=environment).token is None
    assert resolve(url="https://work:2/", environment=environment).token == "work-token"
    assert resolve(environment={**environment, "BUSHEL_URL": "http://elsewhere:5"}).token is None


def test_the_file_of_contexts_is_private(environment: dict[str, str]) -> None:
    assert stat.S_IMODE(Path(contexts_file(environment)).stat().st_mode) == 0o600


def test_a_spoilt_file_is_said(environment: dict[str, str]) -> None:
    Path(contexts_file(environment)).write_text("[]")
    with pytest.raises(NoContext, match="does not hold contexts"):
        read_contexts(environment)
    write_contexts({"current": None, "contexts": {}}, environment)
    with pytest.raises(NoContext, match="there is no context 'x'"):
        resolve(context="x", environment=environment)


def test_the_project_of_an_installation_is_its_administrators(environment: dict[str, str]) -> None:
    assert resolve(environment=environment).project is None
    assert set_installation_project(environment["BUSHEL_HOME"], "home/main/main")
    found = resolve(environment=environment)
    assert (found.url, found.token, found.project) == ("http://installed:1", "installed-token", "home/main/main")
    assert resolve(environment={**environment, "BUSHEL_PROJECT": "acme/ml/y"}).project == "acme/ml/y"
    for mine in ({"token": "mine"}, {"token": "mine", "url": "http://installed:1"}):
        assert resolve(**mine, environment=environment).project is None
    for variables in ({"BUSHEL_TOKEN": "mine"}, {"BUSHEL_TOKEN": "mine", "BUSHEL_URL": "http://installed:1"}):
        assert resolve(environment={**environment, **variables}).project is None
    assert resolve(url="http://installed:1", environment=environment).project == "home/main/main"
    assert resolve(token="mine", context="work", environment=environment).project == "acme/ml/x", "a person chose that one"
    assert not set_installation_project(environment["XDG_CONFIG_HOME"], "home/main/main")
