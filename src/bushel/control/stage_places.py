"""The data sets that stages read and write, settled when a run begins.

Guarantees: an input is one version for the whole run, whatever is published meanwhile; what is told to tasks holds no secret, only the
names of those that they get.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from bushel.domain.principal import Principal
from bushel.store.database import Transaction

_MODULE = "bushel.control.dataset_parts"


@dataclass(slots=True)
class Resolved:
    """Of one stage. `sites`: where it may run for the sake of what it reads; None: anywhere."""

    inputs: dict[str, Any] | None = field(default_factory=dict)
    outputs: dict[str, Any] | None = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    sites: list[str] | None = None

    def told(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "outputs": self.outputs, "secrets": self.secrets, "sites": self.sites}


def data_sets() -> Any:
    """The module that knows data sets; None where there is none."""
    return import_module(_MODULE) if find_spec(_MODULE) is not None else None


def resolve_stages(tx: Transaction, principal: Principal, project: str, document: Mapping[str, Any]) -> dict[str, Resolved]:
    """By stage, of those that read or write data sets.

    Raises:
        NotFound: an input is not there.
    """
    module = data_sets()
    made: dict[str, Resolved] = {}
    for name, stage in document["stages"].items():
        inputs, outputs = stage.get("inputs", {}), stage.get("outputs", {})
        if not inputs and not outputs:
            continue
        if module is None:
            made[name] = Resolved(
                {key: {"dataset": text} for key, text in inputs.items()}, {key: {"dataset": text} for key, text in outputs.items()}
            )
            continue
        read = {key: module.resolve_input(tx, principal, project, text) for key, text in inputs.items()}
        written = {key: module.resolve_output(tx, principal, project, text) for key, text in outputs.items()}
        secrets = sorted({secret for one in (*read.values(), *written.values()) for secret in module.secret_names(one)})
        made[name] = Resolved(read, written, secrets, module.allowed_sites([*read.values(), *written.values()]))
    if module is not None:
        for name, stage in document["stages"].items():
            before = [made[edge["stage"]].outputs or {} for edge in stage["after"] if edge["stage"] in made]
            secrets = {secret for outputs in before for one in outputs.values() for secret in module.secret_names(one)}
            if secrets:
                reader = made.setdefault(name, Resolved())
                reader.secrets = sorted({*reader.secrets, *secrets})
    return made


_SECRETS = """
    with recursive above as (
        select id, parent_id from scopes where id = %s union all select s.id, s.parent_id from scopes s join above a on s.id = a.parent_id
    )
    select x.name, max(x.changed_at)::text as changed_at from secrets x join above a on a.id = x.scope_id group by x.name
"""


def secret_times(tx: Transaction, project_id: int) -> dict[str, str]:
    """When each secret that jobs of the project may have was changed last."""
    return {row["name"]: row["changed_at"] for row in tx.all(_SECRETS, (project_id,))}
