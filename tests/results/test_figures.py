"""The figures, by what is drawn: lines, bands, surfaces and gaps against rows whose means can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from typer.testing import CliRunner

from orchestrator.config.loading import expand, load
from results.__main__ import app
from results.figures import FIGURES, draw
from results.figures.style import styles
from results.problems import ResultsError
from tests.helpers.experiments import ROOT
from tests.helpers.result_rows import METHOD_ROW, asked, episode_rows, expert_row, fill, run_row


def place(benchmark: str) -> dict[str, str]:
    environment, _, context = benchmark.partition("-")
    return {"benchmark": benchmark, "environment": environment, "context": context}


def spec_rows(run, index, spec, returns, **changes):
    return episode_rows(run, index, returns, spec=spec, **changes)


def lines(axes) -> dict[str, list[float]]:
    return {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in axes.lines}


@pytest.fixture
def speeds(store):
    """Finger: speeds 1, 2 and 3. HyPoGen is tested on 1 and 3 in two splits, HyperZero on 1 alone, experts on all."""
    runs = [
        run_row("h0", "hypogen", 0, **place("finger-speed")),
        run_row("h1", "hypogen", 1, **place("finger-speed")),
        run_row("z0", "hyperzero", 0, **place("finger-speed")),
        expert_row("e", **place("finger-speed")),
    ]
    episodes = [
        *spec_rows("h0", 0, [1.0], [100.0, 300.0]),
        *spec_rows("h1", 0, [1.0], [500.0, 700.0]),
        *spec_rows("h1", 2, [3.0], [800.0, 800.0]),
        *spec_rows("h1", 1, [2.0], [0.0, 0.0], role="train"),
        *spec_rows("z0", 0, [1.0], [50.0, 70.0]),
        *(row for index in range(3) for row in spec_rows("e", index, [index + 1.0], [900.0, 902.0])),
    ]
    fill(store, runs, episodes, [asked("all", run["run"], n) for n, run in enumerate(runs)])
    return store


def test_figure5_averages_the_splits_of_a_spec_and_leaves_gaps(speeds):
    (axes,) = draw("figure5", speeds).axes
    assert axes.get_title() == "Finger" and axes.get_xlabel() == "desired speed (rad/s)"
    assert [line.get_xdata().tolist() for line in axes.lines] == [[1.0, 2.0, 3.0]] * 3
    drawn = lines(axes)
    assert drawn["Expert"] == [901.0] * 3
    assert drawn["HyPoGen"] == [400.0, pytest.approx(np.nan, nan_ok=True), 800.0], "training specs are not test specs"
    assert drawn["HyperZero"][0] == 60.0 and np.isnan(drawn["HyperZero"][1:]).all()


def test_a_band_is_one_deviation_over_all_episodes_of_a_spec(speeds):
    axes = draw("figure5", speeds).axes[0]
    heights = [path.vertices[:, 1] for path in axes.collections[1].get_paths()]
    half = np.std([100, 300, 500, 700], ddof=1)
    assert min(map(np.min, heights)) == pytest.approx(400 - half)
    assert max(map(np.max, heights[:1])) == pytest.approx(400 + half)


def test_a_legend_shows_the_mean_of_the_table_beside_the_papers(speeds):
    texts = [text.get_text() for text in draw("figure5", speeds).axes[0].get_legend().get_texts()]
    assert texts[:3] == [
        "Expert 901 (976)",
        "HyPoGen 450 (835)",
        "HyperZero 60 (597)",
    ]  # a mean over specs, then splits


def test_a_panel_without_rows_is_left_out(speeds):
    assert [axes.get_title() for axes in draw("figure5", speeds).axes] == ["Finger"]


def test_figure5_marks_the_training_specs_of_every_split_also_where_they_were_not_rolled_out(store):
    runs = [run_row("h0", **place("finger-speed")), run_row("h1", split=1, **place("finger-speed"))]
    tested = {"h0": (0, 2), "h1": (0, 1)}  # of specs 0, 1 and 2 at speeds 1, 2 and 3; the other one trains
    episodes = [row for run, specs in tested.items() for n in specs for row in spec_rows(run, n, [n + 1.0], [9.0])]
    expert = [row for n in range(3) for row in spec_rows("e", n, [n + 1.0], [9.0])]
    runs.append(expert_row("e", **place("finger-speed")))
    fill(store, runs, episodes + expert, [asked("all", run["run"], n) for n, run in enumerate(runs)])
    assert marks(store) == [[2.0], [3.0]]
    fill(store, [run_row("h2", split=2, **place("finger-speed"))], spec_rows("h2", 0, [1.0], [9.0]))
    assert marks(store) == [[2.0], [3.0]], "of a run without its experiment's grid nothing is known"
    trained = [*spec_rows("h3", 0, [1.0], [9.0]), *spec_rows("h3", 2, [3.0], [9.0], role="train")]
    fill(store, [run_row("h3", split=3, **place("finger-speed"))], trained)
    assert marks(store) == [[2.0], [3.0], [3.0]]


def marks(store) -> list[list[float]]:
    """Training specs that figure 5 marks, row by row; every row has a height of its own."""
    (axes,) = draw("figure5", store).axes
    rows = [found.get_offsets() for found in axes.collections if found.get_linewidth()[0] == 1.0]
    assert len({row[0, 1] for row in rows}) == len(rows)
    return [row[:, 0].tolist() for row in rows]


def test_more_curves_than_bands_can_be_told_apart_have_a_small_panel_each(speeds):
    for number in range(6):
        run = f"m{number}"
        fill(speeds, [run_row(run, run, **place("finger-speed"))], spec_rows(run, 0, [1.0], [10.0, 90.0 + number]))
    figure = draw("figure5", speeds)
    main, *small = figure.axes
    assert not [found for found in main.collections if found.get_alpha() == 0.15], "no bands over each other"
    assert [axes.get_title() for axes in small] == [line.get_label() for line in main.lines]
    assert all(len([found for found in axes.collections if found.get_alpha() == 0.15]) == 1 for axes in small)


def test_figure4_takes_the_explicit_split_and_marks_what_trained(store):
    runs = [
        run_row("h", split_kind="explicit", train_fraction=None),
        run_row("other", "hypogen"),
        expert_row("e"),
        expert_row("e2", expert="another"),
    ]
    episodes = [
        *spec_rows("h", 0, [1.0], [900.0, 900.0], role="train"),
        *spec_rows("h", 1, [2.0], [500.0, 700.0]),
        *spec_rows("other", 1, [2.0], [0.0, 0.0]),
        *(row for index in range(3) for row in spec_rows("e", index, [index + 1.0], [950.0])),
        *spec_rows("e2", 1, [2.0], [1.0, 1.0]),
    ]
    fill(store, runs, episodes)
    axes = draw("figure4", store).axes[0]
    drawn = lines(axes)
    assert drawn["HyPoGen"] == [900.0, 600.0] and drawn["Expert"] == [950.0, 950.0]
    assert [line.get_xdata() for line in axes.lines if line.get_label() == "training speeds"] == [[1.0, 1.0]]


def test_figure8_shows_success_rates_with_their_standard_errors_by_context(store):
    runs = [
        run_row("h", **place("liftcube-stiffness")),
        expert_row("e", **place("liftcube-stiffness")),
        run_row("pick", **place("pickcube-stiffness")),
    ]
    episodes = [
        *(row for ok in (True, True, True, False) for row in spec_rows("h", 0, [500.0], [1.0], success=ok)),
        *spec_rows("h", 1, [1500.0], [1.0, 1.0], success=False),
        *spec_rows("h", 2, [1000.0], [1.0], role="train"),
        *(row for n, spec in enumerate([500.0, 1500.0, 1000.0]) for row in spec_rows("e", n, [spec], [1.0])),
        *spec_rows("pick", 1, [1500.0], [1.0]),
    ]
    for number, row in enumerate(episodes):
        row["episode"] = number
    fill(store, runs, episodes)
    (stiffness,) = draw("figure8", store).axes
    assert stiffness.lines[0].get_xdata().tolist() == [500.0, 1500.0]
    assert lines(stiffness)["HyPoGen"] == [75.0, 0.0] and lines(stiffness)["Expert"] == [100.0, 100.0]
    heights = [path.vertices[:, 1] for path in stiffness.collections[1].get_paths()]
    assert max(map(np.max, heights)) == pytest.approx(75 + 100 * np.std([1, 1, 1, 0], ddof=1) / 2)
    assert lines(draw("figure9", store).axes[0])["HyPoGen"] == [100.0]


def test_figure7_has_a_dot_a_cell_and_holes_where_nothing_was_tested(store):
    runs = [run_row("h", **place("walker-speed-length"))]
    cells = [(1.0, 0.1, 100.0), (1.0, 0.2, 200.0), (2.0, 0.1, 300.0)]  # (2, 0.2) is missing
    episodes = [
        row for n, (speed, length, value) in enumerate(cells) for row in spec_rows("h", n, [speed, length], [value])
    ]
    fill(store, runs, episodes)
    figure = draw("figure7", store)
    walker, _ = figure.axes
    assert walker.get_title() == "Walker, HyPoGen\nours 200, paper 410"
    surface, dots = walker.collections
    assert sorted(zip(*(np.asarray(a).tolist() for a in dots._offsets3d), strict=True)) == cells
    assert np.isfinite(surface._vec[2]).sum() < 4, "no face spans the hole"


@pytest.mark.parametrize("methods", [1, 7])
def test_no_label_of_figure7_is_cut_off(store, methods):
    cells = [(speed, length) for speed in (1.0, 2.5, 10.0) for length in (0.1, 0.25, 0.7)]
    for number in range(methods):
        run = run_row(f"m{number}", f"interpolated_experts_{number}", **place("cheetah-speed-length"))
        fill(store, [run], [r for n, cell in enumerate(cells) for r in spec_rows(run["run"], n, list(cell), [900.0])])
    figure = draw("figure7", store)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    ink = np.asarray(canvas.buffer_rgba())[..., :3].min(axis=-1) < 255
    assert ink.any() and not any(edge.any() for edge in (ink[:4], ink[-4:], ink[:, :4], ink[:, -4:]))


def test_an_environment_that_the_paper_does_not_know_has_a_panel_after_the_papers(speeds):
    fill(speeds, [run_row("n", "fresh", **place("hopper_toy-speed"))], spec_rows("n", 0, [1.0], [2500.0, 2500.0]))
    row = {"benchmark": "hopper_toy-speed", "environment": "hopper_toy", "context": "speed", "score": "return"}
    drawn = draw("figure5", speeds).axes
    assert [axes.get_title() for axes in drawn] == ["Finger", "Hopper toy"]
    assert drawn[1].get_xlabel() == "speed" and drawn[1].get_ylim()[1] > 2500, "nothing is known but its runs"
    variables = '{"variables": [{"name": "speed", "unit": "km/h", "default": 1.0}]}'
    speeds.write("benchmarks", "hopper_toy-speed", [{**row, "variables": variables}])
    assert draw("figure5", speeds).axes[1].get_xlabel() == "desired speed (km/h)"
    assert len(draw("figure5", speeds, "all").axes) == 1


def test_a_context_of_liftcube_that_the_paper_does_not_know_has_a_panel_after_the_papers(store):
    fill(store, [run_row("h", **place("liftcube-friction"))], spec_rows("h", 0, [1.0], [1.0]))
    fill(store, [run_row("d", **place("liftcube-damping"))], spec_rows("d", 0, [1.0], [1.0]))
    assert [axes.get_title() for axes in draw("figure8", store).axes] == ["damping", "friction"]


@pytest.mark.parametrize(
    ("name", "benchmark", "label"),
    [
        ("figure6", "cheetah-length", "torso length (m)"),
        ("figure8", "liftcube-cube-size", "cube size, m (half the edge)"),
        ("figure9", "pickcube-damping", "damping (N m s/rad)"),
    ],
)
def test_axes_are_the_benchmarks_variables_with_their_units(store, name, benchmark, label):
    fill(store, [run_row("h", **place(benchmark))], spec_rows("h", 0, [0.1], [1.0]))
    assert draw(name, store).axes[0].get_xlabel() == label


FRESH = [
    ("figure4", "cheetah-speed"),
    ("figure5", "walker-speed"),
    ("figure6", "finger-length"),
    ("figure7", "cheetah-speed-length"),
    ("figure8", "liftcube-damping"),
    ("figure9", "pickcube-arm-length"),
    ("convergence", "walker-length"),
    ("figure2d", "cheetah-speed"),
]


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize(("name", "benchmark"), FRESH)
def test_no_figure_leaves_out_a_method_that_the_paper_does_not_know(store, name, benchmark, described):
    if described:
        store.write("methods", "fresh", [{**METHOD_ROW, "title": "Fresh Idea"}])
    title = "Fresh Idea" if described else "Fresh"
    changes = {**place(benchmark), **({"split_kind": "explicit"} if name == "figure4" else {})}
    runs = [run_row("h", **changes), run_row("f", "fresh", **changes)]
    fill(store, runs, [row for run in "hf" for row in spec_rows(run, 0, [1.0, 2.0], [100.0, 300.0])])
    for run in "hf":
        metrics = {"return": [(5, 100.0), (9, 200.0)], **{f"loss_at_{k}": [(9, 4.0 / k)] for k in (1, 2)}}
        store.write("curves", run, curve_rows(run, **metrics))
    figure = draw(name, store)
    texts = [axes.get_title() for axes in figure.axes]
    texts += [text.get_text() for axes in figure.axes if axes.get_legend() for text in axes.get_legend().get_texts()]
    assert any(title in text for text in texts) and any("HyPoGen" in text for text in texts)
    colors = {line.get_color() for axes in figure.axes for line in axes.lines if "Fresh" in str(line.get_label())}
    assert name == "figure7" or colors == {styles(store)["fresh"].color}


def test_figure5_names_a_method_that_the_paper_does_not_know_in_its_legend(speeds):
    fill(speeds, [run_row("f", "fresh", **place("finger-speed"))], spec_rows("f", 0, [1.0], [60.0, 80.0]))
    texts = [text.get_text() for text in draw("figure5", speeds).axes[0].get_legend().get_texts()]
    assert texts == [
        *("Expert 901 (976)", "HyPoGen 450 (835)", "HyperZero 60 (597)", "Fresh 70"),
        "training specs, a row per split",
    ]


def test_the_papers_methods_look_as_they_always_did(store):
    looks = {name: (style.title, style.color, style.line, style.marker) for name, style in styles(store).items()}
    assert looks == {
        "expert": ("Expert", "#000000", "--", "o"),
        "hypogen": ("HyPoGen", "#D55E00", "-", "o"),
        "hyperzero": ("HyperZero", "#0072B2", "-", "o"),
        "pearl": ("PEARL", "#CC79A7", "-.", "o"),
        "meta_policy": ("Meta Policy", "#009E73", "-.", "o"),
        "uvfa": ("UVFA", "#E69F00", ":", "o"),
        "cond_policy": ("Cond Policy", "#56B4E9", ":", "o"),
    }


def test_any_number_of_methods_can_be_told_apart(store):
    fill(store, [run_row(f"m{n}", f"m{n}") for n in range(30)], [])
    store.write("methods", "m0", [{**METHOD_ROW, "method": "m0", "title": "HyPoGen", "color": "#d55e00"}])
    store.write("methods", "m1", [{**METHOD_ROW, "method": "m1", "title": "Mine", "color": "#123456"}])
    looks = styles(store)
    assert len(looks) == 37
    assert len({style.title for style in looks.values()}) == 37 and looks["m0"].title == "HyPoGen (m0)"
    assert len({(style.color, style.line, style.marker) for style in looks.values()}) == 37
    assert len({style.color for style in looks.values()}) == 36, "only m0 has a colour that another method has"
    assert (looks["m0"].color, looks["m1"].color) == ("#D55E00", "#123456")


def curve_rows(run, **metrics):
    return [
        {"run": run, "epoch": epoch, "step": epoch, "metric": metric.replace("_at_", "@"), "value": value}
        for metric, points in metrics.items()
        for epoch, value in points
    ]


def test_figure2d_shows_losses_as_fractions_of_the_first_beside_the_papers(store):
    fill(store, [run_row("a"), run_row("b", split=1), run_row("unprobed", "hyperzero")], [])
    for run, losses in (("a", (4.0, 2.0, 1.0)), ("b", (8.0, 4.0, 3.0))):
        store.write("curves", run, curve_rows(run, **{f"loss_at_{k}": [(9, v)] for k, v in enumerate(losses)}))
    axes = draw("figure2d", store).axes[0]
    ours, paper = axes.lines[0], lines(axes)
    assert ours.get_xdata().tolist() == [0, 1, 2] and ours.get_ydata().tolist() == [2.0, 1.0, 0.625]
    assert ours.get_label() == "ours, cheetah-speed, test specs (after 1 update: 3)"
    assert paper["paper, cheetah (after 1 update: 71.49)"][-1] == pytest.approx(1.61 / 71.49)


def test_convergence_averages_splits_and_marks_the_papers_two_numbers(store):
    fill(store, [run_row("a"), run_row("b", split=1)], [])
    store.write("curves", "a", curve_rows("a", **{"return": [(5, 100.0), (10, 300.0)], "return_std": [(10, 20.0)]}))
    store.write("curves", "b", curve_rows("b", **{"return": [(5, 200.0), (10, 500.0)], "return_std": [(10, 40.0)]}))
    axes = draw("convergence", store).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [5, 10] and lines(axes)["HyPoGen"] == [150.0, 400.0]
    band = np.concatenate([path.vertices[:, 1] for path in axes.collections[0].get_paths()])
    assert (np.nanmin(band), np.nanmax(band)) == (370.0, 430.0)
    stars = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines[1:]}
    assert stars == {(250, 732.9), (74, 600), (250, 571.3), (394, 600)}


def test_runs_that_must_not_be_averaged_are_refused(store):
    fill(store, [run_row("a"), run_row("b", split=1, selection="best_test")], spec_rows("a", 0, [1.0], [1.0]))
    with pytest.raises(ResultsError, match=r"runs of hypogen on cheetah-speed differ in selection: .* --experiment"):
        draw("figure5", store)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_with_nothing_to_draw_says_what_to_run(store, name, tmp_path: Path):
    fill(store, [run_row("r", **place("tray-tilt"))], [], [asked("other", "r")])
    out = tmp_path / "drawn.png"
    for more in ([], ["--experiment", "other"]):
        words = ["figure", name, *more, "--storage", str(tmp_path / "runs"), "--out", str(out)]
        done = CliRunner().invoke(app, words)
        assert (done.exit_code, done.stdout, out.exists()) == (2, "", False)
        assert done.stderr.startswith(f"error: {name} has nothing to draw: it needs ")
        assert ("experiment other has none" in done.stderr) == bool(more)
    command = done.stderr.strip().partition("hypogen sweep ")[2]
    path, option, profile = command.split()
    assert option == "--profile" and expand(load(ROOT / path, profile)), "the remedy is one"


def test_the_command_writes_files_that_begin_as_their_kind_does(speeds, tmp_path: Path):
    for suffix, magic in ((".png", b"\x89PNG"), (".pdf", b"%PDF")):
        out = tmp_path / f"drawn{suffix}"
        words = ["figure", "figure5", "--experiment", "all", "--storage", str(tmp_path / "runs"), "--out", str(out)]
        assert CliRunner().invoke(app, words).output == f"{out}\n"
        assert out.read_bytes().startswith(magic)
    assert "figure5      Figure 5: return against desired speed" in CliRunner().invoke(app, ["figures"]).output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["figur5"], "unknown figure 'figur5'. Did you mean 'figure5'?"),
        (["figure5", "--experiment", "al"], "unknown experiment 'al'. Did you mean 'all'?"),
        (["figure5", "--out", "x.jif"], "cannot write x.jif: Format 'jif' is not supported"),
    ],
)
def test_a_mistake_is_a_plain_message_and_status_2(speeds, tmp_path: Path, words, message):
    result = CliRunner().invoke(app, ["figure", *words, "--storage", str(tmp_path / "runs")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
