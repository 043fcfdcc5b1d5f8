"""How this API process was started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """`state_folder` holds what is not in PostgreSQL: `blobs/`, `logs/` and `secret.key`, each 0700 or 0600."""

    database_url: str
    state_folder: Path
    host: str = "127.0.0.1"
    port: int = 7077
    lease_seconds: float = 30.0
    most_body_bytes: int = 64 * 1024 * 1024
    most_blob_bytes: int = 1024 * 1024 * 1024
