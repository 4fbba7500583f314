"""What each port of the array and of a PE means, in a line; docs/architecture.md says it in full."""

from __future__ import annotations

_CLOCK = {"clk": "clock, rising edge", "rst": "synchronous reset, active high"}

_IO = {
    "io_write": "write io_data in this cycle",
    "io_read": "read; hold it with the address for two cycles",
    "io_space": "address space: 0 configuration, 1 matrix, 2 pointers, 3 codebook, 4 accumulators, 5 activations, "
    "6 counters, 7 control, 8 activation memory",
    "io_addr": "address in the space",
    "io_data": "word to write",
}

_ARRAY = _CLOCK | {
    "start": "for one cycle: begin the run",
    **_IO,
    "io_pe": "which PE is read or written",
    "busy": "the run is under way; wait for done, which does not glitch",
    "done": "the results are written back; until the next start",
    "current_pass": "the pass under way; the first one while nothing is",
    "cycles": "cycles of the run in compute mode, from its start to its last token",
    "broadcast_stalls": "cycles in which a full queue held the broadcast",
    "refill_cycles": "cycles of the run in refill mode",
    "writeback_cycles": "cycles of the run in write-back mode",
    "io_rdata": "word read, in the third cycle",
    "probe_ccu": "every signal of CCU and LNZD tree, for lockstep",
}


def _sram(name: str, memory: str) -> dict[str, str]:
    return {
        f"{name}_en": f"{memory}: access at the next edge",
        f"{name}_we": f"{memory}: the access is a write",
        f"{name}_addr": f"{memory}: word address",
        f"{name}_wdata": f"{memory}: word to write",
        f"{name}_rdata": f"{memory}: word read last",
    }


_PE = (
    _CLOCK
    | {
        "number": "of the PE",
        "bcast": "the CCU broadcasts a column in this cycle",
        "push": "a broadcast column arrives at the queue",
        "push_col": "its number",
        "push_start": "pointer to its first entry",
        "push_low": "first row of its block",
        "push_high": "row behind its block's last one",
        "push_value": "its activation",
        "push_value1": "the odd column's activation (push_col and push_value are the even one's); 0: not active",
        "clear": "a run begins in the next cycle: counters to 0",
        "begin_pass": "compute mode begins in the next cycle",
        "compute": "compute mode: activations are taken, and none is written",
        "leaf_pop": "the LNZD tree takes the activation on offer",
        "wb_en": "write back row wb_row",
        "wb_row": "local row to write back",
        "relu": "negative sums become 0 at write-back",
        "product_shift": "right shift of products, with rounding",
        "output_shift": "right shift of sums at write-back, with rounding",
        "codebook": "number of the codebook",
        "spmat_base": "word of the matrix memory that is the pass's word 0",
        "rf_en": "refill row rf_row from the activation memory",
        "rf_src": "of the source file; else of the accumulator file",
        "rf_row": "local row to refill",
        "rf_addr": "word of the activation memory for it",
        "wb_target": "bit 0: activations go to the source file as well; bit 1: to the activation memory",
        "wb_addr": "word of the activation memory for the activation",
        "arithmetic": "bit 0: minima in place of products; bit 1: rows are scaled at write-back",
        "sum_x": "sum of the inputs' magnitudes",
        "scale_addr": "word of the activation memory with the scale of row wb_row",
        **_IO,
        "leaf_valid": "a non-zero activation is on offer to the LNZD tree",
        "leaf_row": "its local row",
        "leaf_value": "its value",
        "credit": "the queue has room for one more broadcast",
        "busy": "a column is queued or under way",
        "retire": "an entry or an empty column is in the last stage, or a column without entries is dropped",
        "io_rdata": "word read",
        "probe": "every signal of the PE's blocks, for lockstep",
    }
    | _sram("even", "pointers of even columns")
    | _sram("odd", "pointers of odd columns")
    | _sram("ptr", "pointers of pairs of columns")
    | _sram("spmat", "matrix entries")
    | _sram("act", "activations")
)


def meaning(block: str, port: str) -> str:
    """What `port` of `block` ("array" or "pe") means."""
    if port.startswith("probe_pe"):
        return f"every signal of PE {port.removeprefix('probe_pe')}, for lockstep"
    return {"array": _ARRAY, "pe": _PE}[block][port]
