"""Jobs that a stopped call has left in Slurm."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

_RUN = re.compile(r"^SLURM run ID: (\S+)$", flags=re.MULTILINE)
_PATIENCE = 60.0


def cancel(log: Path) -> None:
    """Cancel all jobs that the Snakemake of a log has sent to Slurm.

    Snakemake itself forgets those that it is just submitting or asking after when it is stopped.

    Parameters
    ----------
    log
        What Snakemake has printed; where it names no run of Slurm, nothing is done.
    """
    try:
        runs = _RUN.findall(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return
    program = shutil.which("scancel")
    for run in runs if program else ():
        try:
            # All jobs of a run bear its name; a job that is gone is no error.
            subprocess.run(
                [str(program), f"--name={run}"], stdin=subprocess.DEVNULL, timeout=_PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            continue
