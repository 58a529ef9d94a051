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
    quiet = run.quiet
    assert quiet is not None
    assert quiet.quiet is None
    assert quiet.epsilon > run.epsilon
    # The same starts; a larger epsilon makes smaller steps.
    assert quiet.norms[0] == pytest.approx(run.norms[0, : quiet.replicas], rel=0.15)
    assert quiet.pairs(20).replicas == quiet.replicas >= 12
    with pytest.raises(ValueError, match="not after 3"):
        run.pairs(3)
