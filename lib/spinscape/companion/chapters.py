"""A chapter's source taken apart: the code that runs, and the prose its outputs are merged with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from spinscape.companion.layout import BookError

# Tags that change what a run does; all others change how a page looks.
_EXECUTING_TAGS = {"parameters", "raises-exception", "skip-execution"}
_INJECTED = "injected-parameters"
_KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def read_chapter(path: Path) -> NotebookNode:
    """Read a Markdown chapter as a notebook, prose and code.

    Raises
    ------
    BookError
        If the file cannot be read as a notebook.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        return jupytext.reads(text, fmt="md:myst")
    except Exception as error:
        raise BookError(f"{path}: {error}") from error


def code_only(chapter: NotebookNode) -> NotebookNode:
    """Keep what runs: the code cells with their tags, numbered ids, and the kernel's name.

    The same code gives the same bytes, whatever the prose.
    """
    cells: list[NotebookNode] = []
    for cell in chapter.cells:
        if cell.cell_type == "code":
            kept = nbformat.v4.new_code_cell(cell.source, id=f"code-{len(cells):03d}")
            if tags := cell.metadata.get("tags"):
                kept.metadata["tags"] = list(tags)
            cells.append(kept)
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = dict(_KERNEL)
    return notebook


def code(notebook: NotebookNode) -> str:
    """Return the source of all code cells as one Python text, notebook magics blanked."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    lines = "\n".join(sources).splitlines()
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in lines)


def code_hash(notebook: NotebookNode) -> str:
    """SHA-256 over what a run of the notebook depends on: sources and executing tags."""
    content = [
        [cell.source, sorted(_EXECUTING_TAGS.intersection(cell.metadata.get("tags", [])))]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def merge(chapter: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """Put the outputs of an executed notebook into the chapter with its prose.

    Parameters
    ----------
    chapter
        What `read_chapter` returned.
    executed
        The chapter's code-only notebook after its run; the cell in which papermill set parameters
        stays right after the parameters cell.

    Raises
    ------
    BookError
        If the code cells of the two differ.
    """
    done = [cell for cell in executed.cells if cell.cell_type == "code"]
    injected = [cell for cell in done if _INJECTED in cell.metadata.get("tags", [])]
    done = [cell for cell in done if _INJECTED not in cell.metadata.get("tags", [])]
    here = [cell for cell in chapter.cells if cell.cell_type == "code"]
    if [cell.source for cell in here] != [cell.source for cell in done]:
        raise BookError("the executed notebook is of other code than the chapter")
    results = iter(done)
    cells = []
    for number, cell in enumerate(chapter.cells):
        merged = nbformat.from_dict(cell)
        merged["id"] = f"cell-{number:03d}"
        cells.append(merged)
        if cell.cell_type != "code":
            continue
        result = next(results)
        merged.outputs = nbformat.from_dict(result.get("outputs", []))
        merged.execution_count = result.get("execution_count")
        if "parameters" in cell.metadata.get("tags", []):
            cells.extend(_bare(extra) for extra in injected)
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.update(_page_metadata(chapter, executed))
    return notebook


def _bare(cell: NotebookNode) -> NotebookNode:
    bare = nbformat.v4.new_code_cell(
        cell.source, outputs=cell.outputs, execution_count=cell.execution_count, id=_INJECTED
    )
    bare.metadata["tags"] = list(cell.metadata.get("tags", []))
    return bare


def _page_metadata(chapter: NotebookNode, executed: NotebookNode) -> dict[str, Any]:
    kept = {k: v for k, v in chapter.metadata.items() if k not in ("jupytext", "kernelspec")}
    kept["kernelspec"] = dict(_KERNEL)
    for name in ("language_info", "spinscape"):
        if name in executed.metadata:
            kept[name] = executed.metadata[name]
    return kept
