"""A small book of two chapters with a library of its own, for tests of the pipeline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from spinscape.companion.layout import Layout

REPOSITORY = Path(__file__).resolve().parents[1]

FRONT = "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n  language: python\n---\n\n"

ALPHA = (
    FRONT
    + """# Alpha

The width is {{ parameters.width }} and $w = {{ parameters.width }}$.

```{code-cell}
:tags: [parameters]

width: int = 3  # how wide {1..10}
rates: list[float] = [0.1, 0.2]  # learning rates {0<..1}
```

```{code-cell}
from spinscape.tools import double

print(double(width), rates)
```

Some prose.
"""
)

BETA = (
    FRONT
    + """# Beta

```{code-cell}
:tags: [parameters]

name: str = "digits"  # data set {digits | mnist}
```

```{code-cell}
import spinscape.other

print(name, spinscape.other.LABEL)
```
"""
)


def make_book(root: Path) -> Layout:
    """Write the book into an empty folder."""
    files = {
        "_config.yml": (REPOSITORY / "_config.yml").read_text(encoding="utf-8"),
        "_toc.yml": "format: jb-book\nroot: intro\nchapters:\n"
        + "".join(f"  - file: {name}\n" for name in ("alpha", "beta", "ledger", "status")),
        "book/intro.md": "# A small book\n\nAlpha is {{ alpha.parameters.width }} wide.\n",
        "book/references.bib": "",
        "book/_static/favicon.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "book/alpha.md": ALPHA,
        "book/beta.md": BETA,
        "book/profiles/quick.yaml": "about: small\nchapters:\n  alpha:\n    width: 4\n",
        "lib/spinscape/__init__.py": "",
        "lib/spinscape/tools.py": "def double(x):\n    return 2 * x\n",
        "lib/spinscape/other.py": "LABEL = 'other'\n",
        "requirements.lock": "",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shutil.copy(REPOSITORY / "Snakefile", root)
    return Layout(root)


def spinscape(*arguments: str, root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, in the book's folder."""
    return subprocess.run(
        [sys.executable, "-m", "spinscape.companion.cli", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "lib"), **environment},
        capture_output=True,
        text=True,
    )


def executed(layout: Layout, chapter: str) -> dict:
    """Read an executed notebook."""
    path = layout.build("quick") / "executed" / f"{chapter}.ipynb"
    return json.loads(path.read_text(encoding="utf-8"))


def edit(path: Path, old: str, new: str) -> None:
    """Replace text in a file that has it."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
