"""Flatness of the loss around trained networks."""

from spinscape.landscape.flatness.dense import dense_hessians, exact_spectrum
from spinscape.landscape.flatness.hessian import HessianProducts
from spinscape.landscape.flatness.spectrum import Spectrum, lanczos_density, wasserstein
from spinscape.landscape.flatness.top import TopEigenvalues, top_eigenvalues
from spinscape.landscape.flatness.trace import TraceEstimate, hessian_trace

__all__ = [
    "HessianProducts",
    "Spectrum",
    "TopEigenvalues",
    "TraceEstimate",
    "dense_hessians",
    "exact_spectrum",
    "hessian_trace",
    "lanczos_density",
    "top_eigenvalues",
    "wasserstein",
]
