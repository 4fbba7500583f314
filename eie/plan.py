"""Plans: layers of any size cut into passes that fit a given chip, placed in its memories, gathered into runs.

docs/plan.md says how; `make_plan` is the entry, `eie.plan_program` is what the host does for a plan.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from eie.capacity import pointers_of
from eie.config import ArchConfig
from eie.cuts import MATRIX, POINTERS, Cut, cut_layer
from eie.errors import ConfigError, LayerError
from eie.layer import CompressedLayer
from eie.memory import PassEntry
from eie.program import check_entries
from eie.schema import WbTarget
from eie.shown import counted, table

# What ended a run, beside the memories of `eie.cuts`.
BIASES, ACTIVATIONS, TABLE, CODEBOOKS = "activation SRAM", "activations", "pass table", "codebooks"
EXIT = "early exit"


class Source(enum.Enum):
    """Where a layer's activations come from."""

    CHAIN = "the pass before wrote them into the source file"
    FILE = "the host writes them into the source file"
    SRAM = "refilled from the activation SRAM"


class Target(enum.Enum):
    """Where a layer's results go."""

    CHAIN = "into the source file of the next pass"
    ACC = "the host reads the accumulators"
    SRAM = "into the activation SRAM"


@dataclass(frozen=True)
class Place:
    """Where a layer's activations are. hosted : the SRAM cannot hold them. in_base, out_base : in the SRAM."""

    source: Source
    target: Target
    hosted: bool = False
    in_base: int = 0
    out_base: int = 0


@dataclass(frozen=True)
class Step:
    """A cut with its place: its entry of the pass table, and what the host does around it.

    number : of the entry. group : weights of one load group stand in the memories together; group_bound : the memory
    that ended the group before it (empty: it is the first). bias_group : likewise of biases.
    The host writes the batch's activations into the source file before a step whose place has Source.FILE, the tile's
    biases into the accumulators before the first batch of a hosted layer, and reads the accumulators after the last
    batch of a tile with Target.ACC.
    """

    cut: Cut
    place: Place
    group: int
    group_bound: str
    bias_group: int
    number: int
    entry: PassEntry

    @property
    def needs_host(self) -> bool:
        """Whether the host must write register files before it."""
        return self.place.source is Source.FILE or self.writes_biases

    @property
    def writes_biases(self) -> bool:
        """Whether the host writes its biases into the accumulators."""
        return self.place.hosted and self.cut.first

    @property
    def is_read(self) -> bool:
        """Whether the host reads the accumulators after it."""
        return self.cut.last and self.place.target is Target.ACC

    def ends(self, layer: CompressedLayer) -> bool:
        """Whether it is the last one of `layer`."""
        return self.cut.last and self.cut.row + self.cut.part.rows == layer.rows


