"""The array: CCU, LNZD tree, PEs and their SRAMs, and the glue between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain

from eie import schema
from eie.config import ArchConfig
from eie.golden.base import Block
from eie.golden.block_table import BlockTable
from eie.golden.ccu import Ccu
from eie.golden.leaf_pair import LeafPair
from eie.golden.lnzd import Lnzd
from eie.golden.pe import PE, Visit
from eie.golden.sram import Sram
from eie.memory import PeImage, Write, srams
from eie.schema import (
    LNZD_FAN_IN,
    IoSpace,
    Kind,
    Offer,
    Piece,
    Wire,
    block_tables,
    ccu_probe,
    lnzd_nodes,
    pack,
    pe_probe,
    pieces_of,
    probe_octets,
)


class Tile(PE):
    """A PE and the SRAMs beside it: srams, by name; spmat_sram, act_sram, and ptr_srams in the order of `ptr_ports`."""

    def __init__(self, cfg: ArchConfig, inputs: Mapping[str, Wire], first: PE | None = None) -> None:
        self.srams = {name: Sram(size.depth, size.width) for name, size in srams(cfg).items()}
        self.spmat_sram, *self.ptr_srams, self.act_sram = self.srams.values()
        super().__init__(
            cfg, {**inputs, **{f"{name}_rdata": sram.rdata for name, sram in self.srams.items()}}, first
        )
        ports = (self.spmat_port, *self.ptr_ports, self.act_port)
        for sram, port in zip(self.srams.values(), ports, strict=True):
            sram.connect(port)
            self.state_visits.append(sram.next_state)
            self.memory_visits.append(sram.write_memory)
            self.registers.append(sram.rdata)

    def load_image(self, image: PeImage) -> None:
        """Initialise the SRAMs, as $readmemh does."""
        for name, words in image.srams(self.cfg).items():
            self.srams[name].load(words)

    def load(self, write: Write) -> None:
        """Put a word into one of the memories between two cycles, as if the I/O port had written it."""
        space, _, addr, data = write
        if space == IoSpace.SPMAT:
            self.spmat_sram.memory[addr] = data
        elif space == IoSpace.PTR:
            banks = len(self.ptr_srams)
            self.ptr_srams[addr % banks].memory[addr // banks] = data
        elif space == IoSpace.CODEBOOK:
            self.arithm_unit.write_code(addr, data)
        elif space == IoSpace.ACC:
            self.act_rw.write_acc(addr, data)
        elif space == IoSpace.ACT:
            self.act_rw.load_act(addr, data)
        elif space == IoSpace.ACT_SRAM:
            self.act_sram.memory[addr] = data


class Array(schema.Array):
    """The whole accelerator behind its I/O port.

    Members: pes (`Tile`s), pairs (`LeafPair`s, of columns broadcast in pairs), nodes[level][i] of the LNZD tree (the
    leaves' parents first; of segments one tree behind the other), ccu, tables (`BlockTable`s of an index-free machine,
    one for each segment), bcasts (the broadcast of each segment).
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        inputs = self.signals(Kind.IN)
        self.ccu = Ccu(cfg)
        # The root is connected below; the PEs' status and data come from the glue, and so does what segments say.
        self.ccu.connect(self.ccu.signals() | inputs)
        self.tables = [BlockTable(cfg) for _ in block_tables(cfg)]
        self.bcasts = [Wire() for _ in range(cfg.segments)]
        # The PEs take the CCU's rows without their top bit, which is set only after the last row.
        self.wb_row, self.rf_row = Wire(cfg.acc_addr_bits), Wire(cfg.file_addr_bits)
        self.wb_row_mask, self.rf_row_mask = self.wb_row.mask, self.rf_row.mask
        outputs = self.ccu.signals(Kind.OUT, Kind.OUT_REG)
        signals = inputs | outputs | {"wb_row": self.wb_row, "rf_row": self.rf_row}
        first = Tile(cfg, signals | self._of_segment(0))
        others = (k // cfg.segment_pes for k in range(1, cfg.n_pe))
        self.pes = [first, *(Tile(cfg, signals | self._of_segment(s), first) for s in others)]
        in_pairs = range(0, cfg.n_pe, 2) if cfg.group == 2 else ()
        self.pairs = [self._pair(*self.pes[k : k + 2]) for k in in_pairs]
        for k, pe in enumerate(self.pes):
            pe.number.value = k % cfg.segment_pes
        # Whether the PEs' strobes may be other than 0.
        self.strobed = True
        self.credits = _bits(pe.credit for pe in self.pes)
        self.busy_pes = _bits(pe.busy for pe in self.pes)
        self.retires = _bits(pe.retire for pe in self.pes)
        self.nodes = self._tree()
        self.roots = self.nodes[-1]
        for bcast, root in zip(self.bcasts, self.roots, strict=True):
            root.pop = bcast
        if not self.tables:
            _take(self.ccu.root, self.roots[0])
        for table, bcast, root in zip(self.tables, self.bcasts, self.roots, strict=False):
            offer = {f"root_{name}": root.signal(name) for name in ("valid", "row", "pe", "value")}
            table.connect(inputs | outputs | offer | {"bcast": bcast, "io_write": Wire()})
        self.connect(outputs, Kind.OUT)
        self.control_pieces: list[Piece] | None = None
        self.visits = self._in_dependency_order()
        blocks: list[Block] = [
            self.ccu,
            *chain.from_iterable(self.nodes),
            *self.pairs,
            *self.tables,
            *self.pes,
        ]
        self.registers = [register for block in blocks for register in block.registers]
        self.memory_visits: list[Visit] = [self.ccu.write_memories]
        self.memory_visits += [table.write_memories for table in self.tables]
        self.memory_visits += [visit for pe in self.pes for visit in pe.memory_visits]

    # ---- structure -----------------------------------------------------------------------------------------

    def _of_segment(self, s: int) -> dict[str, Wire]:
        """Inputs of a PE that are not the CCU's: its own, and the broadcast of its segment."""
        own = {name: Wire() for name in ("io_write", "io_read", "leaf_pop", "number")}
        bus = self.tables[s].signals(Kind.OUT) if self.tables else {}
        return own | bus | {"bcast": self.bcasts[s]}

    def _tree(self) -> list[list[Lnzd]]:
        # Each node with the pops of its children.
        self.child_pops: dict[Lnzd, list[Wire]] = {}
        self.leaves: list[Offer] = []
        levels: list[list[Lnzd]] = [[] for _ in lnzd_nodes(self.cfg)]
        leaves: Sequence[_Child] = self.pairs or self.pes
        for s in range(self.cfg.segments):
            below = leaves[s * self.cfg.leaves : (s + 1) * self.cfg.leaves]
            for level in levels:
                parts = range(0, len(below), LNZD_FAN_IN)
                nodes = [self._node(below[i : i + LNZD_FAN_IN]) for i in parts]
                below = nodes
                if level is levels[0]:
                    mine = [child for node in nodes for child in node.children][: self.cfg.leaves]
                    for k, leaf in enumerate(mine):
                        leaf.pe.value = k
                    self.leaves += mine
                level += nodes
        return levels

    def _pair(self, a: Tile, b: Tile) -> LeafPair:
        """The leaf of two PEs."""
        pair = LeafPair(self.cfg)
        pair.a_valid, pair.a_row, pair.a_value = a.leaf_valid, a.leaf_row, a.leaf_value
        pair.b_valid, pair.b_row, pair.b_value = b.leaf_valid, b.leaf_row, b.leaf_value
        pair.a_pop, pair.b_pop = a.leaf_pop, b.leaf_pop
        return pair

    def _node(self, below: Sequence[_Child]) -> Lnzd:
        """A node with these children; children that do not exist are exhausted."""
        node = Lnzd(self.cfg)
        node.begin_pass, node.compute = self.ccu.begin_pass, self.ccu.compute
        for child, source in zip(node.children, below, strict=False):
            _take(child, source)
        for child in node.children[len(below) :]:
            child.exhausted.value = 1
        self.child_pops[node] = [n.leaf_pop if isinstance(n, Tile) else n.pop for n in below]
        return node

    def _in_dependency_order(self) -> list[Visit]:
        """Every block and the glue, in an order in which nothing reads an output before it is computed."""
        visits: list[Visit] = [visit for pe in self.pes for visit in pe.credit_visits]
        visits += [self.gather_credits]
        # The table's `nearby` needs the pass's base, and the broadcast needs `nearby`.
        visits += [self.ccu.look_up, *(table.outputs for table in self.tables)] if self.tables else []
        visits += [self.gather_segments] if self.tables else []
        visits += [self.ccu.outputs, self.distribute]
        visits += [visit for pe in self.pes for visit in pe.output_visits]
        visits += [pair.offer for pair in self.pairs]
        visits += [self.exhaust_leaves]
        for node in chain.from_iterable(reversed(self.nodes)):
            visits += [node.outputs, partial(self.pop_children, node)]
        visits += [pair.hand_down for pair in self.pairs]
        visits += [self.gather_status]
        visits += [visit for pe in self.pes for visit in pe.state_visits]
        visits += [table.next_state for table in self.tables]
        visits += [self.ccu.next_state, *(node.next_state for node in chain.from_iterable(self.nodes))]
        return visits

    # ---- glue ----------------------------------------------------------------------------------------------

    def gather_credits(self) -> None:
        """PEs to CCU: a bit for each PE that has credit."""
        self.ccu.credits.value = _word(self.credits)

    def gather_segments(self) -> None:
        """Roots and block tables to CCU: a bit, or a word, for each segment; the tables' strobes."""
        ccu, octets = self.ccu, self.cfg.io_data_bits // 8
        ccu.root.valid.value = _word(_bits([root.valid for root in self.roots]))
        ccu.root.exhausted.value = _word(_bits([root.exhausted for root in self.roots]))
        ccu.nearby.value = _word(_bits([table.nearby for table in self.tables]))
        words = [table.block_rdata.value.to_bytes(octets, "little") for table in self.tables]
        ccu.block_rdata.value = int.from_bytes(b"".join(words), "little")
        segment = (self.io_pe.value & self.cfg.n_pe - 1) // self.cfg.segment_pes
        for s, table in enumerate(self.tables):
            table.io_write.value = self.io_write.value and s == segment

    def distribute(self) -> None:
        """CCU to PEs: each segment's bit of the broadcast, each PE's of the strobes; rows of write-back and refill."""
        for s, bcast in enumerate(self.bcasts):
            bcast.value = self.ccu.bcast.value >> s & 1
        write, read = self.ccu.pe_write.value, self.ccu.pe_read.value
        self.wb_row.value = self.ccu.wb_row.value & self.wb_row_mask
        self.rf_row.value = self.ccu.rf_row.value & self.rf_row_mask
        strobed, self.strobed = self.strobed, bool(write or read)
        if strobed or self.strobed:
            for k, pe in enumerate(self.pes):
                pe.io_write.value = write >> k & 1
                pe.io_read.value = read >> k & 1

    def exhaust_leaves(self) -> None:
        """PEs to tree: a leaf is exhausted when it does not offer."""
        for leaf in self.leaves:
            leaf.exhausted.value = not leaf.valid.value

    def pop_children(self, node: Lnzd) -> None:
        """A node to its children: each child's bit of child_pop."""
        for c, pop in enumerate(self.child_pops[node]):
            pop.value = node.child_pop.value >> c & 1

    def gather_status(self) -> None:
        """PEs to CCU: a bit for each PE that is busy, or that retires an entry, and all read data."""
        ccu = self.ccu
        ccu.busy_pes.value = _word(self.busy_pes)
        ccu.retires.value = _word(self.retires)
        words = [pe.io_rdata.value for pe in self.pes]
        octets = self.cfg.io_data_bits // 8
        # Nearly always 0 while the array computes.
        parts = [word.to_bytes(octets, "little") for word in words] if any(words) else []
        ccu.pe_rdata.value = int.from_bytes(b"".join(parts), "little")

    # ---- the clock cycle -----------------------------------------------------------------------------------

    def propagate(self) -> None:
        """Visit every block and the glue once, in dependency order."""
        for visit in self.visits:
            visit()

    def write_memories(self) -> None:
        """The pass table, and all memories of all PEs."""
        for visit in self.memory_visits:
            visit()

    def reset(self) -> None:
        """One clock edge with `rst`: registers but the SRAMs' outputs become 0; memories are written."""
        outputs = [sram.rdata for pe in self.pes for sram in pe.srams.values()]
        kept = [register.next for register in outputs]
        self.write_memories()
        for register in self.registers:
            register.value = register.next = 0
        for register, value in zip(outputs, kept, strict=True):
            register.value = register.next = value

    # ---- memories ------------------------------------------------------------------------------------------

    def load_images(self, images: list[PeImage]) -> None:
        """Initialise every PE's SRAMs, as $readmemh does in the RTL."""
        for pe, image in zip(self.pes, images, strict=True):
            pe.load_image(image)

    def load(self, write: Write) -> None:
        """Do what a write through the I/O port does, between two cycles."""
        if write.space in (IoSpace.CONFIG, IoSpace.CONTROL):
            self.ccu.load(write.space, write.addr, write.data)
        elif self.tables and write.space == IoSpace.PTR:
            self.tables[write.pe // self.cfg.segment_pes].write_field(write.addr, write.data)
        else:
            for pe in self.pes if write.space == IoSpace.CODEBOOK else [self.pes[write.pe]]:
                pe.load(write)

    # ---- the probe -----------------------------------------------------------------------------------------

    def probe_pe(self, k: int) -> int:
        """PE k's probed fields, packed as `eie.schema.pe_probe`; valid between propagate and update."""
        return self.pes[k].probe()

    def probe_ccu(self) -> int:
        """The CCU's and the tree's probed fields, packed as `eie.schema.ccu_probe`."""
        if self.control_pieces is None:
            self.control_pieces = self._control_layout()
        return pack(self.control_pieces)

    def probe_all(self) -> bytes:
        """The words of every PE, then the CCU's, each as `eie.schema.probe_octets` bytes, lowest first."""
        pe, ccu = probe_octets(pe_probe(self.cfg)), probe_octets(ccu_probe(self.cfg))
        words = [tile.probe().to_bytes(pe, "little") for tile in self.pes]
        return b"".join(words) + self.probe_ccu().to_bytes(ccu, "little")

    def _control_layout(self) -> list[Piece]:
        instances: dict[str, Block] = {"ccu": self.ccu}
        for level, nodes in enumerate(self.nodes):
            instances |= {f"lnzd_{level}_{i}": node for i, node in enumerate(nodes)}
        instances |= {f"leaf_pair_{i}": pair for i, pair in enumerate(self.pairs)}
        instances |= dict(zip(block_tables(self.cfg), self.tables, strict=True))
        return pieces_of(ccu_probe(self.cfg), instances)


_Child = Tile | LeafPair | Lnzd


def _take(offer: Offer, source: _Child) -> None:
    """Let a parent see what a leaf or a node offers. Of a leaf the array sets `pe` and `exhausted`."""
    if isinstance(source, Tile):
        offer.valid, offer.row, offer.value = source.leaf_valid, source.leaf_row, source.leaf_value
        return
    offer.valid, offer.row, offer.value = source.valid, source.row, source.value
    if source.value1.width:
        offer.value1 = source.value1
    if isinstance(source, Lnzd):
        offer.exhausted, offer.pe = source.exhausted, source.pe


def _bits(signals: Iterable[Wire]) -> list[tuple[Wire, int]]:
    """Signals of one bit, and the place of each in a word, the first in the lowest bit."""
    return [(signal, 1 << k) for k, signal in enumerate(signals)]


def _word(bits: list[tuple[Wire, int]]) -> int:
    """The word that `_bits` describes."""
    word = 0
    for signal, bit in bits:
        if signal.value:
            word |= bit
    return word
