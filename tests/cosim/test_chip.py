"""The chip over its buses, on both simulators: loading, running, reading back, and everything that a host can do wrong.

Each script runs on the RTL in lockstep with the golden array, and its replies are compared with the golden chip's; the
values asserted here come from the reference engine or from docs/chip.md.
"""

import re

import numpy as np
import pytest

from eie.axi import (
    OKAY,
    SLVERR,
    ErrorCode,
    block_packet,
    read_packet,
    run_packet,
    write_packet,
)
from eie.config import ArchConfig
from eie.csc import interleave
from eie.errors import MismatchError
from eie.layer import CompressedLayer
from eie.memory import images_of, weight_blocks
from eie.program import Job
from eie.registers import MAGIC, VERSION, Reg, pass_table_offset
from eie.schema import ConfigReg, IoSpace, PeCounter, WbTarget, config_registers, pe_counters
from eie.sim.cosim.chip.script import (
    Pauses,
    Read,
    Reset,
    Send,
    SendPart,
    Settle,
    Together,
    UntilBusy,
    UntilInterrupt,
    Write,
    run_script,
)
from eie.sim.simulate import simulate_many
from tests.support.cases import random_case, seeded_case
from tests.support.chip_scripts import CFG, DEPTH, GOOD, MALFORMED, control, header, random_script
from tests.support.simulators import on_both, on_icarus

# Wide words, one PE, no counters: the other ends of what changes the interface.
OTHER = ArchConfig(
    n_pe=1,
    entries=512,
    pointers=64,
    src_depth=24,
    acc_depth=24,
    act_words=48,
    word_bits=128,
    counters=0,
    passes=4,
)

NO_PAUSES = Pauses()
PAUSES = Pauses(seed=3, idle=0.3, back_pressure=0.4)

pauses_or_none = pytest.mark.parametrize("pauses", [NO_PAUSES, PAUSES], ids=["no pauses", "pauses"])


def run(script, simulator, pauses=NO_PAUSES, cfg=CFG, **options):
    """Replies of the RTL, which agree with golden's."""
    report = run_script(cfg, script, simulator, pauses=pauses, **options)
    report.require_agreement()
    assert len(report.replies) == len(script)
    assert report.cycles > len(script)
    return report


def load(job):
    return [Send(block_packet(block)) for block in [*job.program.setup, *job.blocks]]


def read_accumulators(job):
    return Send(read_packet(IoSpace.ACC, job.rows_per_pe * job.cfg.n_pe, spread=True))


def activations(words, rows):
    """int16[rows] from words of the accumulators in natural order."""
    return np.array([word & 0xFFFF for word in words[:rows]], np.uint16).view(np.int16)


def busy_job():
    """A layer that keeps CFG busy for hundreds of cycles."""
    rng = np.random.default_rng(5)
    codes = rng.integers(1, 16, (32, 30)).astype(np.uint8)
    layer = CompressedLayer.from_codes(codes, [0, *range(-7, 8)], bias=rng.integers(-50, 50, 32))
    return Job.create(layer, rng.integers(1, 100, 30), CFG)


# ---- running -----------------------------------------------------------------------------------------------


@on_both
@pauses_or_none
def test_layers_loaded_run_and_read_back_over_the_streams(simulator, pauses):
    jobs = [seeded_case(seed, [CFG]).job for seed in (1, 2, 3, 4)]
    script = []
    for job in jobs:
        counters = read_packet(IoSpace.COUNTER, CFG.n_pe * len(pe_counters(CFG)), spread=True)
        script += [*load(job), Send(run_packet(0)), read_accumulators(job), Send(counters), Settle()]
        script += [
            Read(Reg.CYCLES.offset),
            Read(Reg.BROADCAST_STALLS.offset),
            Read(Reg.WRITEBACK_CYCLES.offset),
        ]
    replies = [reply for reply in run(script, simulator, pauses).replies if isinstance(reply, tuple)]
    fast = simulate_many(jobs, "fast")
    for number, (job, want) in enumerate(zip(jobs, simulate_many(jobs, "reference"), strict=True)):
        (results, _), cycles, stalls, writeback = replies[4 * number : 4 * number + 4]
        assert activations(results[0], job.layer.rows).tolist() == want.y.tolist()
        assert (cycles, stalls) == (
            (fast[number].cycles, OKAY),
            (fast[number].counters["broadcast_stalls"], OKAY),
        )
        assert writeback == (job.rows_per_pe + 1, OKAY)
        entries = results[1][PeCounter.ENTRIES * CFG.n_pe : (PeCounter.ENTRIES + 1) * CFG.n_pe]
        assert entries == fast[number].counters["entries"].tolist()


