"""Predicates of the chapter on mode connectivity.

Barriers are means over pairs of networks; an interval treats networks, not pairs, as independent.
Losses are in nats and are those of the training samples; errors are shares of wrong answers, on test
samples between the three algorithms and on training samples on curves and flips;
a barrier without further words is the largest excess over the linear interpolation
of the ends (Entezari et al. 2022, equation 1).

- The normal form is right when outputs, after the last layer's scale is undone, differ by at most 1e-10 of
  the largest one, no prediction changes, and every living unit has norm 1 to 1e-10, all in double precision,
  for a chain with biases, one with batch norm and a convolutional one.
  Where dividing the incoming weights alone (the control) changes nothing, the test could not have failed.
- Matching works when planted permutations of networks with one, two and three hidden layers are recovered
  exactly: the whole interval of the share of recovered networks lies above 90% for each.
- Removal of symmetries lowers barriers when the error barrier between raw networks on the straight line,
  minus that between networks in normal form, aligned, on the geodesic, is positive for each algorithm.
  Flatter solutions have lower barriers when after removal the barrier rises from replicated SGD to SGD and
  from SGD to adversarial initialisation.
  That is visible only after removal when it is visible then, and on the straight line between raw networks at
  least one of the two steps is not seen, with an interval that lies below that of the step after removal.
- Simple curves connect minima when the highest training loss on the curve, above the line between its ends,
  is at most a tenth of that of the straight line, and the training error rises by at most half a percentage
  point: both for Bezier curves, and both for elastic bands.
- Without permutation the barrier of networks with one hidden layer rises, peaks and falls: it is larger at
  the peak than at the smallest and at the largest width.
  The intervals are corrected for the number of widths among which the peak is chosen.
  Deep networks saturate when the barrier at the largest width, over the largest one of the other widths, is
  at least one half and at most `GROWTH` (above that it still rises), and shallow ones do not when it is at
  most one half.
- The conjecture of one basin holds at the widest networks when most pairs of networks, both aligned to a
  third one, have a barrier of at most `MARGIN` nats: the interval of their share lies above one half.
  With fewer than 6 networks besides that one the interval holds one half even where all pairs agree, so that
  nothing can be decided either way; hence the 7 networks of `CASES`.
- The barrier is zero, within the margin, when the whole interval of its mean lies below `MARGIN`, for the
  widest convolutional and the widest residual network of those that the claim names; the 3 x 512 network on
  MNIST is measured beside, and decides nothing on those.
- Networks with binary weights take part in the study when they learn (test accuracy above one half) and
  matching lowers the error barrier on paths of flips.

`MARGIN` is 0.01 nats, a choice made before the first run.
`GROWTH` is 1.25: a barrier that grows by more than a quarter over all narrower networks has not levelled off.

They were written before the chapter's first run; what was changed after runs on digits and MNIST and after a
review, and what that did:

- The peak had been chosen and measured on the same networks, without an honest interval where it lay at an
  end, so that noise could make "not reproduced"; now all other widths are compared at once.
- Deep barriers that still rise counted as saturated; `GROWTH` is new.
- The one-basin row could be decided by fewer than 7 networks, with an interval of no width where all agreed.
- A step hidden by a wide interval before removal had counted as not being there; it is open now.
- Of networks on CIFAR-10 all widths had to have no barrier; the widest of each kind now.
- Words of what an undecided row would need.

No verdict of a run that was looked at became more favourable by these.
"""

from __future__ import annotations

from spinscape.companion.ledger import Measurement, Verdict
from spinscape.companion.predicates import Case
from spinscape.companion.predicates.intervals import (
    Parameters,
    Part,
    Rows,
    above,
    below,
    combine,
    every,
    rises,
    show,
    smaller,
    synthetic,
    undecided,
    within,
)

ROUNDING = 1e-10
RECOVERED = 0.9
MARGIN = 0.01
GROWTH = 1.25
SHARE = 0.1
POINTS = 0.005
ALGORITHMS = ("sgd", "rsgd", "adv")
KINDS = ("chain", "batch_norm", "convolution")


def normal_form(rows: Rows, _: Parameters) -> Verdict:
    """Predictions unchanged, unit norms."""
    said = "; ".join(
        f"{kind.replace('_', ' ')}: largest change of an output {rows[f'output_change_{kind}'].value:.1g}, "
        f"predictions changed {rows[f'predictions_changed_{kind}'].value:.0f}, largest distance of a norm "
        f"from 1 {rows[f'norm_error_{kind}'].value:.1g}"
        for kind in KINDS
    )
    said = f"{said}. Dividing incoming weights alone changes outputs by {rows['control_change'].value:.2g}."
    if not above(rows["control_change"], 1e-3):
        return undecided(f"{said} The control changes nothing.", "networks that are alive")
    function = [below(rows[f"output_change_{kind}"], ROUNDING) for kind in KINDS]
    same = [below(rows[f"predictions_changed_{kind}"], 0) for kind in KINDS]
    norms = [below(rows[f"norm_error_{kind}"], ROUNDING) for kind in KINDS]
    return combine([every(function + same), every(norms)], said)


