"""Symmetries of networks: permutations and rescalings of hidden units, found and removed."""

from spinscape.landscape.symmetry.alignment import (
    Aligned,
    Distances,
    align,
    barycentre,
    quotient_distances,
)
from spinscape.landscape.symmetry.group import (
    Exhaustion,
    GroupLaws,
    enumerate_permutations,
    exhaust,
    group_laws,
    log10_order,
    order,
)
from spinscape.landscape.symmetry.matching import Matching, inner_product, match
from spinscape.landscape.symmetry.normal_form import NormalForm, normalize, stream_gain
from spinscape.landscape.symmetry.permutations import (
    Permutations,
    compose,
    identity,
    inverse,
    permute,
    random_permutations,
)
from spinscape.landscape.symmetry.recovery import Recovery, recovery
from spinscape.landscape.symmetry.scaling import (
    flip_signs,
    random_rescale,
    random_scales,
    random_signs,
    rescale,
)
from spinscape.landscape.symmetry.signs import SignMatching, match_signs
from spinscape.landscape.symmetry.swaps import Swapped, random_swaps, swap

__all__ = [
    "Aligned",
    "Distances",
    "Exhaustion",
    "GroupLaws",
    "Matching",
    "NormalForm",
    "Permutations",
    "Recovery",
    "SignMatching",
    "Swapped",
    "align",
    "barycentre",
    "compose",
    "enumerate_permutations",
    "exhaust",
    "flip_signs",
    "group_laws",
    "identity",
    "inner_product",
    "inverse",
    "log10_order",
    "match",
    "match_signs",
    "normalize",
    "order",
    "permute",
    "quotient_distances",
    "random_permutations",
    "random_rescale",
    "random_scales",
    "random_signs",
    "random_swaps",
    "recovery",
    "rescale",
    "stream_gain",
    "swap",
]
