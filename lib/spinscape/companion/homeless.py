"""Folders for tools that keep files in the user's home, where that home cannot be written."""

from __future__ import annotations

import os
from pathlib import Path


def stand_ins(folder: Path) -> dict[str, str]:
    """Return environment variables that move caches into `folder`; none where all can be written.

    Snakemake cannot start without a cache, and Matplotlib complains on the page about a missing
    folder. Data sets stay where they are: their folder moves only where there is none.

    Parameters
    ----------
    folder
        Where the caches may go; made by those who use it.
    """
    found = {}
    home = Path(os.path.expanduser("~"))
    caches = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    if not _writable(caches / "snakemake"):
        from spinscape.networks._files import CACHE_VARIABLE, cache_folder

        data = cache_folder()
        if CACHE_VARIABLE not in os.environ and (os.path.isdir(data) or _writable(data)):
            found[CACHE_VARIABLE] = str(data)
        found["XDG_CACHE_HOME"] = str(folder)
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if not os.environ.get("MPLCONFIGDIR") and not _writable(settings / "matplotlib"):
        found["MPLCONFIGDIR"] = str(folder / "matplotlib")
    return found


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
