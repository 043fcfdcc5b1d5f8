"""What people and programs write about data sets: storage places, data sets, versions, pins.

Guarantees: an unknown field is an error; names cannot be mistaken for a selector or a route; a descriptor that passes has finite
numbers, bounded texts and only digests that are digests.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AllowInfNan, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from bushel.spec.fields import VariableName
from bushel.spec.manifest import COLUMNS_LIMIT, COUNTER_KEYS_LIMIT
from bushel.spec.tenancy import NO_CONTROLS, Document

PARTS_A_REQUEST = 10_000
DESCRIPTOR_LIMIT_BYTES = 32 * 1024
SOURCES_LIMIT = 100
RESERVED = frozenset({"versions", "pins"})
"""Words of addresses, which a name's parts may therefore not be."""

_SEGMENT = r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?"
_SITE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
LARGEST = 2**53


def _not_reserved(name: str) -> str:
    if RESERVED & set(name.split("/")):
        raise ValueError(f"{' and '.join(sorted(RESERVED))} cannot be parts of a name")
    return name


DatasetName = Annotated[str, StringConstraints(max_length=191, pattern=rf"^{_SEGMENT}(/{_SEGMENT}){{0,4}}$"), AfterValidator(_not_reserved)]
"""`drive/frames`."""

PlaceName = Annotated[str, StringConstraints(max_length=63, pattern=_SITE)]
SiteName = Annotated[str, StringConstraints(max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Jurisdiction = Annotated[str, StringConstraints(max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
Purpose = Jurisdiction
Text = Annotated[str, StringConstraints(max_length=1000, pattern=NO_CONTROLS)]
Short = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=NO_CONTROLS)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Number = Annotated[float, AllowInfNan(False)]
VERSION_PATTERN = r"^(latest|[1-9][0-9]{0,8}|sha256:[0-9a-f]{64})$"
VersionSelector = Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]

_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._=-]+)*|(file://)?(/[^/\x00-\x1f\x7f?#]+)+")


def _place_url(url: str) -> str:
    if not _URL.fullmatch(url) or any(part in (".", "..") for part in url.split("/")):
        raise ValueError("not an address of a place. Write /a/folder or s3://bucket/prefix")
    return url.removeprefix("file://")


class PlaceOptions(Document):
    """How an S3 store is reached."""

    endpoint: Annotated[str, StringConstraints(max_length=255, pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")] | None = None
    region: Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9-]+$")] | None = None
    read_back: bool = Field(default=False, description="Read every object again after it was written: for stores that ignore checksums.")


class PlaceSecrets(Document):
    """Names of secrets; no answer and no table holds a value."""

    access_key_id: VariableName | None = None
    secret_access_key: VariableName | None = None
    session_token: VariableName | None = None


class NewPlace(Document):
    """A storage place: a folder, or a prefix in a bucket."""

    url: Annotated[str, StringConstraints(max_length=512), AfterValidator(_place_url)]
    jurisdiction: Jurisdiction | Literal[""] = ""
    sites: Annotated[list[SiteName], Field(max_length=64)] = Field(
        default_factory=list, description="Only tasks at these sites reach it. None: all do."
    )
    options: PlaceOptions = PlaceOptions()
    secrets: PlaceSecrets = PlaceSecrets()


class LabelsDocument(Document):
    """What is declared of a data set. Versions inherit the rest from what they were made of."""

    jurisdiction: Annotated[list[Jurisdiction], Field(max_length=32)] = Field(default_factory=list)
    purpose: Annotated[list[Purpose], Field(max_length=32)] = Field(default_factory=list)
    coordinate_system: Short | None = None

    def plain(self) -> dict[str, Any]:
        return {name: value for name, value in self.model_dump().items() if value}


class DatasetDocument(Document):
    """A data set. What is left out is as it was, or as by default for a new one."""

    places: Annotated[list[PlaceName], Field(min_length=1, max_length=32)] | None = None
    description: Text | None = None
    labels: LabelsDocument | None = None
    released: bool | None = Field(
        default=None, description="Its versions may leave the jurisdiction of what they were made of. For managers."
    )
    keep_versions: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    keep_days: Annotated[int, Field(ge=1, le=36_600)] | None = None


class Column(Document):
    """Statistics that add up."""

    count: Count
    nulls: Count
    min: Number | None
    max: Number | None
    sum: Number
    sum_squares: Number


CounterKey = Annotated[str, StringConstraints(max_length=255, pattern=NO_CONTROLS)]


class Statistics(Document):
    columns: Annotated[dict[Short, Column], Field(max_length=COLUMNS_LIMIT)] = Field(default_factory=dict)
    counters: Annotated[dict[Short, Annotated[dict[CounterKey, Count], Field(max_length=COUNTER_KEYS_LIMIT)]], Field(max_length=100)] = (
        Field(default_factory=dict)
    )


class Source(Document):
    """Something that was read to make a part. What an earlier stage of the same run made has no version yet, but a digest."""

    dataset: Short
    version: Count
    part: Short | None = None
    digest: Digest | None = None


class MadeBy(BaseModel):
    """Where a part was made, as the task was told."""

    model_config = ConfigDict(extra="ignore")

    job: Annotated[str, StringConstraints(max_length=63, pattern=NO_CONTROLS)] = ""
    index: Count = 0
    attempt: Count = 0
    site: Annotated[str, StringConstraints(max_length=63, pattern=NO_CONTROLS)] = ""
    cluster: Annotated[str, StringConstraints(max_length=63, pattern=NO_CONTROLS)] = ""


class PartDescriptor(Document):
    """What one partition wrote, in a place, whole and verified."""

    digest: Digest
    place: PlaceName
    files: Annotated[int, Field(ge=0, le=2**31 - 1)]
    bytes: Count
    records: Count
    schema_: Annotated[dict[Short, Short], Field(max_length=COLUMNS_LIMIT)] = Field({}, alias="schema")
    statistics: Statistics = Statistics()
    labels: LabelsDocument = LabelsDocument()
    sources: Annotated[list[Source], Field(max_length=SOURCES_LIMIT)] = Field(default_factory=list)
    made_by: MadeBy = MadeBy()


class NamedPart(PartDescriptor):
    name: Short


class InputReference(Document):
    dataset: DatasetName
    version: VersionSelector


class NewVersion(Document):
    """A version to commit: what lies in its places already, in order."""

    parts: Annotated[list[NamedPart], Field(max_length=PARTS_A_REQUEST)]
    inputs: Annotated[list[InputReference], Field(max_length=100)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _unique(self) -> NewVersion:
        names = [part.name for part in self.parts]
        if len(set(names)) != len(names):
            raise ValueError("two parts have the same name")
        return self


class NewPin(Document):
    """Somebody needs a version: it is not deleted until they let go."""

    consumer: Short
    reason: Text = ""
