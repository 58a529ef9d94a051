"""How flat the loss is around trained networks."""

from spinscape.landscape.flatness.along_lines import AlongLines, along
from spinscape.landscape.flatness.local_energy import LocalEnergy, local_energy
from spinscape.landscape.flatness.local_entropy import LocalEntropy, local_entropy
from spinscape.landscape.flatness.ranking import Ranking, rank
from spinscape.landscape.flatness.replica_identity import ReplicaIdentity, replica_identity
from spinscape.landscape.flatness.trace import TraceEstimate, hessian_trace

__all__ = [
    "AlongLines",
    "LocalEnergy",
    "LocalEntropy",
    "Ranking",
    "ReplicaIdentity",
    "TraceEstimate",
    "along",
    "hessian_trace",
    "local_energy",
    "local_entropy",
    "rank",
    "replica_identity",
]
