"""Flatness of the loss around trained networks."""

from spinscape.landscape.flatness.along_lines import AlongLines, along
from spinscape.landscape.flatness.dense import dense_hessians, exact_spectrum
from spinscape.landscape.flatness.hessian import HessianProducts
from spinscape.landscape.flatness.invariance_check import InvarianceCheck, check_invariance
from spinscape.landscape.flatness.local_energy import LocalEnergy, local_energy
from spinscape.landscape.flatness.local_entropy import LocalEntropy, local_entropy
from spinscape.landscape.flatness.quadratic_check import QuadraticCheck, quadratic_check
from spinscape.landscape.flatness.ranking import Ranking, rank
from spinscape.landscape.flatness.replica_identity import ReplicaIdentity, replica_identity
from spinscape.landscape.flatness.spectrum import Spectrum, lanczos_density, wasserstein
from spinscape.landscape.flatness.top import TopEigenvalues, top_eigenvalues
from spinscape.landscape.flatness.trace import TraceEstimate, hessian_trace

__all__ = [
    "AlongLines",
    "HessianProducts",
    "InvarianceCheck",
    "LocalEnergy",
    "LocalEntropy",
    "QuadraticCheck",
    "Ranking",
    "ReplicaIdentity",
    "Spectrum",
    "TopEigenvalues",
    "TraceEstimate",
    "along",
    "check_invariance",
    "dense_hessians",
    "exact_spectrum",
    "hessian_trace",
    "lanczos_density",
    "local_energy",
    "local_entropy",
    "quadratic_check",
    "rank",
    "replica_identity",
    "top_eigenvalues",
    "wasserstein",
]
