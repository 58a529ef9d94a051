# What the book is made of, and what needs making again.
#
#   snakemake --cores 2                              the quick profile
#   snakemake --cores 2 --config profile=mnist       another one
#
# `spinscape build` calls this with a lock, live progress and readable failures.
# A run's key is made of its code, its parameters, the library modules it can import and the
# environment; the key is part of its mark's name, so content alone decides what is stale.

import sys
from pathlib import Path

from spinscape.companion.layout import Layout
from spinscape.companion.plan import make_plan

PROFILE = str(config.get("profile", "quick"))
ROOT = str(workflow.basedir)
PLAN = make_plan(Layout(Path(ROOT)), PROFILE)
PYTHON = sys.executable


workdir: str(PLAN.folder)


wildcard_constraints:
    chapter=r"[A-Za-z0-9_][A-Za-z0-9_-]*",
    key=r"[0-9a-f]{16}",


localrules:
    book,
    stage,
    site,


rule book:
    input:
        f"made/site-{PLAN.site_key}",


rule execute:
    input:
        ancient("code/{chapter}-{key}.ipynb"),
    output:
        "done/{chapter}-{key}.json",
    log:
        "logs/{chapter}-{key}.log",
    threads: 1
    resources:
        gpu=lambda wildcards: PLAN.runs[wildcards.chapter].gpu,
    shell:
        "exec {PYTHON:q} -P -m spinscape.companion.execute {wildcards.chapter:q}"
        " --root {ROOT:q} --profile {PROFILE:q} --key {wildcards.key} > {log:q} 2>&1"


rule stage:
    input:
        [f"done/{run.chapter}-{run.key}.json" for run in PLAN.runs.values()],
    output:
        "made/stage-{key}",
    log:
        "logs/stage-{key}.log",
    shell:
        "exec {PYTHON:q} -P -m spinscape.companion.staging"
        " --root {ROOT:q} --profile {PROFILE:q} --mark {output:q} > {log:q} 2>&1"


rule site:
    input:
        "made/stage-{key}",
    output:
        "made/site-{key}",
    log:
        "logs/site-{key}.log",
    shell:
        "exec {PYTHON:q} -P -m spinscape.companion.site"
        " --root {ROOT:q} --profile {PROFILE:q} --mark {output:q} > {log:q} 2>&1"
