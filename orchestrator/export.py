"""``hypogen export``: a generated policy, or a whole generator, as files to take away.

Exit status: 0 when they are written, 1 when what is stored is damaged, 2 when what was given makes no sense.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.sweep import STORAGE_DEFAULT

if TYPE_CHECKING:
    from hypogen.deployment import Trained

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Run = Annotated[
    str,
    typer.Argument(
        help="Key of a run or the beginning of one, an exported folder, or zoo:NAME such as zoo:cheetah-speed."
    ),
]
Storage = Annotated[str | None, typer.Option(help=f"Folder or s3://… that the sweep was given. {STORAGE_DEFAULT}")]


@app.command()
def main(
    run: Run,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="NAME.onnx, NAME.safetensors, or a folder (a name without an ending).")
    ],
    spec: Annotated[
        str | None,
        typer.Option(
            help="Spec of the policy, such as speed=3.7 or speed=3,length=0.4. Default: the generator itself."
        ),
    ] = None,
    minari: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Write the demonstrations that RUN learned from instead, as this dataset."),
    ] = None,
    storage: Storage = None,
) -> None:
    """Write the policy of RUN for a spec, or its whole generator, which takes the spec as an input.

    A folder is what hypogen.load takes, with a card for a model hub. With --minari it is a folder of Minari datasets.
    """
    with plain_errors():
        if minari is not None:
            _save_dataset(run, minari, out, spec, storage)
            return
        _check(out, spec)
        from hypogen.deployment.limits import parse
        from orchestrator.stored_runs import load_named

        trained = load_named(run, storage)
        if spec is not None:
            policy = trained.at(parse(trained.benchmark, spec))
            policy.save(out)
            print(f"{out}: {policy}")
        elif out.suffix:
            _save_graph(trained, out)
        else:
            _save_folder(trained, out, run, storage)


def _check(out: Path, spec: str | None) -> None:
    """UserError for a place that nothing can be written to, before anything is loaded."""
    from orchestrator.exceptions import UserError

    endings = (".onnx", ".safetensors") if spec is not None else (".onnx", "")
    if out.suffix not in endings:
        whole = "a policy is written as .onnx or .safetensors"
        given = "without --spec the whole generator is written, as .onnx or a folder (a name without an ending)"
        raise UserError(f"--out {out}: {whole if spec is not None else given}")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")
    if out.is_dir() if out.suffix else out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"--out {out} is there already: name a new one")


def _save_graph(trained: Trained, out: Path) -> None:
    from hypogen.deployment import TrainedGenerator
    from orchestrator.exceptions import UserError

    if not isinstance(trained, TrainedGenerator):
        raise UserError(
            f"{trained.method} is no generator but policies of some specs: give one with --spec, or a folder"
        )
    trained.save_onnx(out)
    print(f"{out}: generator {trained.method}, {trained.benchmark.name}: inputs spec and observation, output action")


def _save_folder(trained: Trained, out: Path, run: str, storage: str | None) -> None:
    """The folder that hypogen.load takes, with a card that holds what the storage says of the run."""
    from hypogen.deployment.cards import card
    from orchestrator.stored_runs import facts_of

    origin, measured, facts = facts_of(run, storage)
    trained.save(out)
    (out / "README.md").write_text(card(trained, origin, measured, facts))
    print(f"{out}/: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _save_dataset(run: str, name: str, root: Path, spec: str | None, storage: str | None) -> None:
    """The demonstrations that a run learned from, as a dataset below a folder."""
    from hypogen.minari_data import save_minari
    from orchestrator.exceptions import UserError
    from orchestrator.shown import demonstrations_of

    if spec is not None:
        raise UserError("--minari writes the demonstrations of all training specs: leave --spec out")
    shown = demonstrations_of(run, storage)
    folder = save_minari(shown.demonstrations, root, name, shown.benchmark, shown.about, shown.seeds)
    specs, episodes = shown.demonstrations.lengths.shape
    print(f"{folder}: {specs} specs, {episodes} episodes each; MINARI_DATASETS_PATH={root} finds it as {name}")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print what a person can act on as one message, and end with its status; warnings as one line each."""
    from hypogen.errors import MissingPackage
    from orchestrator.exceptions import Damaged, UserError

    def show(message: Warning | str, *place: object, **rest: object) -> None:
        print(f"warning: {message}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = show  # type: ignore[assignment]
            yield
    except Damaged as error:
        print(f"{error}. `hypogen store check --repair` sets it aside, and a sweep makes it again.", file=sys.stderr)
        raise typer.Exit(1) from None
    except (UserError, MissingPackage, ValueError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.export")
