"""EIE array: N processing elements with their SRAMs, the LNZD tree and the CCU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth import Cat, ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib.wiring import Out, Signature

from eie import schema
from eie.config import ArchConfig
from eie.memory import srams
from eie.rtl.block import Declared, Part, is_number, signature
from eie.schema import LNZD_FAN_IN, Kind

SRAM = "eie_sram"


def _offer(cfg: ArchConfig) -> tuple[str, ...]:
    """What a node of the tree or a leaf tells its parent."""
    return ("valid", "exhausted", "row", "pe", "value", *(["value1"] if cfg.group == 2 else []))


def image_name(pe: int, sram: str) -> str:
    """Image file of one PE's memory `sram` (of `eie.memory.srams`)."""
    return f"pe{pe:03d}_{sram}.hex"


def array_signature(cfg: ArchConfig, *, probe: bool = False) -> Signature:
    """Ports of the array, but for clk and rst."""
    members = dict(signature("array", cfg).members)
    if probe:
        members |= {f"probe_pe{k}": Out(schema.probe_width(schema.pe_probe(cfg))) for k in range(cfg.n_pe)}
        members["probe_ccu"] = Out(schema.probe_width(schema.ccu_probe(cfg)))
    return Signature(members)


class EIEArray(Declared):
    """The whole accelerator: the ports of the CCU's I/O port, start, busy and done.

    Latency: see docs/timing.md; io_rdata holds a word in the third cycle of a read.

    Parameters
    ----------
    cfg : sizes of the accelerator.
    probe : add the outputs probe_pe<k> (one per PE) and probe_ccu (CCU and LNZD nodes).
    images : the SRAMs start with the contents of image files (`image_name`).

    Members
    -------
    start, busy, done, current_pass : begin a run; under way; finished; which pass.
    io_write, io_read, io_space, io_pe, io_addr, io_data, io_rdata : the host's I/O port.
    cycles, broadcast_stalls, refill_cycles, writeback_cycles : counters of the run.
    """

    def __init__(self, cfg: ArchConfig, *, probe: bool = False, images: bool = True) -> None:
        self.cfg = cfg
        self.probed = probe
        self.images = images
        super().__init__(array_signature(cfg, probe=probe))

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self.cfg
        ccu = Part("ccu", "ccu", cfg, probe=self.probed)
        pes = [Part("pe", f"pe{k:03d}", cfg, probe=self.probed) for k in range(cfg.n_pe)]
        tree = [
            [Part("lnzd", f"lnzd_{level}_{i}", cfg, probe=self.probed) for i in range(n)]
            for level, n in enumerate(schema.lnzd_nodes(cfg))
        ]
        pairs = [Part("leaf_pair", f"leaf_pair_{i}", cfg, probe=self.probed) for i in range(cfg.leaves)]
        pairs = pairs if cfg.group == 2 else []
        tables = [Part("block_table", name, cfg, probe=self.probed) for name in schema.block_tables(cfg)]
        self._place_ccu(m, ccu, pes, tree[-1], tables)
        self._place_tree(m, ccu, pes, tree, pairs)
        for k, pe in enumerate(pes):
            rdata = self._place_srams(m, k, pe)
            leaf = self._leaf_pop(tree, k // cfg.group)
            pops = [pairs[k // 2].a_pop, pairs[k // 2].b_pop] if pairs else [leaf]
            self._place_pe(m, k, pe, [ccu, *tables], pop=pops[k % cfg.group], rdata=rdata)
        for field in schema.fields("array", cfg):
            if field.kind is Kind.OUT:
                m.d.comb += getattr(self, field.name).eq(getattr(ccu, field.name))
        if self.probed:
            m.d.comb += [getattr(self, f"probe_pe{k}").eq(pe.probe) for k, pe in enumerate(pes)]
            nodes = [node for level in tree for node in level]
            m.d.comb += self.probe_ccu.eq(Cat(ccu.probe, *(part.probe for part in (*nodes, *pairs, *tables))))
        return m

    def _inputs(self) -> dict[str, Value]:
        fields = schema.fields("array", self.cfg)
        return {field.name: getattr(self, field.name) for field in fields if field.kind is Kind.IN}

    def _place_ccu(
        self, m: Module, ccu: Part, pes: list[Part], roots: list[Part], tables: list[Part]
    ) -> None:
        """The CCU, and the block tables of an index-free machine."""
        offers = [{f"root_{name}": getattr(root, name) for name in _offer(self.cfg)} for root in roots]
        inputs = {**self._inputs(), **_side_by_side(offers)}
        for s, (name, table) in enumerate(zip(schema.block_tables(self.cfg), tables, strict=True)):
            own = {**offers[s], "bcast": _bit_of(ccu.bcast, s), "io_write": self._table_write(s)}
            m.submodules[name] = table.instance({**self._inputs(), **ccu.outputs, **own})
        m.submodules.ccu = ccu.instance(
            {
                **inputs,
                **_side_by_side([table.outputs for table in tables]),
                "credits": Cat(pe.credit for pe in pes),
                "busy_pes": Cat(pe.busy for pe in pes),
                "retires": Cat(pe.retire for pe in pes),
                "pe_rdata": Cat(pe.io_rdata for pe in pes),
            }
        )

    def _place_pe(
        self, m: Module, k: int, pe: Part, control: list[Part], *, pop: Value, rdata: dict[str, Value]
    ) -> None:
        ccu, *tables = control
        segment = k // self.cfg.segment_pes
        own = {
            "io_write": ccu.pe_write[k],
            "io_read": ccu.pe_read[k],
            "leaf_pop": pop,
            "number": Const(k % self.cfg.segment_pes, self.cfg.pe_bits),
            "bcast": _bit_of(ccu.bcast, segment),
        }
        bus = tables[segment].outputs if tables else {}
        m.submodules[f"pe{k:03d}"] = pe.instance({**self._inputs(), **ccu.outputs, **bus, **own, **rdata})

    def _place_srams(self, m: Module, k: int, pe: Part) -> dict[str, Value]:
        """The memories beside PE k; returns their outputs by the names of the PE's inputs."""
        outputs: dict[str, Value] = {}
        for sram, (width, depth, addr_bits) in srams(self.cfg).items():
            rdata = outputs[f"{sram}_rdata"] = Signal(width, name=f"pe{k:03d}__{sram}_rdata")
            m.submodules[f"pe{k:03d}_{sram}"] = Instance(
                SRAM,
                ("p", "WIDTH", width),
                ("p", "DEPTH", depth),
                ("p", "ADDR_BITS", addr_bits),
                # An empty text would come out as `.INIT()`, which not every parser takes.
                *([("p", "INIT", image_name(k, sram))] if self.images else []),
                ("i", "clk", ClockSignal()),
                *(("i", port, getattr(pe, f"{sram}_{port}")) for port in ("en", "we", "addr", "wdata")),
                ("o", "rdata", rdata),
            )
        return outputs

    def _place_tree(
        self, m: Module, ccu: Part, pes: list[Part], tree: list[list[Part]], pairs: list[Part]
    ) -> None:
        for i, pair in enumerate(pairs):
            self._place_pair(m, i, pair, *pes[2 * i : 2 * i + 2], node=tree[0][i // LNZD_FAN_IN])
        leaves = self.cfg.leaves
        offers = [self._leaf_offer(k % leaves, part) for k, part in enumerate(pairs or pes)]
        for s in range(self.cfg.segments):
            self._place_nodes(m, ccu, s, tree, offers[s * leaves : (s + 1) * leaves])

    def _place_nodes(
        self, m: Module, ccu: Part, s: int, tree: list[list[Part]], offers: list[dict[str, Value]]
    ) -> None:
        """The tree of segment s, on top of its leaves' offers."""
        mine = [self._of_segment(nodes, s) for nodes in tree]
        for level, nodes in enumerate(mine):
            # Children that do not exist never offer.
            offers = offers + [self._no_offer()] * (LNZD_FAN_IN * len(nodes) - len(offers))
            for i, node in enumerate(nodes):
                top = level + 1 == len(mine)
                above = None if top else mine[level + 1][i // LNZD_FAN_IN]
                pop = _bit_of(ccu.bcast, s) if above is None else above.child_pop[i % LNZD_FAN_IN]
                children = {
                    f"child{c}_{name}": value
                    for c in range(LNZD_FAN_IN)
                    for name, value in offers[LNZD_FAN_IN * i + c].items()
                }
                name = f"lnzd_{level}_{s * len(nodes) + i}"
                m.submodules[name] = node.instance({**ccu.outputs, "pop": pop, **children})
            offers = [{name: getattr(node, name) for name in _offer(self.cfg)} for node in nodes]

    def _of_segment(self, nodes: list[Part], s: int) -> list[Part]:
        """Those of a level's nodes that are in segment s."""
        count = len(nodes) // self.cfg.segments
        return nodes[s * count : (s + 1) * count]

    def _leaf_pop(self, tree: list[list[Part]], leaf: int) -> Value:
        s, number = divmod(leaf, self.cfg.leaves)
        return self._of_segment(tree[0], s)[number // LNZD_FAN_IN].child_pop[number % LNZD_FAN_IN]

    def _table_write(self, s: int) -> Value:
        """The I/O port's strobe at the block table of segment s."""
        if self.cfg.segments == 1:
            return self.io_write
        return self.io_write & is_number(self.io_pe[self.cfg.pe_shift :], s)

    def _place_pair(self, m: Module, i: int, pair: Part, a: Part, b: Part, *, node: Part) -> None:
        leaves = {f"a_{name}": getattr(a, f"leaf_{name}") for name in ("valid", "row", "value")}
        leaves |= {f"b_{name}": getattr(b, f"leaf_{name}") for name in ("valid", "row", "value")}
        m.submodules[f"leaf_pair_{i}"] = pair.instance({**leaves, "pop": node.child_pop[i % LNZD_FAN_IN]})

    def _leaf_offer(self, k: int, pe: Part) -> dict[str, Value]:
        if self.cfg.group == 2:
            offer = {name: getattr(pe, name) for name in ("valid", "row", "value", "value1")}
            return {**offer, "exhausted": ~pe.valid, "pe": Const(k, self.cfg.leaf_bits)}
        return {
            "valid": pe.leaf_valid,
            "exhausted": ~pe.leaf_valid,
            "row": pe.leaf_row,
            "pe": Const(k, self.cfg.pe_bits),
            "value": pe.leaf_value,
        }

    def _no_offer(self) -> dict[str, Value]:
        return {name: Const(int(name == "exhausted")) for name in _offer(self.cfg)}


def _side_by_side(parts: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """Outputs of the same names, those of the first part lowest; of one part as they are."""
    if len(parts) == 1:
        return dict(parts[0])
    return {name: Cat(part[name] for part in parts) for part in parts[:1] for name in part}


def _bit_of(value: Value, number: int) -> Value:
    """A bit of several, or the only one."""
    return value if len(value) == 1 else value[number]