@on_icarus
def test_other_sizes(simulator):
    jobs = [random_case(np.random.default_rng(seed), [OTHER]).job for seed in (1, 2)]
    script = []
    for job in jobs:
        script += [*load(job), Send(run_packet(0)), read_accumulators(job), Settle()]
        script += [Read(Reg.CYCLES.offset), Send(read_packet(IoSpace.SPMAT, 1)), Settle()]
    script += [Read(reg.offset) for reg in Reg]
    replies = run(script, simulator, PAUSES, OTHER).replies
    settled = [reply for reply in replies if isinstance(reply, tuple) and isinstance(reply[0], list)]
    for number, (job, want) in enumerate(zip(jobs, simulate_many(jobs, "reference"), strict=True)):
        assert activations(settled[2 * number][0][0], job.layer.rows).tolist() == want.y.tolist()
        assert settled[2 * number + 1][0] == [job.images[0].spmat[:1]]
    assert any(job.images[0].spmat[0] >> 64 for job in jobs)
    registers = dict(zip(Reg, replies[-len(Reg) :], strict=True))
    assert registers[Reg.STREAM_BITS] == (128, OKAY)
    for reg in (Reg.CYCLES, Reg.WORDS_LOADED, Reg.IDLE_CYCLES):
        assert registers[reg] == (0, OKAY)  # no counters


def network(seed):
    """Three layers that follow on one another, and an input."""
    rng = np.random.default_rng(seed)
    layers = []
    for rows, cols in ((22, 17), (9, 22), (13, 9)):
        codes = rng.integers(1, 16, (rows, cols)) * (rng.random((rows, cols)) < 0.4)
        codebook = np.concatenate([[0], rng.integers(-60, 60, 15)])
        bias = rng.integers(-200, 200, rows)
        layers.append(CompressedLayer.from_codes(codes.astype(np.uint8), codebook, bias, True, 3, 1))
    return layers, rng.integers(0, 80, (3, 17)) * (rng.random((3, 17)) < 0.6)


def vector(space, values, bits, addr=0):
    """A packet that writes a vector in its natural order, with zeros up to the last PE."""
    padded = [*values, *[0] * (-len(values) % CFG.n_pe)]
    return write_packet(space, [int(v) & ((1 << bits) - 1) for v in padded], addr=addr, spread=True)


