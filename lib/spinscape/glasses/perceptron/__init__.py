"""The spherical perceptron of negative margin: theory, sampled solutions, geodesics, algorithms, jamming."""

from spinscape.glasses.perceptron.algorithms import (
    Run,
    gradient_descent,
    maximise_margin,
    perceptron_rule,
    replicated,
)
from spinscape.glasses.perceptron.arcs import allowed_arcs
from spinscape.glasses.perceptron.attraction import Attraction, barriers_along
from spinscape.glasses.perceptron.committee import jam_committee
from spinscape.glasses.perceptron.convergence import (
    Convergence,
    converged,
    effective_sample_size,
    split_r_hat,
)
from spinscape.glasses.perceptron.equilibrium import Equilibrium, equilibrate
from spinscape.glasses.perceptron.geodesics import (
    Barrier,
    Connections,
    barrier,
    barrier_free,
    connections,
    energies,
    lowest,
    ternary_grid,
)
from spinscape.glasses.perceptron.interpolation import Curves, interpolation_curves, interpolation_energy
from spinscape.glasses.perceptron.jamming import Jamming, jam
from spinscape.glasses.perceptron.landing import Landing, landing
from spinscape.glasses.perceptron.limits import capacity, contacts, largest_margin
from spinscape.glasses.perceptron.observables import (
    Stabilities,
    chain_overlaps,
    geodesic_energies,
    stability_histogram,
)
from spinscape.glasses.perceptron.patterns import Patterns, patterns
from spinscape.glasses.perceptron.replica_symmetric import (
    almeida_thouless,
    check_valid,
    entropy,
    replica_symmetric_overlap,
    stability,
    stability_density,
    stability_distribution,
)
from spinscape.glasses.perceptron.sampler import Solutions, sample_solutions
from spinscape.glasses.perceptron.sight import Sight, sight
from spinscape.glasses.perceptron.starts import interior_starts
from spinscape.glasses.perceptron.thresholds import (
    Threshold,
    Vanishing,
    convex_threshold,
    core_vanishes,
    star_threshold,
)
from spinscape.glasses.perceptron.two_groups import mutual_overlap

__all__ = [
    "Attraction",
    "Barrier",
    "Connections",
    "Convergence",
    "Curves",
    "Equilibrium",
    "Jamming",
    "Landing",
    "Patterns",
    "Run",
    "Sight",
    "Solutions",
    "Stabilities",
    "Threshold",
    "Vanishing",
    "allowed_arcs",
    "almeida_thouless",
    "barrier",
    "barrier_free",
    "barriers_along",
    "capacity",
    "chain_overlaps",
    "check_valid",
    "connections",
    "contacts",
    "converged",
    "convex_threshold",
    "core_vanishes",
    "effective_sample_size",
    "energies",
    "entropy",
    "equilibrate",
    "geodesic_energies",
    "gradient_descent",
    "interior_starts",
    "interpolation_curves",
    "interpolation_energy",
    "jam",
    "jam_committee",
    "landing",
    "largest_margin",
    "lowest",
    "maximise_margin",
    "mutual_overlap",
    "patterns",
    "perceptron_rule",
    "replica_symmetric_overlap",
    "replicated",
    "sample_solutions",
    "sight",
    "split_r_hat",
    "stability",
    "stability_density",
    "stability_distribution",
    "stability_histogram",
    "star_threshold",
    "ternary_grid",
]