def matching(rows: Rows, _: Parameters) -> Verdict:
    """Planted permutations are recovered."""
    found = {
        name.removeprefix("recovered_"): row for name, row in rows.items() if name.startswith("recovered_")
    }
    said = ", ".join(
        f"{show(row)} with {name} hidden layer{'' if name == '1' else 's'}" for name, row in found.items()
    )
    said = (
        f"Share of networks whose planted permutation layer-by-layer matching recovers exactly: {said}. "
        f"On independent networks its inner product with the reference is "
        f"{show(rows['layerwise_over_descent'])} of that of coordinate descent."
    )
    return combine([above(row, RECOVERED) for row in found.values()], said)


def geodesics(rows: Rows, _: Parameters) -> Verdict:
    """Compare barriers before and after removal, and between algorithms."""
    drops = "; ".join(
        f"{name}: error barrier {show(rows[f'raw_{name}'])} raw on the line, {show(rows[f'removed_{name}'])} "
        f"without symmetries on the geodesic, lower by {show(rows[f'drop_{name}'])}"
        for name in ALGORITHMS
    )
    said = (
        f"{drops}. After removal SGD minus rSGD {show(rows['after_sgd_minus_rsgd'])}, ADV minus SGD "
        f"{show(rows['after_adv_minus_sgd'])}; before {show(rows['before_sgd_minus_rsgd'])} and "
        f"{show(rows['before_adv_minus_sgd'])}."
    )
    lower = every([rises(rows[f"drop_{name}"]) for name in ALGORITHMS])
    after = every([rises(rows[f"after_{step}"]) for step in ("sgd_minus_rsgd", "adv_minus_sgd")])
    hidden = [
        _hidden(rows[f"before_{step}"], rows[f"after_{step}"]) for step in ("sgd_minus_rsgd", "adv_minus_sgd")
    ]
    shown: Part = True if True in hidden else (None if None in hidden else False)
    only = every([after, shown])
    return combine([lower, after, only], said)


def _hidden(before: Measurement, after: Measurement) -> Part:
    """Whether a step is not there before: not seen, and smaller than after; open where intervals are wide."""
    if rises(before):
        return False
    return True if smaller(before, after) else None


def curves(rows: Rows, _: Parameters) -> Verdict:
    """Almost no barrier on trained curves and bands."""
    said = f"Barrier of the training loss on the straight line {show(rows['line_barrier'])} nats. "
    parts = []
    for way, name in (("bezier", "Bezier curves"), ("band", "elastic bands")):
        said += (
            f"{name}: {show(rows[f'{way}_barrier'])} nats, {show(rows[f'{way}_share'])} of the line's, error "
            f"up by {show(rows[f'{way}_error_rise'])}. "
        )
        parts.append(every([below(rows[f"{way}_share"], SHARE), below(rows[f"{way}_error_rise"], POINTS)]))
    return combine(parts, said.strip())


def width(rows: Rows, _: Parameters) -> Verdict:
    """Rise, peak and fall without permutation; saturation of deep networks."""
    listed = {k.removeprefix("raw_"): row for k, row in rows.items() if k.startswith("raw_")}
    matched = {k.removeprefix("matched_"): row for k, row in rows.items() if k.startswith("matched_")}
    said = (
        "Barrier in nats, one hidden layer, raw: "
        + ", ".join(f"M = {m} {show(row)}" for m, row in listed.items())
        + "; matched: "
        + ", ".join(f"M = {m} {show(row)}" for m, row in matched.items())
        + f". Peak minus smallest width {show(rows['rise_to_peak'])}, minus largest "
        f"{show(rows['fall_from_peak'])}. Largest width over the highest of the "
        f"others: {show(rows['shallow_share'])} with one hidden layer, "
        f"{show(rows['deep_share'])} with {rows['deep_layers'].value:.0f}."
    )
    peak = every([rises(rows["rise_to_peak"]), rises(rows["fall_from_peak"])])
    shallow = below(rows["shallow_share"], 0.5)
    deep = within(rows["deep_share"], 0.5, GROWTH)
    return combine([peak, every([shallow, deep])], said)


