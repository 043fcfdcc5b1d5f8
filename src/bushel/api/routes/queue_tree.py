"""The tree of queues, and who borrows from whom."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase
from bushel.api.job_views import answer
from bushel.api.problems import responses
from bushel.spec.queue_tree import QueueTreeView

router = APIRouter(tags=["queues"])


@router.get("/queue-tree", responses={**responses(), 200: {"model": QueueTreeView}})
def get_queue_tree(principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    """Queues at, above or below places of the caller's: what each is entitled to, guaranteed, uses, lends and borrows."""
    from bushel.control.queue_tree import queue_tree  # here, because numpy would make each start of the server longer

    return answer(queue_tree(database, principal))
