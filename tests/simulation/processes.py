"""Simulated processes: greenlets, of which one runs at a time, in an order, and on a clock, that follow from a seed.

A process runs until it pauses: at every operation on the disk, when it sleeps, and when it waits for a message. There
it can be killed, and nothing that it does afterwards has any effect; or stopped, and others go on meanwhile.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from greenlet import getcurrent, greenlet

STEP_S = 0.002
"""What an operation takes by the simulated clock."""


class Killed(BaseException):
    """Unwinds the stack of a process that was killed."""


class Hang(Exception):
    """Nothing can go on, or time goes by without an end."""


class Process:
    """One simulated process on a node."""

    def __init__(self, world: World, name: str, node: str, target: Callable[[], object]) -> None:
        self.world, self.name, self.node = world, name, node
        self.dead, self.over, self.stopped_until = False, False, 0.0
        self.reason: BaseException | None = None
        self.unwound = False
        self.condition: Callable[[], bool] | None = None
        self.until = 0.0
        self._target = target
        self._greenlet = greenlet(self._run, parent=world.home)

    @property
    def gone(self) -> bool:
        """Whether it has ended, by itself or not."""
        return self.dead or self.over

    def kill(self, reason: BaseException | None = None) -> None:
        """End it at once; where it runs, it notices at its next pause."""
        if not self.gone:
            self.dead, self.reason = True, reason

    def wakes(self) -> bool:
        """Whether it can go on now."""
        if self.unwound:
            return False
        if self.dead:
            return True  # to unwind
        if self.world.now < self.stopped_until:
            return False
        return self.world.now >= self.until or (self.condition is not None and self.condition())

    def resume(self) -> None:
        """Let it run to its next pause."""
        self.world.current = self
        self._greenlet.switch()
        self.world.current = None

    def pause(self, condition: Callable[[], bool] | None = None, seconds: float = 0.0) -> None:
        """From within: let others run until the condition holds or the time is over."""
        if self.dead:
            raise Killed
        self.condition, self.until = condition, self.world.now + seconds * self.world.patience
        self.world.home.switch()
        if self.dead:
            raise Killed

    def is_here(self) -> bool:
        """Whether it is the caller."""
        return getcurrent() is self._greenlet

    def _run(self) -> None:
        try:
            if not self.dead:
                self._target()
        except Killed:
            pass
        except BaseException as error:  # the world looks at it
            self.reason = error
        self.over, self.unwound = not self.dead, True


class World:
    """Scheduler and clock.

    Attributes:
        now: Seconds since the start.
        skew: Seconds by which the wall clock is wrong.
        patience: Factor of all waits, by which one gets faster through times in which nothing happens.
        alarms: Moments at which the condition of ``run`` is to be looked at, whatever the processes do.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now, self.skew, self.patience = 0.0, 0.0, 1.0
        self.home = getcurrent()
        self.current: Process | None = None
        self.processes: list[Process] = []
        self.names = itertools.count()
        self.alarms: list[float] = []
        self.log: list[str] = []

    def start(self, name: str, node: str, target: Callable[[], object]) -> Process:
        """Start a process."""
        process = Process(self, f"{name}-{next(self.names)}", node, target)
        self.processes.append(process)
        return process

    def pause(self, condition: Callable[[], bool] | None = None, seconds: float = 0.0) -> None:
        """Pause the process that calls; nothing outside of the simulation."""
        if (process := self.here()) is not None:
            process.pause(condition, seconds)

    def here(self) -> Process | None:
        """The process that runs, if it is the caller."""
        process = self.current
        return process if process is not None and process.is_here() else None

    def run(self, until: Callable[[], bool], limit_s: float) -> None:
        """Run everything until the condition holds. Raises Hang where it never does."""
        while not until():
            self.processes = [process for process in self.processes if not process.unwound]
            ready = [process for process in self.processes if process.wakes()]
            if ready:
                self.now += STEP_S
                self.random.choice(ready).resume()
            else:
                moments = [max(process.until, process.stopped_until) for process in self.processes]
                later = [moment for moment in (*moments, *self.alarms) if moment > self.now]
                if not later:
                    raise Hang(f"nothing goes on: {[process.name for process in self.processes]}")
                self.now = min(later)
            if self.now > limit_s:
                raise Hang(f"no end after {self.now:.0f} s: {[process.name for process in self.processes]}")

    def end(self) -> None:
        """Kill and unwind whatever is left."""
        for process in self.processes:
            process.kill()
            while not process.unwound:
                process.resume()
        self.processes = []

    def note(self, text: str) -> None:
        """Write down what happens, for whoever replays a seed."""
        self.log.append(f"{self.now:9.3f} {text}")
