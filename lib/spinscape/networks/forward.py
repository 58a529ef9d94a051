"""One model, many parameter settings: the forward pass over a leading replica axis.

Three ways to run it, chosen by the model and by the work per replica, never by the number of
replicas or by a timing, so that a replica's bits depend on nothing but itself:

``stacked``
    A plain ``nn.Sequential`` of linear layers, elementwise activations and batch norms, with or without
    shortcuts (`models.Residual`), runs as batched matrix products with features first,
    ``(R, features, B)``. On a CPU the matrices are padded to whole cache lines, because the BLAS kernels
    round differently for differently aligned matrices; in training large ones are multiplied by oneDNN
    (`products`).
``vmap``
    Any other model, through ``torch.func.vmap`` of ``torch.func.functional_call``.
``loop``
    One replica after the other: where one replica fills the device, where operations refuse
    ``vmap`` (control flow that depends on data, random numbers), and on a CPU for shapes that do
    not fill whole cache lines, such as convolutions of images of one or three channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import gcd, lcm
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils.flop_counter import FlopCounterMode

from spinscape.networks import products
from spinscape.networks.device import is_out_of_memory
from spinscape.networks.mixture import Mixture
from spinscape.networks.models import Residual, Shortcut

Mode = Literal["stacked", "vmap", "loop"]
Tensors = dict[str, Tensor]

LOOP_FLOPS = 30_000_000
"""Operations of a forward pass above which one replica keeps a core busy (about 0.4 ms)."""

ONEDNN_PRODUCTS = 8_000_000
"""Multiplications in a network's largest layer above which evaluation by oneDNN is the faster one."""

_LINE = 64
ROWS = 16
ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus, nn.Identity)


@contextmanager
def training_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put every module into training or evaluation mode, and each back as it was at the end."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, flag in before:
            module.training = flag


def is_stackable(model: nn.Module) -> bool:
    """Tell whether `model` is a sequence of linear, elementwise and batch-norm layers, without hooks."""
    if not isinstance(model, nn.Sequential) or type(model) not in (nn.Sequential, Residual):
        return False
    if not len(model) or _hooked(model):
        return False
    if len(list(model.children())) < len(model):  # a module in two places, which PyTorch names once
        return False
    seen_linear = False
    for module in model:
        flatten = type(module) is nn.Flatten and module.start_dim == 1 and module.end_dim == -1
        known = type(module) is nn.Linear or type(module) in ELEMENTWISE
        known = known or (seen_linear and (_plain_norm(module) or type(module) is Shortcut))
        mixture = type(module) is Mixture and module is model[0]
        if _hooked(module) or not (known or mixture or (flatten and not seen_linear)):
            return False
        seen_linear = seen_linear or mixture or type(module) is nn.Linear
    return seen_linear and len({id(p) for p in model.parameters()}) == sum(
        len(module._parameters) - (getattr(module, "bias", 0) is None) for module in model
    )


