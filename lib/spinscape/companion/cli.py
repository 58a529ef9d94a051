"""The ``spinscape`` command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spinscape.companion.assignments import read_axes, read_values
from spinscape.companion.disk import explain
from spinscape.companion.layout import BookError, Layout, find_root, shown, unknown
from spinscape.companion.parameters import ParameterError, schema
from spinscape.companion.processes import Stopped, stopped_by_signals

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


def _refuse(error: Exception | str, code: int = _BAD_INPUT) -> NoReturn:
    typer.echo(f"spinscape: {error}", err=True)
    raise typer.Exit(code)


Chapter = Annotated[str, typer.Argument(help="A chapter; the book's table of contents has them.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME=VALUE]...", help="Parameters; 'spinscape params CHAPTER' lists them."),
]
Cores = Annotated[int | None, typer.Option(min=1, help="Chapters run side by side; all CPUs by default.")]


@app.command()
def build(
    context: typer.Context, profile: ProfileName = "quick", cores: Cores = None, root: Root = None
) -> None:
    """Execute what is stale and build the site.

    Arguments after -- go to Snakemake.
    """
    from spinscape.companion.plan import book_plan

    _carry_out(lambda: book_plan(_layout(root), profile), cores, context.obj)


@app.command()
def run(
    context: typer.Context,
    chapter: Chapter,
    values: Words = None,
    profile: ProfileName = "quick",
    cores: Cores = None,
    root: Root = None,
) -> None:
    """Execute one chapter with parameters of your own and build its page.

    For example: spinscape run random_walks dataset=fashion-mnist sigmas=[0.01,0.07].
    What is not named has the profile's value.
    The same call again executes nothing.
    Arguments after -- go to Snakemake.
    """

    def make() -> Any:
        layout = _layout(root)
        given = read_values(schema(layout.chapter(chapter)), values or [])
        _check_profile(layout, profile)
        from spinscape.companion.plan import page_plan

        return page_plan(layout, chapter, profile, given)

    plan = _carry_out(make, cores, context.obj)
    _print_verdicts(plan)


@app.command()
def sweep(
    context: typer.Context,
    chapter: Chapter,
    values: Words = None,
    profile: ProfileName = "quick",
    cores: Cores = None,
    root: Root = None,
) -> None:
    """Execute one chapter over a grid of parameters; ends with a table and its page.

    For example: spinscape sweep random_walks hidden=64,256 seed=0,1,2 epochs=20.
    A parameter with several values is an axis of the grid; lists stand in brackets.
    A call with one more value runs only the new points.
    Arguments after -- go to Snakemake, such as --executor slurm.
    """

    def make() -> Any:
        layout = _layout(root)
        axes, fixed = read_axes(schema(layout.chapter(chapter)), values or [])
        _check_profile(layout, profile)
        from spinscape.companion.plan import sweep_plan

        return sweep_plan(layout, chapter, profile, axes, fixed)

    _carry_out(make, cores, context.obj)


def _carry_out(make: Callable[[], Any], cores: int | None, extra: list[str] | None) -> Any:
    """Make a plan and carry it out; ends the program unless all went well."""
    try:
        with stopped_by_signals():
            outcome, plan = _made(make, cores, extra)
    except Stopped as stopped:
        typer.echo("Stopped. The next call goes on from here.", err=True)
        raise typer.Exit(128 + stopped.number) from None
    from spinscape.companion.build import describe

    typer.echo(describe(outcome))
    if not outcome.ok:
        raise typer.Exit(1)
    return plan


def _made(make: Callable[[], Any], cores: int | None, extra: list[str] | None) -> tuple[Any, Any]:
    try:
        if extra and not extra[0].startswith("-"):
            raise ParameterError(
                f"{shown(extra[0])}: what follows -- is for Snakemake, whose options begin with -. "
                "Parameters stand before --."
            )
        plan = make()
    except (BookError, ParameterError) as error:
        _refuse(error)
    except OSError as error:
        _refuse(error, 1)
    from spinscape.companion import build as building

    try:
        return building.carry_out(plan, cores=cores, extra=extra or (), console=Console()), plan
    except ParameterError as error:
        _refuse(error)
    except (building.BuildError, BookError) as error:
        _refuse(error, 1)
    except OSError as error:
        _refuse(explain(error, plan.folder) or error, 1)


def _print_verdicts(plan: Any) -> None:
    """Print what came out for the rows of the one chapter that was run."""
    path = plan.layout.book / "claims.yaml"
    notebooks = {run.chapter: run.executed(plan.store) for run in plan.runs.values()}
    if path.is_file() and all(notebook.is_file() for notebook in notebooks.values()):
        _print(_verdicts(path, notebooks, chapters=list(notebooks), why=False))


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
    from spinscape.companion.plan import executed

    paths = {chapter: executed(layout.build(profile), chapter) for chapter in layout.chapters()}
    notebooks = {chapter: notebook for chapter, notebook in paths.items() if notebook.is_file()}
    if not notebooks:
        _refuse(BookError(f"nothing was built yet: spinscape build --profile {profile}"), 1)
    _print(_verdicts(path, notebooks))


def _verdicts(
    path: Path, notebooks: Mapping[str, Path], *, chapters: list[str] | None = None, why: bool = True
) -> Table:
    """Make a table of verdicts from executed notebooks; of some chapters or all."""
    from spinscape.companion import ledger, sealed

    rows = ledger.load_claims(path)
    rows = {name: claim for name, claim in rows.items() if chapters is None or claim.chapter in chapters}
    try:
        records = {chapter: ledger.read(sealed.read(p)) for chapter, p in notebooks.items()}
    except ValueError as error:
        _refuse(f"{error}: call 'spinscape build' again", 1)
    verdicts = ledger.judge(rows, records)
    table = Table(box=None, pad_edge=False)
    columns = ("claim", "chapter", "verdict", "why") if why else ("claim", "verdict")
    for column in columns:
        table.add_column(column, no_wrap=column == "claim")
    for name, claim in rows.items():
        verdict = verdicts[name]
        entries = {"claim": name, "chapter": claim.chapter, "verdict": verdict.outcome, "why": verdict.reason}
        table.add_row(*(Text(entries[column]) for column in columns))
    return table


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
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    # The process that typer starts must not leave a traceback behind for a closed pipe.
    try:
        app(words[:cut], prog_name="spinscape", obj=words[cut + 1 :])
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
