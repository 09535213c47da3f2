"""Steps of a training on a processor as one list of operations, recorded once and repeated.

A hypernetwork's step is a thousand small operations. For most of them Python, autograd and the allocator take longer
than the operation does. A recording keeps the operations of one step, backward pass included, with the memory that they
read and write; a repetition runs them on that memory again, in the same order, and so gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from hypogen.adam import FactoredAdam, Gradients
from hypogen.generators.base import Batch

Losses = Callable[[Batch], dict[str, Tensor]]
"""Forward pass of a step: scalars, of which "loss" is the one to be reduced."""

EMPTY = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})
"""Operations that give memory and write nothing."""
RESIZING = frozenset({"mse_loss"})
"""Operations that use a given output for something larger on the way, with a warning."""
SECRETLY_WRITING = frozenset({"native_batch_norm"})
"""Operations that change an argument without declaring it."""
LOOKS = frozenset({"tolist", "numpy", "__array__"})
"""Methods of tensors that give their values to Python, and that are no operations."""


class RecordedStep:
    """The same step, recorded once for each shape of batch; the memory of one step of each stays taken.

    A step is not repeated but taken anew, as it would be without this class, where the recording meets a look at a
    value or at how many there are, or a change of memory that outlives the step. The second step of a shape is taken
    both ways, and where one bit differs all are taken anew: the losses depend on something beside the batch, the
    parameters and torch's random numbers. That may show later only (a count of steps in Python), so the 4th, 8th,
    16th, … are taken both ways as well.

    Raises RuntimeError where one of these differs: the steps before it were not what they should have been.
    """

    def __init__(self, losses: Losses, optimizer: FactoredAdam) -> None:
        self._losses, self._optimizer = losses, optimizer
        self._recordings: dict[Any, _Recording | None] = {}

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take a step. The results are overwritten by the next one of this shape."""
        step = self._gradients(batch)
        self._optimizer.update(step.gradients)
        return step.losses

    def _gradients(self, batch: Batch) -> _Step:
        shape = tuple(getattr(batch, field.name).shape for field in fields(batch))
        if shape not in self._recordings:
            random = torch.get_rng_state()
            try:
                self._recordings[shape] = recording = self._record(batch)
                return recording.step
            except _NotRepeatable:
                self._recordings[shape] = None
                torch.set_rng_state(random)
        known = self._recordings[shape]
        if known is None:
            return self._anew(batch)
        known.steps += 1
        if known.steps & (known.steps - 1):  # no power of two
            return known.repeat(batch)
        return self._both_ways(known, shape, batch)

    def _both_ways(self, known: _Recording, shape: Any, batch: Batch) -> _Step:
        random = torch.get_rng_state()
        anew = self._anew(batch)
        following = torch.get_rng_state()
        torch.set_rng_state(random)
        same = known.repeat(batch).equals(anew) and torch.equal(following, torch.get_rng_state())
        if not same and known.steps > 2:
            raise RuntimeError(
                "a step that was recorded and repeated is no longer what the method's losses give: they may depend on "
                "the batch, the parameters and torch's random numbers, and not on what Python keeps from step to step"
            )
        if not same:
            self._recordings[shape] = None
            torch.set_rng_state(following)
        return anew

    def _anew(self, batch: Batch) -> _Step:
        with self._optimizer.recording():
            losses = self._losses(batch)
        gradients = self._optimizer.gradients(losses["loss"])
        return _Step({name: value.detach() for name, value in losses.items()}, gradients)

    def _record(self, batch: Batch) -> _Recording:
        own = Batch(**{field.name: getattr(batch, field.name).clone() for field in fields(batch)})
        with _Looks(), _Operations() as operations, self._optimizer.kernels.noted(operations.calls.append):
            step = self._anew(own)
        return _Recording(own, operations.calls, step)


@dataclass(frozen=True)
class _Step:
    """Outcome of a forward and a backward pass."""

    losses: dict[str, Tensor]
    gradients: Gradients

    def equals(self, other: _Step) -> bool:
        """Whether all losses and gradients have the same bits."""
        ours, theirs = ([*step.losses.values(), *step.gradients.tensors()] for step in (self, other))
        same = self.losses.keys() == other.losses.keys() and self.gradients.used == other.gradients.used
        return same and len(ours) == len(theirs) and all(map(_equal, ours, theirs))


