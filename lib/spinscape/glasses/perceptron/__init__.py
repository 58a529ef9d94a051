"""The spherical perceptron of any margin: theory, sampled solutions, geodesics, algorithms and jamming."""

from spinscape.glasses.perceptron.algorithms import (
    Run,
    gradient_descent,
    largest_margin,
    perceptron_rule,
    replicated,
)
from spinscape.glasses.perceptron.attraction import Attraction, barriers_along
from spinscape.glasses.perceptron.committee import jam_committee
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
from spinscape.glasses.perceptron.jamming import Jamming, jam
from spinscape.glasses.perceptron.patterns import Patterns, patterns

__all__ = [
    "Attraction",
    "Barrier",
    "Connections",
    "Jamming",
    "Patterns",
    "Run",
    "barrier",
    "barrier_free",
    "barriers_along",
    "connections",
    "energies",
    "gradient_descent",
    "jam",
    "jam_committee",
    "largest_margin",
    "lowest",
    "patterns",
    "perceptron_rule",
    "replicated",
    "ternary_grid",
]