def _plain_norm(module: nn.Module) -> bool:
    """Tell whether a module is a batch norm with scale, shift, statistics and a fixed momentum."""
    return (
        isinstance(module, nn.BatchNorm1d)
        and type(module) is nn.BatchNorm1d
        and module.affine
        and module.track_running_stats
        and module.momentum is not None
    )


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def stacked_forward(
    model: nn.Sequential,
    params: Tensors,
    x: Tensor,
    buffers: Tensors | None = None,
    *,
    training: bool = False,
) -> Tensor:
    """Run a stackable model for all replicas by batched matrix products.

    Parameters
    ----------
    model
        A model for which :func:`is_stackable` holds.
    params
        Parameters ``(R, ...)`` by name.
    x
        Inputs ``(R, B, ...)``, one batch per replica.
    buffers
        Statistics of batch norms ``(R, ...)`` by name; updated in place in training.
    training
        Whether batch norms use the statistics of the batch, or those in `buffers`.
        In training large products are made by `products`, whose gradients are those of autograd alone;
        without it by ``bmm``, and then ``torch.func`` (``grad``, ``jvp``, ``vmap``) works at every size.

    Returns
    -------
    Tensor
        Outputs ``(R, B, C)``, a transposed view of ``(R, C, B)``.

    Raises
    ------
    ValueError
        If inputs are no rows of numbers, or a layer reads another number of features than it is given.
    """
    aligned = x.device.type == "cpu"
    batch = x.shape[1]
    if isinstance(model[0], nn.Flatten):
        x = x.flatten(2)
    mixed = isinstance(model[0], Mixture)
    if x.ndim != 3 + mixed:
        raise ValueError(
            "the model's first layer is linear, so inputs must be (N, d), "
            f"not {('N', *x.shape[2:])}; "
            "use flat() of a data set or begin the model with nn.Flatten()"
        )
    if aligned and batch % ROWS and not mixed:
        x = F.pad(x, (0, 0, 0, -batch % ROWS))
    h = before = x.mT
    features = x.shape[-1]
    adds = isinstance(model, Residual)
    for name, module in model.named_children():
        if isinstance(module, nn.Linear):
            _check_features(name, module, features)
            h = before = h if h.shape[1] == features else h[:, :features]
            h = _linear(params[f"{name}.weight"], params.get(f"{name}.bias"), h, aligned, training)
            features = module.out_features
        elif isinstance(module, Mixture):
            h = _mix(params[f"{name}.weight"], x, aligned)
        elif isinstance(module, nn.ReLU) and h is not before and not torch.is_grad_enabled():
            h = h.relu_()
        elif isinstance(module, nn.BatchNorm1d):
            norm = _Norm(name, module, params, buffers or {})
            h = norm.trained(h[:, :features], batch) if training else norm.fixed(h[:, :features])
        elif isinstance(module, Shortcut):
            h = h[:, :features] + before if adds else h
        elif not isinstance(module, nn.Flatten):
            h = module(h)
    if h.shape[1:] != (features, batch):
        h = h[:, :features, :batch]
    return h.mT


def _check_features(name: str, module: nn.Linear, features: int) -> None:
    """Refuse inputs of another number of features; rows added for alignment do not count."""
    if features != module.in_features:
        raise ValueError(f"x has {features} features, {name}.weight reads {module.in_features}")


def _linear(weight: Tensor, bias: Tensor | None, h: Tensor, aligned: bool, training: bool) -> Tensor:
    """Return ``weight @ h + bias``, ``(R, m, k)`` by ``(R, k, B)``; zero rows for alignment."""
    rows = -weight.shape[1] % row_step(weight) if aligned else 0
    if rows:
        weight = F.pad(weight, (0, 0, 0, rows))
        bias = None if bias is None else F.pad(bias, (0, rows))
    if training and products.worth(weight, h):
        h = products.product(weight, h)
        return h if bias is None else h + bias[..., None]
    return torch.bmm(weight, h) if bias is None else torch.baddbmm(bias[..., None], weight, h)


def _mix(weight: Tensor, x: Tensor, aligned: bool) -> Tensor:
    """Mix ``(R, B, K + 1, F)`` by ``(R, K)`` to ``(R, F, B)``; columns are added for alignment."""
    if x.stride(0) == 0:
        x = x[:1]
    parts = x.permute(2, 0, 3, 1)
    if aligned and x.shape[1] % ROWS:
        parts = F.pad(parts, (0, -x.shape[1] % ROWS))
    h = parts[0]
    for k, part in enumerate(parts[1:]):
        factor = weight[:, k, None, None]
        h = h.addcmul_(factor, part) if k and not torch.is_grad_enabled() else h.addcmul(factor, part)
    return h


class _Norm:
    """A batch norm of all replicas with features first, ``(R, features, B)``."""

    def __init__(self, name: str, module: nn.BatchNorm1d, params: Tensors, buffers: Tensors) -> None:
        self.weight, self.bias = params[f"{name}.weight"], params[f"{name}.bias"]
        self.mean, self.variance = buffers[f"{name}.running_mean"], buffers[f"{name}.running_var"]
        self.count = buffers[f"{name}.num_batches_tracked"]
        self.eps, self.momentum = module.eps, float(module.momentum or 0)

    def scale_shift(self) -> tuple[Tensor, Tensor]:
        """Return what the stored statistics multiply by and add, each ``(R, features)``."""
        scale = self.weight / (self.variance + self.eps).sqrt()
        return scale, self.bias - self.mean * scale

    def fixed(self, h: Tensor) -> Tensor:
        """Normalise by the stored statistics."""
        scale, shift = self.scale_shift()
        return h * scale[..., None] + shift[..., None]

    def trained(self, h: Tensor, batch: int) -> Tensor:
        """Normalise by the statistics of the first `batch` columns, and store them; the rest is alignment."""
        if batch < 2:
            raise ValueError("batch norm in training needs more than one sample in every batch")
        own = h[..., :batch]
        mean = own.sum(-1, keepdim=True) / batch
        centred = h - mean
        variance = centred[..., :batch].square().sum(-1, keepdim=True) / batch
        with torch.no_grad():
            unbiased = variance * (batch / (batch - 1))
            for stored, new in ((self.mean, mean), (self.variance, unbiased)):
                stored.mul_(1 - self.momentum).add_(new[..., 0] * self.momentum)
            self.count.add_(1)
        scale = self.weight[..., None] / (variance + self.eps).sqrt()
        return centred * scale + self.bias[..., None]