class _Recording:
    """Operations of one step on memory of their own."""

    def __init__(self, batch: Batch, calls: list[Callable[[], object]], step: _Step) -> None:
        self._batch, self._calls, self.step = batch, calls, step
        self.steps = 1

    def repeat(self, batch: Batch) -> _Step:
        """The same operations for another batch."""
        with torch.no_grad():
            for field in fields(batch):
                getattr(self._batch, field.name).copy_(getattr(batch, field.name))
            for call in self._calls:
                call()
        return self.step


class _NotRepeatable(Exception):
    """The same operations on another batch would not be the same step."""


class _Looks(TorchFunctionMode):
    """Raises _NotRepeatable where values are given to Python."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", None) in LOOKS:
            raise _NotRepeatable(func.__name__)
        return func(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):
    """Records what torch does, as calls that write where it was written the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []
        self._made: dict[int, Tensor] = {}  # by address, and kept, so that no address is given twice

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nobody compiles this, and to keep torch's compiler from it would import that: two seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._require_repeatable(func, args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if any(not isinstance(leaf, Tensor) and leaf is not None for leaf in tree_leaves(result)):
            raise _NotRepeatable(str(func))
        given, named, outputs = tree_map_only(Tensor, Tensor.detach, (args, kwargs or {}, result))
        self._note(func, given, named, _tensors(outputs))
        return result

    def _require_repeatable(self, func: Any, given: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Raise _NotRepeatable before an operation whose outputs' sizes are values, or that changes older memory."""
        masks = any(tensor.dtype in (torch.bool, torch.uint8) for tensor in _tensors((given, named)))
        name = func.overloadpacket.__name__
        if torch.Tag.dynamic_output_shape in func.tags and (name != "index" or masks):
            raise _NotRepeatable(str(func))
        written = [given[place] if place < len(given) else named.get(word) for place, word in _written(func)]
        if name in SECRETLY_WRITING or any(_address(tensor) not in self._made for tensor in _tensors(written)):
            raise _NotRepeatable(str(func))

    def _note(self, func: Any, given: Sequence[Any], named: Mapping[str, Any], outputs: list[Tensor]) -> None:
        read = {_address(tensor) for tensor in _tensors((given, named))}
        fresh = [tensor for tensor in outputs if _address(tensor) not in read]
        if _written(func):
            if fresh:
                raise _NotRepeatable(str(func))
            self.calls.append(partial(func, *given, **named))
            return
        if not fresh:
            return  # a view, which sees what will be written
        self._made |= {_address(tensor): tensor for tensor in fresh}
        if func.overloadpacket.__name__ in EMPTY:
            return
        form = _writing_form(func)
        if form is not None and len(form[1]) == len(outputs):
            written, names, accepted = form
            kept = {name: value for name, value in named.items() if name in accepted}
            self.calls.append(partial(written, *given, **kept, **dict(zip(names, outputs, strict=True))))
        else:
            self.calls.append(partial(_copy, func, given, named, outputs))


def _tensors(tree: Any) -> list[Tensor]:
    """The tensors among arguments or results."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    """Where the memory begins that a tensor lies in."""
    return tensor.untyped_storage().data_ptr()


def _copy(function: Any, given: Sequence[Any], named: Mapping[str, Any], outputs: list[Tensor]) -> None:
    """An operation that has no form for given outputs."""
    for output, result in zip(outputs, _tensors(function(*given, **named)), strict=True):
        output.copy_(result)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same numbers, where NaN is one."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


@cache
def _written(function: Any) -> tuple[tuple[int, str], ...]:
    """Places and names of the arguments that an operation changes."""
    arguments = enumerate(function._schema.arguments)
    return tuple(
        (place, one.name) for place, one in arguments if one.alias_info is not None and one.alias_info.is_write
    )


@cache
def _writing_form(function: Any) -> tuple[Any, list[str], set[str]] | None:
    """The form of an operation that writes into given outputs: it, their names, and which named arguments it takes."""
    packet = function.overloadpacket
    if packet.__name__ in RESIZING:
        return None
    arguments = [(one.name, str(one.type), one.kwarg_only) for one in function._schema.arguments]
    for overload in map(packet.__getattr__, packet.overloads()):
        outputs = [one.name for one in overload._schema.arguments if one.is_out]
        rest = [(one.name, str(one.type), one.kwarg_only) for one in overload._schema.arguments if not one.is_out]
        missing = [one for one in arguments if one not in rest]
        if outputs and [one for one in arguments if one in rest] == rest and all(named for *_, named in missing):
            return overload, outputs, {name for name, *_ in rest}
    return None
