import numpy as np
import pytest

from spinscape.landscape.kept_runs import spikes
from spinscape.networks.snapshots import spikes as count


def test_kept_run_is_whole_and_consistent():
    run = spikes()
    epochs, replicas = run.norms.shape
    assert run.loss.shape == (epochs, replicas) == (25, run.replicas)
    assert run.overlaps.shape == (len(run.epochs), replicas, replicas)
    assert np.isfinite(run.loss).all()
    assert (run.loss > 0).all()
    # Norms grow while training goes on; a spike never lowers them.
    assert (np.diff(run.norms, axis=0) > -0.5).all()
    for epoch in run.epochs:
        pairs = run.pairs(int(epoch))
        assert np.array_equal(pairs.norms, run.norms[epoch - 1])
        assert np.linalg.eigvalsh(pairs.overlaps).min() > 0
    assert count(run.history)[-1].max() >= 1
    with pytest.raises(ValueError, match="not after 3"):
        run.pairs(3)