def one_basin(rows: Rows, _: Parameters) -> Verdict:
    """Most pairs without a barrier after alignment to one common reference, at the widest.

    Needs at least 6 networks besides the reference: of fewer the share's interval always holds one half.
    """
    shares = {int(k.removeprefix("share_")): row for k, row in rows.items() if k.startswith("share_")}
    said = "; ".join(
        f"M = {m}: {show(row)} of the pairs, barrier {show(rows[f'common_{m}'])} nats with one common "
        f"reference, {show(rows[f'pairwise_{m}'])} pair by pair"
        for m, row in sorted(shares.items())
    )
    said = f"Pairs with a barrier of at most {MARGIN} nats after alignment to a third network: {said}."
    return combine([above(shares[max(shares)], 0.5)], said)


def zero_barrier(rows: Rows, _: Parameters) -> Verdict:
    """Barrier below the margin for the widest of each kind of network that the claim names."""
    named = {k.removeprefix("claimed_"): row for k, row in rows.items() if k.startswith("claimed_")}
    beside = {k.removeprefix("beside_"): row for k, row in rows.items() if k.startswith("beside_")}
    said = (
        "Barrier after weight matching, in nats: "
        + ", ".join(f"{k.replace('_', ' ')} {show(row)}" for k, row in {**named, **beside}.items())
        + f"; the margin is {MARGIN}."
    )
    widest = {kind: _widest(named, kind) for kind in ("convolution", "resnet")}
    found = [below(row, MARGIN) for row in widest.values() if row is not None]
    if len(found) < len(widest):
        hours = rows["gpu_hours"].value
        cost = (
            f"about {hours:.1g} hours on one GPU, for residual networks up to 8 times the channels, CIFAR-10"
        )
        return undecided(said, cost)
    return combine(found, said)


def _widest(rows: Rows, kind: str) -> Measurement | None:
    """Return the row ``kind_width`` with the largest width."""
    widths = [int(name.rpartition("_")[2]) for name in rows if name.startswith(f"{kind}_")]
    return rows[f"{kind}_{max(widths)}"] if widths else None


def binary(rows: Rows, _: Parameters) -> Verdict:
    """Binary networks learn, and matching lowers the barrier on paths of flips."""
    said = (
        f"Test accuracy of binary networks {show(rows['accuracy'])}. Share of weights that differ "
        f"{show(rows['differ_raw'])} raw, {show(rows['differ_matched'])} matched; error barrier on paths of "
        f"flips {show(rows['barrier_raw'])} raw, {show(rows['barrier_matched'])} matched, lower by "
        f"{show(rows['drop'])}."
    )
    return combine([above(rows["accuracy"], 0.5), rises(rows["drop"])], said)


def vgg16(rows: Rows, parameters: Parameters) -> Verdict:
    """As for the smaller networks."""
    return geodesics(rows, parameters)


PREDICATES = {
    "rescaling-normalisation": normal_form,
    "matching": matching,
    "geodesic-paths": geodesics,
    "vgg16-cifar10": vgg16,
    "simple-curves-connect": curves,
    "width-lowers-barrier": width,
    "one-basin-conjecture": one_basin,
    "zero-barrier-wide": zero_barrier,
    "binary-weights": binary,
}

_COST = "`spinscape build --profile mnist`, under 15 minutes on one core"


CASES = {
    "width-lowers-barrier": Case(
        {"dataset": "mnist"},
        {"networks": 7},
        "networks with 8 to 1024 hidden units on MNIST, at least 7 of each width",
        _COST,
    ),
    "one-basin-conjecture": Case(
        {"dataset": "mnist"},
        {"networks": 7},
        "wide networks, here those with 1024 hidden units on MNIST, at least 7 of them",
        _COST,
    ),
}

_UP, _DOWN = (0.2, 0.1, 0.3), (-0.2, -0.3, -0.1)


def _geodesics(drop: tuple[float, float, float], after: tuple[float, float, float]) -> dict[str, Measurement]:
    return synthetic(
        **{f"raw_{name}": (0.5, 0.4, 0.6) for name in ALGORITHMS},
        **{f"removed_{name}": (0.1, 0.05, 0.15) for name in ALGORITHMS},
        **{f"drop_{name}": drop for name in ALGORITHMS},
        after_sgd_minus_rsgd=after,
        after_adv_minus_sgd=after,
        before_sgd_minus_rsgd=(0.0, -0.05, 0.05),
        before_adv_minus_sgd=(0.0, -0.05, 0.05),
    )


