"""Training of a generator on demonstrations by imitation: one loop for all methods, with exact continuation."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from hypogen.adam import Capturable, FactoredAdam, adam
from hypogen.captured import CapturedStep
from hypogen.checkpoints import Checkpoint
from hypogen.errors import Diverged, Stopped
from hypogen.generators.base import Batch, Generator
from hypogen.recorded import RecordedStep
from hypogen.validation import NOT_NEGATIVE, POSITIVE, Rule, later, one_of, require, whole

if TYPE_CHECKING:  # a runtime import would load the simulators, which training does not need
    from hypogen.demonstrations import Demonstrations

__all__ = ["Diverged", "Stopped", "TrainingSettings", "fit"]

Row = dict[str, Any]


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a generator's training; the defaults are the paper's (section 5.1 and table 12).

    epochs: passes over all samples of all training specs (ManiSkill: 1000).
    batch_size: samples per step over all specs together, spread evenly over the specs of the step.
    specs_per_batch: specs per step, drawn anew for every step; None for all specs in every step.
    spec_noise: standard deviation of the noise added to the specs in every step, in units of half the grid's range
        along each variable (ours; the paper: 0). A policy then serves a neighbourhood of its training spec.
    learning_rate: learning rate of Adam after the warm-up.
    learning_rate_final: learning rate at the end of a half cosine over all steps; None for no change (the paper).
    warmup_steps: steps over which the learning rate rises linearly to its scheduled value (ours; the paper: 0).
    max_gradient_norm: maximum norm of the gradients of all parameters together, which are scaled down to it; None for
        no limit (the paper).
    value_weight, td_weight: weights of the Q head's two losses beside the action loss.
    precision: "float32", or "bfloat16" for autocast on hardware that gains from it.
    seed: number of the training's own draws, initial weights and order of the samples: with other seeds, the same
        training again (ours).
    log_every: epochs between two rows of the curve; the last epoch always has one.
    checkpoint_every_s: seconds between two checkpoints, checked after each epoch.

    Raises ValueError with a message that begins with the setting at fault.
    """

    epochs: int = 2000
    batch_size: int = 512
    specs_per_batch: int | None = None
    spec_noise: float = 0.0
    learning_rate: float = 1e-4
    learning_rate_final: float | None = None
    warmup_steps: int = 0
    max_gradient_norm: float | None = None
    value_weight: float = 0.01
    td_weight: float = 0.01
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = later(0)
    log_every: int = 1
    checkpoint_every_s: float = 120.0

    def __post_init__(self) -> None:
        require(self, whole(1), "epochs", "batch_size", "log_every")
        require(self, whole(1).or_null(), "specs_per_batch")
        require(self, whole(0), "warmup_steps", "seed")
        require(self, POSITIVE, "learning_rate")
        require(self, POSITIVE.or_null(), "max_gradient_norm")
        at_most_the_first = Rule(
            f"lie in 0..{self.learning_rate:g} (learning_rate) or be null",
            lambda rate: rate is None or 0.0 <= rate <= self.learning_rate,
        )
        require(self, at_most_the_first, "learning_rate_final")
        require(self, NOT_NEGATIVE, "value_weight", "td_weight", "spec_noise", "checkpoint_every_s")
        require(self, one_of("float32", "bfloat16"), "precision")

    def learning_rate_at(self, step: int, steps: int) -> float:
        """Learning rate of step `step` (counted from 0) of `steps` in all."""
        rate = self.learning_rate
        if self.learning_rate_final is not None:
            falling = 0.5 * (1.0 + math.cos(math.pi * step / steps))
            rate = self.learning_rate_final + (rate - self.learning_rate_final) * falling
        return rate * min(1.0, (step + 1) / (self.warmup_steps + 1))

    def specs_at_once(self, specs: int) -> int:
        """Largest number of specs per step in a training on `specs` specs."""
        return min(self.specs_per_batch or specs, specs)

    def epoch_parts(self, specs: int, samples: int) -> tuple[int, int]:
        """(parts of each spec's `samples`, groups of the `specs`) in an epoch, which has a step per pair of the two."""
        at_once = self.specs_at_once(specs)
        return -(-samples // max(1, self.batch_size // at_once)), -(-specs // at_once)

    def weights(self) -> dict[str, float]:
        """Weight of each loss by name; a loss without an entry has weight 1."""
        return {"action": 1.0, "value": self.value_weight, "td": self.td_weight}


def fit(
    generator: Generator,
    demonstrations: Demonstrations,
    settings: TrainingSettings,
    seed: int,
    checkpoint: Path | str | None = None,
    on_epoch: Callable[[Row], None] | None = None,
    device: torch.device | str = "cpu",
    before_checkpoint: Callable[[int], None] | None = None,
    until: int | None = None,
    stop: Callable[[], bool] | None = None,
    keep_end: bool = True,
) -> list[Row]:
    """Train `generator` in place, and return the curve: rows with epoch, step and unweighted mean losses.

    Batches depend on `seed` and the epoch alone. The folder `checkpoint`, if given, receives the training's state, and
    one found there is continued, to the same numbers to the last bit as without an interruption (same device, thread
    count and settings; more epochs may be requested if the learning rate does not fall).

    on_epoch: function that gets each new row. It may raise to stop; the checkpoint on disk stays usable.
    before_checkpoint: function that gets the number of every finished epoch before a checkpoint of it is written, so
        that its own output exists wherever training continues.
    until: number of the settings' epochs after which to stop, for a later call to continue from the checkpoint.
    stop: function called after every step except the last; True ends the training with a checkpoint and Stopped, in the
        middle of an epoch if need be. Checkpoints that are due are written there as well.
    keep_end: False for a caller that stores a finished generator at once: its last state is not written.

    Raises Diverged when a loss or a parameter is not finite, Stopped when `stop` returns True, ValueError for
    demonstrations that do not fit the settings or a checkpoint of another training.
    """
    _keep_freed_memory()
    run = _Run(generator.to(device), demonstrations, settings, seed, torch.device(device))
    files = None if checkpoint is None else Checkpoint(checkpoint, run.identity(), settings.checkpoint_every_s)
    if files is not None and (state := files.load()):
        run.restore(state)
    end = settings.epochs if until is None else min(until, settings.epochs)
    if run.epoch > end:
        raise ValueError(f"checkpoint {checkpoint} is at epoch {run.epoch}, past the {end} asked for")
    while run.epoch < end:
        last = run.epoch + 1 == end
        run.advance(check_parameters=last, between=lambda: run.pause(files, stop))
        if before_checkpoint is not None:
            before_checkpoint(run.epoch)
        done = run.epoch == settings.epochs and not keep_end
        stopping = not done and run.keep(files, None if last else stop, now=last)
        if on_epoch is not None and run.rows and run.rows[-1]["epoch"] == run.epoch:
            on_epoch(dict(run.rows[-1]))
        if stopping:
            raise Stopped(f"training stopped after epoch {run.epoch} of {settings.epochs}")
    return run.rows


class _Run:
    """State of one training from epoch to epoch: generator, optimiser, curve."""

    def __init__(
        self,
        generator: Generator,
        demonstrations: Demonstrations,
        settings: TrainingSettings,
        seed: int,
        device: torch.device,
        factored: bool = True,
    ) -> None:
        """factored: whether gradients may be kept as factors (`hypogen.adam`)."""
        self.generator, self.settings, self.seed, self.device = generator, settings, seed, device
        self.data = Batch.of(demonstrations, device)
        self.optimizer = adam(
            generator.parameters(),
            settings.learning_rate,
            settings.max_gradient_norm,
            factored=factored and settings.precision == "float32",
        )
        self._take = self._best_way()
        self.epoch = self.step = 0
        self.rows: list[Row] = []
        self.within: dict[str, Any] | None = None
        specs, samples = self.data.rewards.shape
        at_once = settings.specs_at_once(specs)
        if settings.batch_size < at_once:
            raise ValueError(
                f"batch_size {settings.batch_size} is less than one sample for each of the {at_once} "
                "specs of a step: raise it, or set specs_per_batch"
            )
        parts, groups = settings.epoch_parts(specs, samples)
        self.steps = settings.epochs * parts * groups
        if settings.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps {settings.warmup_steps} leaves nothing of a training of {self.steps} steps")
        fewest = samples // parts
        if fewest < generator.least_samples:
            raise ValueError(
                f"batch_size {settings.batch_size} leaves {fewest} sample of a spec in a step, but "
                f"{type(generator).__name__} needs {generator.least_samples}: raise it, or set specs_per_batch"
            )

    def advance(self, check_parameters: bool, between: Callable[[], None]) -> None:
        """Train for one epoch, or what is left of it, and add its row to the curve if one is due.

        ``between`` is called where the epoch can be interrupted: `state` then holds how far it is.
        """
        parts, groups = self.settings.epoch_parts(*self.data.rewards.shape)
        before = self.within or {"steps": 0, "sums": {}}
        sums: dict[str, Tensor] = {name: value.to(self.device) for name, value in before["sums"].items()}
        steps = int(before["steps"])
        # Forked, so that the random numbers of a method's losses depend on the epoch alone and no other draws change.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(_epoch_seed(self.seed, self.epoch))
            columns = self._order().tensor_split(parts, dim=1)
            if self.within:
                _set_random_state(self.within, self.device)
            for part in range(steps // groups, parts):
                for batch in self._batches(columns[part], groups):
                    self.optimizer.rate = self.settings.learning_rate_at(self.step + steps, self.steps)
                    for name, value in self._step(batch).items():
                        sums[name] = sums.get(name, 0.0) + value
                    steps += 1
                if part + 1 < parts:
                    self.within = {"steps": steps, "sums": dict(sums), **_random_state(self.device)}
                    between()
        self.within = None
        self.epoch += 1
        self.step += steps
        last = self.epoch == self.settings.epochs
        losses = {name: float(value) / steps for name, value in sums.items()}
        self._check(losses, check_parameters)
        if last or self.epoch % self.settings.log_every == 0:
            self.rows.append({"epoch": self.epoch, "step": self.step, **losses})

    def keep(self, files: Checkpoint | None, stop: Callable[[], bool] | None, now: bool = False) -> bool:
        """Write a checkpoint, if one is wanted `now`, due, or needed since `stop` says to stop; whether it does."""
        stopping = stop is not None and stop()
        if files is not None and (now or stopping or files.due()):
            files.save(self.state())
        return stopping

    def pause(self, files: Checkpoint | None, stop: Callable[[], bool] | None) -> None:
        """The same between two steps of an epoch. Raises Stopped."""
        if self.keep(files, stop):
            raise Stopped(f"training stopped in epoch {self.epoch + 1} of {self.settings.epochs}")

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        if self.settings.spec_noise:
            batch = replace(batch, specs=self._disturbed(batch.specs))
        return self._take(batch)

    def _learn(self, batch: Batch) -> dict[str, Tensor]:
        """Take a step; the losses by name."""
        with self.optimizer.recording():
            losses = self._losses(batch)
        self.optimizer.step(losses["loss"])
        return {name: value.detach() for name, value in losses.items()}

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses by name, and as "loss" their weighted sum."""
        weights = {**self.settings.weights(), **self.generator.loss_weights()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            losses = self.generator.losses(batch)
        total = torch.stack([weights.get(name, 1.0) * value for name, value in losses.items()]).sum()
        return {"loss": total, **losses}

    def _best_way(self) -> Callable[[Batch], dict[str, Tensor]]:
        """The same step, without the time that Python takes for it where that can be saved."""
        if self.device.type == "cuda":
            weights: list[Tensor] = [parameter.data for parameter in self.generator.parameters()]
            return CapturedStep(self._learn, self.device, weights, cast(Capturable, self.optimizer))
        if isinstance(self.optimizer, FactoredAdam):
            return RecordedStep(self._losses, self.optimizer)
        return self._learn

    def _disturbed(self, specs: Tensor) -> Tensor:
        """Specs [S, C] with the noise of this step."""
        grid = self.generator.benchmark.grid
        half = torch.from_numpy((grid.max(axis=0) - grid.min(axis=0)) / 2.0)
        return specs + self.settings.spec_noise * half * torch.randn(specs.shape, dtype=specs.dtype)

    def _order(self) -> Tensor:
        """Samples of every spec in the order of this epoch [S, B]; its parts are steps of nearly equal size."""
        return torch.rand(self.data.rewards.shape).argsort(dim=1).to(self.device)

    def _batches(self, columns: Tensor, groups: int) -> Iterator[Batch]:
        """The samples `columns` [S, B] of every spec once, in so many groups of specs."""
        specs = len(columns)
        for rows in torch.randperm(specs).tensor_split(groups) if groups > 1 else [torch.arange(specs)]:
            yield _pick(self.data, rows, columns)

    def _check(self, losses: Row, parameters: bool) -> None:
        finite = all(np.isfinite(value) for value in losses.values())
        if finite and parameters:
            finite = all(bool(torch.isfinite(p).all()) for p in self.generator.parameters())
        if not finite:
            raise Diverged(
                f"epoch {self.epoch}: losses {_text(losses)}; "
                f"last row before: {_text(self.rows[-1]) if self.rows else 'none'}; try a lower learning rate than "
                f"{self.settings.learning_rate:g}, or spec_scaling unit where it is raw"
            )

    def state(self) -> dict[str, Any]:
        """State that determines the next epochs, apart from settings, seed and demonstrations."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "rows": self.rows,
            "generator": self.generator.state_dict(),
            "optimizer": self.optimizer.state(),
            **({"within": self.within} if self.within else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""
        self.generator.load_state_dict(state["generator"])
        self.optimizer.load(state["optimizer"])
        self.epoch, self.step, self.rows = state["epoch"], state["step"], state["rows"]
        self.within = state.get("within")

    def identity(self) -> Row:
        """Values that must be equal for a training to be continued."""
        passing = {"checkpoint_every_s", "log_every"}
        if self.settings.learning_rate_final is None:  # only a falling learning rate depends on the last epoch
            passing.add("epochs")
        kept = {key: value for key, value in asdict(self.settings).items() if key not in passing}
        return {**kept, "seed": self.seed, "generator": _describe(self.generator), "specs": self.data.specs.tolist()}


def _pick(data: Batch, rows: Tensor, columns: Tensor) -> Batch:
    """Batch of the specs `rows` [R] with the samples `columns[row]` of each; columns [S, B]."""
    on_device = rows.to(columns.device)
    index = (on_device[:, None], columns[on_device])
    return Batch(
        data.specs[rows],
        data.observations[index],
        data.actions[index],
        data.rewards[index],
        data.next_observations[index],
        data.values[index],
        data.continues[index],
    )


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's random numbers, on the CPU and on the device that trains."""
    cuda = {"cuda_random": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"random": torch.get_rng_state(), **cuda}


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["random"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_random"].cpu(), device)


def _describe(generator: Generator) -> str:
    return f"{type(generator).__name__}({generator.extra_repr()})"


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])


def _text(losses: Row) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in losses.items())


def _keep_freed_memory() -> None:
    """Ask glibc not to return freed gradients to the kernel, which would hand them back page by page in every step.

    Saves up to 10 % of a HyPoGen step on a CPU. The limits are glibc's M_TRIM_THRESHOLD (-1) and M_MMAP_THRESHOLD (-3).
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(-1, 1 << 30)
            mallopt(-3, 1 << 25)  # largest value that every glibc accepts
