"""What people set for a whole installation in the environment of its parts.

Guarantees: a value that cannot be understood is an error that names the variable and shows the fix; the parts and whoever starts them
read it alike.
"""

from __future__ import annotations

from bushel.domain.errors import FieldProblem, InvalidDocument
from bushel.spec.quantities import duration_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

RECLAIM = "BUSHEL_RECLAIM"
LEAST_RUN = "BUSHEL_LEAST_RUN"


def reclaim_settings(environment: Mapping[str, str]) -> tuple[bool, float]:
    """Whether work is stopped for others, and for how many seconds everything runs before.

    Raises:
        InvalidDocument: a setting cannot be understood.
    """
    chosen = environment.get(RECLAIM, "on").strip().lower()
    if chosen not in ("on", "off"):
        raise InvalidDocument([FieldProblem(RECLAIM, f"{RECLAIM} is {chosen!r}, which is neither on nor off", suggestion=f"{RECLAIM}=off")])
    try:
        return chosen == "on", float(duration_seconds(environment.get(LEAST_RUN, "0s")))
    except ValueError as error:
        problem = FieldProblem(LEAST_RUN, f"{LEAST_RUN} is {environment[LEAST_RUN]!r}: {error}", suggestion=f"{LEAST_RUN}=10m")
        raise InvalidDocument([problem]) from None
