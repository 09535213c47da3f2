"""``hypogen``: the one command, whose parts are the commands of the rooms.

A part is imported when it is called: PyTorch and Ray take seconds, and ``hypogen --help`` waits for none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hypogen.errors import did_you_mean

if TYPE_CHECKING:
    Context = Any  # click's, of which typer may bring its own copy
    Formatter = Any


@dataclass(frozen=True)
class Part:
    """A part of the command.

    Attributes:
        module: Module with its typer app.
        help: Line in the help of ``hypogen``.
        app: Name of the app there.
    """

    module: str
    help: str
    app: str = "app"


PARTS: dict[str, Part] = {
    "sweep": Part("orchestrator.sweep", "Run an experiment file, from nothing to its table."),
    "results": Part("results.__main__", "Print tables, figures and queries over what was measured."),
    "zoo": Part("hypogen.zoo.__main__", "List the experts that come with the project, check or train them."),
    "store": Part("orchestrator.store", "Find damage in a storage, or free what nothing needs."),
    "submit": Part("orchestrator.submit", "Run an experiment file on a cluster, from here."),
    "status": Part("orchestrator.watching", "Show what runs, waits, has failed and is stored.", "status"),
    "failed": Part("orchestrator.watching", "Show what failed, and why.", "failed"),
    "cost": Part("orchestrator.watching", "Show the hours behind what is stored, and their price.", "cost"),
    "cancel": Part("orchestrator.watching", "Ask the sweeps of a storage to end.", "cancel"),
    "report": Part(
        "results.__main__", "Write everything that was measured to one page that opens offline.", "report_app"
    ),
    "trajectories": Part("orchestrator.trajectories", "Record the policies of an experiment, for the report to play."),
    "export": Part("orchestrator.export", "Write a generated policy, or a generator, to take away: ONNX, safetensors."),
    "film": Part("orchestrator.film", "Film policies side by side: mp4, or a strip of frames."),
}
"""Parts by name, in the order of the help. A new one is a line here."""


class Parts(TyperGroup):
    """A group whose commands are the apps of other modules, each imported when it is called."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Names of the parts."""
        return list(PARTS)

    def get_command(self, ctx: Context, cmd_name: str) -> Any:
        """The command of a part; None where there is none of that name, and no more than completion is asked for."""
        if cmd_name not in PARTS:
            return (
                None if ctx.resilient_parsing else ctx.fail(f"no command {cmd_name!r}: {did_you_mean(cmd_name, PARTS)}")
            )
        part = PARTS[cmd_name]
        command = typer.main.get_command(getattr(import_module(part.module), part.app))
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Context, formatter: Formatter) -> None:
        """The parts with a line each, which imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, part.help) for name, part in PARTS.items()])


app = typer.Typer(cls=Parts, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hypogen {version('hypogen')}")
        raise typer.Exit()


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, compare and take home policy generators: one YAML file to one table, on a laptop or a Ray cluster."""


if __name__ == "__main__":
    app(prog_name="hypogen")
