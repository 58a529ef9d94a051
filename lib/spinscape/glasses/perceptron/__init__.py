"""The spherical perceptron with margins of either sign: replica-symmetric theory and solutions."""

from spinscape.glasses.perceptron.interpolation import Curves, interpolation_curves, interpolation_energy
from spinscape.glasses.perceptron.limits import capacity, contacts, largest_margin
from spinscape.glasses.perceptron.replica_symmetric import (
    almeida_thouless,
    check_valid,
    entropy,
    replica_symmetric_overlap,
    stability,
    stability_density,
    stability_distribution,
)
from spinscape.glasses.perceptron.thresholds import (
    Threshold,
    Vanishing,
    convex_threshold,
    core_vanishes,
    star_threshold,
)
from spinscape.glasses.perceptron.two_groups import mutual_overlap

__all__ = [
    "Curves",
    "Threshold",
    "Vanishing",
    "almeida_thouless",
    "capacity",
    "check_valid",
    "contacts",
    "convex_threshold",
    "core_vanishes",
    "entropy",
    "interpolation_curves",
    "interpolation_energy",
    "largest_margin",
    "mutual_overlap",
    "replica_symmetric_overlap",
    "stability",
    "stability_density",
    "stability_distribution",
    "star_threshold",
]
