"""Who may ask what: the words in which the route table says it."""

from collections.abc import Mapping
from dataclasses import dataclass

from waa.core.access import Scope


@dataclass(frozen=True, slots=True)
class Decision:
    """For one method of a route: one of ``scopes`` is needed; none of them: anybody who is known; None: nobody need be known.

    ``action``: what the audit log calls it, "" where it is not written down."""

    scopes: frozenset[Scope] | None
    action: str = ""


Access = Mapping[str, Decision]
"""By method, as the route table has it: GET stands for HEAD too, and OPTIONS tells nobody anything. Others are not there (405)."""

PUBLIC = Decision(None)
KNOWN = Decision(frozenset())
"""For anybody; the handler looks whose it is that they ask for."""
VIEW = Decision(frozenset({Scope.VIEW}))
JOBS = Decision(frozenset({Scope.VIEW, Scope.INGEST}))
"""Who pushes results may see what becomes of them."""
MINE = Decision(frozenset({Scope.VIEW, Scope.TRAINING}))
"""For who watches or runs trainings; the handler looks whose they are."""
PUSH = Decision(frozenset({Scope.TRAINING}))
"""Not written down: predictions come by the thousand."""
METRICS = Decision(frozenset({Scope.METRICS}))
"""Open to all where the operator says so (setting public_metrics)."""
ADMIN = Decision(frozenset({Scope.ADMIN}))

READ: Access = {"GET": VIEW}
PANELS: Access = {"GET": MINE}
"""Panels of trainings are for whoever runs them; the handler asks for ``view`` for the others."""


def operate(action: str) -> Decision:
    """Changes what is watched, or how it is judged."""
    return Decision(frozenset({Scope.OPERATE}), action)


def ingest(action: str) -> Decision:
    """Brings results in."""
    return Decision(frozenset({Scope.INGEST}), action)


def train(action: str, *scopes: Scope) -> Decision:
    """Changes a training of one's own."""
    return Decision(frozenset({Scope.TRAINING, *scopes}), action)


def decision_for(access: Access, method: str) -> Decision | None:
    """The decision for a method of HTTP, None where there is none: then the method is not there."""
    if method == "OPTIONS":
        return PUBLIC
    return access.get("GET" if method == "HEAD" else method)
