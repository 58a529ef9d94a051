"""Paths between networks, losses along them, and their barriers."""

from spinscape.landscape.paths.barriers import Barriers, barriers
from spinscape.landscape.paths.bend import Bent, bend
from spinscape.landscape.paths.combination import Path, bezier, broken, linear
from spinscape.landscape.paths.elastic_band import Band, NetworkBand, band, relax
from spinscape.landscape.paths.profiles import Profile, profile
from spinscape.landscape.paths.sphere import geodesic
from spinscape.landscape.paths.triangle import Triangle, triangle

__all__ = [
    "Band",
    "Barriers",
    "Bent",
    "NetworkBand",
    "Path",
    "Profile",
    "Triangle",
    "band",
    "barriers",
    "bend",
    "bezier",
    "broken",
    "geodesic",
    "linear",
    "profile",
    "relax",
    "triangle",
]
