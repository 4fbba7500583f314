/* The C driver on the chip: a layer, interrupts, errors, every way to give up a packet. Status 0 if all is right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "eie_driver.h"
#include "job.h" /* N_BLOCKS, blocks, words, OUTPUTS, expected, CYCLES */

#define CHECK(what) \
    do { \
        if (!(what)) { \
            printf("line %d: %s\n", __LINE__, #what); \
            exit(1); \
        } \
    } while (0)

static struct eie chip = {NULL, bench_rd, bench_wr, bench_send, bench_receive, 2000, 0, 0};
static const struct eie_place ACC = {EIE_SPACE_ACC, 0, 1, 0};

static void load_layer(void)
{
    static uint64_t data[1 + LARGEST];

    for (size_t i = 0; i < N_BLOCKS; i++) {
        memcpy(data + 1, words + blocks[i].first, blocks[i].count * sizeof *words);
        CHECK(eie_load(&chip, blocks[i].to, data, blocks[i].count) == EIE_OK);
    }
}

static void check_outputs(void)
{
    const struct eie_place from = {EIE_SPACE_ACC, 1, 0, 0};
    uint64_t found[OUTPUTS];

    CHECK(eie_read(&chip, from, found, OUTPUTS) == EIE_OK);
    for (size_t i = 0; i < OUTPUTS; i++)
        CHECK((int16_t)found[i] == expected[i]);
}

static void check_acc(uint64_t a, uint64_t b)
{
    uint64_t found[2];

    CHECK(eie_read(&chip, ACC, found, 2) == EIE_OK);
    CHECK(found[0] == a && found[1] == b);
}

static void write_acc(uint64_t a, uint64_t b)
{
    uint64_t data[3] = {0, a, b};

    CHECK(eie_load(&chip, ACC, data, 2) == EIE_OK);
}

static void layers(void)
{
    struct eie_counters counters;

    load_layer();
    CHECK(eie_run(&chip, 0, 0, 0) == EIE_OK);
    check_outputs();
    CHECK(eie_counters(&chip, &counters) == EIE_OK && counters.cycles == CYCLES);
    /* Once more, by register and interrupt. */
    eie_irq_enable(&chip, EIE_IRQ_ENABLE_DONE_MASK);
    CHECK(!bench_irq());
    load_layer();
    CHECK(eie_start(&chip, 0, 0) == EIE_OK);
    for (int patience = 0; !bench_irq(); patience++) {
        CHECK(patience < 10000);
        bench_cycles(1);
    }
    CHECK(eie_irq_take(&chip) == EIE_IRQ_STATUS_DONE_MASK);
    bench_cycles(2);
    CHECK(!bench_irq());
    check_outputs();
    CHECK(!bench_refused());
}

static void errors(void)
{
    const struct eie_place beyond = {EIE_SPACE_ACC, 0, 0, 1 << 20};
    uint64_t data[3] = {0, 1, 2};

    write_acc(5, 6);
    CHECK(eie_load(&chip, beyond, data, 2) == EIE_OK);
    CHECK(eie_wait(&chip) == EIE_CHIP_ERROR);
    CHECK(eie_error(&chip).code == EIE_ERROR_ADDRESS);
    CHECK(eie_error(&chip).info == (uint32_t)eie_header(EIE_COMMAND_WRITE, EIE_SPACE_ACC, 0, 0, 1 << 20, 2));
    CHECK(eie_read(&chip, ACC, data, 2) == EIE_CHIP_ERROR);
    CHECK(eie_start(&chip, 0, 0) == EIE_CHIP_ERROR);
    eie_clear_error(&chip);
    CHECK(eie_start(&chip, 1, 0) == EIE_CHIP_ERROR);
    CHECK(eie_error(&chip).code == EIE_ERROR_PASS);
    CHECK(bench_refused() == 1);
    eie_clear_error(&chip);
    check_acc(5, 6);
}

/* A packet whose data would pass for commands that write 91 and 92. */
static void send_trap(void)
{
    static uint64_t data[1 + 6 * 3];

    for (size_t i = 0; i < 6; i++) {
        data[1 + 3 * i] = eie_header(EIE_COMMAND_WRITE, EIE_SPACE_ACC, 0, 1, 0, 2);
        data[2 + 3 * i] = 91;
        data[3 + 3 * i] = 92;
    }
    CHECK(eie_load(&chip, (struct eie_place){EIE_SPACE_SPMAT, 0, 0, 0}, data, 18) == EIE_OK);
}

static void aborts(void)
{
    for (unsigned before = 0; before < 24; before++) {
        /* A live DMA: the chip swallows to TLAST, whenever ABORT comes. */
        write_acc(7, before);
        CHECK(eie_wait(&chip) == EIE_OK);
        send_trap();
        bench_cycles(before);
        CHECK(eie_abort(&chip) == EIE_OK && !bench_left());
        check_acc(7, before);
        /* A dead one: ABORT does not come to an end, and only the host knows that nothing more comes. */
        send_trap();
        bench_cycles(before);
        bench_stop_dma(1);
        if (eie_abort(&chip) == EIE_TIMEOUT) {
            CHECK(bench_left() && eie_error(&chip).code == EIE_ERROR_ABORTED);
            /* It was not dead after all, and the host says so too early: that must not turn data into commands. */
            bench_stop_dma(0);
            bench_cycles(2);
            (void)eie_forget(&chip);
            bench_cycles(40);
            CHECK(!bench_left());
            eie_clear_error(&chip);
            check_acc(7, before);
            send_trap();
            bench_cycles(3 + before % 16);
            bench_stop_dma(1);
            CHECK(eie_abort(&chip) == EIE_TIMEOUT);
        }
        bench_reset_dma();
        bench_stop_dma(0);
        CHECK(eie_forget(&chip) == EIE_OK);
        CHECK(eie_error(&chip).code == EIE_ERROR_NONE);
        check_acc(7, before);
        /* Nothing to give up. */
        CHECK(eie_abort(&chip) == EIE_OK && eie_error(&chip).code == EIE_ERROR_NONE);
    }
}

static void resets(void)
{
    for (unsigned before = 2; before < 12; before++)
        for (unsigned cycles = 1; cycles < 4; cycles++) {
            write_acc(8, before);
            CHECK(eie_wait(&chip) == EIE_OK);
            send_trap();
            bench_cycles(before);
            bench_reset(cycles);
            bench_cycles(1);
            CHECK(eie_error(&chip).code == EIE_ERROR_ABORTED);
            CHECK(eie_open(&chip) == EIE_OK && !bench_left());
            check_acc(8, before);
        }
    CHECK(!bench_refused());
}

int main(void)
{
    bench_reset(1);
    CHECK(eie_open(&chip) == EIE_OK);
    CHECK(chip.n_pe == N_PE && chip.lanes == 1);
    layers();
    errors();
    aborts();
    resets();
    layers();
    puts("the driver is right");
    return 0;
}
