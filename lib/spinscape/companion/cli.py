"""The ``spinscape`` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spinscape.companion.layout import BookError, Layout, find_root, unknown
from spinscape.companion.parameters import ParameterError, schema

app = typer.Typer(
    help="Build and rerun the book 'Loss Landscapes as Spin Glasses'.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_BAD_INPUT = 2
_DATA_SETS = ("digits", "linnerud", "mnist", "fashion-mnist", "cifar10", "cifar100")

Root = Annotated[Path | None, typer.Option("--root", help="Folder of the book; found from here upwards.")]
ProfileName = Annotated[str, typer.Option(help="A file of parameters in book/profiles.")]


def _layout(root: Path | None) -> Layout:
    return Layout(find_root(root))


def _refuse(error: Exception, code: int = _BAD_INPUT) -> NoReturn:
    typer.echo(f"spinscape: {error}", err=True)
    raise typer.Exit(code)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def build(
    context: typer.Context,
    profile: ProfileName = "quick",
    cores: Annotated[
        int | None, typer.Option(min=1, help="Chapters run side by side; all CPUs by default.")
    ] = None,
    root: Root = None,
) -> None:
    """Execute what is stale and build the site.

    Arguments after -- go to Snakemake.
    """
    try:
        layout = _layout(root)
        _check_profile(layout, profile)
    except (BookError, ParameterError) as error:
        _refuse(error)
    from spinscape.companion import build as building

    try:
        outcome = building.build(layout, profile, cores=cores, extra=context.args, console=Console())
    except (BookError, ParameterError) as error:
        _refuse(error)
    except (building.BuildError, OSError) as error:
        _refuse(error, 1)
    except building.Stopped as stopped:
        typer.echo("Stopped. The next call goes on from here.", err=True)
        raise typer.Exit(128 + stopped.number) from None
    typer.echo(building.describe(outcome, layout.build(profile)))
    if not outcome.ok:
        raise typer.Exit(1)


def _check_profile(layout: Layout, profile: str) -> None:
    from spinscape.companion.profiles import load_profile

    load_profile(layout, profile)


@app.command()
def params(chapter: Annotated[str, typer.Argument(help="A chapter.")], root: Root = None) -> None:
    """List a chapter's parameters: type, default, what is allowed, help."""
    try:
        parameters = schema(_layout(root).chapter(chapter))
    except (BookError, ParameterError) as error:
        _refuse(error)
    table = Table(box=None, pad_edge=False)
    for name in ("name", "type", "default", "allowed", "help"):
        table.add_column(name, no_wrap=name == "name")
    for p in parameters:
        table.add_row(*map(Text, (p.name, p.type, repr(p.default), p.constraint, p.help)))
    _print(table)


@app.command()
def claims(profile: ProfileName = "quick", root: Root = None) -> None:
    """Show the verdict on every claim, from the last build of a profile."""
    try:
        layout = _layout(root)
        _check_profile(layout, profile)
        path = layout.book / "claims.yaml"
        if not path.is_file():
            raise BookError("the book has no claims (book/claims.yaml)")
    except (BookError, ParameterError) as error:
        _refuse(error)
    import nbformat

    from spinscape.companion import ledger
    from spinscape.companion.plan import executed

    rows = ledger.load_claims(path)
    records = {}
    for chapter in layout.chapters():
        notebook = executed(layout.build(profile), chapter)
        if notebook.is_file():
            records[chapter] = ledger.read(nbformat.read(notebook, as_version=4))
    if not records:
        _refuse(BookError(f"nothing was built yet: spinscape build --profile {profile}"), 1)
    verdicts = ledger.judge(rows, records)
    table = Table(box=None, pad_edge=False)
    for name in ("claim", "chapter", "verdict", "why"):
        table.add_column(name, no_wrap=name == "claim")
    for name, claim in rows.items():
        verdict = verdicts[name]
        table.add_row(*map(Text, (name, claim.chapter, verdict.outcome, verdict.reason)))
    _print(table)


@app.command()
def data(
    name: Annotated[str | None, typer.Argument(help="One data set; all by default.")] = None,
) -> None:
    """Show where each data set is found on this machine.

    A data set that is named is downloaded where it is missing.
    """
    if name is not None and name not in _DATA_SETS:
        _refuse(ParameterError(unknown("data set", name, _DATA_SETS)))
    from spinscape.networks import datasets

    missing = False
    for each in (name,) if name else _DATA_SETS:
        try:
            found = datasets.load(each, download=name is not None)
        except datasets.DataError as error:
            missing = True
            typer.echo(f"{each}: {error if name else _short(str(error))}")
        else:
            typer.echo(f"{each}: {found.source}")
    if missing and name:
        raise typer.Exit(1)
    if missing:
        typer.echo("'spinscape data NAME' fetches a data set, or says how to provide it.")


def _short(problem: str) -> str:
    """Cut what is wrong with a data set down to one line: a wrong file with the reason, or no file."""
    if "was not found. Looked here:" in problem:
        return "not found"
    for advice in ("To provide the data, ", "The file was left as it is"):
        problem = problem.partition(advice)[0]
    return " ".join(problem.split())


def _print(table: Table) -> None:
    """Print a table in full width where the output is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    console.print(table)


def main() -> None:
    """Run the command line."""
    # The process that typer starts must not leave a traceback behind for a closed pipe.
    try:
        app(prog_name="spinscape")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
