"""The report, opened by a browser: published results, with a small experiment of real policies that were filmed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import orchestrator.trajectories
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.making import make_all
from orchestrator.config.loading import expand, load
from orchestrator.execution.measured import write_experiment, write_run
from orchestrator.planning.plan import build as build_plan
from results.__main__ import app
from results.catalogue import grid
from results.report import LARGEST_BYTES, build, measurements
from results.report.filming import films
from results.result_store import ResultStore
from tests.helpers.browser import DESK, PHONE, chromium, opened
from tests.helpers.experiments import ROOT, TINY
from tests.helpers.result_rows import PROVENANCE_ROW, asked, episode_rows, fill, run_row

TABLES = ("leaderboard", "paper", "cost", "provenance")
FIGURES = ("leaderboard", "specs", "distribution", "ablations", "training", "compute")
FAILURE = {**PROVENANCE_ROW, "artifact": "broken", "kind": "generator", "status": "failed", "label": "uvfa split 9"}


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """A storage with all that was published, and a filmed experiment of experts, lookups and a tiny generator."""
    folder = tmp_path_factory.mktemp("storage")
    shutil.copytree(ROOT / "results" / "published" / "results", folder / "results")
    methods = {"expert": {}, "nearest": {}, "cond_policy": {}}
    changes = {"name": "filmed", "methods": methods, "experts": {"source": "zoo"}, "evaluation": {"episodes": 1}}
    file = folder / "filmed.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(TINY), **changes}, sort_keys=False))
    plan, store = build_plan(expand(load(file))), Store(str(folder))
    make_all(store, plan.artifacts.values())
    write_experiment(store, plan)
    for run in plan.runs.values():
        write_run(store, run)
    done = CliRunner().invoke(orchestrator.trajectories.app, [str(file), "--storage", str(folder), "--seconds", "1.5"])
    assert done.exit_code == 0 and "filmed cheetah-speed cond_policy split 0: 5 specs" in done.output, done.output
    error = "Traceback:\n  <b>diverged</b>"
    ResultStore(store.results).write("provenance", "broken", [{**FAILURE, "error": error}])
    return folder


@pytest.fixture(scope="module")
def report(storage: Path) -> Path:
    out = storage / "report.html"
    done = CliRunner().invoke(app, ["report", "--storage", str(storage), "-o", str(out)])
    assert done.exit_code == 0 and done.output == f"{out}: {out.stat().st_size / 1e6:.1f} MB\n", done.output
    return out


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def desk(browser, report):
    return opened(browser, report)


@pytest.fixture
def page(desk):
    """The page as it was opened, without complaints before and after."""
    opened_page, complaints = desk
    opened_page.reload()
    opened_page.wait_for_function("document.querySelectorAll('svg.chart').length > 0")
    yield opened_page
    assert complaints == []


def boxes(page, selector: str) -> list[dict[str, float]]:
    return [node.bounding_box() or {"width": 0, "height": 0} for node in page.query_selector_all(selector)]


def test_the_file_is_small_and_refers_to_nothing_outside(report):
    text = report.read_text()
    assert len(text.encode()) < LARGEST_BYTES
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""", text)


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_every_table_and_figure_is_there_and_visible(browser, report, width):
    page, complaints = opened(browser, report, width)
    for name in FIGURES:
        charts = boxes(page, f'[data-figure="{name}"] figure:not(.gone) svg.chart')
        assert charts and all(box["width"] > 200 and box["height"] > 60 for box in charts), name
        assert page.query_selector_all(f'[data-figure="{name}"] svg.chart g.k > :is(path, circle, line)'), name
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    for name in TABLES:
        tables = boxes(page, f"#{name} table")
        assert tables and all(box["width"] > 200 and box["height"] > 40 for box in tables), name
    assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing is wider than the screen"
    maps = page.query_selector_all('[data-figure="specs"] .cell')
    assert len(maps) > 500, "specs of two coordinates are maps"
    assert complaints == []
    page.close()


def test_tables_say_what_the_command_prints(page, storage):
    store = ResultStore(storage / "results")
    for experiment, name in (("track-laptop", "table1"), ("ablation_k-exact-laptop", "table20")):
        printed = grid(name, store, experiment=experiment, measured=True)
        node = page.locator(f'#paper details[data-experiment="{experiment}"]', has_text=printed.title.split(",")[0])
        shown = node.first.locator("tbody tr").all_inner_texts()
        assert len(shown) == len(printed.rows) > 0
        column = printed.columns.index("ours")
        for text, row in zip(shown, printed.rows, strict=True):
            assert f"{row[column]:.2f}" in text
    assert "uvfa split 9" in page.inner_text("#failures") and "<b>diverged</b>" in page.text_content("#failures pre")
    commits = store.frame("SELECT DISTINCT git_commit FROM provenance WHERE git_commit IS NOT NULL").git_commit
    assert all(commit[:12] in page.inner_text("#provenance") for commit in commits)