def load_network(layers):
    """Packets that put a whole network on the chip: a pass for each layer, biases in the activation SRAM."""
    packets = []
    words = pointers = biases = 0
    for number, layer in enumerate(layers):
        entry = dict.fromkeys(config_registers(CFG), 0)
        local_rows = -(-layer.rows // CFG.n_pe)
        entry |= {ConfigReg.PRODUCT_SHIFT: layer.product_shift, ConfigReg.OUTPUT_SHIFT: layer.output_shift}
        entry |= {ConfigReg.RELU: int(layer.relu), ConfigReg.CODEBOOK: number}
        entry |= {ConfigReg.PTR_BASE: pointers, ConfigReg.SPMAT_BASE: words}
        entry |= {ConfigReg.ACC_ROWS: local_rows, ConfigReg.ACC_BASE: biases, ConfigReg.WB_ROWS: local_rows}
        entry[ConfigReg.WB_TARGET] = 0 if number + 1 == len(layers) else WbTarget.SRC
        packets.append(
            write_packet(IoSpace.CONFIG, [entry[reg] for reg in config_registers(CFG)], addr=16 * number)
        )
        codes = [int(code) & 0xFFFF for code in layer.codebook]
        packets.append(write_packet(IoSpace.CODEBOOK, codes, addr=16 * number))
        packets.append(vector(IoSpace.ACT_SRAM, layer.bias, CFG.acc_bits, biases))
        images = images_of(weight_blocks(interleave(layer, CFG.n_pe, CFG.index_bits), CFG), CFG)
        for k, image in enumerate(images):
            both = [image.pointers[i % 2][i // 2] for i in range(layer.cols + 1)]
            packets.append(write_packet(IoSpace.SPMAT, image.spmat, pe=k, addr=words))
            packets.append(write_packet(IoSpace.PTR, both, pe=k, addr=pointers))
        words += max(len(image.spmat) for image in images)
        pointers += layer.cols + 1
        biases += local_rows
    return packets


@on_both
@pauses_or_none
def test_a_network_loaded_once_and_fed_with_inputs(simulator, pauses):
    layers, inputs = network(7)
    script = [Send(packet) for packet in load_network(layers)]
    for x in inputs:  # back to back: nothing is waited for
        script += [Send(vector(IoSpace.ACT, x, CFG.act_bits)), Send(run_packet(0, len(layers) - 1))]
        script += [Send(read_packet(IoSpace.ACC, layers[-1].rows, spread=True))]
    script += [Settle(), Read(Reg.REFILL_CYCLES.offset), Read(Reg.STATUS.offset)]
    replies = run(script, simulator, pauses).replies
    (results, _), refill, (status, _) = replies[-3:]
    for x, words in zip(inputs, results, strict=True):
        y = x
        for layer in layers:
            y = simulate_many([Job.create(layer, y, CFG.replace(act_words=2))], "reference")[0].y
        assert activations(words, len(y)).tolist() == y.tolist()
        assert y.any()
    assert refill == (sum(-(-layer.rows // CFG.n_pe) + 2 for layer in layers), OKAY)
    assert Reg.STATUS.field("DONE", status)
    assert not Reg.STATUS.field("ERROR", status)


@on_icarus
def test_started_by_register_with_interrupt(simulator):
    job = busy_job()
    table = {write.addr: write.data for write in job.load_writes() if write.space is IoSpace.CONFIG}
    others = [block for block in [*job.program.setup, *job.blocks] if block.space is not IoSpace.CONFIG]
    script = [Write(Reg.IRQ_ENABLE.offset, Reg.IRQ_ENABLE.mask("DONE"))]
    packets = [block_packet(block) for block in others]
    script += [Send(packet) for packet in packets]
    # Pass 2, by registers, while the packets are on their way.
    script += [Together([Write(pass_table_offset(2, ConfigReg(r)), value) for r, value in table.items()])]
    script += [Together([Read(pass_table_offset(2, ConfigReg(r))) for r in table])]
    script += [Write(Reg.FIRST_PASS.offset, 2), Write(Reg.LAST_PASS.offset, 2), Settle()]
    script += [control("START"), UntilInterrupt(), Read(Reg.IRQ_STATUS.offset)]
    script += [
        Write(Reg.IRQ_STATUS.offset, Reg.IRQ_STATUS.mask("DONE")),
        Settle(),
        read_accumulators(job),
        Settle(),
    ]
    script += [Send(run_packet(2, quiet=True)), Settle(), Send(run_packet(2)), Settle()]
    replies = run(script, simulator, PAUSES).replies
    assert replies[len(packets) + 2] == [(value, OKAY) for value in table.values()]
    assert (Reg.IRQ_STATUS.mask("DONE"), OKAY) in replies
    settled = [reply for step, reply in zip(script, replies, strict=True) if isinstance(step, Settle)]
    assert [irq for _, irq in settled] == [False, False, False, False, True]
    want = simulate_many([job], "reference")[0].y
    assert activations(settled[2][0][0], job.layer.rows).tolist() == want.tolist()


@on_icarus
def test_one_word_a_cycle_in_and_one_in_two_cycles_out(simulator):
    words = list(range(32))
    script = [Send(write_packet(IoSpace.ACT, words, spread=True)), Settle()]
    script += [Send(read_packet(IoSpace.ACC, 32, spread=True)), Settle()]
    names = ("s_axis_tvalid", "s_axis_tready", "m_axis_tvalid", "m_axis_tready")
    trace = run(script, simulator, trace=names).trace
    for (valid, ready), most in ((names[:2], 1 + 2 + 32), (names[2:], 2 * 32)):
        moved = [c for c, both in enumerate(zip(trace[valid], trace[ready], strict=True)) if all(both)]
        data = moved[:33] if valid == "s_axis_tvalid" else moved
        assert data[-1] - data[0] + 1 <= most


# ---- doing it wrong ----------------------------------------------------------------------------------------


@on_both
def test_every_malformed_packet_is_reported_and_recovered_from(simulator):
    script = []
    for packet, _ in MALFORMED.values():
        # In the error state a good packet is swallowed, too; after CLEAR_ERROR the same one works.
        script += [Send(packet), Send(run_packet(0)), Send(GOOD), Settle()]
        script += [
            Read(reg.offset) for reg in (Reg.ERROR_CODE, Reg.ERROR_INFO, Reg.ERROR_PACKET, Reg.IRQ_STATUS)
        ]
        script += [control("CLEAR_ERROR"), Write(Reg.IRQ_STATUS.offset, 3), Read(Reg.STATUS.offset)]
        script += [Send(read_packet(IoSpace.ACC, 3, pe=1, addr=2)), Send(GOOD)]
        script += [Send(read_packet(IoSpace.ACC, 3, pe=1, addr=2)), Settle()]
        script += [Send(write_packet(IoSpace.ACC, [0, 0, 0], pe=1, addr=2)), Settle()]
    replies = run(script, simulator, PAUSES).replies
    steps = len(script) // len(MALFORMED)
    for number, (name, (packet, code)) in enumerate(MALFORMED.items()):
        mine = replies[number * steps : (number + 1) * steps]
        settled, read_code, info, at_packet, irq_status = mine[3:8]
        assert settled == ([], False), name
        assert read_code == (code, OKAY), name
        assert info == (packet[0] & 0xFFFFFFFF, OKAY), name
        assert at_packet == (number * 7, OKAY), name
        assert irq_status == (Reg.IRQ_STATUS.mask("ERROR"), OKAY), name
        (status, _), (results, _) = mine[10], mine[14]
        assert not Reg.STATUS.field("ERROR", status), name
        assert results == [[0, 0, 0], [11, 22, 33]], name


@on_icarus
def test_the_limits_themselves_are_good(simulator):
    script = [Send(write_packet(IoSpace.SPMAT, [5, 6], pe=3, addr=DEPTH[IoSpace.SPMAT] - 2))]
    for space, depth in DEPTH.items():
        script += [Send(read_packet(space, 2, pe=3, addr=depth - 2)), Settle()]
    script += [
        Send(read_packet(IoSpace.ACC, 4 * 8 - 1, pe=1, spread=True)),
        Settle(),
        Read(Reg.ERROR_CODE.offset),
    ]
    replies = run(script, simulator).replies
    results = [reply[0] for reply in replies if isinstance(reply, tuple) and isinstance(reply[0], list)]
    assert [len(packets[0]) for packets in results] == [2] * len(DEPTH) + [31]
    assert results[1] == [[5, 6]]
    assert replies[-1] == (ErrorCode.NONE, OKAY)


@on_icarus
def test_register_accesses_that_are_refused(simulator):
    beyond = pass_table_offset(CFG.passes, ConfigReg.PRODUCT_SHIFT)
    unmapped = (
        0x02C,
        0x03C,
        0x0B4,
        0x100,
        0x3FFC,
        pass_table_offset(0, ConfigReg.SRC_BASE) + 4,
        beyond,
        0x7FFC,
    )
    read_only = [reg for reg in Reg if reg.access.name == "RO"]
    refused = [Write(address, 0) for address in unmapped]
    refused += [Write(reg.offset, 0xFFFFFFFF) for reg in read_only]
    refused += [Write(Reg.IRQ_ENABLE.offset, 0x3, strobes) for strobes in (1, 2, 3, 4, 6, 7, 8, 12, 14)]
    refused += [Write(pass_table_offset(1, ConfigReg.RELU), 1, strobes=1)]
    refused += [Write(Reg.CONTROL.offset, Reg.CONTROL.mask("START"), strobes=1)]
    refused += [Write(Reg.FIRST_PASS.offset, CFG.passes), Write(Reg.LAST_PASS.offset, 0x100)]
    script = [
        Write(pass_table_offset(1, ConfigReg.RELU), 0),
        *refused,
        *(Read(address) for address in unmapped),
    ]
    script += [Read(reg.offset) for reg in Reg]
    script += [Read(pass_table_offset(1, ConfigReg.RELU))]
    # No strobe: nothing is written, so nothing is refused, wherever it is.
    nothing = [Reg.IRQ_ENABLE.offset, Reg.CONTROL.offset, Reg.ID.offset, unmapped[0], beyond]
    nothing += [pass_table_offset(1, ConfigReg.RELU)]
    script += [Write(address, 0xFFFFFFFF, strobes=0) for address in nothing]
    script += [
        Read(Reg.IRQ_ENABLE.offset),
        Read(pass_table_offset(1, ConfigReg.RELU)),
        Read(Reg.STATUS.offset),
    ]
    # First pass after the last: refused with an error.
    script += [
        Write(Reg.FIRST_PASS.offset, 3),
        control("START"),
        Read(Reg.ERROR_CODE.offset),
        control("START"),
    ]
    script += [control("CLEAR_ERROR"), Send(GOOD), Send(read_packet(IoSpace.ACC, 3, pe=1, addr=2)), Settle()]
    replies = run(script, simulator, PAUSES).replies
    assert replies[1 : 1 + len(refused)] == [SLVERR] * len(refused)
    rest = replies[1 + len(refused) :]
    assert rest[: len(unmapped)] == [(0, SLVERR)] * len(unmapped)
    registers = dict(zip(Reg, rest[len(unmapped) :], strict=False))
    assert registers[Reg.ID] == (MAGIC, OKAY)
    assert registers[Reg.VERSION] == (VERSION, OKAY)
    for reg, value in registers.items():
        if reg is not Reg.IDLE_CYCLES:
            assert value == (reg.reset_value(CFG), OKAY), reg.name
    after = rest[len(unmapped) + len(Reg) :]
    assert after[: len(nothing) + 4] == [(0, OKAY), *[OKAY] * len(nothing), *[(0, OKAY)] * 3]
    assert replies[-8:-4] == [OKAY, SLVERR, (ErrorCode.PASS, OKAY), SLVERR]
    assert replies[-1] == ([[11, 22, 33]], False)


@on_icarus
def test_what_a_busy_chip_refuses(simulator):
    job = busy_job()
    script = [*load(job), Settle(), control("START")]
    mark = len(script)
    script += [control("START"), Write(pass_table_offset(0, ConfigReg.RELU), 1)]
    script += [
        Read(pass_table_offset(0, ConfigReg.RELU)),
        Write(Reg.FIRST_PASS.offset, 1),
        Write(Reg.LAST_PASS.offset, 1),
    ]
    script += [Read(Reg.FIRST_PASS.offset), Write(Reg.IRQ_ENABLE.offset, 3), Read(Reg.STATUS.offset)]
    script += [Send(GOOD), Settle(), Read(Reg.ERROR_CODE.offset), Read(Reg.IRQ_STATUS.offset)]
    # The run itself is not disturbed.
    script += [control("CLEAR_ERROR"), Write(Reg.IRQ_STATUS.offset, 3), read_accumulators(job), Settle()]
    # A run by packet: the next packets wait for it, START does not.
    script += [*load(job), Send(run_packet(0)), UntilBusy(), control("START"), Settle()]
    script += [control("CLEAR_ERROR"), *load(job), Settle()]
    script += [Send(run_packet(0)), read_accumulators(job), Settle()]
    replies = run(script, simulator, PAUSES).replies
    busy = Reg.STATUS.mask("BUSY") | Reg.STATUS.mask("ERROR")
    assert replies[mark : mark + 8] == [
        SLVERR, SLVERR, (0, SLVERR), SLVERR, SLVERR, (0, OKAY), OKAY, (busy, OKAY),
    ]  # fmt: skip
    assert replies[mark + 9 : mark + 12] == [
        ([], True),
        (ErrorCode.START_BUSY, OKAY),
        (3, OKAY),
    ]
    want = simulate_many([job], "reference")[0].y.tolist()
    settled = [reply[0] for step, reply in zip(script, replies, strict=True) if isinstance(step, Settle)]
    assert activations(settled[2][0], job.layer.rows).tolist() == want
    assert activations(settled[-1][0], job.layer.rows).tolist() == want


BEGUN = write_packet(IoSpace.ACC, [7, 8, 9, 10], pe=2)
READ_BEGUN = read_packet(IoSpace.ACC, 4, pe=2)
# What is left of a packet, and would be one by itself.
REST = write_packet(IoSpace.ACC, [91, 92, 93], pe=1)


@on_icarus
def test_soft_reset_twice_ends_a_packet_that_never_ends(simulator):
    script = [SendPart(BEGUN[:3]), Read(Reg.STATUS.offset), control("START"), Read(Reg.ERROR_CODE.offset)]
    # The first gives the packet up, the second says that nothing more comes.
    script += [control("SOFT_RESET"), Read(Reg.ERROR_CODE.offset), Read(Reg.STATUS.offset)]
    script += [control("SOFT_RESET"), Read(Reg.STATUS.offset), Send(READ_BEGUN), Send(GOOD), Settle()]
    # Also with a swallowed packet.
    script += [Send([header(3)]), SendPart(BEGUN[:3]), control("SOFT_RESET"), control("SOFT_RESET")]
    script += [Send(READ_BEGUN), Settle(), Read(Reg.PACKETS.offset)]
    replies = run(script, simulator).replies
    assert Reg.STATUS.field("STREAM", replies[1][0]) == 1
    assert replies[2:6] == [SLVERR, (ErrorCode.START_BUSY, OKAY), OKAY, (ErrorCode.ABORTED, OKAY)]
    assert Reg.STATUS.field("STREAM", replies[6][0]) == 1
    assert replies[8] == (0, OKAY)
    assert replies[11][0] == [[7, 8, 0, 0]]
    assert replies[-2][0] == [[7, 8, 0, 0]]
    assert replies[-1] == (4, OKAY)


@on_both
@pauses_or_none
@pytest.mark.parametrize("bit", ["SOFT_RESET", "ABORT"])
def test_what_is_left_of_a_packet_that_was_given_up_is_no_packet(simulator, pauses, bit):
    """The stream goes on sending: nothing of it is executed, ERROR_CODE tells, and the chip answers."""
    acc, other = read_packet(IoSpace.ACC, 4, pe=1), read_packet(IoSpace.ACC, 4, pe=2)
    script = [SendPart(BEGUN[:3]), control(bit), Send(REST), Settle()]
    script += [Read(Reg.ERROR_CODE.offset), Read(Reg.ERROR_INFO.offset), Read(Reg.PACKETS.offset)]
    script += [Read(Reg.STATUS.offset), Read(Reg.IRQ_STATUS.offset)]
    # Swallowed, as every packet is while an error stands; then all is well.
    script += [Send(GOOD), Settle(), control("CLEAR_ERROR"), Send(acc), Send(other), Settle()]
    # ABORT again and again never takes data for a header.
    script += [SendPart(BEGUN[:2]), control("ABORT"), control("ABORT"), Send(REST), Settle()]
    script += [control("CLEAR_ERROR"), Send(acc), Settle(), control("ABORT"), control("SOFT_RESET")]
    script += [Read(Reg.ERROR_CODE.offset), Send(acc), Settle()]
    replies = run(script, simulator, pauses).replies
    assert replies[4:7] == [(ErrorCode.ABORTED, OKAY), (BEGUN[0] & 0xFFFFFFFF, OKAY), (1, OKAY)]
    assert Reg.STATUS.field("STREAM", replies[7][0]) == 0
    assert replies[8] == (Reg.IRQ_STATUS.mask("ERROR"), OKAY)
    assert replies[14][0] == [[0, 0, 0, 0], [7, 8, 0, 0]]
    assert replies[22][0] == [[0, 0, 0, 0]]
    assert replies[-3] == (ErrorCode.NONE, OKAY)
    assert replies[-1][0] == [[0, 0, 0, 0]]


@on_icarus
def test_soft_reset_while_words_wait_does_not_forget(simulator):
    """The host says that nothing more comes, and it does: its claim is not taken."""
    job = busy_job()
    acc = read_packet(IoSpace.ACC, 4, pe=1)
    script = [*load(job), Settle(), Send(run_packet(0)), UntilBusy(), Send(REST), Read(Reg.STATUS.offset)]
    # The first words of a packet wait behind a run: that is the packet that is given up. The run goes on.
    script += [control("SOFT_RESET"), Read(Reg.ERROR_CODE.offset), Settle(), read_accumulators(job)]
    script += [Settle(), control("CLEAR_ERROR"), read_accumulators(job), Send(acc), Settle()]
    replies = run(script, simulator).replies
    at = [number for number, step in enumerate(script) if isinstance(step, Settle)]
    assert replies[at[1] - 1] == (ErrorCode.ABORTED, OKAY)
    assert replies[at[2]][0] == []
    want = simulate_many([job], "reference")[0].y.tolist()
    assert activations(replies[at[3]][0][0], job.layer.rows).tolist() == want


def reset_in_a_run(cfg):
    """Script: runs with rst in their midst, sooner and later, then a whole run; the layer that they are of."""
    job = Job.create(busy_job().layer, busy_job().x, cfg)
    script = []
    for polls in range(4):
        script += [*load(job), Settle(), Send(run_packet(0)), UntilBusy(), *[Read(Reg.STATUS.offset)] * polls]
        script += [Reset()]
    script += [Read(Reg.STATUS.offset), *load(job), Send(run_packet(0)), read_accumulators(job), Settle()]
    return job, script


@on_icarus
@pytest.mark.parametrize("bus_registers", [0, 1])
def test_reset_in_the_midst_of_a_run(simulator, bus_registers):
    cfg = CFG.replace(bus_registers=bus_registers)
    job, script = reset_in_a_run(cfg)
    replies = run(script, simulator, cfg=cfg).replies
    at = max(number for number, step in enumerate(script) if isinstance(step, Reset))
    assert Reg.STATUS.field("BUSY", replies[at - 1][0])
    assert replies[at + 1] == (0, OKAY)
    want = simulate_many([job], "reference")[0].y.tolist()
    assert activations(replies[-1][0][0], job.layer.rows).tolist() == want


def test_a_broadcast_that_outlives_the_reset_is_found():
    """The mutant that long campaigns cannot kill, because they reset an idle array: `push` without its reset."""

    def transform(sources):
        text, places = re.subn(
            r"if \(rst\) push <= 1'h0;\s*else (push <= bcast;)", r"\1", sources["eie_ccu.v"]
        )
        assert places == 1
        return {**sources, "eie_ccu.v": text}

    cfg = CFG.replace(bus_registers=1)
    with pytest.raises(MismatchError, match=r"ccu\.push"):
        run(reset_in_a_run(cfg)[1], "icarus", cfg=cfg, transform=transform)


@on_both
@pytest.mark.parametrize("cycles", [1, 2, 3])
def test_reset_while_the_stream_sends(simulator, cycles):
    """A source that is not reset goes on: what it still sends of that packet is no packet."""
    acc, other = read_packet(IoSpace.ACC, 4, pe=1), read_packet(IoSpace.ACC, 4, pe=2)
    rest = [0] * cycles + REST
    script = [SendPart(BEGUN[:3]), Read(Reg.STATUS.offset), Reset(rest, cycles), Settle()]
    script += [Read(Reg.ERROR_CODE.offset)]
    script += [Read(Reg.PACKETS.offset), control("CLEAR_ERROR"), Send(acc), Send(other), Settle()]
    # With the source reset as well, nothing is left and the next word is a header.
    script += [SendPart(BEGUN[:3]), Reset(cycles=cycles), Read(Reg.ERROR_CODE.offset), Send(GOOD), Settle()]
    script += [Send(read_packet(IoSpace.ACC, 3, pe=1, addr=2)), Settle(), Read(Reg.PACKETS.offset)]
    replies = run(script, simulator).replies
    assert replies[4:6] == [(ErrorCode.ABORTED, OKAY), (1, OKAY)]
    assert replies[9][0] == [[0, 0, 0, 0], [7, 8, 0, 0]]
    assert replies[12] == (ErrorCode.NONE, OKAY)
    assert replies[-2][0] == [[11, 22, 33]]
    assert replies[-1] == (2, OKAY)


@on_icarus
def test_soft_reset_in_the_midst_of_a_read_lets_it_end(simulator):
    job = seeded_case(1, [CFG]).job
    many, few = read_packet(IoSpace.ACC, 32, spread=True), read_packet(IoSpace.ACC, 2, pe=1)
    slow = Pauses(seed=1, back_pressure=0.9)
    script = [*load(job), Send(run_packet(0)), Settle(), Send(many), Read(Reg.STATUS.offset)]
    script += [control("SOFT_RESET"), Send(few), Settle()]
    report = run_script(CFG, script, simulator, pauses=slow)
    # Golden reads everything at once, so that only here the READ is under way.
    assert Reg.STATUS.field("STREAM", report.replies[-4][0]) == 1
    assert report.divergence is None
    assert not report.hung
    results = report.replies[-1][0]
    assert [len(packet) for packet in results] == [32, 2]
    assert results == report.expected[-1][0]


@on_both
@pytest.mark.parametrize("seed", range(2))
def test_random_scripts(simulator, seed):
    replies = run(random_script(seed), simulator, Pauses(seed, 0.2, 0.2)).replies
    assert replies[-1][0][-1] == [11, 22, 33]


# ---- the comparison itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "net", "wrong", "told"),
    [
        ("eie_host_if.v", "s_axis_tready", "1'h1", "golden"),  # words get lost
        ("eie_host_if.v", "decoder_packet_ends", "1'h0", "golden"),
        ("eie_ccu.v", "wb_en", "1'h0", "act_rw.acc_rdata"),
    ],
)
def test_faults_are_found(name, net, wrong, told):
    def transform(sources):
        text, places = re.subn(rf"(assign {net} |else {net} <)= .*;", rf"\1= {wrong};", sources[name])
        assert places == 1
        return {**sources, name: text}

    job = busy_job()
    script = [*load(job), Send(run_packet(0)), read_accumulators(job), Settle(), Read(Reg.PACKETS.offset)]
    with pytest.raises(MismatchError, match=told):
        run(script, "icarus", transform=transform)
