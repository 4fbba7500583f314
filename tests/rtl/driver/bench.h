/* What the test of the C driver has as its platform. */
#include <stddef.h>
#include <stdint.h>

uint32_t bench_rd(void *context, uint32_t offset);
void bench_wr(void *context, uint32_t offset, uint32_t value);
int bench_send(void *context, const uint64_t *words, size_t n);
int bench_receive(void *context, uint64_t *words, size_t n);
void bench_cycles(unsigned n);
void bench_stop_dma(int stop); /* it offers no word, until it is let go again */
void bench_reset_dma(void);    /* and forgets what it had to send */
size_t bench_left(void);       /* words that it has yet to send */
int bench_irq(void);
unsigned bench_refused(void); /* answers other than OKAY since it was asked last */
void bench_reset(unsigned cycles);
