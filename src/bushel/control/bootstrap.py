"""What a new installation holds: one organisation, team, queue and project, and an admin with a token.

Guarantees: all of it is made in one transaction, once; a database that already has an organisation is left as it is.
The token is written to its file before the transaction commits, so an installation never has an admin whose token
nobody holds. Whoever can reach the database can have a new token of the first admin with `--replace-token`, which ends
the admin's earlier ones and is audited.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from bushel.domain.errors import NotFound
from bushel.domain.failpoints import reach
from bushel.domain.permissions import TOKEN_SCOPES
from bushel.store import tokens
from bushel.store.database import AuditEntry, Database, Event, Transaction
from bushel.store.migrate import migrate

ORG, TEAM, PROJECT, QUEUE, ADMIN = "home", "home/main", "home/main/main", "main", "admin"


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    admin_principal_id: int
    project_id: int
    queue_id: int
    token: str


def bootstrap(tx: Transaction) -> Bootstrapped:
    """Fill an empty database. The caller sees to it that it is empty."""
    org = _scope(tx, "org", None, ORG)
    team = _scope(tx, "team", org, TEAM)
    project = _scope(tx, "project", team, PROJECT)
    queue = tx.one("insert into queues (scope_id, name) values (%s, %s) returning id", (team, QUEUE))["id"]
    tx.execute("update scopes set queue_id = %s where id = any(%s)", (queue, [team, project]))
    admin = tx.one("insert into principals (kind, name, scope_id) values ('user', %s, %s) returning id", (ADMIN, org))["id"]
    tx.execute("insert into role_bindings (principal_id, scope_id, role) values (%s, %s, 'admin')", (admin, org))
    _, token = tokens.create(tx, admin, "first admin", TOKEN_SCOPES)
    tx.emit(Event("scope.created", ORG, f"scope/{ORG}", "bootstrap", {"kind": "org"}))
    tx.audit(AuditEntry(admin, None, "installation:bootstrap", f"scope/{ORG}", ORG, "bootstrap"))
    return Bootstrapped(admin, project, queue, token)


def _scope(tx: Transaction, kind: str, parent: int | None, path: str) -> int:
    name = path.rpartition("/")[2]
    return tx.one("insert into scopes (kind, parent_id, name, path) values (%s, %s, %s, %s) returning id", (kind, parent, name, path))["id"]


def ensure(database: Database, token_file: Path) -> bool:
    """Bootstrap if need be; whether that was so."""
    with database.transaction() as tx:
        tx.execute("select pg_advisory_xact_lock(hashtext('bushel bootstrap'))")
        if tx.first("select 1 from scopes limit 1"):
            return False
        made = bootstrap(tx)
        _write_private(token_file, made.token + "\n")
        reach("bootstrap.after_token_file")
    return True


def replace_token(database: Database, token_file: Path) -> None:
    """Give the first admin a new token, in place of all earlier ones.

    Raises:
        NotFound: the first admin is disabled, or was never made.
    """
    with database.transaction() as tx:
        admin = tx.first("select id from principals where name = %s and disabled_at is null for update", (ADMIN,))
        if admin is None:
            raise NotFound(f"there is no enabled principal {ADMIN}")
        tx.execute("update tokens set revoked_at = now() where principal_id = %s and revoked_at is null", (admin["id"],))
        token_id, token = tokens.create(tx, admin["id"], "replaced at the installation", TOKEN_SCOPES)
        tx.emit(Event("token.created", ORG, f"token/{token_id}", "bootstrap", {"principal": ADMIN}))
        tx.audit(AuditEntry(admin["id"], None, "installation:replace-token", f"token/{token_id}", ORG, "bootstrap"))
        _write_private(token_file, token + "\n")
        reach("bootstrap.after_replaced_token_file")


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    reach("bootstrap.before_token_file")
    draft.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bushel.control.bootstrap", description="Bring a database to this version's schema and fill an empty one."
    )
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--replace-token", action="store_true", help="end the first admin's tokens and write a new one")
    options = parser.parse_args()
    migrate(options.database_url)
    migrate(options.database_url)
    with Database(options.database_url, most_connections=1, name="bushel bootstrap") as database:
        made = ensure(database, options.token_file)
        if options.replace_token and not made:
            replace_token(database, options.token_file)
    print("made" if made else "token replaced" if options.replace_token else "was there", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
