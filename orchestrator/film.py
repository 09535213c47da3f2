"""``hypogen film``: policies of several specs and runs side by side, as an mp4 or a strip of frames.

Exit status: 0 when it is written, 1 when what is stored is damaged, 2 when what was given makes no sense.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.export import Storage, plain_errors

if TYPE_CHECKING:
    from hypogen.deployment import SpecPolicy

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Keys of runs or their beginnings, exported folders, or zoo:NAME. Each acts at every spec."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="NAME.mp4, or NAME.png for a strip of frames.")],
    specs: Annotated[list[str], typer.Option("--spec", help="Spec such as speed=5 or speed=3,length=0.4. Repeatable.")],
    storage: Storage = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the episodes' start.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Simulated seconds. Default: the longest of the episodes.")
    ] = None,
    fps: Annotated[int, typer.Option(min=1, help="Frames per second of an mp4.")] = 25,
    frames: Annotated[int, typer.Option(min=2, help="Frames of a strip, at equal intervals.")] = 6,
    size: Annotated[str, typer.Option(metavar="WxH", help="Pixels of each picture.")] = "320x240",
) -> None:
    """Film the policies of RUNS at each spec, side by side, with method, spec and return so far."""
    with plain_errors():
        pixels = _check(out, size)
        policies = _policies(runs, specs, storage)
        from hypogen.deployment.rendering import duration_s, require_renderer

        require_renderer(policies)
        length = seconds or max(map(duration_s, policies))
        from hypogen.deployment import films

        takes = [films.Take(policy, seed) for policy in policies]
        if out.suffix == ".png":
            films.write_strip(out, films.strip(takes, length, frames, pixels))
        else:
            films.write_film(out, films.film(takes, length, fps, pixels), fps)
        print(f"{out}: {'; '.join(str(policy) for policy in policies)}")


def _check(out: Path, size: str) -> tuple[int, int]:
    """Width and height in pixels; UserError for them or a place that nothing can be written to."""
    from hypogen.deployment.rendering import LARGEST
    from orchestrator.exceptions import UserError

    if out.suffix not in (".mp4", ".png"):
        raise UserError(f"--out {out}: a film is written as .mp4, a strip of frames as .png")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")
    found = re.fullmatch(r"(\d+)x(\d+)", size)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (16 <= width <= LARGEST[0] and 16 <= height <= LARGEST[1]):
        raise UserError(f"--size {size}: write it as 320x240, from 16x16 to {LARGEST[0]}x{LARGEST[1]}")
    return width, height


def _policies(runs: list[str], specs: list[str], storage: str | None) -> list[SpecPolicy]:
    """Policies of every run at every spec, the specs of a run beside each other."""
    from hypogen.deployment.limits import parse
    from orchestrator.stored_runs import load_named

    loaded = [load_named(run, storage) for run in runs]
    return [trained.at(parse(trained.benchmark, spec)) for trained in loaded for spec in specs]


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.film")
