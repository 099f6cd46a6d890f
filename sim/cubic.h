/*
 * cubic.h - how many segments a TCP sender may have on the way: the congestion window of Linux.
 *
 * Slow start from 10 segments; HyStart ends it once the queue grows or acknowledgements come in a
 * train of half a round trip. Then CUBIC, never slower than Reno. While losses are mended, the
 * window follows what is delivered (PRR), down to 0.7 of what it was; a time-out begins with one
 * segment. A window that is not used shrinks.
 *
 * Sources: RFC 6928, RFC 9438, RFC 6937, RFC 2861, "Hybrid Slow Start" (Ha, Rhee 2011), and where
 * these leave a choice, Linux 6 (tcp_cubic.c, tcp_input.c).
 *
 * Windows are in segments. PURE: time comes as an argument. Next: tcp.h, whose sender asks.
 */
#ifndef HF_SIM_CUBIC_H
#define HF_SIM_CUBIC_H

#include "sim/hop.h"

enum cubic_state {
    CUBIC_OPEN = 0,
    CUBIC_MENDING,   /* something was lost and packets behind it told so */
    CUBIC_TIMED_OUT, /* nothing told */
};

struct cubic {
    enum cubic_state state;
    double window, threshold; /* slow start below the threshold */

    /* The curve: begins with the first acknowledgement after a reduction. */
    double most; /* window before the last reduction; 0 = none since the start or a time-out */
    double origin, k, reno;
    sim_us began; /* 0 = not yet */

    /* PRR, while mending */
    double before, delivered, sent;

    /* HyStart, a round trip at a time */
    bool found;
    uint64_t round_end; /* in the stream of bytes */
    sim_us round_began, round_least, train;
    uint32_t round_samples;

    sim_us rtt_least;
    /* Whether the window is what limits the sender, found once a round trip. */
    bool limited;
    uint32_t most_out;
    uint64_t limited_end;

    double used; /* most that was on the way since full_at */
    sim_us full_at;
};

/* Some segments that were acknowledged. */
struct cubic_ack {
    uint32_t segments, acks;
    uint64_t end, sent_end, written_end; /* of them, of what is sent, of all: in the stream */
    sim_us first_at, last_at;            /* when the acknowledgements came */
    sim_us first_rtt, last_rtt;          /* 0: sent more than once, so nobody knows */
};

void cubic_begin(struct cubic *w, sim_us now);

void cubic_acked(struct cubic *w, const struct cubic_ack *a);

/* A loss was found; all that was sent so far has been delivered after a loss or a time-out. */
void cubic_lost(struct cubic *w);
void cubic_timed_out(struct cubic *w);
void cubic_mended(struct cubic *w);

/* While mending: of what was sent, so much was delivered and `in_flight` is left. `advanced`: it
 * was the oldest, and nothing else was found to be lost. */
void cubic_delivered(struct cubic *w, uint32_t segments, uint32_t in_flight, bool advanced);

/* A sender has sent what it may, or what it has. */
struct cubic_send {
    sim_us now, timeout;
    uint32_t segments, in_flight;
    uint64_t acked,
        end;   /* in the stream of bytes: before this, nothing is on the way; sent so far */
    bool full; /* there is more than may be sent */
};

void cubic_sent(struct cubic *w, const struct cubic_send *s);

/* Before sending: nothing was on the way for so long. */
void cubic_rested(struct cubic *w, sim_us idle, sim_us timeout);

#endif