def test_filters_take_away_what_they_name_and_bring_it_back(page):
    lines = '[data-figure="specs"] g[data-method="hyperzero"]'
    before = len(page.query_selector_all(lines)), page.locator("tbody tr:visible").count()
    page.get_by_label("HyperZero", exact=True).uncheck()
    assert page.query_selector_all(lines) == [] and page.locator("tr[data-method=hyperzero]:visible").count() == 0
    assert page.query_selector_all('[data-figure="specs"] g[data-method="hypogen"]'), "only that one"
    page.get_by_label("HyperZero", exact=True).check()
    assert (len(page.query_selector_all(lines)), page.locator("tbody tr:visible").count()) == before
    page.get_by_label("finger-speed", exact=True).uncheck()
    assert page.locator("tr[data-benchmark=finger-speed]:visible").count() == 0
    assert page.locator('[data-figure="leaderboard"] figcaption', has_text=re.compile("^finger-speed ")).count() == 0
    page.get_by_role("button", name="experiments: all or none").click()
    assert "Everything here is filtered out." in page.inner_text("#specs")
    assert page.locator("#leaderboard tbody tr:visible").count() == 0


def test_pointing_at_a_curve_shows_its_numbers_and_so_do_the_arrow_keys(page, storage):
    figure = page.locator('[data-figure="specs"] figure', has_text="independent-laptop").first
    chart = figure.locator("svg.chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
    tip = page.locator("#tip")
    assert tip.is_visible() and tip.inner_text().startswith("desired speed (m/s)")
    assert {"HyPoGen", "Expert"} <= set(tip.locator("td:nth-child(2)").all_inner_texts())
    page.mouse.move(5, 5)
    assert not tip.is_visible()
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert tip.inner_text().splitlines()[0] == "desired speed (m/s) −10"
    rows = tip.locator("tr").all_inner_texts()
    drawn = next(float(row.split("\t")[-1]) for row in rows if "HyPoGen" in row)
    mean = ResultStore(storage / "results").frame(
        'SELECT avg("return") AS mean FROM experiments JOIN runs USING (run) JOIN episodes USING (run) '
        "WHERE experiment = 'independent-laptop' AND method = 'hypogen' AND spec[1] = -10"
    )
    assert drawn == pytest.approx(mean["mean"][0], abs=0.06)
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_a_heading_sorts_its_table(page):
    page.locator("#leaderboard thead button", has_text=re.compile("^mean$")).click()
    values = [
        float(text.replace("−", "-")) for text in page.locator("#leaderboard tbody td:nth-child(4)").all_inner_texts()
    ]
    assert values == sorted(values) and len(values) > 20
    assert page.locator("#leaderboard th[aria-sort=ascending]").count() == 1


def canvas(page) -> str:
    return page.evaluate("document.querySelector('.stage canvas').toDataURL()")


def test_the_slider_moves_the_spec_and_space_plays(page):
    assert page.locator(".stage").count() == 2 and "return" in page.inner_text(".stage figcaption")
    slider = page.locator(".film input[type=range]")
    slider.scroll_into_view_if_needed()
    slider.focus()
    seen = set()
    for key in ("Home", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
        seen.add(
            (page.inner_text(".film .track output").split(" ·")[0], page.inner_text(".stage figcaption"), canvas(page))
        )
    assert [spec for spec, _, _ in sorted(seen)] == ["−10", "−2", "−6"] and len({picture for *_, picture in seen}) == 3
    page.locator(".film").focus()
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".film .track output").startswith("2.5 ·")
    still = canvas(page)
    page.keyboard.press("Space")
    assert page.inner_text(".play") == "Pause"
    page.wait_for_function("parseFloat(document.querySelector('.film .bar output').textContent) > 0.4")
    page.keyboard.press("Space")
    assert page.inner_text(".play") == "Play"
    moved = canvas(page)
    page.wait_for_timeout(150)
    assert still != moved == canvas(page), "it moved while it played, and stands now"


ROBOTS = ["cheetah-speed-length", "walker-length", "finger-length"]


@pytest.mark.parametrize("benchmark", ROBOTS)
def test_robots_are_drawn_where_mujoco_has_them(page, benchmark):
    import mujoco
    import numpy as np

    from hypogen.benchmarks import get_benchmark
    from hypogen.envs.mujoco import get_environment
    from hypogen.envs.mujoco.models import get_model
    from hypogen.motion import skeleton

    entry, random = get_benchmark(benchmark), np.random.default_rng(0)
    for spec in entry.grid[[0, -1]]:
        environment = get_environment(entry)
        model = get_model(environment, environment.model_values(entry.values(spec)))
        data = mujoco.MjData(model)
        data.qpos[:] = random.normal(size=model.nq)
        mujoco.mj_kinematics(model, data)
        drawn = page.evaluate("([body, at]) => posed(body, at)", [skeleton(benchmark, spec), data.qpos.tolist()])
        limbs = [n for n in range(model.ngeom) if model.geom_bodyid[n]]
        along = data.geom_xmat[limbs].reshape(-1, 3, 3)[:, :, 2] * model.geom_size[limbs, 1:2]
        ends = np.hstack([(data.geom_xpos[limbs] + sign * along)[:, ::2] for sign in (-1, 1)])
        assert len(drawn) == len(limbs) > 4
        assert np.allclose(np.array(drawn)[:, :4], ends, atol=1e-3)


def test_packed_films_give_back_what_was_recorded(page, storage):
    import numpy as np

    store = ResultStore(storage / "results")
    row = store.table(
        "SELECT trajectories.* FROM trajectories JOIN runs USING (run) WHERE method = 'cond_policy' ORDER BY spec_index"
    ).to_pylist()[1]
    recorded = np.array(row["positions"]).reshape(-1, row["joints"])
    run = "DATA.films[0].runs.find((run) => run.method === 'cond_policy')"
    unpacked = page.evaluate(
        f"[...Array({len(recorded)}).keys()].map((t) => positionsAt({run}, 1, {row['joints']}, t))"
    )
    assert np.abs(np.array(unpacked) - recorded).max() < 1e-3


def test_a_film_is_of_the_episode_that_was_measured(storage):
    store = ResultStore(storage / "results")
    both = store.frame(
        'SELECT trajectories."return" AS filmed, episodes."return" AS measured FROM trajectories '
        "JOIN episodes USING (run, spec_index) JOIN experiments USING (run) WHERE episode = 0 AND experiment = 'filmed'"
    )
    assert len(both) > 8 and (both.filmed == both.measured).all()


def test_films_that_do_not_fit_are_left_out_and_counted(storage, monkeypatch):
    store = ResultStore(storage / "results")
    whole, none = films(store, ["filmed"])
    assert none == 0 and len(whole[0]["runs"]) == 3
    packed = sum(len(run["positions"]) for run in whole[0]["runs"])
    monkeypatch.setattr("results.report.filming.LARGEST_CHARACTERS", packed)
    part, left_out = films(store, ["filmed"])
    assert len(part[0]["runs"]) + left_out == 3 and left_out


def test_it_prints_with_everything_open_and_without_controls(page):
    page.evaluate(
        "globalThis.closedWhilePrinting = null; addEventListener('beforeprint', () => "
        "{ closedWhilePrinting = document.querySelectorAll('details.table:not([open])').length; })"
    )
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) > 8
    assert page.evaluate("closedWhilePrinting") == 0
    page.emulate_media(media="print")
    hidden = page.evaluate("getComputedStyle(document.querySelector('.side')).display")
    page.emulate_media(media="screen")
    assert hidden == "none"


