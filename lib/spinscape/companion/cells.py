"""A chapter's parameters checked inside the kernel, whatever set them.

``spinscape`` checks parameters before a kernel starts.
A notebook that papermill executes by itself, or a reader in Jupyter, gets the same checks from the
cell right after the parameters cell, which calls `check_parameters`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from spinscape.companion.parameters import ParameterError, check, declared

# How papermill begins the cell that it puts in, and the names that it may set of its own.
_INJECTED = "# Parameters"
_OF_PAPERMILL = ("PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH")


def check_parameters() -> None:
    """Check the values that the parameters of this notebook have now, and set them in their types.

    The parameters cell is found among the cells that were run, by what it is: declarations and
    nothing else.
    What it declares is checked, then the value of every parameter as it stands, so that ``"1e-3"``
    from papermill becomes a float, and every name that papermill's cell sets.
    Call it in the cell right after the parameters cell; it may be called again.

    Raises
    ------
    ParameterError
        For a wrong declaration, an unknown name, a wrong type or a value out of range.
        Also where no parameters cell was run, and outside of a notebook, where nothing can be
        checked.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        raise ParameterError("parameters are checked in a notebook only; there is none here.")
    _check(shell.history_manager.input_hist_parsed, shell.user_ns)


def at_most(limit: int, what: str, **values: int) -> None:
    """Refuse parameters that exceed what a data set has.

    Call it right after the data set is known, before work starts.

    Parameters
    ----------
    limit
        Largest value allowed.
    what
        What it counts, such as ``"training images"``.
    **values
        Parameters by name.

    Raises
    ------
    ParameterError
        It names the parameter, its value and the limit.
    """
    for name, value in values.items():
        if value > limit:
            raise ParameterError(f"{name} must be at most the {limit} {what}, not {value}")


def as_many(**lists: Sequence[Any]) -> None:
    """Refuse lists of different lengths that go with each other.

    Raises
    ------
    ParameterError
        It names the lists and their lengths.
    """
    if len({len(values) for values in lists.values()}) > 1:
        said = " and ".join(f"{name} ({len(values)})" for name, values in lists.items())
        raise ParameterError(f"{said} must be as long as each other")


def one_of(name: str, values: Sequence[Any], **parameters: Any) -> None:
    """Refuse parameters that are none of the values of a list, the parameter `name`.

    Raises
    ------
    ParameterError
        It names the parameter and the list.
    """
    for parameter, value in parameters.items():
        if value not in values:
            raise ParameterError(f"{parameter} = {value} must be one of {name}: {list(values)}")


def above(least: float, **parameters: float) -> None:
    """Refuse parameters that are not above a value.

    Raises
    ------
    ParameterError
        It names the parameter and the value.
    """
    for parameter, value in parameters.items():
        if not value > least:
            raise ParameterError(f"{parameter} must be above {least}, not {value}")


def _check(history: Sequence[str], names: dict[str, Any]) -> None:
    """Check and set parameters among `names`, given the sources of all cells run so far."""
    last = _parameters_cell(history)
    parameters = declared(history[last])
    values: dict[str, Any] = {}
    for source in history[last + 1 :]:
        if source.lstrip().startswith(_INJECTED):
            values = dict.fromkeys(_assigned(source))
    for name in _OF_PAPERMILL:
        values.pop(name, None)
    values.update({p.name: names[p.name] for p in parameters if p.name in names})
    names.update(check(parameters, values))


def _parameters_cell(history: Sequence[str]) -> int:
    """Index of the last parameters cell.

    A cell of declarations that is less than half as long as another one is some other cell of a
    reader's.
    """
    sizes = [_declarations(source) for source in history]
    if not any(sizes):
        raise ParameterError("no parameters cell was run: run it first, then this cell.")
    return max(index for index, size in enumerate(sizes) if size and 2 * size >= max(sizes))


def _declarations(source: str) -> int:
    """Count the assignments of a cell that has nothing else and annotates at least one, else 0."""
    body = _statements(source)
    if not all(isinstance(node, ast.Assign | ast.AnnAssign) for node in body):
        return 0
    return len(body) if any(isinstance(node, ast.AnnAssign) for node in body) else 0


def _assigned(source: str) -> list[str]:
    return [
        target.id
        for node in _statements(source)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
