"""The API as the installation uses it: with the admin token, over the client."""

from __future__ import annotations

from typing import Any

from bushel.client.caller import Caller
from bushel.client.context import Context
from bushel.client.http1 import TransportFailure, quote
from bushel.client.operation import Operation, with_key
from bushel.client.transport import Transport
from bushel.domain.errors import Conflict, Unavailable
from bushel.installation.home import Home, Settings


def answers(settings: Settings, *, timeout_seconds: float = 1.0) -> bool:
    """Whether the API answers now."""
    transport = Transport(settings.url, ca_file=settings.tls_certificate, patience_seconds=0, connect_timeout_seconds=timeout_seconds)
    try:
        return transport.send("GET", "/healthz", timeout=timeout_seconds)[0] == 200
    except TransportFailure:
        return False
    finally:
        transport.close()


class ControlPlane:
    """Calls with the admin's rights."""

    def __init__(self, home: Home, settings: Settings) -> None:
        """
        Raises:
            Unavailable: there is no admin token here.
        """
        token = home.admin_token()
        if token is None:
            raise Unavailable(
                f"{home.admin_token_file} is not there: another installation filled this database",
                suggestion=f"copy its admin.token and state/secret.key to {home.path}",
            )
        context = Context(settings.url, token=token, ca_file=settings.tls_certificate, source=f"the installation in {home.path}")
        self._caller = Caller(context, patience_seconds=5.0, user_agent="bushel-installation")

    def whoami(self) -> dict[str, Any]:
        return self._caller.call(Operation("GET", "/v1/whoami"))

    def make_site(self, name: str, jurisdiction: str = "") -> None:
        """Make a site, unless it is there."""
        try:
            self._caller.call(Operation("POST", "/v1/sites", document={"name": name, "jurisdiction": jurisdiction}))
        except Conflict:
            return

    def make_cluster(self, name: str, site: str, *, key: str, engine: str = "local") -> str:
        """Make a cluster. Returns its agent's token; asked again with the same key, the same one."""
        document = {"name": name, "site": site, "engine": engine}
        made = self._caller.call(Operation("POST", "/v1/clusters", document=document, headers=with_key(key)))
        return made["agent_token"]

    def remove_cluster(self, name: str) -> None:
        self._caller.call(Operation("DELETE", f"/v1/clusters/{quote(name)}"))

    def cluster(self, name: str) -> dict[str, Any]:
        return self._caller.call(Operation("GET", f"/v1/clusters/{quote(name)}"))

    def clusters(self) -> list[dict[str, Any]]:
        return list(self._caller.pages(lambda page: Operation("GET", "/v1/clusters", parameters=[("page", page)] if page else [])))

    def nodes(self, cluster: str) -> list[dict[str, Any]]:
        def page_of(page: str | None) -> Operation[dict[str, Any]]:
            return Operation("GET", "/v1/nodes", parameters=[("cluster", cluster), *([("page", page)] if page else [])])

        return list(self._caller.pages(page_of))