@dataclass(frozen=True)
class Run:
    """Steps between which the host does nothing. bound : what ended the run before it (empty: it is the first)."""

    steps: tuple[Step, ...]
    bound: str

    @property
    def group(self) -> int:
        """Its load group."""
        return self.steps[0].group

    @property
    def bias_group(self) -> int:
        """Its load group of biases."""
        return self.steps[0].bias_group


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """A network on a chip.

    places : of each layer's activations. runs : in order. groups : load groups; with one, weights are loaded once and
    stay (resident), as do biases with one bias group. keeps_table : pass table and codebooks hold the whole network,
    and are written once. activation_words : of the activation SRAM for activations; biases stand behind them.

    Examples
    --------
    >>> layer = CompressedLayer.from_codes([[1] * 40] * 8, [0, 3])
    >>> make_plan([layer], ArchConfig(n_pe=1, pointers=16))
    Plan(1 layer on 1 PE: 3 passes in 3 runs, weights loaded for every input)
    """

    layers: tuple[CompressedLayer, ...]
    cfg: ArchConfig
    places: tuple[Place, ...]
    runs: tuple[Run, ...]
    groups: int
    bias_groups: int
    keeps_table: bool
    activation_words: int

    def __repr__(self) -> str:
        return (
            f"Plan({counted(len(self.layers), 'layer')} on {self._passes}, "
            f"weights {'stay' if self.resident else 'loaded for every input'})"
        )

    def _repr_html_(self) -> str:
        rows = [
            (layer.name, f"{layer.rows} x {layer.cols}", sum(step.cut.layer == number for step in self.steps))
            for number, layer in enumerate(self.layers)
        ]
        return table(self._passes, rows, ("layer", "outputs x inputs", "passes"))

    @property
    def _passes(self) -> str:
        where, passes = counted(self.cfg.n_pe, "PE"), counted(len(self.steps), "pass")
        return f"{where}: {passes} in {counted(len(self.runs), 'run')}"

    @cached_property
    def takes(self) -> list[int]:
        """Which vector each layer takes: 0 is the input, i + 1 what layer i gives."""
        return takes_of(self.layers)

    def gives_answer(self, step: Step) -> bool:
        """Whether with this step an answer is whole: of an early exit, or of the network."""
        layer = self.layers[step.cut.layer]
        return step.ends(layer) and (layer.exit or step.cut.layer + 1 == len(self.layers))

    @property
    def resident(self) -> bool:
        """Whether weights are loaded once for all inputs."""
        return self.groups == 1

    @property
    def keeps_biases(self) -> bool:
        """Whether biases are loaded once for all inputs (but for those that the host writes into accumulators)."""
        return self.bias_groups == 1

    @property
    def steps(self) -> list[Step]:
        """All steps in order."""
        return [step for run in self.runs for step in run.steps]


def takes_of(layers: Sequence[CompressedLayer]) -> list[int]:
    """Which vector each layer takes: 0 is the input, i + 1 what layer i gives; nothing takes what an exit gives."""
    takes, latest = [], 0
    for number, layer in enumerate(layers):
        takes.append(latest)
        latest = latest if layer.exit else number + 1
    return takes


def make_plan(layers: Sequence[CompressedLayer], cfg: ArchConfig, *, exits: bool = False) -> Plan:
    """Plan a chain of layers on a chip; `docs/plan.md` has the rules.

    Parameters
    ----------
    layers : each takes what the one before it gives; of any size.
    cfg : the chip; a layer that does not fit it is cut into passes.
    exits : the layers may have early exits among them (docs/learn.md); a run ends behind each.

    Raises
    ------
    ConfigError : a machine in segments.
    LayerError : layers that do not follow on one another, or convolutions (each of them is planned by itself).
    CapacityError : no plan exists.

    Examples
    --------
    >>> layer = CompressedLayer.from_codes([[1] * 40] * 8, [0, 3])
    >>> plan = make_plan([layer], ArchConfig(n_pe=1, pointers=16))
    >>> len(plan.steps), plan.resident
    (3, False)
    """
    if cfg.segments > 1:
        raise ConfigError(
            f"segments ({cfg.segments}) have no plan: the outputs of a layer do not lie as the inputs of the next one; "
            "use segments=1, or run the layers one by one (eie run)"
        )
    _check_chain(layers, cfg, exits)
    cuts = [cut_layer(layer, cfg, number) for number, layer in enumerate(layers)]
    places, activation_words = _place(layers, cuts, cfg)
    books = _codebooks(layers)
    total = sum(len(of_layer) for of_layer in cuts)
    keeps_table = total <= cfg.passes and len(set(books)) <= cfg.codebooks
    steps = list(_steps(cuts, places, books, activation_words, cfg))
    runs = tuple(_runs(steps, layers, cfg, keeps_table))
    return Plan(
        layers=tuple(layers),
        cfg=cfg,
        places=tuple(places),
        runs=runs,
        groups=steps[-1].group + 1,
        bias_groups=steps[-1].bias_group + 1,
        keeps_table=keeps_table,
        activation_words=activation_words,
    )


