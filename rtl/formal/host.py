"""Checker of the host interface: hand-shakes, decoding against a reference, answers, and the end of every packet."""

from __future__ import annotations

from itertools import pairwise

from amaranth import Cat, Const, Module, Mux, ResetSignal, Signal, Value, unsigned

from eie.axi import CCU_SPACES, HEADER_BITS, Command, ErrorCode, host_if_fields, space_words, stream_bits
from eie.config import ArchConfig
from eie.rtl.block import any_of, is_number
from eie.rtl.formal.checker import Checker, Watched
from eie.rtl.host.commands import COUNT_BITS, State
from eie.rtl.host.interfaces import ERROR_CODE_BITS, HEADER, PASS_NUMBER_BITS
from eie.rtl.host.queues import RESULT_DEPTH
from eie.schema import ControlReg, Field, IoSpace

# Bits of the reference's numbers: no sum of a header's fields overflows.
_WIDE = 40
# Cycles that an access of the pass table waits, an answer to a write, and a packet for the port.
_TABLE_WAITS, _ANSWER_WAITS, _PACKET_WAITS = 2, 6, 3
_CHANNELS = {"m_axis_t": ("data", "last"), "s_axil_b": ("resp",), "s_axil_r": ("data", "resp")}


class HostIfChecker(Checker):
    """What the buses do is free; of the array it is assumed that a run is busy from start on, until it ends."""

    block = "host_if"

    @classmethod
    def fields(cls, cfg: ArchConfig) -> tuple[Field, ...]:
        """Ports of the host interface."""
        return host_if_fields(cfg)

    @classmethod
    def watched(cls, cfg: ArchConfig) -> dict[str, Watched]:
        """Registers and nets of the components, which are one module in Verilog."""
        widths = {
            "decoder_state": 3,
            "decoder_header": HEADER_BITS,
            "decoder_header_last": 1,
            "decoder_check_fault_code": ERROR_CODE_BITS,
            "decoder_check_fault": 1,
            "decoder_pe": cfg.pe_bits,
            "decoder_addr": cfg.io_addr_bits,
            "decoder_remaining": COUNT_BITS,
            "decoder_word_loaded": 1,
            "decoder_read_issue": 1,
            "decoder_error_stands": 1,
            "arbiter_read_first": 1,
            "arbiter_read_second": 1,
            "arbiter_read_third": 1,
            "arbiter_read_lite": 1,
            "arbiter_word_lite": 1,
            "arbiter_stream__ready": 1,
            "arbiter_stream__valid": 1,
            "arbiter_starting": 1,
            "arbiter_first_pass": cfg.pass_bits,
            "arbiter_last_pass": cfg.pass_bits,
            "registers_op_wait": 1,
            "registers_op_write": 1,
            "registers_op_reading": 1,
            "registers_soft_reset": 1,
            "abort": 1,
            "results_free": (RESULT_DEPTH + 1).bit_length(),
            "input_r_rdy": 1,
            "input_r_en": 1,
            "input_r_data": stream_bits(cfg) + 1,
            "input_valid1": 1,
            "status_values__error_code": ERROR_CODE_BITS,
            "cut": 1,
            **{f"results_queue_valid{i}": 1 for i in range(1, RESULT_DEPTH)},
        }
        return {name: Watched(name, unsigned(width)) for name, width in widths.items()}

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        self.state = {
            state: self._named(m, f"in_{state.name.lower()}", self.decoder_state == state) for state in State
        }
        before = self.past(m, self.busy, "busy")
        started = self.past(m, self.start, "start")
        self.assume(m, "busy_from_start_on", Mux(started, self.busy, ~self.busy | before))
        self._channels(m)
        self._framing(m)
        self._queues(m)
        self._table_accesses(m)
        self._answers(m)
        self._decodes(m)
        self._words(m)
        self._goes_on(m)
        self._passes(m)
        return m

    def _channels(self, m: Module) -> None:
        """What is offered stays as it is until it is taken."""
        for channel, names in _CHANNELS.items():
            valid, ready = getattr(self, f"{channel}valid"), getattr(self, f"{channel}ready")
            what = Cat(getattr(self, f"{channel}{name}") for name in names)
            waits = self.past(m, valid & ~ready, f"{channel}waits")
            self.prove(
                m, f"{channel}stays", ~waits | (valid & (what == self.past(m, what, f"{channel}said")))
            )

    def _framing(self, m: Module) -> None:
        """The first word of a packet is taken for a header, and no other, whatever is reset or given up."""
        swallowing = self.state[State.SWALLOW]
        forgotten = (
            self.registers_soft_reset
            & (self.status_values__error_code == ErrorCode.ABORTED)
            & swallowing
            & ~self.input_r_rdy
        )
        inside = Signal()
        m.d.sync += inside.eq(self.cut | (~forgotten & Mux(self.input_r_en, ~self.input_r_data[-1], inside)))
        was_reset = Signal(reset_less=True)
        m.d.sync += was_reset.eq(ResetSignal())
        outside = ~self.state[State.CHECK] & ~self.state[State.WRITE] & ~swallowing
        self.prove(
            m, "header_is_the_first_word", ~self.state[State.CHECK] | (inside == ~self.decoder_header_last)
        )
        self.prove(m, "data_is_inside", ~self.state[State.WRITE] | inside)
        self.prove(m, "outside_a_packet", ~outside | ~inside)
        self.prove(
            m, "cut_after_reset", ~self.cut | (was_reset & self.state[State.HEADER] & ~self.input_r_rdy)
        )
        running = self.start | self.busy
        self.prove(m, "port_is_quiet_in_a_run", ~running | ~(self.io_write | self.io_read))
        self.prove(m, "no_packet_in_a_run", ~running | self.state[State.HEADER] | swallowing)
        self.prove(m, "starts_when_idle", ~(self.start & self.busy))
        self.reach(m, "swallows", swallowing)
        self.reach(m, "starts", self.start)

    def _queues(self, m: Module) -> None:
        """A place is filled only behind a filled one, and a result always finds room."""
        results = [
            self.m_axis_tvalid,
            *(getattr(self, f"results_queue_valid{i}") for i in range(1, RESULT_DEPTH)),
        ]
        self.prove(m, "input_in_order", self.input_r_rdy | ~self.input_valid1)
        behind = [before | ~after for before, after in pairwise(results)]
        self.prove(m, "results_in_order", Cat(behind).all())
        self.on_the_way = [
            self.arbiter_read_first & ~self.arbiter_read_lite,
            self.arbiter_read_second & ~self.arbiter_read_lite,
            self.arbiter_read_third & ~self.arbiter_word_lite,
        ]
        total = sum([*results, *self.on_the_way], start=self.results_free)
        self.prove(m, "a_result_finds_room", total == RESULT_DEPTH)
        self.reach(m, "results_are_full", results[-1])

    def _table_accesses(self, m: Module) -> None:
        """One access of the pass table at a time; its answer finds its channel free, and comes soon."""
        waits, writes, reading = self.registers_op_wait, self.registers_op_write, self.registers_op_reading
        lite = [
            self.arbiter_read_first & self.arbiter_read_lite,
            self.arbiter_read_second & self.arbiter_read_lite,
            self.arbiter_read_third & self.arbiter_word_lite,
        ]
        self.prove(m, "one_access", ~(waits & reading))
        self.prove(m, "write_answer_is_free", ~(waits & writes & self.s_axil_bvalid))
        self.prove(m, "read_answer_is_free", ~((waits & ~writes | reading) & self.s_axil_rvalid))
        self.prove(m, "access_is_short", self._age(m, waits, "waits") < _TABLE_WAITS)
        self.prove(m, "read_is_short", self._age(m, reading, "reading") <= _TABLE_WAITS)
        self.prove(m, "reading_is_on_its_way", ~reading | any_of(lite))
        self.prove(
            m, "read_holds_the_port", self.io_read == (self.arbiter_read_first | self.arbiter_read_second)
        )
        self.prove(m, "one_read", ~(self.arbiter_read_first & self.arbiter_read_second))
        self.prove(m, "one_read_of_the_table", sum(lite, start=Const(0, 2)) <= reading)
        self.reach(m, "reads_the_table", self.arbiter_read_third & self.arbiter_word_lite)

    def _age(self, m: Module, waits: Value, name: str) -> Value:
        """For how many cycles before this one something has waited, if it does now."""
        age = Signal(4, name=f"{name}_age")
        m.d.sync += age.eq(Mux(waits, age + 1, 0))
        return Mux(waits, age, 0)

    def _answers(self, m: Module) -> None:
        """One answer for each write, which has an address and data, and one for each read."""
        waits, writes = self.registers_op_wait, self.registers_op_write
        held = {channel: ~getattr(self, f"s_axil_{channel}ready") for channel in ("aw", "w", "ar")}
        answered = {"aw": self._taken("b"), "w": self._taken("b"), "ar": self._taken("r")}
        under_way = {
            "aw": (waits & writes) + self.s_axil_bvalid,
            "w": (waits & writes) + self.s_axil_bvalid,
            "ar": (waits & ~writes) + self.registers_op_reading + self.s_axil_rvalid,
        }
        for channel in held:
            owed = Signal(2, name=f"{channel}_owed")  # transfers without an answer
            m.d.sync += owed.eq(owed + self._taken(channel) - answered[channel])
            self.prove(m, f"{channel}_answered_once", owed == held[channel] + under_way[channel])
        ready = held["aw"] & held["w"] & ~self.s_axil_bvalid
        self.prove(m, "write_is_answered_soon", self._age(m, ready, "write") < _ANSWER_WAITS)
        self.reach(m, "answers_a_write", self._taken("b"))

    def _taken(self, channel: str) -> Value:
        valid, ready = (getattr(self, f"s_axil_{channel}{name}") for name in ("valid", "ready"))
        return valid & ready

    def _decodes(self, m: Module) -> None:
        """The header's fault is that of a reference, which counts in numbers that do not overflow."""
        cfg, header = self.cfg, HEADER(self.decoder_header)
        write = header.command == Command.WRITE
        run = header.command == Command.RUN
        last_word = self._number(m, "last_word", header.count - 1)
        number = self._number(m, "number", header.pe + last_word)
        further = Mux(header.spread, number >> cfg.pe_shift, last_word)
        furthest = self._number(m, "furthest", header.addr + further)
        first, last = header.addr[:PASS_NUMBER_BITS], header.addr[PASS_NUMBER_BITS : 2 * PASS_NUMBER_BITS]
        allowed, depth = Signal(name="allowed"), Signal(_WIDE, name="depth")
        for space in IoSpace:
            with m.If(header.space == space):
                m.d.comb += depth.eq(space_words(space, cfg))
                if space in CCU_SPACES:
                    m.d.comb += allowed.eq(~header.spread)
                elif space is IoSpace.COUNTER:
                    m.d.comb += allowed.eq(~write)
                else:
                    m.d.comb += allowed.eq(~write | ~header.spread if space is IoSpace.CODEBOOK else 1)
        known = any_of([write, run, header.command == Command.READ]) & ~self.decoder_header[7]
        faults = {
            ErrorCode.COMMAND: ~known,
            ErrorCode.PASS: run & ((first > last) | (last >= cfg.passes)),
            ErrorCode.SPACE: ~run & ~allowed,
            ErrorCode.PE: ~run & (header.pe >= cfg.n_pe),
            ErrorCode.COUNT: ~run & (header.count == 0),
            ErrorCode.ADDRESS: ~run & (furthest >= depth),
            ErrorCode.TLAST_EARLY: write & self.decoder_header_last,
            ErrorCode.TLAST_LATE: ~write & ~self.decoder_header_last,
        }
        code: Value = Const(0, ERROR_CODE_BITS)
        for fault, wrong in reversed(faults.items()):
            code = Mux(wrong, fault, code)
        checks = self.state[State.CHECK]
        self.prove(m, "fault_of_the_reference", ~checks | (self.decoder_check_fault_code == code))
        good = self.past(m, checks & (code == 0) & ~self.decoder_error_stands & ~self.abort, "good")
        bad = self.past(m, checks & ((code != 0) | self.decoder_error_stands), "bad")
        wrote, ran = self.past(m, write, "write"), self.past(m, run, "run")
        follows = Mux(
            wrote, self.state[State.WRITE], Mux(ran, self.state[State.FIRST], self.state[State.READ])
        )
        self.prove(m, "good_packets_are_worked_off", ~good | follows)
        self.prove(
            m, "bad_packets_are_swallowed", ~bad | self.state[State.SWALLOW] | self.state[State.HEADER]
        )
        for fault, wrong in faults.items():
            self.reach(
                m, f"fault_{fault.name.lower()}", checks & wrong & (self.decoder_check_fault_code == fault)
            )

    def _number(self, m: Module, name: str, value: Value) -> Signal:
        signal = Signal(_WIDE, name=name)
        m.d.comb += signal.eq(value)
        return signal

    def _words(self, m: Module) -> None:
        """Word k of a packet is that of PE and address which the header says, and there are `count` of them."""
        cfg, header = self.cfg, HEADER(self.decoder_header)
        moved = self.decoder_word_loaded | self.decoder_read_issue
        k = Signal(COUNT_BITS, name="word_number")
        m.d.sync += k.eq(Mux(self.state[State.CHECK], 0, k + moved))
        moving = self.state[State.WRITE] | self.state[State.READ]
        number = self._number(m, "word_pe", header.pe + k)
        pe = Mux(header.spread, number & (cfg.n_pe - 1), header.pe)
        addr = header.addr + Mux(header.spread, number >> cfg.pe_shift, k)
        there = (self.decoder_pe == pe[: cfg.pe_bits]) & (self.decoder_addr == addr[: cfg.io_addr_bits])
        self.prove(m, "word_is_in_its_place", ~moving | there)
        self.prove(m, "count_words", ~moving | ((self.decoder_remaining + k)[:COUNT_BITS] == header.count))
        self.prove(m, "no_word_too_many", ~moving | (self.decoder_remaining != 0))
        self.prove(m, "pe_is_there", ~moving | (header.pe < cfg.n_pe))
        self.reach(m, "second_word", moved & (k == 1))

    def _goes_on(self, m: Module) -> None:
        """Every packet ends: something moves in each cycle, or it is the host's turn, or that of a short access."""
        ready = self.arbiter_stream__ready
        transfers = self.state[State.WRITE] & self.input_r_rdy | self.state[State.READ] & (
            self.results_free != 0
        )
        self.prove(m, "asks_for_the_port", transfers == self.arbiter_stream__valid)
        wants = transfers | self.arbiter_starting
        self.prove(m, "gets_the_port_soon", self._age(m, wants & ~ready, "port") < _PACKET_WAITS)
        moved = self.decoder_word_loaded | self.decoder_read_issue
        self.prove(m, "moves_a_word", moved == (transfers & ready))
        full = self.results_free == 0
        self.prove(m, "results_wait_for_the_host", ~full | self.m_axis_tvalid | any_of(self.on_the_way))
        checked = self.past(m, self.state[State.CHECK], "checked")
        self.prove(m, "one_cycle_of_check", ~checked | ~self.state[State.CHECK])
        steps = {State.FIRST: State.LAST, State.LAST: State.START, State.START: State.HEADER}
        for state, after in steps.items():
            goes = self.past(m, self.state[state] & ready, f"goes_{state.name.lower()}")
            self.prove(m, f"leaves_{state.name.lower()}", ~goes | self.state[after])
        ends = self.past(m, self.state[State.SWALLOW] & self.input_r_en & self.input_r_data[-1], "swallowed")
        self.prove(m, "swallows_to_the_end", ~ends | self.state[State.HEADER])
        swallows = self.state[State.SWALLOW] & self.input_r_rdy
        self.prove(m, "swallows_every_cycle", ~swallows | self.input_r_en)
        last = self.past(m, moved & is_number(self.decoder_remaining, 1), "last_word_moved")
        self.prove(m, "last_word_ends", ~last | self.state[State.HEADER] | self.state[State.SWALLOW])

    def _passes(self, m: Module) -> None:
        """A run starts with passes that are in order and there, by a packet or by a register."""
        cfg, header = self.cfg, HEADER(self.decoder_header)
        asked = header.addr[:PASS_NUMBER_BITS], header.addr[PASS_NUMBER_BITS : 2 * PASS_NUMBER_BITS]
        held = self.arbiter_first_pass, self.arbiter_last_pass
        writes = self.io_write & (self.io_space == IoSpace.CONTROL)
        # A write on the port is in the register in the next cycle.
        has = [
            (writes & (self.io_addr == register) & (self.io_data[: cfg.pass_bits] == want)) | (kept == want)
            for register, want, kept in zip(ControlReg, asked, held, strict=True)
        ]
        good = (asked[0] <= asked[1]) & (asked[1] < cfg.passes)
        self.prove(m, "run_has_passes", ~self.arbiter_starting | good)
        self.prove(m, "first_pass_is_written", ~self.state[State.LAST] | has[0])
        both = (held[0] == asked[0]) & has[1]
        self.prove(m, "both_passes_are_written", ~self.state[State.START] | both)
        self.prove(m, "passes_in_order", ~self.start | ((held[0] <= held[1]) & (held[1] < cfg.passes)))
