"""Expensive results kept on disk: safetensors under a key that says what made them.

The key is the SHA-256 of a canonical JSON of the call: the function, its arguments (tensors by their
bytes, networks by their classes, options and buffers, functions by their source and what they close
over), the device, the versions of torch and numpy, and the source of every library module that the
function can reach.
What has state that a key cannot see is refused.
A value carries its key and a SHA-256 of its contents, is written aside and renamed, and is checked
when read: a half-written, flipped or misplaced file is reported and computed again, never used.
Files are for their user only; what killed processes left half-written is swept.
Nothing is pickled; only dataclasses of this library are rebuilt.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError

from spinscape import durable
from spinscape.companion import provenance
from spinscape.networks import storage
from spinscape.networks._files import cache_folder
from spinscape.networks.datasets import Dataset
from spinscape.networks.device import resolve_device

T = TypeVar("T")

ENVIRONMENT = "SPINSCAPE_MEMO"
TREE = "tree"

# Raised when what files hold changes its meaning, so that earlier ones are not found.
_FORMAT = 2

# What a file that is damaged, or made by someone else, can raise while it is read.
_UNREADABLE = (
    storage.CorruptFileError, ArithmeticError, AttributeError, ImportError, LookupError, OSError,
    RecursionError, TypeError, ValueError,
)  # fmt: skip

# A key names the code that this process imported, whatever becomes of the files while it runs.
provenance.freeze()


class MemoWarning(UserWarning):
    """A stored result could not be read or written; it is computed instead."""


def folder() -> Path:
    """Where results are kept: ``SPINSCAPE_MEMO``, else the user's cache folder."""
    return Path(os.environ.get(ENVIRONMENT) or cache_folder() / "memo")