def _check_chain(layers: Sequence[CompressedLayer], cfg: ArchConfig, exits: bool) -> None:
    if not layers:
        raise LayerError("a plan needs at least one layer")
    for layer in layers:
        if layer.exit and not exits:
            kind = "a gate" if layer.outputs == 1 else "an early exit"
            raise LayerError(f"layer {layer.name!r} is {kind}: no plan holds a layer that may not run")
        check_entries(layer, cfg)
        if layer.row_scale is not None:
            raise LayerError(
                f"layer {layer.name!r} {'adds instead of multiplying' if layer.adder else 'scales its rows'}: plans "
                "hold products alone, run the network layer by layer (eie run)"
            )
        if layer.conv is not None and len(layers) > 1:
            raise LayerError(f"layer {layer.name!r} is a convolution: plan it by itself")
    for after, taken in zip(layers[1:], takes_of(layers)[1:], strict=True):
        if not taken:
            raise LayerError(
                f"layer {layers[0].name!r} is an early exit with no layer of the network before it"
            )
        before = layers[taken - 1]
        if before.rows != after.cols:
            raise LayerError(
                f"layer {after.name!r} takes {after.cols} activations, but {before.name!r} gives {before.rows}: "
                "plan layers that do not follow on one another by themselves"
            )


def _codebooks(layers: Sequence[CompressedLayer]) -> list[int]:
    """Number of each layer's codebook; equal ones share a number."""
    known: dict[bytes, int] = {}
    return [known.setdefault(layer.codebook.tobytes(), len(known)) for layer in layers]


def _place(
    layers: Sequence[CompressedLayer], cuts: list[list[Cut]], cfg: ArchConfig
) -> tuple[list[Place], int]:
    """Where each layer's activations are, and the words of the activation SRAM that they take."""
    numbers = range(len(layers))
    takes = takes_of(layers)
    takers = [[i for i in numbers if takes[i] == number + 1] for number in numbers]
    tiles = [sum(cut.first for cut in of_layer) for of_layer in cuts]
    # What an exit takes as well has to stay when the exit is done.
    direct = [
        len(cuts[i]) == 1 and (not takes[i] or (tiles[takes[i] - 1] == 1 and takers[takes[i] - 1] == [i]))
        for i in numbers
    ]
    bias = max(per_pe(cut.part.rows, cfg) for of_layer in cuts for cut in of_layer)
    # Beside the activations, biases must fit; where not even those of one tile do, the host writes them.
    hosted = [bias > cfg.act_words] * len(layers)
    while True:
        spans = [_sram_words(i, layers, takers[i], direct, tiles, hosted, cfg) for i in numbers]
        widest = max(numbers, key=lambda i: sum(spans[i]))
        words = sum(spans[widest])
        if not words or words + bias <= cfg.act_words:
            break
        hosted[widest] = True
    places, depth = [], 0
    for i in numbers:
        from_pass = takes[i] > 0 and not hosted[takes[i] - 1]
        if hosted[i]:
            source, target = Source.FILE, Target.ACC
        else:
            source = Source.SRAM if not direct[i] else Source.CHAIN if from_pass else Source.FILE
            to_host = any(hosted[taker] for taker in takers[i]) if takers[i] else tiles[i] == 1
            chained = any(direct[taker] for taker in takers[i])
            target = Target.ACC if to_host else Target.CHAIN if chained else Target.SRAM
        # Inputs at one end of the words, outputs at the other, in turn: a layer's inputs are where they were put. An
        # exit has both where the layer behind it has them.
        bases = (0, words - per_pe(layers[i].cols, cfg)), (words - per_pe(layers[i].rows, cfg), 0)
        places.append(
            Place(
                source,
                target,
                hosted[i],
                in_base=bases[0][depth % 2] if source is Source.SRAM else 0,
                out_base=bases[1][depth % 2] if target is Target.SRAM else 0,
            )
        )
        depth += not layers[i].exit
    return places, words


def _sram_words(
    i: int,
    layers: Sequence[CompressedLayer],
    takers: list[int],
    direct: list[bool],
    tiles: list[int],
    hosted: list[bool],
    cfg: ArchConfig,
) -> tuple[int, int]:
    """Words of the activation SRAM for layer i's inputs and outputs, which `takers` take."""
    if hosted[i]:
        return 0, 0
    keeps_outputs = not any(direct[taker] or hosted[taker] for taker in takers) if takers else tiles[i] > 1
    return (
        0 if direct[i] else per_pe(layers[i].cols, cfg),
        per_pe(layers[i].rows, cfg) if keeps_outputs else 0,
    )


