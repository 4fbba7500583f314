// The platform of the C driver's test: eie_chip in Verilator, with an AXI4-Lite master and a DMA that sends meanwhile.
#include <cstdio>
#include <deque>
#include <vector>

#include "Veie_chip.h"
#include "verilated.h"

extern "C" {
#include "bench.h"
}

namespace {
struct Word {
    uint64_t data;
    bool last;
};
Veie_chip top;
std::deque<Word> sending, received;
bool stopped;  // the DMA offers nothing
unsigned responses;
struct {
    bool awready, wready, bvalid, arready, rvalid;
    unsigned bresp, rresp;
    uint32_t rdata;
} seen;

// A clock cycle; `seen` is what the slave showed before its edge.
void tick() {
    const bool offers = !stopped && !sending.empty();
    top.s_axis_tvalid = offers;
    top.s_axis_tdata = offers ? sending.front().data : 0;
    top.s_axis_tlast = offers && sending.front().last;
    top.m_axis_tready = 1;
    top.clk = 0;
    top.eval();
    seen = {top.s_axil_awready != 0, top.s_axil_wready != 0, top.s_axil_bvalid != 0, top.s_axil_arready != 0,
            top.s_axil_rvalid != 0, top.s_axil_bresp, top.s_axil_rresp, top.s_axil_rdata};
    const bool taken = offers && top.s_axis_tready && !top.rst;
    if (top.m_axis_tvalid && !top.rst) received.push_back({top.m_axis_tdata, top.m_axis_tlast != 0});
    top.clk = 1;
    top.eval();
    if (taken) sending.pop_front();
}
}  // namespace

extern "C" {
uint32_t bench_rd(void *, uint32_t offset) {
    top.s_axil_araddr = offset;
    top.s_axil_arvalid = 1;
    do tick();
    while (!seen.arready);
    top.s_axil_arvalid = 0;
    top.s_axil_rready = 1;
    do tick();
    while (!seen.rvalid);
    top.s_axil_rready = 0;
    responses += seen.rresp != 0;
    return seen.rdata;
}

void bench_wr(void *, uint32_t offset, uint32_t value) {
    top.s_axil_awaddr = offset;
    top.s_axil_wdata = value;
    top.s_axil_wstrb = 0xf;
    top.s_axil_awvalid = top.s_axil_wvalid = 1;
    while (top.s_axil_awvalid || top.s_axil_wvalid) {
        tick();
        if (seen.awready) top.s_axil_awvalid = 0;
        if (seen.wready) top.s_axil_wvalid = 0;
    }
    top.s_axil_bready = 1;
    do tick();
    while (!seen.bvalid);
    top.s_axil_bready = 0;
    responses += seen.bresp != 0;
}

int bench_send(void *, const uint64_t *words, size_t n) {
    for (size_t i = 0; i < n; i++) sending.push_back({words[i], i + 1 == n});
    return 0;
}

int bench_receive(void *, uint64_t *words, size_t n) {
    for (int patience = 0; received.size() < n && patience < 100000; patience++) tick();
    if (received.size() < n) return 1;
    for (size_t i = 0; i < n; i++) {
        words[i] = received.front().data;
        if (received.front().last != (i + 1 == n)) return 2;
        received.pop_front();
    }
    return 0;
}

void bench_cycles(unsigned n) {
    while (n--) tick();
}

void bench_stop_dma(int stop) { stopped = stop != 0; }
void bench_reset_dma(void) { sending.clear(); }
size_t bench_left(void) { return sending.size(); }
int bench_irq(void) { return top.irq; }

unsigned bench_refused(void) {
    const unsigned found = responses;
    responses = 0;
    return found;
}

void bench_reset(unsigned cycles) {
    top.rst = 1;
    bench_cycles(cycles);
    top.rst = 0;
}
}
