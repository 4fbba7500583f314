"""PE: a processing element, the five blocks wired together."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Signal, Value

from eie import schema
from eie.rtl.block import Block, Part, any_of, is_number, resize
from eie.schema import IoSpace, Kind

# Of the pass's configuration, what comes a cycle later: nothing of the pass has come so far that it is needed sooner,
# and the pass table with its fan-out is not in the same cycle as shift and sum.
LATE = ("product_shift", "relu", "output_shift", "wb_target")


class PE(Block):
    """One processing element without its four SRAMs, which stand beside it.

    Latency: a column pushed in one cycle starts two cycles later at the earliest; its last entry is in stage 4 (retire)
    four cycles after its issue.

    Parameters
    ----------
    cfg : see `Block`.
    probe : add the output `probe`, those of the five blocks side by side.

    Members
    -------
    bcast, push, push_col, push_value, credit : the broadcast, see `ActQueue`; index-free see `RunRows`.
    clear, begin_pass, compute : the run begins, the pass begins, compute mode.
    leaf_valid, leaf_row, leaf_value, leaf_pop : the leaf of the LNZD tree, see `ActRW`.
    product_shift, codebook, spmat_base, relu, output_shift : the pass's configuration.
    rf_*, wb_* : refill from the activation SRAM and write-back, see `ActRW`.
    io_write, io_read, io_space, io_addr, io_data, io_rdata : the I/O port.
    even_* and odd_* or ptr_*, spmat_*, act_* : the SRAMs.
    busy : a column waits or is under way.
    retire : a token is in stage 4.
    """

    name = "pe"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts = {name: Part(name, name, self.cfg, probe=self.probed) for name in schema.PE_BLOCKS}
        self._connect(m, parts)
        self._read(m, parts)
        queue, spmat, arithm = parts["act_queue"], parts["spmat_read"], parts["arithm_unit"]
        reading = [spmat.active, spmat.tok_valid] if self.cfg.walks else [spmat.unfinished]
        # Further lanes have nothing when the first has none.
        if self.cfg.lookup_register:
            reading.append(arithm.s1_valid)
        stages = Cat(*reading, arithm.s2_valid, arithm.s3_valid, arithm.s4_valid)
        dropped = parts["ptr_read"].drop if self.cfg.filter_empty else None
        m.d.comb += [
            self.busy.eq(queue.occupancy.any() | stages.any()),
            self.retire.eq(arithm.s4_valid if dropped is None else arithm.s4_valid | dropped),
        ]
        if self.probed:
            m.d.comb += self.probe.eq(Cat(part.probe for part in parts.values()))
        return m

    def _connect(self, m: Module, parts: dict[str, Part]) -> None:
        """Connect every input of a block, and every output of the PE, to the signal of the same name."""
        ports = schema.fields("pe", self.cfg)
        signals = {field.name: getattr(self, field.name) for field in ports if field.kind is Kind.IN}
        for part in parts.values():
            signals |= part.outputs
        signals |= {name: self._later(m, name) for name in LATE}
        if not self.cfg.index_free:
            signals |= {"ptr_valid": signals["valid"], "ptr_value": signals["value"]}
        # The run that the window takes: the queue's head, or what was read for it.
        for field in ("valid", "start", "count", "count1", "row", "value", "value1"):
            read = f"p_{field}" if field.startswith(("start", "count")) else field
            source = f"head_{field}" if self.cfg.filter_empty else read
            if source in signals:
                signals[f"run_{field}"] = signals[source]
        for name, part in parts.items():
            own = self._strobes(name) | (self._written(signals) if name == "act_rw" else {})
            m.submodules[name] = part.instance(signals | own)
        for port in ports:
            if port.kind is Kind.OUT and port.name in signals:
                m.d.comb += getattr(self, port.name).eq(signals[port.name])

    def _written(self, signals: dict[str, Value]) -> dict[str, Value]:
        """What further lanes write to the accumulators: 0 while they write nothing.

        The register of a sum, from which the next one is made, so does not drive every accumulator as well.
        """
        prefixes = [f"lane{lane}_" for lane in range(1, self.cfg.issue)]
        return {
            f"{prefix}s4_sum": Mux(signals[f"{prefix}s4_write"], signals[f"{prefix}s4_sum"], 0)
            for prefix in prefixes
        }

    def _later(self, m: Module, name: str) -> Signal:
        """An input, a cycle later."""
        signal: Signal = getattr(self, name)
        later = Signal(signal.shape(), name=f"{name}_late")
        m.d.sync += later.eq(signal)
        return later

    def _strobes(self, block: str) -> dict[str, Value]:
        """A block's I/O strobes: those of the PE, in the block's space."""

        def of(strobe: Value, space: IoSpace) -> Value:
            return strobe & is_number(self.io_space, space)

        if block == "act_rw":
            return {
                "io_write_acc": of(self.io_write, IoSpace.ACC),
                "io_write_act": of(self.io_write, IoSpace.ACT),
                "io_write_sram": of(self.io_write, IoSpace.ACT_SRAM),
                "io_read_sram": of(self.io_read, IoSpace.ACT_SRAM),
            }
        spaces = {"ptr_read": IoSpace.PTR, "spmat_read": IoSpace.SPMAT, "arithm_unit": IoSpace.CODEBOOK}
        if block not in spaces or (block == "ptr_read" and self.cfg.index_free):
            return {}
        return {"io_write": of(self.io_write, spaces[block]), "io_read": of(self.io_read, spaces[block])}

    def _sram_words(self) -> list[tuple[Value, Value]]:
        """What the I/O port reads of SRAMs: when, and which word."""

        def of(space: IoSpace) -> Value:
            return is_number(self.io_space, space)

        found = [(of(IoSpace.SPMAT), self.spmat_rdata), (of(IoSpace.ACT_SRAM), self.act_rdata.as_signed())]
        if self.cfg.index_free:
            return found
        if self.cfg.group > 1:
            return [*found, (of(IoSpace.PTR), self.ptr_rdata)]
        odd = self.io_addr[0]
        return [
            *found,
            (of(IoSpace.PTR) & odd, self.odd_rdata),
            (of(IoSpace.PTR) & ~odd, self.even_rdata),
        ]

    def _read(self, m: Module, parts: dict[str, Part]) -> None:
        """The word for the I/O port: of an SRAM as it comes, of registers and register files from a register.

        The host holds the address for two cycles, because an SRAM takes one.
        """
        outputs = {name: signal for part in parts.values() for name, signal in part.outputs.items()}
        counters = schema.pe_counters(self.cfg)
        number = self.io_addr[: (len(counters) - 1).bit_length()]
        counts = [
            Mux(is_number(number, counter), outputs[counter.name.lower()], 0)
            for counter in counters
            if counter.name.lower() in outputs  # without relative rows nobody counts fillers
        ]
        # Each has a register of its own, so that only the choice among counters is in front of one.
        registers = []
        for space, word in (
            (IoSpace.CODEBOOK, outputs["io_code"]),
            (IoSpace.ACC, outputs["acc_rdata"]),
            (IoSpace.ACT, outputs["leaf_value"]),
            (IoSpace.COUNTER, any_of(counts)),
        ):
            register = Signal(word.shape(), name=f"io_{space.name.lower()}")
            m.d.sync += register.eq(Mux(is_number(self.io_space, space), word, 0))
            registers.append(resize(register, len(self.io_rdata)).as_unsigned())
        srams = self._sram_words()
        none = ~any_of(when for when, _ in srams)
        m.d.comb += self.io_rdata.eq(self._chosen([*srams, (none, any_of(registers))]))

    def _chosen(self, words: Sequence[tuple[Value, Value]]) -> Value:
        """Of words with conditions of which one holds at most, that word, extended; 0 if none holds."""
        return any_of(Mux(when, resize(word, len(self.io_rdata)).as_unsigned(), 0) for when, word in words)
