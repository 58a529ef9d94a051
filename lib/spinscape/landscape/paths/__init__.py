"""Paths between trained networks: lines, geodesics, curves, bands, and the barriers on them."""

from spinscape.landscape.paths.bend import Bent, bend
from spinscape.landscape.paths.elastic_band import Band, relax
from spinscape.landscape.paths.network_bands import NetworkBand, band

__all__ = ["Band", "Bent", "NetworkBand", "band", "bend", "relax"]
