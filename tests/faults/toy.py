"""A book of one short chapter with the real library, for kills that need not take long.

The chapter records numbers, stores results and waits in a long cell.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import toybook
from bookcopy import REPOSITORY

# Counted as the progress is, with the cell of changed parameters.
LONG_CELL = 5
LONG_CELL_SECONDS = 5.0
WAIT = "TOY_WAIT"
"""Variable that has the long cell take other than these seconds."""

_CHAPTER = (
    toybook.FRONT
    + f"""# Alpha

```{{code-cell}}
:tags: [parameters]

width: int = 3  # how wide {{1..10}}
seed: int = 0  # seed of everything that is drawn {{0..}}
```

```{{code-cell}}
import os
import time

import numpy as np

from spinscape import statistics
from spinscape.companion import ledger, memo
```

```{{code-cell}}
samples = np.random.default_rng(seed).normal(size=(40, width))
estimate = memo.remember(statistics.mean, samples, seed=seed)
ledger.value(mean=estimate.value[0], low=estimate.low[0])
```

```{{code-cell}}
time.sleep(float(os.environ.get("{WAIT}", {LONG_CELL_SECONDS})))
```

```{{code-cell}}
rank = memo.remember(statistics.spearman_rows, samples, samples**2)
ledger.value(rank=rank[0])
```
"""
)


def make_toy(root: Path) -> None:
    """Write the book into an empty folder."""
    toybook.make_book(root)
    shutil.rmtree(root / "lib")
    shutil.copytree(REPOSITORY / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "book" / "beta.md").unlink()
    toybook.edit(root / "_toc.yml", "  - file: beta\n", "")
    (root / "book" / "alpha.md").write_text(_CHAPTER, encoding="utf-8")
    (root / "book" / "profiles" / "tiny.yaml").write_text(
        "about: for tests of the machinery\nchapters:\n  alpha:\n    width: 2\n", encoding="utf-8"
    )
