"""Storage of a trained generator as a folder: its numbers in safetensors, and a description to build it again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hypogen.benchmarks import get_benchmark
from hypogen.generators import GENERATORS, Generator, get_generator, sketch
from hypogen.policy import PolicyShape

WEIGHTS, DESCRIPTION = "generator.safetensors", "generator.json"


def save(generator: Generator, folder: Path | str) -> None:
    """Write `generator` into `folder`, which is created if it is missing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "method": method_of(generator),
        "benchmark": generator.benchmark.name,
        "policy": asdict(generator.shape),
        "settings": asdict(generator.settings),
    }
    # Numbers first: a folder with a description is complete.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    save_file(tensors, str(folder / WEIGHTS))
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")


def load(folder: Path | str) -> Generator:
    """Generator that `save` wrote into `folder`, on the CPU.

    Raises FileNotFoundError when there is none; ValueError, with the name of the file, when one of its files is damaged
    or they do not belong together.
    """
    folder = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no generator in {folder}: {name} is missing")
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        method = description["method"]
        settings = get_generator(method).settings(**description["settings"])
        benchmark = get_benchmark(description["benchmark"])
        generator = sketch(method, benchmark, PolicyShape(**description["policy"]), settings)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / DESCRIPTION} does not describe a generator: {error}") from error
    try:
        # The sketch has no numbers of its own; assigning the file's tensors completes it.
        generator.load_state_dict(load_file(str(folder / WEIGHTS)), assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged, or of another generator: {error}") from error
    return generator


def method_of(generator: Generator) -> str:
    """Name that the generator is registered under. Raises ValueError when it is not."""
    for name, entry in GENERATORS.items():
        if entry.build is type(generator):
            return name
    raise ValueError(f"{type(generator).__name__} is not in GENERATORS, so it could not be loaded again")