def test_a_phone_gets_the_filters_folded(browser, report):
    page, _ = opened(browser, report, PHONE)
    assert not page.locator("#filters").is_visible()
    page.locator("#controls summary").click()
    assert page.locator("#filters").is_visible()
    page.close()


CONTRAST = """(names) => {
  const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = (name) => {
    const probe = document.body.appendChild(document.createElement('i'));
    probe.style.color = `var(--${name})`;
    paint.fillStyle = getComputedStyle(probe).color;
    paint.fillRect(0, 0, 1, 1);
    probe.remove();
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map((channel) => linear(channel / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return names.flatMap((name) => ['paper', 'raised'].map((back) => ratio(light(name), light(back))));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background_in_light_and_dark(browser, report, scheme):
    page, _ = opened(browser, report, scheme=scheme)
    assert min(page.evaluate(CONTRAST, ["ink", "soft", "accent"])) > 4.5
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    page.locator("#theme").click()  # auto, light, dark
    now = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (now == back) == (scheme == "dark")
    page.close()


def test_headings_tables_and_pictures_can_be_read_aloud(page):
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((node) => Number(node.tagName[1]))")
    assert levels.count(1) == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    assert page.evaluate("document.querySelectorAll('th:not([scope])').length") == 0
    assert page.evaluate("[...document.querySelectorAll('main table')].every((table) => table.caption)")
    assert page.evaluate("[...document.querySelectorAll('[role=img]')].every((node) => node.ariaLabel)")
    assert page.evaluate("[...document.querySelectorAll('input')].every((node) => node.labels.length)")
    assert page.evaluate("document.documentElement.lang") == "en"


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached, wanted = set(), {"A", "INPUT", "BUTTON", "svg"}
    for _ in range(500):  # the more is published, the more there is to reach
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if wanted <= reached:
            break
    assert wanted <= reached


def test_the_same_rows_give_the_same_bytes_in_another_process(storage, tmp_path):
    out = tmp_path / "again.html"
    words = ["report", "--experiment", "filmed", "--storage", str(storage), "-o", str(out)]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "results", *words], check=True, env=environment, cwd=ROOT, capture_output=True
    )
    page = out.read_bytes()
    assert page == build(ResultStore(storage / "results"), "filmed")
    assert b'"experiments":[{"name":"filmed"' in page and b"independent-laptop" not in page
    assert b"uvfa split 9" not in page, "a failure of others"


def test_without_films_it_says_how_to_make_some(browser, store, tmp_path):
    from tests.helpers.result_rows import asked, episode_rows, fill, run_row

    fill(store, [run_row("a")], episode_rows("a", 0, [1.0, 2.0]), [asked("e", "a")])
    file = tmp_path / "report.html"
    file.write_bytes(build(store))
    page, complaints = opened(browser, file)
    assert "hypogen trajectories FILE" in page.inner_text("#watch")
    assert "None: every artifact" in page.inner_text("#failures")
    assert complaints == []
    page.close()


def test_mistakes_are_plain_messages(store, tmp_path):
    from tests.helpers.result_rows import asked, episode_rows, fill, run_row

    def answer(*words: str) -> str:
        done = CliRunner().invoke(app, ["report", "--storage", str(tmp_path / "runs"), *words])
        assert done.exit_code == 2 and done.stdout == ""
        return done.stderr

    store.write("experiments", "planned", [asked("planned", "r")])
    assert "has a finished run: there is nothing to report. Make some: hypogen sweep" in answer()
    fill(store, [run_row("r")], episode_rows("r", 0, [1.0]))
    assert "unknown experiment 'planed'. Did you mean 'planned'?" in answer("--experiment", "planed")
    store.write("experiments", "other", [asked("other", "never")])
    assert "experiment other has no finished run" in answer("--experiment", "other")
    assert "cannot write" in answer("-o", str(tmp_path / "no" / "folder" / "r.html"))


def test_trainings_that_are_repeated_with_other_seeds_are_one_row_and_one_curve(tmp_path):
    """As the protocol has them; such an experiment has no grid that an ablation would show."""
    store = ResultStore(tmp_path / "results")
    runs, episodes, wanted = [], [], []
    for method in ("hypogen", "uvfa"):
        for seed in (0, 1):
            run = run_row(f"{method}-{seed}", method, settings={"training.seed": seed})
            runs.append(run)
            episodes += episode_rows(run["run"], 0, [100.0 + seed, 200.0])
            wanted.append(asked("seeds", run["run"], len(wanted), {"training.seed": seed}))
    fill(store, runs, episodes, wanted)
    store.write(
        "curves", "of", [{"run": run["run"], "epoch": 1, "step": 1, "metric": "loss", "value": 1.0} for run in runs]
    )
    (experiment,) = measurements.experiments(store)
    assert experiment["cells"] == 1
    rows = measurements.standings(store, "seeds")
    assert [(row["method"], row["label"], row["mean"]) for row in rows] == [
        ("hypogen", "", 150.25),
        ("uvfa", "", 150.25),
    ]
    assert [(row["method"], row["label"], len(row["points"])) for row in measurements.spec_series(store, "seeds")] == [
        ("hypogen", "", 1),
        ("uvfa", "", 1),
    ]
    assert [row["label"] for row in measurements.curve_series(store, "seeds")] == ["", ""]
    assert '"swept":false' in build(store).decode()