def _zero(widest: tuple[float, float, float]) -> dict[str, Measurement]:
    return synthetic(
        **{f"claimed_{kind}_4": (0.6, 0.5, 0.7) for kind in ("convolution", "resnet")},
        **{f"claimed_{kind}_64": widest for kind in ("convolution", "resnet")},
        beside_mlp=(0.005, 0.004, 0.006),
        gpu_hours=2.0,
    )


def _forms(change: float, changed: float, error: float) -> dict[str, Measurement]:
    return synthetic(
        control_change=0.5,
        **{f"output_change_{kind}": change for kind in KINDS},
        **{f"predictions_changed_{kind}": changed for kind in KINDS},
        **{f"norm_error_{kind}": error for kind in KINDS},
    )


EXAMPLES = {
    "rescaling-normalisation": (_forms(1e-14, 0, 1e-15), _forms(0.1, 30, 0.2)),
    "matching": (
        synthetic(
            **{f"recovered_{n}": (1.0, 0.95, 1.0) for n in (1, 2, 3)}, layerwise_over_descent=(0.9, 0.8, 1.0)
        ),
        synthetic(
            **{f"recovered_{n}": (0.2, 0.1, 0.4) for n in (1, 2, 3)}, layerwise_over_descent=(0.9, 0.8, 1.0)
        ),
    ),
    "geodesic-paths": (_geodesics(_UP, _UP), _geodesics(_DOWN, _DOWN)),
    "vgg16-cifar10": (_geodesics(_UP, _UP), _geodesics(_DOWN, _DOWN)),
    "simple-curves-connect": (
        synthetic(
            line_barrier=(1.0, 0.9, 1.1),
            **{f"{way}_barrier": (0.02, 0.01, 0.03) for way in ("bezier", "band")},
            **{f"{way}_share": (0.02, 0.01, 0.03) for way in ("bezier", "band")},
            **{f"{way}_error_rise": (0.001, 0.0, 0.002) for way in ("bezier", "band")},
        ),
        synthetic(
            line_barrier=(1.0, 0.9, 1.1),
            **{f"{way}_barrier": (0.5, 0.4, 0.6) for way in ("bezier", "band")},
            **{f"{way}_share": (0.5, 0.4, 0.6) for way in ("bezier", "band")},
            **{f"{way}_error_rise": (0.1, 0.05, 0.2) for way in ("bezier", "band")},
        ),
    ),
    "width-lowers-barrier": (
        synthetic(
            raw_8=(0.2, 0.1, 0.3),
            raw_64=(0.6, 0.5, 0.7),
            raw_1024=(0.1, 0.05, 0.15),
            matched_64=(0.05, 0.04, 0.06),
            rise_to_peak=_UP,
            fall_from_peak=_UP,
            shallow_share=(0.2, 0.1, 0.3),
            deep_share=(0.9, 0.8, 1.0),
            deep_layers=3,
        ),
        synthetic(
            raw_8=(0.6, 0.5, 0.7),
            raw_64=(0.3, 0.2, 0.4),
            raw_1024=(0.7, 0.6, 0.8),
            matched_64=(0.05, 0.04, 0.06),
            rise_to_peak=_DOWN,
            fall_from_peak=_DOWN,
            shallow_share=(0.9, 0.8, 1.0),
            deep_share=(0.2, 0.1, 0.3),
            deep_layers=3,
        ),
    ),
    "one-basin-conjecture": (
        synthetic(
            share_64=(0.1, 0.0, 0.2),
            share_1024=(0.9, 0.8, 1.0),
            **{f"{kind}_{m}": (0.01, 0.005, 0.015) for kind in ("common", "pairwise") for m in (64, 1024)},
        ),
        synthetic(
            share_64=(0.1, 0.0, 0.2),
            share_1024=(0.2, 0.1, 0.3),
            **{f"{kind}_{m}": (0.05, 0.04, 0.06) for kind in ("common", "pairwise") for m in (64, 1024)},
        ),
    ),
    "zero-barrier-wide": (
        _zero((0.005, 0.003, 0.007)),
        _zero((0.3, 0.2, 0.4)),
    ),
    "binary-weights": (
        synthetic(
            accuracy=(0.9, 0.88, 0.92),
            differ_raw=(0.5, 0.49, 0.51),
            differ_matched=(0.4, 0.39, 0.41),
            barrier_raw=(0.5, 0.4, 0.6),
            barrier_matched=(0.2, 0.1, 0.3),
            drop=_UP,
        ),
        synthetic(
            accuracy=(0.2, 0.1, 0.3),
            differ_raw=(0.5, 0.49, 0.51),
            differ_matched=(0.4, 0.39, 0.41),
            barrier_raw=(0.2, 0.1, 0.3),
            barrier_matched=(0.5, 0.4, 0.6),
            drop=_DOWN,
        ),
    ),
}
