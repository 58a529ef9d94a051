"""Symmetries of networks: permutations and rescalings of hidden units, found and removed."""

from spinscape.landscape.symmetry.permutations import (
    Permutations,
    Swapped,
    compose,
    identity,
    inverse,
    permute,
    random_permutations,
    random_swaps,
    swap,
)

__all__ = [
    "Permutations",
    "Swapped",
    "compose",
    "identity",
    "inverse",
    "permute",
    "random_permutations",
    "random_swaps",
    "swap",
]
