"""Which Bushel to talk to, and as whom.

Guarantees: a token is only ever sent to the address that it was stored with, unless the caller names both; files with
tokens are made readable by their owner alone. Resolution stops at the first of:

1. what is given (`--url`, `--token-file`, `--context`),
2. `BUSHEL_URL` with `BUSHEL_TOKEN`, or `BUSHEL_CONTEXT`,
3. the installation in `BUSHEL_HOME`, where that is set,
4. the context chosen by `bushel context use`,
5. the installation in the default home: `/var/lib/bushel` for root, `~/.bushel` for others.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

API_FILE = "api.json"
"""In an installation's home: `{"url": …, "ca": path or null, "project": path or null}`; written by `bushel up`."""

ADMIN_TOKEN_FILE = "admin.token"  # noqa: S105 - the name of a file
"""In an installation's home: the first administrator's token, readable by its owner alone."""

_WITH_TOKEN = ", with the token of "  # noqa: S105 - words


class Context:
    """An address and what to show it. `source` says for people where these came from."""

    __slots__ = ("ca_file", "name", "project", "source", "token", "url")

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        ca_file: str | None = None,
        project: str | None = None,
        name: str | None = None,
        source: str = "",
    ) -> None:
        self.url = url
        self.token = token
        self.ca_file = ca_file
        self.project = project
        self.name = name
        self.source = source

    @property
    def token_source(self) -> str:
        """Where the token alone came from."""
        return self.source.partition(_WITH_TOKEN)[2] or self.source


class NoContext(Exception):
    """Nothing says where Bushel is. The text says what was looked for."""


def home_folder(environment: Mapping[str, str] = os.environ) -> str:
    """Where this machine's installation keeps all of its state."""
    named = environment.get("BUSHEL_HOME")
    if named:
        return os.path.abspath(os.path.expanduser(named))
    return "/var/lib/bushel" if os.geteuid() == 0 else os.path.expanduser("~/.bushel")


def contexts_file(environment: Mapping[str, str] = os.environ) -> str:
    """Where a person's contexts are kept: `{"current": name, "contexts": {name: {url, token, ca, project}}}`."""
    folder = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(folder, "bushel", "contexts.json")


def resolve(
    *,
    url: str | None = None,
    token: str | None = None,
    context: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Context:
    """The context to use; what is given wins over what is found.

    Raises:
        NoContext: nothing is given, set, chosen or installed, or the named context does not exist.
    """
    found = _resolve(url, token, context, environment)
    if token:
        _show(found, token)
        found.source = found.source.partition(_WITH_TOKEN)[0] + _WITH_TOKEN + "--token-file"
    project = environment.get("BUSHEL_PROJECT")
    if project:
        found.project = project
    return found


def _resolve(url: str | None, token: str | None, context: str | None, environment: Mapping[str, str]) -> Context:
    given_token = token or environment.get("BUSHEL_TOKEN")
    if url:
        return _at(url, given_token, "--url", environment)
    if context:
        return _named(context, environment)
    if environment.get("BUSHEL_URL"):
        return _at(environment["BUSHEL_URL"], given_token, "BUSHEL_URL", environment)
    if environment.get("BUSHEL_CONTEXT"):
        return _named(environment["BUSHEL_CONTEXT"], environment)
    home = home_folder(environment)
    installed = installation(home)
    current = None if environment.get("BUSHEL_HOME") else read_contexts(environment).get("current")
    if current:
        found = _named(current, environment)
    elif installed is not None:
        found = installed
    else:
        raise NoContext(
            f"there is no running installation in {home}" + ("" if environment.get("BUSHEL_HOME") else ", and no context is chosen")
        )
    if environment.get("BUSHEL_TOKEN"):
        _show(found, environment["BUSHEL_TOKEN"])
        found.source += _WITH_TOKEN + "BUSHEL_TOKEN"
    return found


def installation(home: str) -> Context | None:
    """The installation in `home`, if its API has been up."""
    try:
        with open(os.path.join(home, API_FILE), encoding="utf-8") as file:
            written = json.load(file)
        url = written["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Context(
        url,
        token=_read_token(os.path.join(home, ADMIN_TOKEN_FILE)),
        ca_file=written.get("ca"),
        project=written.get("project"),
        source=f"the installation in {home}",
    )


def set_installation_project(home: str, project: str | None) -> bool:
    """Say which project the installation in `home` uses where none is named. False: there is no installation."""
    path = os.path.join(home, API_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            written = json.load(file)
    except FileNotFoundError:
        return False
    write_private(path, json.dumps({**written, "project": project}) + "\n")
    return True


def _show(found: Context, token: str | None) -> None:
    """Use this token. The project of an installation goes with its administrator's: others may not see it."""
    if found.name is None and token != found.token:
        found.project = None
    found.token = token


def read_contexts(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """What `contexts_file` holds; empty where there is none.

    Raises:
        NoContext: the file is there but is not what it should be.
    """
    path = contexts_file(environment)
    try:
        with open(path, encoding="utf-8") as file:
            contexts = json.load(file)
    except FileNotFoundError:
        return {"current": None, "contexts": {}}
    except (OSError, ValueError) as error:
        raise NoContext(f"{path} cannot be read: {error}") from error
    if not isinstance(contexts, dict) or not isinstance(contexts.get("contexts"), dict):
        raise NoContext(f"{path} does not hold contexts")
    return contexts


def write_contexts(contexts: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> None:
    """Replace the file as a whole, readable by its owner alone."""
    path = contexts_file(environment)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    write_private(path, json.dumps(contexts, indent=2) + "\n")


def write_private(path: str, text: str) -> None:
    """Write a file that only its owner may read, all of it or nothing."""
    draft = f"{path}.{os.getpid()}.draft"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _at(url: str, token: str | None, source: str, environment: Mapping[str, str]) -> Context:
    """An address that is named outright. A token not named with it is one that was stored for this very address."""
    known = [installation(home_folder(environment)), *(_stored(name, entry) for name, entry in _entries(environment).items())]
    if token:
        source += _WITH_TOKEN + "BUSHEL_TOKEN"
    for candidate in known:
        if candidate is not None and candidate.url.rstrip("/") == url.rstrip("/"):
            candidate.source = source if token else source + _WITH_TOKEN + candidate.source
            _show(candidate, token or candidate.token)
            return candidate
    return Context(url, token=token, ca_file=environment.get("BUSHEL_CA_FILE"), source=source)


def _named(name: str, environment: Mapping[str, str]) -> Context:
    entry = _entries(environment).get(name)
    if entry is None:
        raise NoContext(f"there is no context {name!r} in {contexts_file(environment)}")
    return _stored(name, entry)


def _entries(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return read_contexts(environment)["contexts"]


def _stored(name: str, entry: Mapping[str, str]) -> Context:
    return Context(
        entry["url"], token=entry.get("token"), ca_file=entry.get("ca"), project=entry.get("project"), name=name, source=f"context {name}"
    )


def _read_token(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip() or None
    except OSError:
        return None
