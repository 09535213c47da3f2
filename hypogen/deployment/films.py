"""Films of several episodes side by side, and strips of frames as papers print them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hypogen.deployment.limits import described
from hypogen.deployment.policies import SpecPolicy, title_of
from hypogen.deployment.rendering import Moment, Picture, moments

ACROSS = 3
"""Episodes beside each other in a film; more go below."""
LABEL, GAP = 44, 6
"""Pixels above a film's picture for its label, and between pictures."""
CAPTION = 190
"""Pixels left of a strip's frames."""
FONT = ImageFont.load_default(size=15)
PAPER, INK, FAINT = (255, 255, 255), (20, 20, 20), (90, 90, 90)


@dataclass(frozen=True)
class Take:
    """An episode to be filmed: who acts, and the seed of its start."""

    policy: SpecPolicy
    seed: int = 0

    @property
    def labels(self) -> tuple[str, str]:
        """Method and spec for people."""
        return title_of(self.policy.method), described(self.policy.benchmark, self.policy.spec)


def film(takes: Sequence[Take], seconds: float, fps: int, size: tuple[int, int] = (320, 240)) -> Iterator[Picture]:
    """Frames of all takes, which run at the same time, each under its method, its spec and its return so far.

    Args:
        seconds: Simulated time, which is the film's; an episode that ends before stands still.
        fps: Frames per second.
        size: Width and height of each take's picture in pixels.
    """
    times = [frame / fps for frame in range(max(1, round(seconds * fps)))]
    for together in zip(*(moments(take.policy, take.seed, times, size) for take in takes), strict=True):
        yield _frame(takes, together, size)


def strip(takes: Sequence[Take], seconds: float, frames: int, size: tuple[int, int] = (320, 240)) -> Picture:
    """One picture: a row per take with ``frames`` pictures at equal intervals, from the start to ``seconds``.

    Left of a row stand its method, its spec, and its return at the end.
    """
    times = np.linspace(0.0, seconds, frames).tolist()
    width, height = size
    page = Image.new("RGB", (CAPTION + frames * (width + GAP), len(takes) * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(page)
    for row, take in enumerate(takes):
        top, moment = row * (height + GAP), None
        for column, moment in enumerate(moments(take.policy, take.seed, times, size)):
            left = CAPTION + column * (width + GAP)
            page.paste(Image.fromarray(moment.picture), (left, top))
            draw.text((left + 6, top + 4), f"{moment.seconds:.2f} s", PAPER, FONT)
        assert moment is not None
        title, spec = take.labels
        lines = [
            (title, INK),
            *((part, INK) for part in spec.split(", ")),
            *((part, FAINT) for part in _return(moment)),
        ]
        for line, (text, color) in enumerate(lines):
            draw.text((4, top + height // 2 + 20 * line - 10 * len(lines)), text, color, FONT)
    return np.asarray(page)


def write_film(path: Path | str, pictures: Iterator[Picture], fps: int) -> None:
    """Write an mp4 (H.264, which every browser plays)."""
    import imageio.v2 as imageio

    writer: Any
    with imageio.get_writer(str(path), fps=fps, codec="libx264", quality=7, macro_block_size=2) as writer:
        for picture in pictures:
            writer.append_data(picture)


def write_strip(path: Path | str, picture: Picture) -> None:
    """Write a png."""
    Image.fromarray(picture).save(path)


def _frame(takes: Sequence[Take], together: Sequence[Moment], size: tuple[int, int]) -> Picture:
    width, height = size
    across = min(ACROSS, len(takes))
    rows = -(-len(takes) // across)
    page = Image.new("RGB", (across * (width + GAP) - GAP, rows * (height + LABEL)), PAPER)
    draw = ImageDraw.Draw(page)
    for place, (take, moment) in enumerate(zip(takes, together, strict=True)):
        left, top = place % across * (width + GAP), place // across * (height + LABEL)
        page.paste(Image.fromarray(moment.picture), (left, top + LABEL))
        title, spec = take.labels
        draw.text((left + 4, top + 3), f"{title}, {spec}", INK, FONT)
        draw.text((left + 4, top + 22), " ".join(_return(moment)), FAINT, FONT)
    return np.asarray(page)


def _return(moment: Moment) -> tuple[str, str]:
    return f"return {moment.returned:.0f}", f"after {moment.seconds:.1f} s"
