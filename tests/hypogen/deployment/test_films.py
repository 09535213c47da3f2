"""Films and strips, drawn here without a display: what is in the pictures, and in the files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image

import hypogen
from hypogen.benchmarks import get_benchmark
from hypogen.deployment import films
from hypogen.deployment.policies import TrainedGenerator
from hypogen.deployment.rendering import duration_s, moments, require_renderer
from hypogen.generators import build
from hypogen.rollouts import rollout
from tests.helpers.experiments import ROOT

SIZE = (96, 64)


def takes(*names: str) -> list[films.Take]:
    found = []
    for name in names:
        benchmark, _, value = name.partition(" ")
        found.append(films.Take(hypogen.load(f"zoo:{benchmark}").at([float(value)])))
    require_renderer([take.policy for take in found])
    return found


def test_a_strip_has_a_row_per_policy_and_its_pictures_move() -> None:
    page = films.strip(takes("cheetah-speed 5", "cheetah-speed -3"), 1.0, 3, SIZE)
    assert page.shape == (2 * (64 + films.GAP), films.CAPTION + 3 * (96 + films.GAP), 3)
    lefts = [films.CAPTION + place * (96 + films.GAP) for place in range(3)]
    rows = [[page[top : top + 64, left : left + 96].astype(int) for left in lefts] for top in (0, 64 + films.GAP)]
    for first, *others in rows:
        assert first.std() > 5
        assert all(np.abs(first - other).mean() > 1 for other in others)
    assert np.abs(rows[0][1] - rows[1][1]).mean() > 1  # forwards and backwards
    for top in (0, 64 + films.GAP):  # method, spec, return
        assert (page[top : top + 64, : films.CAPTION].min(axis=2) < 100).sum() > 100


def test_returns_in_pictures_are_the_environments() -> None:
    (take,) = takes("finger-speed 5")
    *_, last = moments(take.policy, 0, [0.0, 1.0, 30.0], SIZE)
    assert last.over and last.seconds == duration_s(take.policy) == 20.0
    returned = rollout("finger-speed", [take.policy.spec], take.policy.network, [[0]]).returns[0, 0]
    assert last.returned == pytest.approx(returned, rel=0.05)  # float64 here, float32 there


def test_the_ground_of_a_cheetah_that_runs_backwards_does_not_end() -> None:
    (take,) = takes("cheetah-speed -8")
    *_, last = moments(take.policy, 0, [0.0, 3.0], (160, 120))
    first = next(moments(take.policy, 0, [0.0], (160, 120)))
    below = [moment.picture[-35:-25].astype(int).mean() for moment in (first, last)]  # the dark ground, not the sky
    assert below[1] == pytest.approx(below[0], rel=0.15)


def test_an_mp4_has_its_frames(tmp_path: Path) -> None:
    film = films.film(takes("cheetah-speed 5", "finger-speed 5"), 0.5, 10, SIZE)
    films.write_film(tmp_path / "film.mp4", film, 10)
    with imageio.get_reader(tmp_path / "film.mp4") as reader:
        frames = [np.asarray(frame) for frame in reader]
        assert reader.get_meta_data()["fps"] == 10
    assert len(frames) == 5
    assert frames[0].shape == (64 + films.LABEL, 2 * 96 + films.GAP, 3)
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 1


def test_what_is_not_drawn_is_refused() -> None:
    trained = TrainedGenerator(build("blind", get_benchmark("liftcube-stiffness")))
    with pytest.raises(ValueError, match="liftcube-stiffness cannot be filmed: ManiSkill2's renderer needs a GPU"):
        require_renderer([trained.policy(stiffness=500)])


def test_without_a_way_to_draw_the_remedy_is_named(tmp_path: Path) -> None:
    words = ["-m", "orchestrator.film", "zoo:cheetah-speed", "--spec", "speed=5", "--out", str(tmp_path / "strip.png")]
    broken = {**os.environ, "PYTHONPATH": str(ROOT), "MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "none"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=broken)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "nothing can be drawn by egl here" in line and "apt-get install libegl1 libgl1 libgl1-mesa-dri" in line


def test_strips_are_written(tmp_path: Path) -> None:
    films.write_strip(tmp_path / "strip.png", np.zeros((8, 16, 3), np.uint8))
    assert Image.open(tmp_path / "strip.png").size == (16, 8)
