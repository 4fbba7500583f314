"""The parts of the evaluation, in the order of the page; each is loaded when it is asked for."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eie.errors import ConfigError, ModelError
from eie.sim.evaluation.section import Progress, Section


@dataclass(frozen=True)
class Part:
    """One part: `function(seed, progress)` of the module `eie.sim.evaluation.<module>` returns its `Section`.

    key : its name, that of its section; also : other names for it, or for it and others; what : it in a few words.
    alone : it measures times on this machine, or takes long, so nothing may run beside it. extra : computed only when
    it is named: it is no part of the published evaluation. example : the function also takes `example`, the example
    network's folder. seeds : it also takes `seeds`, how many seeds from `seed` on, and this is the number; 0 if not.
    """

    key: str
    what: str
    module: str
    function: str = "section"
    also: tuple[str, ...] = ()
    alone: bool = False
    extra: bool = False
    example: bool = False
    seeds: int = 0

    def run(self, seed: int, progress: Progress | None, example: Path) -> Section:
        """Compute it.

        Raises
        ------
        ModelError : it trains networks, and PyTorch is not installed; and what else it meets.
        """
        try:
            module = importlib.import_module(f"eie.sim.evaluation.{self.module}")
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise ModelError(
                f"{self.key} trains networks and needs PyTorch: pip install 'eie-sim[train]'"
            ) from None
        function: Callable[..., Section] = getattr(module, self.function)
        if self.example:
            function = functools.partial(function, example=example)
        if self.seeds:
            function = functools.partial(function, seeds=self.seeds)
        section = function(seed, progress)
        if section.key != self.key:
            raise AssertionError(f"part {self.key} made section {section.key}")
        return section


PARTS = (
    Part(
        "layers",
        "the nine layers' times and what delays them",
        "nine_layers",
        also=("nine_layers",),
        example=True,
    ),
    Part("speedups", "speed-up and energy over CPU and GPUs", "speedups", also=("fig6", "fig7")),
    Part("energy", "energy and area by block", "energy_area", also=("energy_area",), example=True),
    Part("fig8", "queue depth", "queue_depth"),
    Part("fig9", "SRAM width", "sram_width"),
    Part("fig10", "precision", "precision", example=True),
    Part("fig11", "speed-up against PE count", "scaling", "speedup"),
    Part("fig12", "padding against PE count", "scaling", "padding"),
    Part("fig13", "load balance against PE count", "scaling", "balance"),
    Part("plans", "the nine layers planned on memories of the published sizes", "plans"),
    Part("beyond", "the better machine against the published one", "beyond", extra=True, example=True),
    Part("blocks", "the index-free machine on block-diagonal layers", "index_free", extra=True),
    Part("adder", "networks that add beside networks that multiply", "adder", alone=True, extra=True),
    Part(
        "mesa",
        "MESA and 2 distinct blocks on LeNet-5 and MNIST (trains, resumable)",
        "mesa",
        alone=True,
        extra=True,
    ),
    Part("mesa-whole", "the same, trained on all digits", "mesa", "whole", alone=True, extra=True),
    Part("mesa-all", "all rows of MESA's tables on MNIST", "mesa", "everything", alone=True, extra=True),
    Part("mesa-fashion", "the same on Fashion-MNIST", "mesa", "fashion", alone=True, extra=True),
    Part("mesa-alpha", "bits of a difference against MESA's alpha", "mesa_alpha", alone=True, extra=True),
    Part("mesa-text", "blocks in a small C-CNN on characters", "mesa_small", "text", alone=True, extra=True),
    Part("mesa-series", "blocks in a GRU and an LSTM", "mesa_small", "series", alone=True, extra=True),
    *(
        Part(
            f"learn-{name}",
            what,
            f"learn_{module}",
            function,
            ("learn",),
            alone=True,
            extra=True,
            seeds=seeds,
        )
        for name, module, function, seeds, what in (
            ("rank", "small", "rank", 2, "low rank beside pruning"),
            ("units", "small", "units", 2, "filters and neurons, tuned and from scratch"),
            ("tickets", "small", "tickets", 5, "lottery tickets"),
            ("distil", "small", "distil", 5, "distillation with few labels"),
            ("matching", "small", "matching", 1, "function matching against epochs"),
            ("exits", "small", "exits", 3, "early exits of LeNet-300-100"),
            ("exits-5", "small", "exits_5", 2, "early exits of LeNet-5"),
            ("widths", "dynamic", "widths", 5, "several widths in one set of weights"),
            ("recurrent", "dynamic", "recurrent", 2, "a GRU and an LSTM on series, a step at a time"),
            ("skips", "dynamic", "skips", 2, "blocks that an input skips"),
            ("bits", "dynamic", "bits", 1, "binary and ternary weights on all of MNIST"),
            (
                "compared",
                "compared",
                "section",
                2,
                "LeNet-300-100 by every method, at equal bytes and cycles",
            ),
            ("compared-5", "compared", "section_5", 2, "LeNet-5 by every method"),
        )
    ),
    Part("measured", "against numpy and scipy on this machine", "baselines", alone=True),
    Part("speed", "speed of the fast engine on this machine", "engine_speed", alone=True),
)


def named(names: Sequence[str]) -> list[Part]:
    """The parts of these names, each once, in the order of the page; without a name all that are not extra.

    Raises
    ------
    ConfigError : a name that no part has.
    """
    by_name: dict[str, set[str]] = {}
    for part in PARTS:
        for name in (part.key, *part.also):
            by_name.setdefault(name, set()).add(part.key)
    for name in names:
        if name not in by_name:
            raise ConfigError(f"the evaluation has no part {name!r}: use one of {', '.join(by_name)}")
    wanted = {key for name in names for key in by_name[name]}
    return [part for part in PARTS if (part.key in wanted if names else not part.extra)]
