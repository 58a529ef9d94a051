"""One predicate per claim: what counts as reproduced, written before the run is looked at.

A predicate takes the measurements of its claim and the run's parameters, and returns a `Verdict`.
One module per chapter holds three tables:

``PREDICATES``
    Claim id -> predicate.
``CASES``
    Claim id -> the parameters that make a run the claimed case, and what testing that case costs;
    claims that any run can test are not in it.
``EXAMPLES``
    Claim id -> one synthetic set of measurements that passes and one that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spinscape.companion.ledger import Measurement, Verdict

Predicate = Callable[[Mapping[str, Measurement], Mapping[str, Any]], Verdict]


@dataclass(frozen=True)
class Case:
    """The case that a claim is about.

    Attributes
    ----------
    parameters
        Name -> the value that the source used.
    at_least
        Name -> the smallest value with which a run says anything about the claim.
    words
        The case in words, such as ``"FC1-512 on MNIST"``.
    cost
        How to run it and what that costs.
    """

    parameters: Mapping[str, Any]
    at_least: Mapping[str, float]
    words: str
    cost: str


from spinscape.companion.predicates import (  # noqa: E402
    critical_points,
    flatness,
    mode_connectivity,
    permutation_symmetry,
    random_walks,
    rsb_clustering,
    spin_glass_theory,
    star_shaped,
)

_MODULES = (
    spin_glass_theory,
    critical_points,
    random_walks,
    permutation_symmetry,
    rsb_clustering,
    mode_connectivity,
    flatness,
    star_shaped,
)
PREDICATES: dict[str, Predicate] = {k: v for m in _MODULES for k, v in m.PREDICATES.items()}
CASES: dict[str, Case] = {k: v for m in _MODULES for k, v in m.CASES.items()}
EXAMPLES: dict[str, tuple[dict[str, Measurement], dict[str, Measurement]]] = {
    k: v for m in _MODULES for k, v in m.EXAMPLES.items()
}


def outside(claim: str, parameters: Mapping[str, Any]) -> str:
    """Say why a run is not the claimed case; empty when it is.

    Parameters
    ----------
    claim
        Claim id.
    parameters
        The run's effective parameters.
    """
    case = CASES.get(claim)
    if case is None:
        return ""
    away = {k: parameters.get(k) for k, v in case.parameters.items() if parameters.get(k) != v}
    away.update({k: parameters.get(k) for k, v in case.at_least.items() if parameters.get(k, 0) < v})
    if not away:
        return ""
    was = ", ".join(f"{name} = {value}" for name, value in away.items())
    return f"The claim is about {case.words}; this run has {was}. Projected cost: {case.cost}."
