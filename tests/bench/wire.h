/*
 * wire.h - what the programs of catching up share about time and the emulated link.
 *
 * The link is that of the control socket at `control` (sim/wan/control.h). Whatever fails ends the
 * process, as in keys.h: there is nothing to measure without it. Next: catchup.c, storm.c.
 */
#ifndef HF_BENCH_WIRE_H
#define HF_BENCH_WIRE_H

#include <stdint.h>

/* Bytes that the link took and, down, gave; packets that its queues, or its own buffers, lost. */
struct hf_wire {
    uint64_t down, up, arrived, overflowed, overrun;
};

uint64_t hf_now_us(void); /* of the monotonic clock */
void hf_sleep_us(uint64_t us);

/* A line of control: "cut 1", "heal all". */
void hf_wire_do(const char *control, const char *line);
/* Sums over these edges ("1", "all") since the link was made. */
struct hf_wire hf_wire_read(const char *control, const char *edges);

#endif