def per_pe(count: int, cfg: ArchConfig) -> int:
    """Words that `count` interleaved numbers take in each PE."""
    return -(-count // cfg.n_pe)


def _steps(
    cuts: list[list[Cut]], places: list[Place], books: list[int], activation_words: int, cfg: ArchConfig
) -> Iterator[Step]:
    """Every cut with its places in the memories; a new load group begins where one of them is full."""
    group = bias_group = words = pointers = biases = 0
    bound = ""
    for number, cut in enumerate(itertools.chain.from_iterable(cuts)):
        place = places[cut.layer]
        rows = per_pe(cut.part.rows, cfg)
        bias = rows if cut.first and not place.hosted else 0
        full = {
            MATRIX: words + cut.words > cfg.spmat_words,
            POINTERS: pointers + pointers_of(cut.interleaved, cfg) > cfg.pointer_room,
        }
        if any(full.values()):
            group, words, pointers = group + 1, 0, 0
            bound = next(memory for memory, is_full in full.items() if is_full)
        if activation_words + biases + bias > cfg.act_words:
            bias_group, biases = bias_group + 1, 0
        registers = {"ptr_base": pointers, "codebook": books[cut.layer]}
        if cut.words:
            registers["spmat_base"] = words
        if cut.last:
            registers |= _write_back(cut, place, rows, cfg)
        if bias:
            registers |= {"acc_rows": rows, "acc_base": activation_words + biases}
        if place.source is Source.SRAM:
            registers |= {
                "src_rows": per_pe(cut.part.cols, cfg),
                "src_base": place.in_base + cut.col // cfg.n_pe,
            }
        yield Step(cut, place, group, bound, bias_group, number, PassEntry.of_layer(cut.part, **registers))
        words, biases = words + cut.words, biases + bias
        pointers += pointers_of(cut.interleaved, cfg)


def _write_back(cut: Cut, place: Place, rows: int, cfg: ArchConfig) -> dict[str, int]:
    if place.target is Target.SRAM:
        base = place.out_base + cut.row // cfg.n_pe
        return {"wb_rows": rows, "wb_target": WbTarget.ACT_SRAM, "wb_base": base}
    return {"wb_rows": rows, "wb_target": WbTarget.SRC if place.target is Target.CHAIN else 0}


def _runs(
    steps: Sequence[Step], layers: Sequence[CompressedLayer], cfg: ArchConfig, keeps_table: bool
) -> Iterator[Run]:
    """Steps gathered into runs; where table and codebooks do not hold the network, numbered anew in each."""
    begin, bound = 0, ""
    books: dict[int, int] = {}
    for i, step in enumerate(steps):
        why = _break(steps[i - 1], step, layers) if i else ""
        if not why and not keeps_table:
            if i - begin == cfg.passes:
                why = TABLE
            elif step.entry.codebook not in books and len(books) == cfg.codebooks:
                why = CODEBOOKS
        if why:
            yield Run(_numbered(steps[begin:i], books, keeps_table), bound)
            begin, bound, books = i, why, {}
        books.setdefault(step.entry.codebook, len(books))
    yield Run(_numbered(steps[begin:], books, keeps_table), bound)


def _break(before: Step, step: Step, layers: Sequence[CompressedLayer]) -> str:
    """Why a step does not run right after the one before it."""
    layer = layers[before.cut.layer]
    if layer.exit and before.ends(layer):
        return EXIT
    if step.group != before.group:
        return step.group_bound
    if step.bias_group != before.bias_group:
        return BIASES
    if step.needs_host or before.is_read:
        return ACTIVATIONS
    return ""


def _numbered(steps: Sequence[Step], books: Mapping[int, int], keeps_table: bool) -> tuple[Step, ...]:
    if keeps_table:
        return tuple(steps)
    return tuple(
        replace(step, number=i, entry=replace(step.entry, codebook=books[step.entry.codebook]))
        for i, step in enumerate(steps)
    )
