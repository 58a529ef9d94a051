"""Paths between trained networks: lines, geodesics, curves, bands, and the barriers on them."""

from spinscape.landscape.paths.bend import Bent, bend

__all__ = ["Bent", "bend"]
