/* Driver of eie_chip for bare metal; see eie_driver.h. */
#include "eie_driver.h"

/* Polls STATUS until none of `bits` is set. */
static int until_clear(struct eie *chip, uint32_t bits)
{
    for (unsigned long polls = 0; polls < chip->patience; polls++)
        if (!(chip->rd(chip->context, EIE_STATUS) & bits))
            return EIE_OK;
    return EIE_TIMEOUT;
}

static int outcome(struct eie *chip)
{
    return chip->rd(chip->context, EIE_ERROR_CODE) ? EIE_CHIP_ERROR : EIE_OK;
}

static void put_header(const struct eie *chip, uint64_t *word, uint64_t header)
{
    word[0] = header;
    for (unsigned lane = 1; lane < chip->lanes; lane++)
        word[lane] = 0;
}

static int send_header(struct eie *chip, uint64_t header)
{
    uint64_t word[EIE_MAX_LANES];

    put_header(chip, word, header);
    return chip->send(chip->context, word, 1) ? EIE_DMA_ERROR : EIE_OK;
}

int eie_open(struct eie *chip)
{
    if (chip->rd(chip->context, EIE_ID) != EIE_ID_VALUE ||
        chip->rd(chip->context, EIE_VERSION) >> 16 != EIE_VERSION_VALUE >> 16)
        return EIE_NO_CHIP;
    chip->n_pe = (unsigned)chip->rd(chip->context, EIE_N_PE);
    chip->lanes = (unsigned)chip->rd(chip->context, EIE_STREAM_BITS) / 64u;
    if (!chip->lanes || chip->lanes > EIE_MAX_LANES)
        return EIE_NO_CHIP;
    eie_irq_enable(chip, 0);
    /* An error that a reset left behind: its packet ends before the next one begins. */
    return eie_abort(chip);
}

int eie_load(struct eie *chip, struct eie_place to, uint64_t *data, uint32_t count)
{
    put_header(chip, data, eie_header(EIE_COMMAND_WRITE, to.space, to.spread, to.pe, to.addr, count));
    return chip->send(chip->context, data, (size_t)count + 1) ? EIE_DMA_ERROR : EIE_OK;
}

int eie_read(struct eie *chip, struct eie_place from, uint64_t *data, uint32_t count)
{
    int status =
        send_header(chip, eie_header(EIE_COMMAND_READ, from.space, from.spread, from.pe, from.addr, count));

    if (status)
        return status;
    /* In error no word would come: wait until one does. */
    for (unsigned long polls = 0; polls < chip->patience; polls++) {
        uint32_t now = chip->rd(chip->context, EIE_STATUS);

        if (now & EIE_STATUS_RESULT_MASK)
            return chip->receive(chip->context, data, count) ? EIE_DMA_ERROR : EIE_OK;
        if (now & EIE_STATUS_ERROR_MASK && !(now & EIE_STATUS_STREAM_MASK))
            return EIE_CHIP_ERROR;
    }
    return EIE_TIMEOUT;
}

int eie_run(struct eie *chip, unsigned first, unsigned last, unsigned quiet)
{
    return send_header(chip, eie_header(EIE_COMMAND_RUN, 0, quiet, 0, first | last << 8, 0));
}

int eie_start(struct eie *chip, unsigned first, unsigned last)
{
    int status = eie_wait(chip);

    if (status)
        return status;
    chip->wr(chip->context, EIE_FIRST_PASS, first);
    chip->wr(chip->context, EIE_LAST_PASS, last);
    chip->wr(chip->context, EIE_CONTROL, EIE_CONTROL_START_MASK);
    return outcome(chip);
}

int eie_wait(struct eie *chip)
{
    int status = until_clear(chip, EIE_STATUS_BUSY_MASK | EIE_STATUS_STREAM_MASK);

    return status ? status : outcome(chip);
}

int eie_counters(struct eie *chip, struct eie_counters *found)
{
    int status = until_clear(chip, EIE_STATUS_BUSY_MASK);

    found->cycles = chip->rd(chip->context, EIE_CYCLES);
    found->broadcast_stalls = chip->rd(chip->context, EIE_BROADCAST_STALLS);
    found->refill_cycles = chip->rd(chip->context, EIE_REFILL_CYCLES);
    found->writeback_cycles = chip->rd(chip->context, EIE_WRITEBACK_CYCLES);
    return status;
}

void eie_irq_enable(struct eie *chip, uint32_t events)
{
    chip->wr(chip->context, EIE_IRQ_STATUS, EIE_IRQ_STATUS_DONE_MASK | EIE_IRQ_STATUS_ERROR_MASK);
    chip->wr(chip->context, EIE_IRQ_ENABLE, events);
}

uint32_t eie_irq_take(struct eie *chip)
{
    uint32_t events = chip->rd(chip->context, EIE_IRQ_STATUS);

    chip->wr(chip->context, EIE_IRQ_STATUS, events);
    return events;
}

struct eie_error eie_error(struct eie *chip)
{
    struct eie_error found = {chip->rd(chip->context, EIE_ERROR_CODE), chip->rd(chip->context, EIE_ERROR_INFO),
                              chip->rd(chip->context, EIE_ERROR_PACKET)};

    return found;
}

void eie_clear_error(struct eie *chip)
{
    chip->wr(chip->context, EIE_CONTROL, EIE_CONTROL_CLEAR_ERROR_MASK);
}

/* After the first write nothing that comes is executed, until CLEAR_ERROR. */
int eie_abort(struct eie *chip)
{
    int status;

    chip->wr(chip->context, EIE_CONTROL, EIE_CONTROL_ABORT_MASK);
    status = until_clear(chip, EIE_STATUS_STREAM_MASK);
    if (!status)
        eie_clear_error(chip);
    return status;
}

int eie_forget(struct eie *chip)
{
    /* The first says ABORTED, if nobody has; the second is heeded unless a word waits. */
    if (chip->rd(chip->context, EIE_ERROR_CODE) != EIE_ERROR_ABORTED)
        chip->wr(chip->context, EIE_CONTROL, EIE_CONTROL_ABORT_MASK);
    chip->wr(chip->context, EIE_CONTROL, EIE_CONTROL_SOFT_RESET_MASK);
    return chip->rd(chip->context, EIE_STATUS) & EIE_STATUS_STREAM_MASK ? EIE_TIMEOUT : EIE_OK;
}
