"""ArithmUnit: codebook lookup, multiply (or take the minimum), shift and add, write: four stages with bypass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from eie import schema
from eie.config import ArchConfig, bits_for
from eie.fixed import limits, round_shift
from eie.golden.base import sign_extend
from eie.schema import Arithmetic, ArithmLane, Kind, Wire

# A lane: the unit's own signals are the first one's.
Lane = ArithmLane | schema.ArithmUnit
# As a number: a flag's own `&` takes as long as ten of these.
MIN = int(Arithmetic.MIN)


class Token(NamedTuple):
    """The signals of a token in stage 1."""

    valid: Wire
    empty: Wire
    first: Wire
    value: Wire
    v: Wire
    z: Wire


class ArithmUnit(schema.ArithmUnit):
    """Takes an entry a cycle in every lane and never stalls; stage 4 writes, three cycles after stage 1.

    An entry takes its operand from the one in stage 4, one or two cycles ahead of it, when that has the same row.

    Members: codes, `codebooks` times n_codes signed codes, up to the power of two that the address reaches; the words
    past the last codebook are 0 for good.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.n_codes = cfg.n_codes
        self.depth = cfg.codebooks * cfg.n_codes
        self.code_mask = (1 << bits_for(self.depth - 1)) - 1
        self.codes = [0] * (self.code_mask + 1)
        self.row_mask = self.s2_row.mask
        self.count_mask = self.bypasses.mask
        self.low, self.high = limits(cfg.acc_bits)
        self.relative, self.registered, self.adder = cfg.relative, bool(cfg.lookup_register), bool(cfg.adder)
        self.all_lanes: list[Lane] = [self, *self.lanes]
        self.tokens = self._tokens()
        # What stage 4 writes, by its row: no two lanes have the same.
        self.sums: dict[int, int] = {}

    def connect(self, signals: Mapping[str, Wire], kind: Kind = Kind.IN) -> None:
        """As every block; the tokens are among the inputs."""
        super().connect(signals, kind)
        self.tokens = self._tokens()

    def _tokens(self) -> list[tuple[Lane, Token]]:
        """Each lane with the token in stage 1: as it comes, or from the register in front of the codebook."""
        return [
            (lane, Token(lane.s1_valid, lane.s1_empty, lane.s1_first, lane.s1_value, lane.s1_v, lane.s1_z))
            if self.registered
            else (lane, Token(lane.tok_valid, lane.tok_empty, lane.tok_first, lane.tok_value, lane.v, lane.z))
            for lane in self.all_lanes
        ]

    def outputs(self) -> None:
        """Codebook lookup, and whether stage 4 holds the accumulator that stage 2 or stage 3 needs."""
        codes, mask = self.codes, self.code_mask
        self.io_code.value = codes[self.io_addr.value & mask]
        book = self.codebook.value * self.n_codes
        sums = self.sums
        if sums:
            sums.clear()
        for lane in self.all_lanes:
            if lane.s4_write.value:
                sums[lane.s4_row.value] = lane.s4_sum.value
        for lane, token in self.tokens:
            quiet = lane is self and not token.valid.value
            lane.code_rdata.value = codes[0 if quiet else book + token.v.value & mask]
            if sums:
                lane.forward2.value = (
                    lane.s2_valid.value and lane.s2_write.value and lane.s2_row.value in sums
                )
                lane.forward1.value = lane.s3_write.value and lane.s3_row.value in sums
            else:
                lane.forward2.value = lane.forward1.value = 0

    def next_state(self) -> None:
        """Stage after stage in every lane, then the counters."""
        clear, bypasses, clips = self.clear.value, 0, 0
        for lane, token in self.tokens:
            if self.registered:
                self._stage_0(lane)
            clipped = self._stages(lane, token)
            if self.lanes:
                # A register stands between the sums and their count.
                clipped, lane.s4_clipped.next = lane.s4_clipped.value, clipped
            clips += clipped
            if lane.s3_write.value and (lane.s3_forwarded.value or lane.forward1.value):
                bypasses += 1
        _, token = self.tokens[0]
        filler = self.relative and token.valid.value and not token.empty.value and token.v.value == 0
        self.fillers.next = 0 if clear else (self.fillers.value + filler) & self.count_mask
        self.bypasses.next = 0 if clear else (self.bypasses.value + bypasses) & self.count_mask
        self.saturations.next = 0 if clear else (self.saturations.value + clips) & self.count_mask

    def _stage_0(self, lane: Lane) -> None:
        """The register in front of the codebook."""
        lane.s1_valid.next = lane.tok_valid.value
        lane.s1_empty.next = lane.tok_empty.value
        lane.s1_first.next = lane.tok_first.value
        lane.s1_value.next = lane.tok_value.value
        lane.s1_v.next = lane.v.value
        lane.s1_z.next = lane.z.value & self.row_mask

    def _stages(self, lane: Lane, token: Token) -> int:
        """Stages 2 to 4 of a lane; whether the sum was clipped."""
        # 2: the code, the activation, and the row: an absolute one, or one from the zeros since the entry before.
        valid, row = token.valid.value, lane.s2_row.value
        write = valid and not token.empty.value
        code, value = lane.s2_code.value, lane.s2_value.value
        lane.s2_valid.next = valid
        lane.s2_write.next = write
        lane.s2_code.next = lane.code_rdata.value if valid else code
        lane.s2_value.next = token.value.value if valid else value
        if not write:
            lane.s2_row.next = row
        elif not self.relative or token.first.value:
            lane.s2_row.next = token.z.value & self.row_mask
        else:
            lane.s2_row.next = (row + 1 + token.z.value) & self.row_mask
        # 3: the product, or of an adder pass what stands for it, and the accumulator or what is written to it.
        forward2, adds, product = lane.forward2.value, lane.s3_write.value, lane.s3_product.value
        operand = lane.s3_operand.value
        lane.s3_valid.next = lane.s2_valid.value
        lane.s3_write.next = lane.s2_write.value
        lane.s3_row.next = lane.s2_row.value
        if self.adder and self.arithmetic.value & MIN:
            lane.s3_product.next = 2 * min(abs(code), abs(value)) if (code < 0) == (value < 0) else 0
        else:
            lane.s3_product.next = code * value
        lane.s3_operand.next = self.sums.get(row, 0) if forward2 else lane.acc_rdata.value
        lane.s3_forwarded.next = forward2
        # 4: the sum.
        lane.s4_valid.next = lane.s3_valid.value
        lane.s4_write.next = adds
        lane.s4_row.next = lane.s3_row.value
        if not adds:
            lane.s4_sum.next = lane.s4_sum.value
            return 0
        if lane.forward1.value:
            operand = self.sums.get(lane.s3_row.value, 0)
        exact = operand + round_shift(product, self.product_shift.value)
        total = self.low if exact < self.low else self.high if exact > self.high else exact
        lane.s4_sum.next = total
        return total != exact

    def write_memories(self) -> None:
        """Write the codebook, from the I/O port."""
        if self.io_write.value:
            self.write_code(self.io_addr.value, self.io_data.value)

    def write_code(self, addr: int, data: int) -> None:
        """Write the bit pattern `data` to the codebooks."""
        index = addr & self.code_mask
        if index < self.depth:
            self.codes[index] = sign_extend(data, self.cfg.code_bits)
