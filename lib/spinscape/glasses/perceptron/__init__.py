"""The spherical perceptron of negative margin: theory, solutions drawn at random, and ways between them."""

# Samples.
from spinscape.glasses.perceptron.arcs import allowed_arcs
from spinscape.glasses.perceptron.convergence import (
    Convergence,
    converged,
    effective_sample_size,
    split_r_hat,
)
from spinscape.glasses.perceptron.observables import (
    Stabilities,
    chain_overlaps,
    geodesic_energies,
    stability_histogram,
)
from spinscape.glasses.perceptron.patterns import Patterns, patterns
from spinscape.glasses.perceptron.sampler import Solutions, sample_solutions
from spinscape.glasses.perceptron.starts import interior_starts

__all__ = [
    "Convergence",
    "Patterns",
    "Solutions",
    "Stabilities",
    "allowed_arcs",
    "chain_overlaps",
    "converged",
    "effective_sample_size",
    "geodesic_energies",
    "interior_starts",
    "patterns",
    "sample_solutions",
    "split_r_hat",
    "stability_histogram",
]
