"""Paths between networks, what stands in their way, and what lies in the middle of many networks."""

from spinscape.landscape.paths.common import Comparison, to_one_reference
from spinscape.landscape.paths.merging import Merged, merge, soup
from spinscape.landscape.paths.repair import (
    UnitStatistics,
    repair,
    repair_path,
    unit_statistics,
    variance_ratios,
)
from spinscape.landscape.paths.running_statistics import reset_statistics

__all__ = [
    "Comparison",
    "Merged",
    "UnitStatistics",
    "merge",
    "repair",
    "repair_path",
    "reset_statistics",
    "soup",
    "to_one_reference",
    "unit_statistics",
    "variance_ratios",
]
