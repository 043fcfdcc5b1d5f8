"""What routes declare that they need."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from bushel.api.settings import Settings
from bushel.store.database import Database


def _database(request: Request) -> Database:
    return request.app.state.database


def _settings(request: Request) -> Settings:
    return request.app.state.settings


CurrentDatabase = Annotated[Database, Depends(_database)]
CurrentSettings = Annotated[Settings, Depends(_settings)]
