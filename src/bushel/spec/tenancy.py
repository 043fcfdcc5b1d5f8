"""What people write about who may do what: scopes, principals, roles, tokens, queues and secrets.

Guarantees: an unknown field is an error; names of scopes and queues are DNS labels, so that every engine can carry
them; no text holds a NUL byte.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema

from bushel.domain.permissions import Role
from bushel.domain.resources import CPU, DISK, GPU_PREFIX, MEMORY, Amounts
from bushel.spec import quantities
from bushel.spec.fields import Model, VariableName

SECRET_LIMIT_BYTES = 64 * 1024
TOKEN_LONGEST_SECONDS = 10 * 366 * 86400
WEIGHT_LIMIT = 1_000_000
JOB_QUOTA_LIMIT = 1_000_000_000
GPU_LIMIT = 1_000_000

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
NO_NUL = r"^[^\x00]*$"
NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"

ScopeName = Annotated[str, StringConstraints(max_length=191, pattern=rf"^{_LABEL}(/{_LABEL}){{0,2}}$")]
"""`acme`, `acme/research` or `acme/research/vision`."""

PrincipalName = Annotated[str, StringConstraints(max_length=128, pattern=r"^[a-z0-9][a-z0-9._@-]*$")]
QueueName = Annotated[str, StringConstraints(max_length=63, pattern=rf"^{_LABEL}$")]
SecretName = VariableName
Note = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROLS)]


class Document(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid")


class NewScope(Document):
    """A team (`acme/research`) or a project (`acme/research/vision`)."""

    path: ScopeName
    queue: QueueName | None = Field(None, description="A team's own queue, or a project's default one.")


class ScopeChange(Document):
    queue: QueueName = Field(description="A project's default queue, or a team's own.")


class NewPrincipal(Document):
    """A person or a service account. `scope` is the place whose admins administer it."""

    name: PrincipalName
    kind: Literal["user", "service"] = "user"
    scope: ScopeName


class RoleGrant(Document):
    principal: PrincipalName
    scope: ScopeName
    role: Role


def _readable(scopes: list[str]) -> list[str]:
    if "read" not in scopes or len(set(scopes)) != len(scopes):
        raise ValueError('not scopes of a token. Write ["read"] or ["read", "write"]')
    return scopes


class NewToken(Document):
    """A token can be cut down to reading, never widened, and never outlives the token that made it."""

    name: Note
    principal: PrincipalName | None = Field(None, description="A service account that you administer; left out: yourself.")
    scopes: Annotated[list[Literal["read", "write"]], Field(min_length=1, max_length=2), AfterValidator(_readable)] = ["read", "write"]
    expires_in_seconds: int | None = Field(None, ge=1, le=TOKEN_LONGEST_SECONDS)
    expires_at: AwareDatetime | None = Field(None, description="Instead of expires_in_seconds.")


def _cpu(value: Any) -> int:
    return quantities.cpu_milli(value)


def _accelerators(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= GPU_LIMIT:
        raise ValueError(f"not a number of accelerators from 0 to {GPU_LIMIT}")
    return round(value * 1000)


CpuQuota = Annotated[
    int,
    PlainValidator(_cpu),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0, "maximum": 10**9 - 1}, {"type": "string", "pattern": r"^\d{1,9}m?$"}]}),
]
SizeQuota = Annotated[
    int,
    PlainValidator(quantities.size_bytes),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 2**62}, {"type": "string", "pattern": r"^\d{1,6} ?([kMGT]i?)?B?$"}]}
    ),
]
GpuQuota = Annotated[int, PlainValidator(_accelerators), WithJsonSchema({"type": "number", "minimum": 0, "maximum": GPU_LIMIT})]


class ResourceAmounts(Document):
    """So much of each resource. What is left out is not spoken of."""

    cpu: CpuQuota | None = None
    memory: SizeQuota | None = None
    disk: SizeQuota | None = None
    gpu: dict[Model, GpuQuota] = Field(default={}, max_length=64, description="Accelerator model → how many.")

    def amounts(self) -> Amounts:
        """In smallest units."""
        amounts = {CPU: self.cpu, MEMORY: self.memory, DISK: self.disk}
        return {name: amount for name, amount in amounts.items() if amount is not None} | {
            GPU_PREFIX + model: count for model, count in self.gpu.items()
        }


class ResourceQuota(ResourceAmounts):
    """A hard limit over the live attempts of a queue and of those below it. What is left out has no limit."""


def quota_document(amounts: Amounts) -> dict[str, Any]:
    """The document that `amounts` came from, in its plainest form."""
    document: dict[str, Any] = {name: amounts[name] for name in (MEMORY, DISK) if name in amounts}
    if CPU in amounts:
        document[CPU] = quantities.cores(amounts[CPU])
    models = {name.removeprefix(GPU_PREFIX): quantities.cores(amount) for name, amount in amounts.items() if name.startswith(GPU_PREFIX)}
    return document | ({"gpu": models} if models else {})


Weight = Annotated[
    int,
    Field(ge=0, le=WEIGHT_LIMIT, description="Share among its siblings; 1000 is the default. With 0 it gets what nobody else wants."),
]
Guarantee = Annotated[ResourceAmounts, Field(description="What the queue can have back whenever it wants it.")]
Lending = Annotated[ResourceAmounts, Field(description="Most of its guarantee that others may use meanwhile. What is left out: all.")]
Borrowing = Annotated[ResourceAmounts, Field(description="Most that it may use beyond its guarantee. What is left out: any amount.")]
JobQuota = Annotated[int, Field(ge=0, le=JOB_QUOTA_LIMIT, description="Most jobs that have not ended.")]


class NewQueue(Document):
    """A queue of a team, below `parent` or at the top of the tree."""

    name: QueueName
    scope: ScopeName
    parent: QueueName | None = None
    weight: Weight = 1000
    resource_quota: ResourceQuota = ResourceQuota()
    guarantee: Guarantee = ResourceAmounts()
    lending: Lending = ResourceAmounts()
    borrowing: Borrowing = ResourceAmounts()
    job_quota: JobQuota | None = None


class QueueChange(Document):
    """What is left out stays; `job_quota: null` takes the limit away; a `resource_quota`, `guarantee`, `lending` or `borrowing`
    replaces the whole one."""

    weight: Weight | None = None
    resource_quota: ResourceQuota | None = None
    guarantee: Guarantee | None = None
    lending: Lending | None = None
    borrowing: Borrowing | None = None
    job_quota: JobQuota | None = None
    version: int | None = Field(None, ge=1, le=2**62, description="Change only if the queue still has this version.")


class SecretValue(Document):
    value: Annotated[str, StringConstraints(min_length=1, max_length=SECRET_LIMIT_BYTES, pattern=NO_NUL)]
