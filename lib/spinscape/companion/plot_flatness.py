"""Figures and tables of flatness: lines and energies by batch size, spectra, algorithms, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from IPython.display import Markdown
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from spinscape import statistics
from spinscape.companion import plotting, tables
from spinscape.companion.predicates.flatness import UNFIT
from spinscape.landscape.flatness import (
    AlongLines,
    LocalEnergy,
    LocalEntropy,
    QuadraticCheck,
    Ranking,
    ReplicaIdentity,
    Spectrum,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.printed_errors import ROWS, TABLE_A3
from spinscape.networks.replicated import Replicated

Floats = NDArray[np.float64]

MARKS = "osD^vP*Xhd"
"""Marks of groups, in turn."""

UNLEARNT = 50
"""Test error in percent above which a network has not learnt."""

ARMS = {"baseline": "SGD", "rsgd": "rSGD", "esgd": "eSGD", "rsgd_x_y": "rSGD x y"}
"""Names of algorithms in figures and tables."""


def identity(axes: Axes, found: ReplicaIdentity) -> None:
    """Draw the density of the reference from the system, from the local entropy, and the control."""
    drawn = (("y + 1 replicas", found.density, "-"), ("local entropy", found.entropic, "--"))
    for (name, values, line), colour in zip(drawn, plotting.colours(2), strict=True):
        axes.plot(found.grid, values, line, color=colour, label=name)
    axes.plot(found.grid, found.wrong, ":", color="0.4", label="twice the coupling")
    axes.set(xlabel="$w$", ylabel="density", ylim=(0, None))
    axes.legend(fontsize=8)


def training(axes: Sequence[Axes], found: Mapping[str, Ensemble], *, steps: Sequence[int]) -> None:
    """Draw loss and accuracy, training solid and test dashed, against the number of gradient steps.

    Parameters
    ----------
    axes
        Two panels.
    found
        Networks with a history, by name.
    steps
        Gradient steps in an epoch, for each.
    """
    for (name, nets), each, colour in zip(found.items(), steps, plotting.colours(len(found)), strict=True):
        history = nets.history
        assert history is not None
        along = each * np.arange(1, len(history.train_loss) + 1)
        for panel, what, factor in ((axes[0], "loss", 1), (axes[1], "accuracy", 100)):
            for part, line in (("train", "-"), ("test", "--")):
                rows = factor * getattr(history, f"{part}_{what}").T
                label = name if part == "train" else ""
                plotting.band(panel, along, rows, label=label, colour=colour, ls=line)
    axes[0].set(xscale="log", yscale="log", xlabel="gradient steps", ylabel="loss (nats)")
    axes[1].set(xscale="log", xlabel="gradient steps", ylabel="accuracy (%)")
    top = axes[1].get_ylim()[1]
    ends = [float(np.asarray(line.get_ydata(), float)[-1]) for line in axes[1].lines]
    axes[1].set_ylim(min([90.0, *[0.9 * end for end in ends]]), min(top, 100.5))
    axes[0].legend(fontsize=8)


def lines(axes: Sequence[Axes], found: AlongLines) -> None:
    """Draw loss (geometric means over pairs) and accuracy along lines, a panel for each way."""
    words = {"none": "as they are", "both": "both removed", "scales": "scales removed", "order": "in order"}
    left, right = plotting.colours(2)
    for w, (panel, way) in enumerate(zip(axes, found.ways, strict=True)):
        other = panel.twinx()
        for part, line in (("", "-"), ("test_", "--")):
            loss = statistics.mean(np.log10(getattr(found, f"{part}loss")[w]))
            panel.plot(found.alphas, 10**loss.value, line, color=left)
            panel.fill_between(found.alphas, 10**loss.low, 10**loss.high, color=left, alpha=0.2, lw=0)
            accuracy = 100 * (1 - getattr(found, f"{part}error")[w])
            plotting.band(other, found.alphas, accuracy, colour=right, ls=line)
        panel.set(xlabel=r"$\alpha$", yscale="log", title=words[way])
        plotting.sparse_log_ticks(panel)
        panel.tick_params(axis="y", colors=left)
        other.tick_params(axis="y", colors=right)
        other.set(ylim=(0, 102))
        if w == 0:
            panel.set_ylabel("loss (nats)", color=left)
        else:
            other.set_ylabel("accuracy (%)", color=right)


def energies(axes: Sequence[Axes], found: Mapping[str, LocalEnergy]) -> None:
    """Draw local energies of errors (left) and losses (right) against the size of the noise."""
    for (name, one), colour in zip(found.items(), plotting.colours(len(found)), strict=True):
        plotting.band(axes[0], one.sigmas, 100 * one.error, label=name, colour=colour, marker="o", ms=3)
        plotting.band(axes[1], one.sigmas, one.loss, label=name, colour=colour, marker="o", ms=3)
    axes[0].set(xlabel=r"noise $\sigma$", ylabel="rise of the training error (points)")
    axes[1].set(xlabel=r"noise $\sigma$", ylabel="rise of the training loss (nats)", yscale="log")
    plotting.sparse_log_ticks(axes[1])
    axes[0].legend(fontsize=8)


def confound(axes: Sequence[Axes], spreads: ArrayLike, found: Mapping[str, Sequence[Floats]]) -> None:
    """Draw measures relative to those without rescaling: as they are, and in normal form.

    Parameters
    ----------
    axes
        Two panels.
    spreads
        ``(S,)``, the first one zero.
    found
        By name, values ``(S, R)`` as they are and in normal form.
    """
    for k, (panel, title) in enumerate(zip(axes, ("as they are", "normal form"), strict=True)):
        for (name, both), colour in zip(found.items(), plotting.colours(len(found)), strict=True):
            ratio = np.log10(both[k] / both[k][0])
            found_ratio = statistics.mean(ratio.T)
            panel.plot(spreads, 10**found_ratio.value, "o-", ms=3, color=colour, label=name)
            panel.fill_between(
                np.asarray(spreads, float), 10**found_ratio.low, 10**found_ratio.high, color=colour, alpha=0.2
            )
        panel.set(xlabel="spread of random factors", yscale="log", title=title)
    low = min(axes[0].get_ylim()[0], 0.5)
    for panel in axes:
        panel.set_ylim(low, max(axes[0].get_ylim()[1], 2))
    axes[0].set_ylabel("relative to no rescaling")
    axes[0].legend(fontsize=7)


def spectra(
    axes: Sequence[Axes],
    exact: Floats,
    small: Spectrum,
    large: Mapping[str, Spectrum],
    top: Floats,
    *,
    width: float = 0.01,
) -> None:
    """Draw spectra in units of the largest eigenvalue: exact and Lanczos, Lanczos and outliers.

    Parameters
    ----------
    axes
        Two panels.
    exact
        Of the first small network, ``(D,)`` in increasing order.
    small
        Of the small networks by Lanczos; the first is drawn.
    large
        By name, of the large networks; the first of each is drawn, in units of its largest node.
    top
        Largest eigenvalues of the first of `large`, in decreasing order.
    width
        Of the Gaussians that the nodes are smoothed with.
    """
    grid = np.linspace(-0.3, 1.1, 561)
    other = plotting.colours(3)[2]
    drawn = [(axes[0], "Lanczos", small), *((axes[1], name, one) for name, one in large.items())]
    for (panel, name, found), colour in zip(drawn, plotting.colours(3), strict=False):
        largest = found.nodes[0].max()
        density = largest * found.density(grid * largest, width * largest)[0]
        panel.plot(grid, density, color=colour, lw=1.2, label=name)
    for panel, floor in zip(axes, (max(1e-5, 0.1 / len(exact)), 1e-6), strict=True):
        panel.set(xlabel=r"eigenvalue / $\lambda_1$", yscale="log", ylim=(floor, 300))
    edges = np.linspace(-0.3, 1.1, 141)
    share = np.histogram(exact / exact[-1], edges)[0] / len(exact) / np.diff(edges)
    axes[0].stairs(share, edges, color=other, fill=True, alpha=0.4, label="exact")
    axes[1].plot(top / top[0], np.full(len(top), 2e-6), "|", ms=10, color="0.4", label="largest, as it is")
    axes[0].set_ylabel("density")
    for panel in axes:
        panel.legend(fontsize=8)


def collapse(axes: Sequence[Axes], coupled: Replicated, free: Replicated) -> None:
    """Draw distances of copies to their centre, and the strength of the coupling."""
    one, other = plotting.colours(2)
    epochs = np.arange(1, len(coupled.distance) + 1)
    for found, name, colour in ((coupled, "schedule", one), (free, "no coupling", other)):
        plotting.band(axes[0], epochs, np.sqrt(found.distance).T, label=name, colour=colour)
    for values, name, line, colour in (
        (coupled.wanted, "scheduled", "--", other),
        (coupled.gamma, "used", "-", one),
    ):
        mean = values.mean(1)
        axes[1].plot(epochs[mean > 0], mean[mean > 0], line, color=colour, label=name)
    axes[0].set(xlabel="epoch", ylabel="distance to the centre", yscale="log")
    axes[1].set(xlabel="epoch", ylabel=r"coupling $\gamma$", yscale="log")
    for panel in axes:
        panel.legend(fontsize=8)


def against_batch(axes: Sequence[Axes], batches: NDArray[np.int64], found: Mapping[str, Floats]) -> None:
    """Draw measures against the batch size, a dot for each network and a line of means."""
    sizes = np.unique(batches)
    for panel, (name, values), colour in zip(axes, found.items(), plotting.colours(len(found)), strict=True):
        panel.plot(batches, values, ".", color=colour, alpha=0.6)
        panel.plot(sizes, [values[batches == b].mean() for b in sizes], "-", color=colour)
        panel.set(xscale="log", xlabel="batch size")
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=7)


def scatter(axes: Sequence[Axes], found: Mapping[str, Floats], errors: Floats, groups: NDArray[Any]) -> None:
    """Draw test errors against measures, a colour for each group."""
    names = list(dict.fromkeys(groups))
    for panel, (name, values) in zip(axes, found.items(), strict=True):
        for group, colour, mark in zip(names, plotting.colours(len(names)), MARKS, strict=False):
            chosen = groups == group
            panel.plot(values[chosen], errors[chosen], mark, ms=3.5, color=colour, label=group)
        panel.set(xlabel=name, xscale="log")
        plotting.sparse_log_ticks(panel)
    axes[0].set_ylabel("test error (%)")
    axes[0].legend(fontsize=7)


def entropy(
    axes: Sequence[Axes], cases: QuadraticCheck, found: LocalEntropy, energy: Floats, groups: NDArray[Any]
) -> None:
    """Draw estimates for quadratics against the closed form, and local entropies against local energies."""
    one = plotting.colours(1)[0]
    ends = [min(cases.exact.min(), cases.value.min()), max(cases.exact.max(), cases.value.max())]
    axes[0].plot(ends, ends, "-", color="0.6", lw=1)
    axes[0].errorbar(
        cases.exact.ravel(), cases.value.ravel(), yerr=2 * cases.error.ravel(), fmt="o", ms=3.5, color=one
    )
    axes[0].set(xlabel="closed form (nats)", ylabel="estimate (nats)")
    names = list(dict.fromkeys(groups))
    for k, (group, colour) in enumerate(zip(names, plotting.colours(len(names)), strict=True)):
        rows = groups == group
        style: dict[str, Any] = {"fmt": MARKS[k % len(MARKS)], "ms": 4, "lw": 0.8}
        axes[1].errorbar(energy[rows], found.relative[rows, 0], yerr=found.error[rows, 0], **style,
                         color=colour, label=group)  # fmt: skip
    axes[1].set(xlabel="local energy", ylabel="local entropy, relative (nats)", xlim=(0, None))
    axes[1].legend(fontsize=7)


def ranking(axes: Axes, found: Ranking) -> None:
    """Draw rank correlations with the test error, three kinds for each measure."""
    places = np.arange(len(found.names), dtype=float)
    words = ("whole pool", "given the loss at the end", "within algorithms")
    for k, (name, colour) in enumerate(zip(words, plotting.colours(3), strict=True)):
        value, low, high = found.value[k], found.low[k], found.high[k]
        bars = np.nan_to_num([value - low, high - value])
        style: dict[str, Any] = {"fmt": "o", "ms": 4, "lw": 1.2, "capsize": 2}
        axes.errorbar(value, places + 0.2 * (1 - k), xerr=np.maximum(bars, 0), **style,
                      color=colour, label=name)  # fmt: skip
    axes.axvline(0, color="0.6", lw=0.8)
    axes.set_yticks(places, list(found.names), fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="rank correlation with the test error", xlim=(-1, 1))
    axes.legend(fontsize=8, loc="lower left")


def arms(
    axes: Any, wrong: Mapping[tuple[str, str], Floats], shaken: Mapping[tuple[str, str], LocalEnergy]
) -> None:
    """Draw test errors (left) and local energies (right), a row of panels for each network."""
    bodies = list(dict.fromkeys(name for name, _ in wrong))
    for row, body in zip(axes, bodies, strict=True):
        for k, ((arm, words), colour) in enumerate(
            zip(ARMS.items(), plotting.colours(len(ARMS)), strict=True)
        ):
            errors = wrong[body, arm]
            found = statistics.mean(errors)
            row[0].plot(k + 0.15 + 0 * errors, errors, ".", color=colour, alpha=0.6)
            bars = [[found.value - found.low], [found.high - found.value]]
            row[0].errorbar([k], [found.value], yerr=bars, fmt="o",
                            ms=4, capsize=3, color=colour)  # fmt: skip
            one = shaken[body, arm]
            plotting.band(row[1], one.sigmas, 100 * one.error, label=words, colour=colour, marker="o", ms=3)
        row[0].set_xticks(range(len(ARMS)), list(ARMS.values()), fontsize=8)
        row[0].set(ylabel=f"{body}: test error (%)")
        row[1].set(ylabel="rise of training error (points)", xlabel=r"noise $\sigma$")
    axes[0, 1].legend(fontsize=8)


def batch_table(
    scores: Mapping[tuple[int, str], Mapping[str, Floats]], gain: Mapping[int, statistics.Estimate]
) -> Markdown:
    """Return Table A3, here and printed."""
    rows = []
    for m, one in gain.items():
        words = [f"FC1-{m}"]
        for part in ("train", "test"):
            for kind in ("sb", "lb"):
                values = scores[m, kind][part]
                words.append(f"{values.mean():.3f} ({values.std(ddof=1):.3f})")
        words.append(f"{float(one.value):.2f} [{float(one.low):.2f}, {float(one.high):.2f}]")
        printed = TABLE_A3.get(m)
        words.append(
            f"{printed[0]:.2f}, {printed[1]:.2f}: {printed[0] - printed[1]:.2f}" if printed else "not printed"
        )
        rows.append(words)
    heads = [
        "network",
        "training, small",
        "training, large",
        "test, small",
        "test, large",
        "gain (points)",
        "printed test",
    ]
    return tables.markdown(heads, rows)


def arm_table(
    wrong: Mapping[tuple[str, str], Floats], shaken: Mapping[tuple[str, str], LocalEnergy], place: int
) -> Markdown:
    """Return test error and local energy at one size of the noise, by network and algorithm.

    The last columns say how an algorithm compares with plain SGD, where the interval of the difference (of
    the logarithm of the ratio, for flatness) leaves out zero; medians and counts are of networks.
    Flatness is not compared where the training error is higher than SGD's by more than `UNFIT` points, or may
    be: networks that are wrong already can hardly get worse.
    """
    heads = [
        "network", "test error (%)", "median", f"above {UNLEARNT}% or diverged", "training error (%)",
        "local energy (points)", "test error beside SGD", "flatness beside SGD",
    ]  # fmt: skip
    rows = []
    for (body, arm), errors in wrong.items():
        energies = shaken[body, arm].error[:, place]
        test = statistics.mean(errors).clipped(0, 100)
        energy = statistics.mean(100 * energies).clipped(-100, 100)
        words = [f"{float(e.value):.2f} [{float(e.low):.2f}, {float(e.high):.2f}]" for e in (test, energy)]
        fitted = 100 * shaken[body, arm].reference_error.mean()
        unlearnt = int((~(errors < UNLEARNT)).sum())
        beside = ["", ""]
        if arm != "baseline":
            usual = wrong[body, "baseline"], shaken[body, "baseline"].error[:, place]
            gain = statistics.resampled(statistics.difference_of_means, usual[0], errors)
            flatter = statistics.resampled(statistics.log_ratio_of_means, usual[1], energies)
            unfit = statistics.resampled(
                statistics.difference_of_means,
                100 * shaken[body, arm].reference_error,
                100 * shaken[body, "baseline"].reference_error,
            )
            fits = unfit.high <= UNFIT
            beside = [
                _side(gain, "lower", "higher"),
                _side(flatter, "flatter", "sharper") if fits else "not fitted",
            ]
        rows.append(
            [
                f"{body}, {ARMS[arm]}",
                words[0],
                f"{np.median(errors):.2f}",
                f"{unlearnt} of {len(errors)}",
                f"{fitted:.2f}",
                words[1],
                *beside,
            ]
        )
    return tables.markdown(heads, rows)


def _side(found: statistics.Estimate, positive: str, negative: str) -> str:
    """Return which side of zero the whole interval lies on, in words."""
    if found.low > 0:
        return positive
    return negative if found.high < 0 else "open"


def printed_table(*, copies: int) -> Markdown:
    """Return the slides' table with projected GPU hours."""
    rows = []
    for row in ROWS:
        errors = (row.baseline, row.rsgd, row.esgd, row.rsgd_x_y)
        words = ["-" if np.isnan(error) else f"{error:g}" for error in errors]
        rows.append([f"{row.network}, {row.dataset}", *words, f"{row.gpu_hours(copies=copies):.3g}"])
    return tables.markdown(["row", "baseline", "rSGD", "eSGD", "rSGD x y", "GPU hours"], rows)
