/* Driver of eie_chip for bare metal: C99, no memory of its own, no libc. docs/programming.md explains each step. */
#ifndef EIE_DRIVER_H
#define EIE_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "eie_regs.h"

/* What a call returns: 0, or one of these. */
enum {
    EIE_OK = 0,
    EIE_NO_CHIP = -1,    /* ID or major VERSION is another one, or the streams are wider than EIE_MAX_LANES */
    EIE_TIMEOUT = -2,    /* `patience` polls were not enough */
    EIE_CHIP_ERROR = -3, /* ERROR_CODE is set: eie_error tells */
    EIE_DMA_ERROR = -4   /* `send` or `receive` returned another value than 0 */
};

/* A word of the streams is `lanes` uint64_t, the low one first: STREAM_BITS / 64. */
#define EIE_MAX_LANES 8u

/* What the platform provides, and what the driver knows of the chip. */
struct eie {
    void *context; /* handed to the four functions */
    uint32_t (*rd)(void *context, uint32_t offset);
    void (*wr)(void *context, uint32_t offset, uint32_t value);
    int (*send)(void *context, const uint64_t *words, size_t n);    /* n words, TLAST on the last */
    int (*receive)(void *context, uint64_t *words, size_t n);       /* n words of the result stream */
    unsigned long patience;                                         /* polls of a register before EIE_TIMEOUT */
    unsigned n_pe, lanes;                                           /* set by eie_open */
};

struct eie_error {
    uint32_t code, info, packet; /* ERROR_CODE, ERROR_INFO, ERROR_PACKET */
};

/* The run's counters; all 0 for an instance without counters. */
struct eie_counters {
    uint32_t cycles, broadcast_stalls, refill_cycles, writeback_cycles;
};

/* Looks for the chip, clears an error that stands and turns the interrupt off. */
int eie_open(struct eie *chip);

/* A place in the memories: PE `pe`, word `addr` of `space`; with `spread` a vector in its natural order. */
struct eie_place {
    unsigned space, spread, pe;
    uint32_t addr;
};

/* Sends `count` words to a place. data[0] is kept free for the header; `count` words follow it. */
int eie_load(struct eie *chip, struct eie_place to, uint64_t *data, uint32_t count);
/* Receives `count` words from a place. */
int eie_read(struct eie *chip, struct eie_place from, uint64_t *data, uint32_t count);
/* Queues the passes `first` to `last` behind what was sent; a quiet run raises no interrupt. */
int eie_run(struct eie *chip, unsigned first, unsigned last, unsigned quiet);
/* Starts them by register, when nothing is under way. */
int eie_start(struct eie *chip, unsigned first, unsigned last);
/* Polls until neither a run nor a packet is under way. */
int eie_wait(struct eie *chip);
int eie_counters(struct eie *chip, struct eie_counters *found);

/* Interrupt: which events raise it (EIE_IRQ_ENABLE_*_MASK), and in its handler those that stand, which are cleared. */
void eie_irq_enable(struct eie *chip, uint32_t events);
uint32_t eie_irq_take(struct eie *chip);

/* The error that stands (code 0: none), and an end to it. */
struct eie_error eie_error(struct eie *chip);
void eie_clear_error(struct eie *chip);

/* Gives up the packet that is being sent. EIE_OK: it is over, or there was none, and packets are worked off again.
 * EIE_TIMEOUT: the rest does not come; stop and reset the DMA, then call eie_forget. */
int eie_abort(struct eie *chip);
/* The DMA was stopped and offers no word: the next word is a header. EIE_TIMEOUT: words still come. */
int eie_forget(struct eie *chip);

#endif