def row_step(weight: Tensor) -> int:
    """Return the number of rows whose multiples fill whole cache lines, and vectors too (even)."""
    per_line = _LINE // weight.element_size()
    return lcm(2, per_line // gcd(per_line, weight.shape[-1]))


def one_by_one_forward(
    model: nn.Sequential, params: Tensors, x: Tensor, buffers: Tensors | None = None
) -> Tensor:
    """Run a stackable model for all replicas on the same inputs, one after the other, by oneDNN.

    On a CPU oneDNN multiplies large float32 matrices about twice as fast as ``bmm``, to the same accuracy
    (196 against 89 GFLOP/s on one Zen 5 core for 1024 x 784 x 512).
    No gradients; batch norms use the statistics in `buffers`.

    Parameters
    ----------
    model
        A model for which :func:`is_stackable` holds.
    params
        Parameters ``(R, ...)`` by name.
    x
        Inputs ``(B, ...)``.
    buffers
        Statistics of batch norms ``(R, ...)`` by name.

    Returns
    -------
    Tensor
        Outputs ``(R, B, C)``.
    """
    inputs = x.flatten(1) if isinstance(model[0], nn.Flatten) else x
    adds = isinstance(model, Residual)
    norms = {
        name: _Norm(name, module, params, buffers or {}).scale_shift()
        for name, module in model.named_children()
        if isinstance(module, nn.BatchNorm1d)
    }
    mixed = isinstance(model[0], Mixture)
    parts = inputs.transpose(0, 1).contiguous() if mixed else inputs[None]
    results = []
    for r in range(len(next(iter(params.values())))):
        h = before = parts[0]
        for name, module in model.named_children():
            if isinstance(module, nn.Linear):
                _check_features(name, module, h.shape[-1])
                before = h
                weight, bias = params[f"{name}.weight"][r], params.get(f"{name}.bias")
                h = products.linear(h, weight, None if bias is None else bias[r])
            elif isinstance(module, Mixture):
                for factor, part in zip(params[f"{name}.weight"][r], parts[1:], strict=True):
                    h = torch.addcmul(h, factor, part)
            elif name in norms:
                h = h * norms[name][0][r] + norms[name][1][r]
            elif isinstance(module, Shortcut):
                h = h + before if adds else h
            elif not isinstance(module, nn.Flatten):
                h = module(h)
        results.append(h)
    return torch.stack(results)


def _worth_one_by_one(params: Tensors, x: Tensor) -> bool:
    """Tell, from the shapes of one replica alone, whether its products are large enough for oneDNN."""
    weights = [p for p in params.values() if p.ndim == 3]
    if torch.is_grad_enabled() or not products.usable(x, *weights) or x[0].ndim > 3:
        return False
    return max((p[0].numel() for p in weights), default=0) * len(x) >= ONEDNN_PRODUCTS


class Forward:
    """The forward pass of one model for any number of replicas.

    Parameters
    ----------
    model
        The model; used statelessly.
    params, buffers
        Parameters and buffers ``(R, ...)`` by name; one replica of them serves to try the model
        out.
    x
        A sample of inputs ``(B, ...)`` of the batch size to come.
    training
        Whether modules run in training mode; buffers such as batch-norm statistics are then updated
        in place.
    """

    def __init__(
        self, model: nn.Module, params: Tensors, buffers: Tensors, x: Tensor, *, training: bool
    ) -> None:
        self.model = model
        self.training = training
        self.stackable = is_stackable(model)
        self._modes: dict[int, Mode] = {}
        if not self.stackable:
            one = slice(0, 1)
            self._one = (
                {name: value[one].detach() for name, value in params.items()},
                {name: value[one].clone() for name, value in buffers.items()},
                x,
            )
            self._vmap_works = self._try_vmap()

    def mode(self, batch: int) -> Mode:
        """Return how batches of this size are run."""
        if self.stackable:
            return "stacked"
        if batch not in self._modes:
            self._modes[batch] = self._choose(batch)
        return self._modes[batch]

    def __call__(
        self,
        params: Tensors,
        buffers: Tensors,
        x: Tensor,
        *,
        shared: bool = False,
        seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """Run the model.

        Parameters
        ----------
        params, buffers
            ``(R, ...)`` by name.
        x
            Inputs ``(R, B, ...)``, or ``(B, ...)`` if `shared`.
        shared
            Whether all replicas see the same inputs.
        seeds
            One seed per replica for random operations of the model; zeros if not given.

        Returns
        -------
        Tensor
            Outputs ``(R, B, C)``.
        """
        replicas = len(next(iter(params.values())))
        mode = self.mode(x.shape[0 if shared else 1])
        if mode == "stacked":
            # No layer of a stackable model looks at its mode.
            assert isinstance(self.model, nn.Sequential)
            if shared and not self.training and _worth_one_by_one(params, x):
                return one_by_one_forward(self.model, params, x, buffers)
            rows = x.expand(replicas, *x.shape) if shared else x
            return stacked_forward(self.model, params, rows, buffers, training=self.training)
        with training_mode(self.model, self.training):
            if mode == "vmap":
                return self._vmap(shared)(params, buffers, x)
            return self._loop(params, buffers, x, shared, seeds or [0] * replicas)

    def _vmap(self, shared: bool) -> Callable[..., Tensor]:
        def call(params: Tensors, buffers: Tensors, x: Tensor) -> Tensor:
            return functional_call(self.model, (params, buffers), (x,))

        return vmap(call, in_dims=(0, 0, None if shared else 0), randomness="error")

    def _loop(
        self, params: Tensors, buffers: Tensors, x: Tensor, shared: bool, seeds: Sequence[int]
    ) -> Tensor:
        names = list(params)
        columns = zip(*(params[name].unbind(0) for name in names), strict=True)
        results = []
        devices = [x.device] if x.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            for r, column in enumerate(columns):
                _seed(seeds[r], x.device)
                weights = {name: _on_lines(p) for name, p in zip(names, column, strict=True)}
                state = {name: value[r] for name, value in buffers.items()}
                inputs = x if shared else _on_lines(x[r])
                results.append(functional_call(self.model, (weights, state), (inputs,)))
        return torch.stack(results)

    def _try_vmap(self) -> bool:
        """Try one replica in ``vmap``; a model that fails in the loop too raises its own error."""
        params, buffers, x = self._one
        spare = {name: value.clone() for name, value in buffers.items()}
        with torch.no_grad(), training_mode(self.model, self.training):
            try:
                self._vmap(True)(params, spare, x)
            except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
                if is_out_of_memory(error):
                    raise
                spare = {name: value.clone() for name, value in buffers.items()}
                self._loop(params, spare, x, True, [0])
                return False
        return True

    def _choose(self, batch: int) -> Mode:
        params, buffers, x = self._one
        if not self._vmap_works:
            return "loop"
        if x.device.type != "cpu":
            return "vmap"
        lines = all(p[0].numel() % ROWS == 0 for p in params.values() if p.ndim > 2)
        # Convolutions of several replicas run as groups, with other kernels unless channels fill vectors.
        channels = [size for p in params.values() if p.ndim > 3 for size in p.shape[1:3]]
        if batch % (2 * ROWS) or not lines or any(size % ROWS for size in channels):
            return "loop"
        counter = FlopCounterMode(display=False)
        spare = {name: value[0].clone() for name, value in buffers.items()}
        first = {name: value[0] for name, value in params.items()}
        with torch.no_grad(), training_mode(self.model, self.training), counter:
            functional_call(self.model, (first, spare), (x,))
        work = counter.get_total_flops() * batch / len(x)
        return "loop" if work > LOOP_FLOPS else "vmap"


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators that a model on `device` may draw from, and no other device's."""
    torch.random.default_generator.manual_seed(seed)
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(seed)


def _on_lines(tensor: Tensor) -> Tensor:
    """Return `tensor`, copied if its first element does not begin a cache line of the CPU."""
    if tensor.device.type != "cpu" or tensor.data_ptr() % _LINE == 0:
        return tensor
    return tensor.clone()
