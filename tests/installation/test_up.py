"""Starting, stopping and starting again."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bushel.installation.processes import is_alive
from tests.installation.conftest import Installation, wait_until

NewInstallation = Callable[..., Installation]


def test_up_twice_is_up_once(running: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    before = {name: part["pid"] for name, part in running.parts().items()}
    again = running.up()
    assert {name: part["pid"] for name, part in running.parts().items()} == before
    assert again["url"] == running.home.settings().url


def test_up_returns_when_a_job_can_be_submitted(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.up("--port", "0")
    made = installation.call("POST", "/v1/jobs", {"run": "true"})
    assert made


def test_a_reader_that_leaves_does_not_stop_the_start(installation: Installation) -> None:
    read, write = os.pipe()
    os.close(read)
    installation.run("up", "--port", "0", "-o", "table", stdout=write, expect=None)
    os.close(write)
    assert installation.call("POST", "/v1/jobs", {"run": "true"})


def test_down_stops_every_part_and_the_next_start_finds_everything(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.up("--port", "0")
    url = installation.home.settings().url
    job = installation.call("POST", "/v1/jobs", {"run": "true", "name": "kept"})
    pids = [part["pid"] for part in installation.parts().values() if part["pid"]]
    assert len(pids) >= 4
    installation.run("down")
    assert not [pid for pid in pids if is_alive(pid)]
    assert not installation.home.supervised()
    installation.run("down")  # twice is once
    installation.up()
    assert installation.home.settings().url == url
    assert installation.call("GET", f"/v1/jobs/{job['metadata']['id']}")["metadata"]["name"] == "kept"


def test_a_second_project_leaves_jobs_going_to_the_one_in_use(new_installation: NewInstallation, tmp_path: Path) -> None:
    """docs/reference/cli.md#which-bushel"""
    installation = new_installation(environment={"XDG_CONFIG_HOME": str(tmp_path)})

    def count_of(*words: str) -> int:
        return len(installation.run("ls", "-o", "name", *words).stdout.split())

    installation.up("--port", "0")
    installation.run("scope", "add", "home/main/other")
    installation.run("submit", "--", "true")
    assert (count_of("-p", "home/main/main"), count_of("-p", "home/main/other")) == (1, 0)
    installation.run("submit", "-p", "home/main/other", "--", "true")
    installation.run("context", "use", "--project", "home/main/other")
    installation.run("down")
    installation.up()
    installation.run("submit", "--", "true")
    assert (count_of("-p", "home/main/main"), count_of("-p", "home/main/other"), count_of("-p", "home")) == (1, 2, 3)


