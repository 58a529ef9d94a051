# What the book is made of, and what needs making again.
#
#   snakemake --cores 2                              the quick profile
#   snakemake --cores 2 --config profile=mnist       another one
#
# `spinscape build`, `run` and `sweep` call this in a folder with a plan, with a lock, live progress
# and readable failures.
# A run's key is made of its code, its parameters, the library modules it can import and the
# environment; the key is part of its mark's name, so content alone decides what is stale.

import os
import sys
from pathlib import Path

from spinscape.companion.layout import Layout
from spinscape.companion.plan import FILE, book_plan, read_plan

ROOT = str(workflow.basedir)
if Path(FILE).is_file() and "profile" not in config:
    PLAN = read_plan(Path(ROOT), Path(FILE))
else:
    PLAN = book_plan(Layout(Path(ROOT)), str(config.get("profile", "quick")))
    PLAN.prepare()
RUNS = {run.name: run for run in PLAN.runs.values()}
FOLDER, STORE = str(PLAN.folder), str(PLAN.store)
# Relative, so that nothing in the path of the book is taken for a wildcard.
AT = "" if STORE == FOLDER else os.path.relpath(STORE, FOLDER) + "/"
PYTHON = sys.executable

# What runs make is for their user only, on a cluster's nodes too.
os.umask(0o077)


workdir: FOLDER


wildcard_constraints:
    name=r"[A-Za-z0-9_][A-Za-z0-9_-]*-[0-9a-f]{16}",
    key=r"[0-9a-f]{16}",


localrules:
    all,
    stage,
    site,


rule all:
    input:
        f"made/site-{PLAN.site_key}",


rule execute:
    input:
        ancient(f"{AT}code/{{name}}.ipynb"),
    output:
        "done/{name}.json",
    log:
        f"{AT}logs/{{name}}.log",
    params:
        slot=lambda wildcards: RUNS[wildcards.name].slot,
    threads: 1
    resources:
        gpu=lambda wildcards: RUNS[wildcards.name].gpu,
    shell:
        "exec {PYTHON:q} -P -m spinscape.companion.execute {wildcards.name:q}"
        " --root {ROOT:q} --store {STORE:q} --slot {params.slot:q} --mark {output:q}"
        " --parent $PPID > {log:q} 2>&1"


rule stage:
    input:
        [f"done/{name}.json" for name in RUNS],
    output:
        "made/stage-{key}",
    log:
        "logs/stage-{key}.log",
    shell:
        "exec {PYTHON:q} -P -m spinscape.companion.staging"
        " --root {ROOT:q} --folder {FOLDER:q} --mark {output:q} --parent $PPID > {log:q} 2>&1"


rule site:
    input:
        "made/stage-{key}",
    output:
        "made/site-{key}",
    log:
        "logs/site-{key}.log",
    shell:
        "exec {PYTHON:q} -P -m spinscape.companion.site"
        " --folder {FOLDER:q} --mark {output:q} --parent $PPID > {log:q} 2>&1"