def remember(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Return ``function(*args, **kwargs)``, from disk when the same call was made before.

    Parameters
    ----------
    function
        A function of this library that depends on its arguments and nothing else.
    *args, **kwargs
        Numbers, strings, lists, mappings, tensors, data sets, networks, ensembles.

    Returns
    -------
    The function's own result: an `Ensemble` or another dataclass of arrays.

    Raises
    ------
    TypeError
        If an argument or the result is of a type that has no canonical form.
    """
    path = folder() / f"{key(function, args, kwargs)}.safetensors"
    models = _models([args, kwargs])
    if os.path.lexists(path):
        try:
            return _read(path, models)
        except _UNREADABLE:
            warnings.warn(
                f"a stored result of {function.__name__} is not whole; computing it again",
                MemoWarning,
                stacklevel=2,
            )
    result = function(*args, **kwargs)
    try:
        _write(path, result)
    except (OSError, SafetensorError) as error:
        warnings.warn(f"the result could not be stored: {error}", MemoWarning, stacklevel=2)
    return result


def key(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return the name under which a call's result is kept (64 hexadecimal digits)."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = {
        name: str(resolve_device(value)) if name == "device" else value
        for name, value in bound.arguments.items()
    }
    call = {
        "format": _FORMAT,
        "function": f"{function.__module__}.{function.__qualname__}",
        "arguments": _canonical(arguments),
        "library": provenance.library_hash([function.__module__]),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy")},
    }
    text = json.dumps(call, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _canonical(value: Any) -> Any:
    """Turn an argument into JSON that is equal exactly when the argument is."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    if isinstance(value, torch.Tensor):
        return ["tensor", str(value.dtype), list(value.shape), _digest(_bytes(value))]
    if isinstance(value, np.ndarray):
        return ["array", str(value.dtype), list(value.shape), _digest(value)]
    if isinstance(value, torch.nn.Module):
        return ["module", _architecture(value)]
    if isinstance(value, Mapping):
        return ["mapping", [[str(name), _canonical(item)] for name, item in value.items()]]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return [type(value).__qualname__, fields]
    if isinstance(value, functools.partial):
        return ["partial", _canonical(value.func), _canonical(value.args), _canonical(value.keywords)]
    if inspect.isfunction(value):
        return ["function", value.__module__, value.__qualname__, *_state_of_function(value)]
    raise TypeError(f"{type(value).__name__} has no canonical form, so the call cannot be remembered")


def _state_of_function(function: Callable[..., Any]) -> list[Any]:
    """Source, defaults and the values that a function closes over; its module's globals are not seen."""
    closed = [_canonical(cell.cell_contents) for cell in function.__closure__ or ()]
    defaults = [_canonical(function.__defaults__), _canonical(function.__kwdefaults__)]
    return [inspect.getsource(function), closed, defaults]


def _architecture(model: torch.nn.Module) -> str:
    """Digest of what a network does whatever its parameters: classes, options, shapes, buffers."""
    parts: list[Any] = [repr(model)]
    for name, module in model.named_modules():
        kind = type(module)
        parts.append([name, f"{kind.__module__}.{kind.__qualname__}", module.training])
        if not kind.__module__.startswith("torch."):
            parts.append(inspect.getsource(kind))
        own = {k: v for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
        parts.append(_canonical(own))
    parts += [[name, list(p.shape), str(p.dtype), p.requires_grad] for name, p in model.named_parameters()]
    parts += [[name, _canonical(value)] for name, value in model.named_buffers()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _models(value: Any) -> dict[str, torch.nn.Module]:
    """All networks among the arguments, by digest."""
    if isinstance(value, torch.nn.Module):
        return {_architecture(value): value}
    if isinstance(value, list | tuple):
        items: list[Any] = list(value)
    elif isinstance(value, Mapping):
        items = list(value.values())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type | Dataset):
        items = [getattr(value, f.name) for f in dataclasses.fields(value)]
    else:
        return {}
    return {name: model for item in items for name, model in _models(item).items()}


def _encode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Split a result into a JSON tree and the tensors that it refers to."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor | np.ndarray):
        name = f"t{len(tensors)}"
        kind = "tensor" if isinstance(value, torch.Tensor) else "array"
        tensors[name] = torch.as_tensor(value).detach().cpu().contiguous().clone()
        return {kind: name}
    if isinstance(value, torch.nn.Module):
        return {"module": _architecture(value)}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_encode(item, tensors) for item in value]}
    if isinstance(value, Mapping):
        return {"mapping": {str(k): _encode(v, tensors) for k, v in value.items()}}
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith("spinscape."):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        name = f"{type(value).__module__}:{type(value).__qualname__}"
        return {"dataclass": name, "fields": {k: _encode(v, tensors) for k, v in fields.items()}}
    raise TypeError(f"a result of type {type(value).__name__} cannot be stored")


def _decode(tree: Any, tensors: Mapping[str, torch.Tensor], models: Mapping[str, torch.nn.Module]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "dataclass" in tree:
        module, _, name = tree["dataclass"].partition(":")
        if not module.startswith("spinscape."):
            raise ValueError(f"{tree['dataclass']} is no class of this library")
        kind = getattr(importlib.import_module(module), name)
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            raise ValueError(f"{tree['dataclass']} is no dataclass")
        fields = {k: _decode(v, tensors, models) for k, v in tree["fields"].items()}
        return kind(**fields)
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "module":
        return models[content]
    if kind == "mapping":
        return {k: _decode(v, tensors, models) for k, v in content.items()}
    items = [_decode(item, tensors, models) for item in content]
    return tuple(items) if kind == "tuple" else items


def _write(path: Path, result: Any) -> None:
    tensors: dict[str, torch.Tensor] = {}
    content = {"key": path.stem, "result": _encode(result, tensors)}
    # The order of a mapping is part of the result: draws for a network follow that of its parameters.
    tree = json.dumps(content).encode()
    durable.sweep(path.parent)
    storage.write(path, {TREE: torch.frombuffer(bytearray(tree), dtype=torch.uint8), **tensors})


def _read(path: Path, models: Mapping[str, torch.nn.Module]) -> Any:
    tensors = storage.read(path)
    content = json.loads(tensors[TREE].numpy().tobytes())
    if content["key"] != path.stem:
        raise ValueError(f"{path} holds the result of another call")
    return _decode(content["result"], tensors, models)
