"""Checker of ArithmUnit: with its bypasses it computes what a machine without a pipeline computes."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth import Cat, Const, Module, Mux, ResetSignal, Shape, Signal, Value, signed, unsigned

from eie import schema
from eie.config import ArchConfig, bits_for
from eie.rtl.block import any_of
from eie.rtl.formal.checker import Checker, Watched


@dataclass(frozen=True)
class Ghost:
    """An entry on its way, as the reference remembers it."""

    write: Signal
    row: Signal
    code: Signal
    value: Signal


class ArithmUnitChecker(Checker):
    """The reference has no pipeline and no bypass: it adds one product after the other to the accumulator itself.

    One row is followed, whichever. `word` is what the accumulator file holds there (ActRW's checker proves that it is a
    memory), `reference` what the additions have given so far.
    """

    block = schema.ArithmUnit.NAME

    @classmethod
    def constant(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """The followed row, and the followed code."""
        codes = bits_for(cfg.codebooks * cfg.n_codes - 1)
        return {"row": unsigned(cfg.acc_addr_bits), "code": unsigned(codes)}

    @classmethod
    def free(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """Others write the accumulator file: the host, a refill, write-back."""
        return {"other": unsigned(1), "other_value": signed(cfg.acc_bits)}

    @classmethod
    def watched(cls, cfg: ArchConfig) -> dict[str, Watched]:
        """The operands of the adders, and the followed code."""
        operands = {
            f"{prefix}operand_now": Watched(f"{prefix}operand", signed(cfg.acc_bits))
            for prefix in _prefixes(cfg)
        }
        return {**operands, "code_word": Watched("codes[{code}]", signed(cfg.code_bits))}

    def elaborate(self, platform: object) -> Module:
        m, prefixes = self.module(), _prefixes(self.cfg)
        self.token = {prefix: self._token(m, prefix) for prefix in prefixes}
        second = [self._second(m, prefix) for prefix in prefixes]
        third = [self._third(m, prefix, ghost) for prefix, ghost in zip(prefixes, second, strict=True)]
        moving = Cat(
            self.of(prefix, name)
            for prefix in prefixes
            for name in ("tok_valid", "s2_valid", "s2_write", "s3_write", "s4_write")
        )
        moving = Cat(moving, *(token["valid"] for token in self.token.values()))
        shift = self.past(m, self.product_shift, "product_shift")
        self.assume(m, "shift_stays", ~self.past(m, moving.any(), "moving") | (self.product_shift == shift))
        if self.cfg.adder:
            arithmetic = self.past(m, self.arithmetic, "arithmetic")
            stays = ~self.past(m, moving.any(), "moved") | (self.arithmetic == arithmetic)
            self.assume(m, "arithmetic_stays", stays)
        self.assume(m, "others_only_when_idle", ~self.other | ~moving.any())
        for stage in ("s2", "s3", "s4"):
            flags = ~self.of("", f"{stage}_write") | self.of("", f"{stage}_valid")
            self.prove(m, f"{stage}_valid", flags)

        word = Signal(signed(self.cfg.acc_bits), reset_less=True)
        reference = Signal(signed(self.cfg.acc_bits), reset_less=True)
        writes = {p: self.of(p, "s4_write") & (self.of(p, "s4_row") == self.row) for p in prefixes}
        adds = {p: ghost.write & (ghost.row == self.row) for p, ghost in zip(prefixes, third, strict=True)}
        new_word, new_reference = Signal(word.shape()), Signal(word.shape())
        m.d.comb += [new_word.eq(word), new_reference.eq(reference)]
        with m.If(self.other):
            m.d.comb += [new_word.eq(self.other_value), new_reference.eq(self.other_value)]
        for prefix, ghost in zip(prefixes, third, strict=True):
            with m.If(writes[prefix]):
                m.d.comb += new_word.eq(self.of(prefix, "s4_sum"))
            with m.If(adds[prefix]):
                m.d.comb += new_reference.eq(self._added(m, prefix, reference, ghost))
        # A reset drops what is on its way.
        m.d.sync += [word.eq(new_word), reference.eq(Mux(ResetSignal(), new_word, new_reference))]
        self._statements(m, word, reference, writes, adds)
        self._codes(m)
        self._reaches(m, writes, adds)
        return m

    def of(self, prefix: str, name: str) -> Signal:
        """A signal of a lane."""
        signal: Signal = getattr(self, f"{prefix}{name}")
        return signal

    def _token(self, m: Module, prefix: str) -> dict[str, Value]:
        """What is in stage 1: the token as it comes, or a cycle later, behind the register of `lookup_register`."""
        names = ["valid", "value", "v", "z", *([] if prefix else ["empty", "first"])]
        came: dict[str, Value] = {
            name: self.of(prefix, name if name in ("v", "z") else f"tok_{name}") for name in names
        }
        if not self.cfg.lookup_register:
            return came
        return {name: self.past(m, value, f"{prefix}{name}") for name, value in came.items()}

    def _second(self, m: Module, prefix: str) -> Ghost:
        """What an entry in stage 1 is: its row, its code, its activation."""
        cfg = self.cfg
        ghost = self._ghost(prefix, "second")
        token = self.token[prefix]
        valid, z = token["valid"], token["z"]
        entry = valid if prefix else valid & ~token["empty"]
        row = z if not cfg.relative else Mux(token["first"], z, ghost.row + 1 + z)
        m.d.sync += ghost.write.eq(entry)
        with m.If(entry):
            m.d.sync += [ghost.row.eq(row), ghost.code.eq(self.of(prefix, "code_rdata"))]
            m.d.sync += ghost.value.eq(token["value"])
        same_row = self.of(prefix, "s2_row") == ghost.row
        same = (self.of(prefix, "s2_code") == ghost.code) & (self.of(prefix, "s2_value") == ghost.value)
        # A relative row counts on from the last one, also if that was long ago.
        in_step = same_row if cfg.relative else ~ghost.write | same_row
        in_step &= self.of(prefix, "s2_write") == ghost.write
        self.prove(m, f"{prefix}stage_2", in_step & (~ghost.write | same))
        return ghost

    def _third(self, m: Module, prefix: str, before: Ghost) -> Ghost:
        ghost = self._ghost(prefix, "third")
        m.d.sync += [
            ghost.write.eq(before.write),
            ghost.row.eq(before.row),
            ghost.code.eq(before.code),
            ghost.value.eq(before.value),
        ]
        same = (self.of(prefix, "s3_row") == ghost.row) & (
            self.of(prefix, "s3_product") == self._product(ghost)
        )
        self.prove(
            m, f"{prefix}stage_3", (self.of(prefix, "s3_write") == ghost.write) & (~ghost.write | same)
        )
        return ghost

    def _product(self, ghost: Ghost) -> Value:
        """Code times activation; where minima stand for products, twice the smaller magnitude of equal signs."""
        if not self.cfg.adder:
            return ghost.code * ghost.value
        code, value = abs(ghost.code), abs(ghost.value)
        same = (ghost.code < 0) == (ghost.value < 0)
        minimum = Mux(same, Mux(code < value, code, value) << 1, 0)
        return Mux(self.arithmetic[0], minimum, ghost.code * ghost.value)

    def _ghost(self, prefix: str, stage: str) -> Ghost:
        cfg = self.cfg
        return Ghost(
            Signal(name=f"{prefix}{stage}_write"),
            Signal(cfg.acc_addr_bits, name=f"{prefix}{stage}_row"),
            Signal(signed(cfg.code_bits), name=f"{prefix}{stage}_code"),
            Signal(signed(cfg.act_bits), name=f"{prefix}{stage}_value"),
        )

    def _added(self, m: Module, prefix: str, accumulator: Value, ghost: Ghost) -> Value:
        """The published addition: half of the last bit is added before the shift, and the sum saturates."""
        bits = self.cfg.acc_bits
        shift = self.product_shift
        half = Mux(shift == 0, Const(0), (Const(1, 1) << shift) >> 1)
        total = Signal(signed(64), name=f"{prefix}total")
        m.d.comb += total.eq(accumulator + ((self._product(ghost) + half) >> shift))
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        return Mux(total < low, low, Mux(total > high, high, total))

    def _statements(
        self, m: Module, word: Signal, reference: Signal, writes: dict[str, Value], adds: dict[str, Value]
    ) -> None:
        lanes = list(writes)
        for prefix in lanes:
            valid, row = self.of(prefix, "s2_valid"), self.of(prefix, "s2_row")
            reads = valid & (row == self.row)
            self.assume(m, f"{prefix}file_is_a_memory", ~reads | (self.of(prefix, "acc_rdata") == word))
            self.prove(
                m, f"{prefix}writes_the_sum", ~writes[prefix] | (self.of(prefix, "s4_sum") == reference)
            )
            now = self.of(prefix, "operand_now") == reference
            self.prove(m, f"{prefix}adds_to_the_sum", ~adds[prefix] | now)
        for i, prefix in enumerate(lanes):
            bits = self.cfg.acc_addr_bits
            rows = [
                self.of(prefix, "tok_valid")
                & self.of(p, "tok_valid")
                & (self.of(prefix, "z")[:bits] == self.of(p, "z")[:bits])
                for p in lanes[:i]
            ]
            if rows:
                self.assume(m, f"{prefix}own_row", ~any_of(rows))
                for stage in ("s2", "s3", "s4"):
                    both = [
                        self.of(prefix, f"{stage}_write")
                        & self.of(p, f"{stage}_write")
                        & (self.of(prefix, f"{stage}_row") == self.of(p, f"{stage}_row"))
                        for p in lanes[:i]
                    ]
                    self.prove(m, f"{prefix}{stage}_own_row", ~any_of(both))
        self.prove(m, "as_without_a_pipeline", any_of(writes.values()) | (word == reference))

    def _codes(self, m: Module) -> None:
        """The codebook is a memory that reads 0 behind its end."""
        cfg = self.cfg
        codes = cfg.codebooks * cfg.n_codes
        kept = Signal(signed(cfg.code_bits), reset_less=True)
        self.assume(m, "code_inside", self.code < codes)
        with m.If(self.io_write & (self.io_addr[: len(self.code)] == self.code)):
            m.d.sync += kept.eq(self.io_data[: cfg.code_bits])
        self.prove(m, "code_remembered", self.code_word == kept)
        for prefix in _prefixes(cfg):
            number = Cat(self.token[prefix]["v"], self.codebook)[: len(self.code)]
            asked = self.token[prefix]["valid"]
            read = self.of(prefix, "code_rdata")
            self.prove(m, f"{prefix}code", ~(asked & (number == self.code)) | (read == kept))
            self.prove(m, f"{prefix}no_code", ~(asked & (number >= codes)) | (read == 0))
        hosts = self.io_addr[: len(self.code)] == self.code
        self.prove(m, "host_reads_code", ~hosts | (self.io_code == kept))

    def _reaches(self, m: Module, writes: dict[str, Value], adds: dict[str, Value]) -> None:
        either = any_of(writes.values()) & any_of(adds.values())
        self.reach(m, "three_in_a_row", either & self.past(m, either, "once"))
        self.reach(m, "bypass_of_two", self.of("", "forward2") & (self.s2_row == self.row))
        self.reach(m, "bypass_of_one", self.of("", "forward1") & (self.of("", "s3_row") == self.row))
        largest = (1 << self.cfg.acc_bits - 1) - 1
        self.reach(m, "saturates_above", writes[""] & (self.s4_sum == largest))
        self.reach(m, "saturates_below", writes[""] & (self.s4_sum == -largest - 1))
        for prefix in list(writes)[1:]:
            self.reach(m, f"{prefix}writes", writes[prefix])


def _prefixes(cfg: ArchConfig) -> list[str]:
    """What the names of each lane's signals begin with."""
    return ["", *(f"lane{lane}_" for lane in range(1, cfg.issue))]
