"""`python -m results`: queries and tables over what was measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer

from results.problems import ResultsError

app = typer.Typer(
    help="Tables and queries over what was measured.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
report_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
"""`hypogen report` is short for `hypogen results report`."""

Storage = Annotated[str, typer.Option(envvar="HYPOGEN_STORAGE", help="The place that the sweep was given.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")]
Latex = Annotated[bool, typer.Option("--latex", help="Print a LaTeX tabular (booktabs).")]
All = Annotated[
    bool, typer.Option("--all", help="Every column, however wide, and of the paper's tables every row of the paper.")
]
Csv = Annotated[bool, typer.Option("--csv", help="Print comma separated values, with every digit.")]


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="A SELECT over the tables that `tables` lists.")],
    storage: Storage = "runs",
    markdown: Markdown = False,
    latex: Latex = False,
    csv: Csv = False,
) -> None:
    """Answer one SQL query, as aligned text."""
    with _plain_errors():
        output = _format(markdown, latex, csv)
        from results.catalogue import plain_grid
        from results.formats import formatted
        from results.result_store import open_results

        _print(formatted(plain_grid(open_results(storage).table(sql)), output))


@app.command()
def table(
    name: Annotated[str, typer.Argument(help="One of those that `tables` lists.")],
    experiment: Annotated[str | None, typer.Option(help="Only the runs of this experiment.")] = None,
    benchmark: Annotated[str | None, typer.Option(help="Only this benchmark.")] = None,
    storage: Storage = "runs",
    everything: All = False,
    markdown: Markdown = False,
    latex: Latex = False,
    csv: Csv = False,
) -> None:
    """Print one table of what was measured, in lines of 100 characters."""
    with _plain_errors():
        output = _format(markdown, latex, csv)
        from results import check_table
        from results.catalogue import render
        from results.fitting import WIDTH
        from results.result_store import open_results

        check_table(name)
        store, width = open_results(storage), None if everything else WIDTH
        chosen = {"experiment": experiment, "benchmark": benchmark}
        _print(render(name, store, **chosen, format=output, measured=not everything, width=width))


@app.command()
def compare(
    method_a: Annotated[str, typer.Argument(help="A method, such as hypogen, or expert.")],
    method_b: Annotated[str, typer.Argument(help="Another one.")],
    benchmark: Annotated[str | None, typer.Option(help="Only this benchmark.")] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="Only the runs of this experiment; may be given several times.")
    ] = None,
    own_training: Annotated[
        bool,
        typer.Option("--own-training", help="Each by its own epochs, batch, learning rate and noise on the specs."),
    ] = False,
    distribution: Annotated[
        Literal["in", "out"] | None,
        typer.Option(help="Only test specs in the training specs' distribution, or only those out of it."),
    ] = None,
    storage: Storage = "runs",
    everything: All = False,
    markdown: Markdown = False,
    latex: Latex = False,
    csv: Csv = False,
) -> None:
    """Compare two methods, paired by split and spec: difference, ratio and probability of improvement."""
    with _plain_errors():
        output = _format(markdown, latex, csv)
        from results.catalogue import compare as compared
        from results.fitting import fitted
        from results.formats import formatted
        from results.result_store import open_results

        store = open_results(storage)
        answer = compared(
            method_a,
            method_b,
            store,
            benchmark=benchmark,
            experiments=experiment or (),
            own_training=own_training,
            distribution=distribution,
            whole=csv,
        )
        _print(formatted(answer if everything or output != "text" else fitted(answer), output))


@app.command()
def publish(
    experiment: Annotated[str, typer.Option(help="The experiment whose rows to copy.")],
    to: Annotated[str, typer.Option(help="A storage to copy them to, such as results/published.")],
    storage: Storage = "runs",
) -> None:
    """Copy an experiment's rows, with their provenance, into one compact file per table, to be kept in git."""
    with _plain_errors():
        from results.publish import publish as copied
        from results.result_store import ResultStore, open_results

        counts = copied(open_results(storage), experiment, ResultStore(f"{to.rstrip('/')}/results"))
        _print(f"{experiment} -> {to}: {', '.join(f'{count} {table}' for table, count in counts.items())}\n")


@app.command()
def send(
    sink: Annotated[str, typer.Argument(help="tensorboard, mlflow or trackio.")],
    to: Annotated[str, typer.Option(help="A folder; for mlflow also a URL, such as that of a tracking server.")],
    experiment: Annotated[str | None, typer.Option(help="Only the runs of this experiment.")] = None,
    storage: Storage = "runs",
) -> None:
    """Copy the finished runs that a tool does not have yet to it: settings, curves and what the episodes came to."""
    with _plain_errors():
        from results.result_store import open_results
        from results.sinks import check_sink, open_sink
        from results.sinks import send as sent

        check_sink(sink)
        store = open_results(storage)
        new, there = sent(store, open_sink(sink, to), experiment)
        _print(f"{sink}: {new} sent to {to}, {there} there already\n")


@app.command()
def tables() -> None:
    """List the tables and what they show, then the columns that a query can use."""
    from results.schema import described
    from results.table_files import titles

    width = max(map(len, titles()))
    _print("".join(f"{name:<{width}}  {title}\n" for name, title in titles().items()))
    _print(f"\nColumns for `query`:\n{described()}\n")


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="One of those that `figures` lists.")],
    experiment: Annotated[str | None, typer.Option(help="Only the runs of this experiment.")] = None,
    storage: Storage = "runs",
    out: Annotated[str | None, typer.Option(help="File to write, .png, .pdf or .svg. Default: NAME.png here.")] = None,
) -> None:
    """Draw one figure into a file."""
    with _plain_errors():
        from results.figures import draw
        from results.result_store import open_results

        target = out or f"{name}.png"
        drawn = draw(name, open_results(storage), experiment)
        try:
            drawn.savefig(target)
        except (OSError, ValueError) as error:
            raise ResultsError(f"cannot write {target}: {error}") from error
        _print(f"{target}\n")


@app.command()
def figures() -> None:
    """List the figures and what they show."""
    from results.figures import FIGURES

    _print("".join(f"{name:<11}  {entry.title}\n" for name, entry in FIGURES.items()))


@report_app.command()
@app.command()
def report(
    experiment: Annotated[str | None, typer.Option(help="Only this experiment.")] = None,
    storage: Storage = "runs",
    out: Annotated[str, typer.Option("--out", "-o", help="File to write.")] = "report.html",
) -> None:
    """Write everything that was measured to one HTML file, which opens in any browser, without a network."""
    with _plain_errors():
        from pathlib import Path

        from results.report import build
        from results.result_store import open_results

        page = build(open_results(storage), experiment)
        try:
            Path(out).write_bytes(page)
        except OSError as error:
            raise ResultsError(f"cannot write {out}: {error.strerror}") from error
        _print(f"{out}: {len(page) / 1e6:.1f} MB\n")


def _format(markdown: bool, latex: bool, csv: bool) -> str:
    asked = [name for name, wanted in (("markdown", markdown), ("latex", latex), ("csv", csv)) if wanted]
    if len(asked) > 1:
        raise ResultsError(f"one format at a time: --{' or --'.join(asked)}")
    return asked[0] if asked else "text"


def _print(output: str) -> None:
    sys.stdout.write(output)


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except ResultsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    app(prog_name="python -m results")