def test_two_homes_live_side_by_side(running: Installation, installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.up("--port", "0")
    assert installation.home.settings().port != running.home.settings().port
    running.call("POST", "/v1/jobs", {"run": "true", "name": "only-in-the-first"})
    names = [job["metadata"]["name"] for job in installation.call("GET", "/v1/jobs")["items"]]
    assert "only-in-the-first" not in names
    installation.run("down")
    assert running.call("GET", "/v1/whoami")


def test_a_port_that_is_held_is_said_to_be_with_pid_and_command(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        refused = installation.run("up", "--port", str(listening.getsockname()[1]), expect=6)
    assert f"pid {os.getpid()}" in refused.stderr
    assert not installation.home.supervised()


def test_without_a_wish_a_free_port_is_found(installation: Installation, new_installation: NewInstallation) -> None:
    """docs/concepts/guarantees.md#installation"""
    other = new_installation()
    installation.up()
    other.up()
    assert installation.home.settings().port != other.home.settings().port


def test_an_option_that_contradicts_what_runs_is_refused(running: Installation) -> None:
    refused = running.run("up", "--port", "1", expect=6)
    assert "bushel down" in refused.stderr


@pytest.mark.parametrize(("name", "value"), [("BUSHEL_RECLAIM", "perhaps"), ("BUSHEL_LEAST_RUN", "soon")])
def test_a_setting_that_cannot_be_understood_is_refused_before_anything_starts(installation: Installation, name: str, value: str) -> None:
    """docs/guides/operate.md#stop-nobody-for-others"""
    installation.environment[name] = value
    refused = installation.run("up", expect=2)
    assert f"{name} is '{value}'" in refused.stderr
    assert not installation.home.supervised()


def test_no_secret_is_on_a_command_line_or_readable_by_others(running: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    home = running.home
    password = home.password_file.read_text().strip().rpartition(":")[2]
    token = home.admin_token()
    assert token
    for part in running.parts().values():
        if part["pid"]:
            command = Path(f"/proc/{part['pid']}/cmdline").read_text()
            assert password not in command
            assert token not in command
    tokens = list(home.agents.glob("*/agent.token"))
    assert tokens
    for path in [home.password_file, home.admin_token_file, home.settings_file, *tokens]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_listening_beyond_loopback_demands_tls(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    refused = installation.run("up", "--host", "0.0.0.0", expect=2)
    assert "--tls-certificate" in refused.stderr
    assert not installation.home.supervised()


def test_with_tls_the_command_line_and_the_agent_verify_the_certificate(installation: Installation, tls_files: tuple[Path, Path]) -> None:
    """docs/guides/operate.md"""
    certificate, key = tls_files
    up = installation.up("--host", "0.0.0.0", "--port", "0", "--tls-certificate", str(certificate), "--tls-key", str(key))
    assert up["url"].startswith("https://127.0.0.1:")
    assert "admin" in installation.run("whoami").stdout
    assert any(part["part"] == "agent" and part["says"].startswith("ready") for part in up["parts"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other accounts to use")
def test_as_root_postgresql_has_an_account_that_owns_its_data_alone(running: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    server = running.pid("postgres")
    assert server
    uid = os.stat(f"/proc/{server}").st_uid
    assert uid not in (0, 65534)
    data = running.home.postgres / "data"
    assert data.stat().st_uid == uid
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert {path.stat().st_uid for path in running.home.path.iterdir() if path.name != "postgres"} == {0}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other accounts to use")
def test_as_root_no_foreign_folder_is_opened_up(new_installation: NewInstallation) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation = new_installation(mode=0o700)
    installation.up("--port", "0")
    assert stat.S_IMODE(installation.home.path.stat().st_mode) == 0o700
    assert installation.home.postgres.is_symlink()
    assert "cannot reach" in installation.run("doctor", expect=None).stdout


def test_an_ordinary_user_needs_no_rights(ordinary: Installation) -> None:
    """docs/guides/install.md"""
    ordinary.up("--port", "0")
    server = ordinary.pid("postgres")
    assert server
    assert os.stat(f"/proc/{server}").st_uid == ordinary.home.path.stat().st_uid
    assert ordinary.run("run", "--", "echo", "from an ordinary user").stdout.splitlines()[-1] == "from an ordinary user"


def test_a_first_start_that_was_cut_short_is_taken_up_again(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    folder = installation.home.postgres
    folder.mkdir(mode=0o711)
    (folder / "data.new").mkdir(mode=0o700)
    (folder / "data.new" / "half").write_text("")
    installation.up("--port", "0")
    assert not (folder / "data.new").exists()


def test_data_of_another_postgresql_is_refused_in_words(installation: Installation) -> None:
    """docs/guides/operate.md"""
    installation.up("--port", "0")
    installation.run("down")
    version = installation.home.postgres / "data" / "PG_VERSION"
    version.write_text("17\n")
    refused = installation.run("up", expect=3)
    assert "PostgreSQL 17" in refused.stderr
    assert not installation.home.supervised()
    version.write_text("18\n")
    installation.up()


def test_a_postgresql_of_ones_own_can_be_used(own_postgres_url: str, installation: Installation) -> None:
    """docs/guides/operate.md"""
    installation.up("--port", "0", "--database-url", own_postgres_url)
    assert "postgres" not in installation.parts()
    assert "secret word" not in installation.home.settings_file.read_text()
    assert installation.run("run", "--", "echo", "over there").stdout.splitlines()[-1] == "over there"
    installation.run("down")
    installation.up()
    assert installation.home.settings().embedded is None


def test_a_database_that_does_not_answer_is_said_before_anything_starts(installation: Installation) -> None:
    refused = installation.run("up", "--port", "0", "--database-url", "postgresql://nobody@127.0.0.1:1/none", expect=3)
    assert "refused" in refused.stderr
    assert not installation.home.supervised()


def test_an_old_home_can_be_removed_by_hand(installation: Installation) -> None:
    """docs/guides/operate.md"""
    installation.up("--port", "0")
    installation.run("down", "--stop-tasks")
    shutil.rmtree(installation.home.postgres.resolve())
    shutil.rmtree(installation.home.path)
    installation.home.path.mkdir(mode=0o711)
    installation.up("--port", "0")
    wait_until("the new installation answers", lambda: installation.call("GET", "/v1/whoami"))
