"""From an executed chapter to its page: boxes for claims, clean outputs, the stamp at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import nbformat
from nbformat import NotebookNode

RECORD = "application/vnd.spinscape.record+json"
VALUE = "application/vnd.spinscape.value+json"
STAMP = "application/vnd.spinscape.stamp+json"

_COMMIT = re.compile(r"([0-9a-f]{7,64})(-dirty)?")
# Text that stands between backticks as it is.
_PLAIN = re.compile(r"[\w.,:;=+/()\[\]'\" -]*[\w.,:;=+/()\[\]'\"-]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]")


def clean_outputs(page: NotebookNode, box: Callable[[str], str | None]) -> None:
    """Turn what cells left behind into what a page shows, in place.

    Parameters
    ----------
    page
        The merged chapter.
    box
        Claim id -> HTML that stands in place of the claim's last record; None drops it.
    """
    last = {}
    for cell in page.cells:
        for output in cell.get("outputs", []):
            if claim := _claim(output):
                last[claim] = id(output)
    cells = []
    for cell in page.cells:
        cells.append(cell)
        if cell.cell_type != "code":
            continue
        captioned = "figure" in cell.metadata.get("mystnb", {})
        kept: list[NotebookNode] = []
        boxes: list[NotebookNode] = []
        for output in cell.outputs:
            claim = _claim(output)
            if claim:
                shown = box(claim) if last[claim] == id(output) else None
                if shown is not None and captioned:
                    name = f"{cell['id']}-box-{len(boxes)}"
                    boxes.append(nbformat.v4.new_markdown_cell(shown, id=name))
                elif shown is not None:
                    kept.append(nbformat.v4.new_output("display_data", {"text/html": shown}))
            elif not _private(output) and not _empty(output):
                kept.append(_readable(output))
        if any(_image(output) for output in kept):
            # The caption belongs to the image alone; what drawing returned is not shown.
            kept = [output for output in kept if not _bare_text(output)]
        cell.outputs = kept
        cells.extend(boxes)
    page.cells = cells


def _image(output: NotebookNode) -> bool:
    return any(mime.startswith("image/") for mime in output.get("data", {}))


def _bare_text(output: NotebookNode) -> bool:
    return output.output_type == "execute_result" and set(output.data) == {"text/plain"}


def _claim(output: NotebookNode) -> str | None:
    record = output.get("data", {}).get(RECORD)
    return None if record is None else str(record["claim"])


def _private(output: NotebookNode) -> bool:
    return any(mime in output.get("data", {}) for mime in (VALUE, STAMP))


def _empty(output: NotebookNode) -> bool:
    return output.output_type == "stream" and not "".join(output.text).strip()


def _readable(output: NotebookNode) -> NotebookNode:
    """Drop control characters and keep only the last state of lines written over."""
    if output.output_type == "stream":
        lines = "".join(output.text).replace("\r\n", "\n").split("\n")
        output.text = _CONTROL.sub("", "\n".join(line.rpartition("\r")[2] for line in lines))
    return output


def stamp_section(metadata: Mapping[str, Any], stamp: Mapping[str, Any]) -> str:
    """Write the section that ends a page: what made it, as a closed dropdown.

    Parameters
    ----------
    metadata
        The ``spinscape`` metadata of the executed notebook.
    stamp
        Data set with its MD5, device and seed as the kernel saw them; may be empty.
    """
    rows = [("profile", f"`{metadata['profile']}`")]
    rows += [(f"`{name}`", literal(str(value))) for name, value in metadata["parameters"].items()]
    rows += [(name, _flat(value)) for name, value in stamp.items()]
    rows.append(("versions", ", ".join(f"{k} {v}" for k, v in metadata["versions"].items())))
    rows.append(("commit", f"`{metadata['commit']}`"))
    rows.append(("library hash", f"`{metadata['library_hash'][:16]}`"))
    rows.append(("started", f"{metadata['started']}"))
    rows.append(("duration", seconds(metadata["duration"])))
    rows.append(("peak memory", mebibytes(metadata["peak_memory"])))
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows)
    return (
        "::::{dropdown} How this page was made\n:class-container: stamp\n\n"
        f"| | |\n|:--|:--|\n{table}\n\n"
        "All runs of this build are on the [status page](status.md).\n::::\n"
    )


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {literal(str(entry))}" for name, entry in value.items())
    return literal(str(value))


def literal(text: str) -> str:
    """Write text as code in Markdown, a table's cell too, so that nothing in it is markup."""
    if not text:
        return ""
    if _PLAIN.fullmatch(text):
        return f"`{text}`"
    return "<code>" + "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text) + "</code>"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def status_page(runs: Mapping[str, Mapping[str, Any]], settings: str) -> str:
    """Write the status page: one row per chapter, from the executed notebooks' metadata.

    Parameters
    ----------
    runs
        Chapter -> the ``spinscape`` metadata of its executed notebook.
    settings
        Words for the parameters of all of them, such as "the `quick` profile".
    """
    lines = [
        "# Status",
        "",
        f"Every chapter of this build was executed at {settings}.",
        "",
        "| chapter | profile | state | started (UTC) | duration | cells | peak memory | commit |",
        "|:--|:--|:--|:--|--:|--:|--:|:--|",
    ]
    for chapter, about in runs.items():
        cells = (
            f"[{chapter}]({chapter}.ipynb)",
            about["profile"],
            "done",
            about["started"].replace("T", " ").removesuffix("+00:00"),
            seconds(about["duration"]),
            str(about["cells"]),
            mebibytes(about["peak_memory"]),
            f"`{about['commit']}`",
        )
        lines.append("| " + " | ".join(cells) + " |")
    if not runs:
        lines[2:] = ["", "This build has no chapters with code."]
    return "\n".join(lines) + "\n"


def seconds(duration: float) -> str:
    """Write a duration for people."""
    if duration < 60:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def mebibytes(size: float) -> str:
    """Write a number of bytes for people."""
    return f"{size / 2**20:.0f} MiB"


def setup_cell(repository: str, commit: str = "unknown") -> NotebookNode:
    """Make the hidden first cell that installs the library where a notebook runs elsewhere.

    Parameters
    ----------
    repository
        The ``owner/name`` on GitHub.
    commit
        What made the page, as `provenance.commit` gives it; where it is unknown, the repository's
        default branch is installed.
    """
    found = _COMMIT.fullmatch(commit)
    at = f"@{found[1]}" if found else ""
    source = (
        "import importlib.util\n"
        "import subprocess\n"
        "import sys\n\n"
        'if importlib.util.find_spec("spinscape") is None:\n'
        f'    source = "git+https://github.com/{repository}{at}"\n'
        '    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)'
    )
    cell = nbformat.v4.new_code_cell(source, id="setup")
    cell.metadata["tags"] = ["remove-cell"]
    return cell
