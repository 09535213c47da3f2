"""Numbers that must not change by accident: a store full of artifacts would silently mean something else.

If a change here is meant, raise the ``version`` of the artifact's class and renew the file:
``python -m tests.hypogen.test_golden``, which also adds new methods. The tolerance is for other processors' float32
arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from hypogen import experts
from hypogen.benchmarks import get_benchmark
from hypogen.demonstrations import Demonstrations
from hypogen.generators import GENERATORS, FewShotGenerator, build
from hypogen.splits import random_split
from hypogen.training import TrainingSettings, fit

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "numbers.json"
SPECS = np.array([[-5.0], [2.0], [9.0]])


def generator_numbers(method: str) -> list[float]:
    """Actions of an untrained and of a slightly trained generator, and its last losses."""
    torch.set_num_threads(1)
    numbers = torch.Generator().manual_seed(0)
    shape = (3, 1, 64)
    demonstrations = Demonstrations(
        torch.from_numpy(SPECS),
        torch.randn(*shape, 17, generator=numbers),
        torch.rand(*shape, 6, generator=numbers) * 2 - 1,
        torch.rand(*shape, generator=numbers),
        torch.randn(*shape, 17, generator=numbers),
        torch.rand(*shape, generator=numbers) * 100,
    )
    generator = build(method, get_benchmark("cheetah-speed"), seed=0)
    observations = torch.linspace(-1, 1, 17).expand(3, 1, 17)

    def actions() -> list[float]:
        if isinstance(generator, FewShotGenerator):
            generator.adapt(demonstrations)
        with torch.no_grad():
            return generator.policy(SPECS)(observations)[:, 0, 0].tolist()

    before = actions()
    rows = fit(generator, demonstrations, TrainingSettings(epochs=2, batch_size=48, learning_rate=1e-3), seed=0)
    return [*before, *actions(), *(rows[-1][name] for name in ("loss", "action") if name in rows[-1])]


def expert_numbers() -> list[float]:
    """Actions of experts after a few updates."""
    torch.set_num_threads(1)
    settings = replace(
        experts.RECIPES["fast"],
        updates=15,
        batch_size=16,
        hidden_dim=16,
        seed_steps=50,
        exploration_steps=50,
        evaluate_every=15,
        evaluation_episodes=1,
        precision="float32",
    )
    population = experts.train("cheetah-speed", SPECS, settings, seed=0)
    return population.actor(torch.linspace(-1, 1, 17).expand(3, 1, 17))[:, 0, 0].tolist()


def split_numbers() -> list[float]:
    """The specs of a random split."""
    split = random_split(40, 0.2, seed=3)
    return [*split.train, *split.test]


MAKERS: dict[str, Callable[[], list[float]]] = {
    "experts": expert_numbers,
    "split 3 of 40": split_numbers,
    **{method: partial(generator_numbers, method) for method in GENERATORS},
}


EXPECTED: dict[str, list[float]] = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_the_numbers_are_what_they_were(name: str) -> None:
    assert MAKERS[name]() == pytest.approx(EXPECTED[name], rel=1e-3, abs=1e-4)


def test_experts_splits_and_all_methods_of_the_paper_are_in_the_file() -> None:
    papers = {name for name, entry in GENERATORS.items() if entry.paper_parameters is not None}
    assert len(papers) == 6
    assert EXPECTED.keys() >= papers | {"experts", "split 3 of 40"}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: make() for name, make in MAKERS.items()}, indent=1) + "\n")
