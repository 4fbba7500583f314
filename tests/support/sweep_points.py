"""Points that misbehave, for tests of sweeps; importable by worker processes."""

import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from eie.config import ArchConfig
from eie.sim.sweep.point import Point, RandomInput, RandomLayer

LAYER = RandomLayer(40, 30, 0.3, seed=1)
MACHINE = asdict(ArchConfig(n_pe=4))


@dataclass(frozen=True)
class Deadly(RandomInput):
    """Kills the process that makes it, as the kernel does when memory runs out; once only if `once` names a file."""

    once: str = ""

    def vector(self, layer, cfg):
        if not self.once or not Path(self.once).exists():
            if self.once:
                Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().vector(layer, cfg)


@dataclass(frozen=True)
class Faulty(RandomInput):
    """Meets a bug, until the file is there."""

    until: str = ""

    def vector(self, layer, cfg):
        if Path(self.until).is_file():
            return super().vector(layer, cfg)
        raise ZeroDivisionError("a bug")


@dataclass(frozen=True)
class Slow(RandomInput):
    """Takes its time."""

    seconds: float = 0.0

    def vector(self, layer, cfg):
        time.sleep(self.seconds)
        return super().vector(layer, cfg)


def point(x: RandomInput | None = None, number: int = 0, **fields: int) -> Point:
    return Point(MACHINE | fields, "sized", "fast", LAYER, x or RandomInput(0.5, number), number)
