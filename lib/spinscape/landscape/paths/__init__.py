"""Paths between networks, losses along them, barriers, and what lies in the middle of many networks."""

from spinscape.landscape.paths.barriers import Barriers, barriers
from spinscape.landscape.paths.bend import Bent, bend
from spinscape.landscape.paths.combination import Path, bezier, broken, linear
from spinscape.landscape.paths.common import Comparison, to_one_reference
from spinscape.landscape.paths.elastic_band import Band, NetworkBand, band, relax
from spinscape.landscape.paths.flips import Compared, Flips, compare_flips, flips, hamming, matched_signs
from spinscape.landscape.paths.merging import Merged, merge, soup
from spinscape.landscape.paths.profiles import Profile, profile
from spinscape.landscape.paths.removal import WAYS, Removal, removal
from spinscape.landscape.paths.repair import (
    UnitStatistics,
    repair,
    repair_path,
    unit_statistics,
    variance_ratios,
)
from spinscape.landscape.paths.sphere import geodesic
from spinscape.landscape.paths.triangle import Triangle, triangle
from spinscape.landscape.paths.widths import Peak, pair_table, peak, share_of_pairs
from spinscape.networks.running_statistics import reset_statistics

__all__ = [
    "WAYS",
    "Band",
    "Barriers",
    "Bent",
    "Compared",
    "Comparison",
    "Flips",
    "Merged",
    "NetworkBand",
    "Path",
    "Peak",
    "Profile",
    "Removal",
    "Triangle",
    "UnitStatistics",
    "band",
    "barriers",
    "bend",
    "bezier",
    "broken",
    "compare_flips",
    "flips",
    "geodesic",
    "hamming",
    "linear",
    "matched_signs",
    "merge",
    "pair_table",
    "peak",
    "profile",
    "relax",
    "removal",
    "repair",
    "repair_path",
    "reset_statistics",
    "share_of_pairs",
    "soup",
    "to_one_reference",
    "triangle",
    "unit_statistics",
    "variance_ratios",
]
