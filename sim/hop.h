/*
 * hop.h - one direction of a virtual link: transmitter, queue, losses, delay, cuts.
 *
 * A burst of packets meets the queue before the transmitter (what does not fit is dropped), the
 * transmitter (each takes len / rate), the wire (each may be lost) and the delay. Loss is
 * independent, or comes in bursts by Gilbert's model, as in sim/wan/shaper.h; here the distance to
 * the next lost packet is drawn instead of the fate of each, so a burst costs as many draws as it
 * loses packets. A profile can follow a recorded trace of round trip, loss and rate.
 *
 * The queue is kept as the time at which the transmitter will be idle: what is offered later waits
 * behind all of a burst, also behind packets of it that are still to come. What TCP makes of all
 * this is in tcp.h.
 *
 * PURE: time comes as an argument, randomness from the line's own rng.
 */
#ifndef HF_SIM_HOP_H
#define HF_SIM_HOP_H

#include "hf/err.h"
#include "sim/rng.h"

typedef uint64_t sim_us; /* virtual microseconds */
#define SIM_MS UINT64_C(1000)
#define SIM_S UINT64_C(1000000)
#define SIM_NEVER UINT64_MAX

/* What TCP/IP puts into a packet, and what it costs: Ethernet's 1500, IPv4, TCP with timestamps. */
#define HOP_SEGMENT 1448u
#define HOP_HEADERS 52u

/* A recording: what holds from `at` on, until the next point. It begins anew after `period`. */
struct hop_point {
    sim_us at;
    sim_us delay; /* one way: half of the recorded round trip */
    double loss;
    uint64_t rate_bps; /* 0 = as the profile says */
};

#define HOP_POINTS_MAX 100000u

struct hop_trace {
    struct hop_point *point; /* owned */
    uint32_t count;
    sim_us period;
};

struct link_profile {
    sim_us delay;         /* one way */
    sim_us jitter;        /* at most so much is added to or taken from the delay, evenly drawn */
    uint64_t rate_bps;    /* bits of IP packets per second; 0 = as fast as packets come */
    uint64_t queue_bytes; /* before the transmitter; 0 = by time */
    sim_us queue;         /* how long a packet may wait there; 0 = 100 ms */
    double loss;          /* of packets, 0 to 1, mean: TCP repairs it and takes time for that */
    double burst;         /* mean packets of a burst of losses; up to 1 = independent */
    double packet_reorder, packet_duplicate; /* chance of a detour, of a second copy */
    const struct hop_trace *trace;           /* or NULL; its delay, loss and rate come first */

    /* Of whole messages, which no TCP does: for a swarm and for attacks. */
    double drop;      /* it vanishes */
    double duplicate; /* it arrives twice */
    double reorder;   /* it is held back by up to 10 delays */
    double corrupt;   /* a bit is flipped: the envelope or a signature must notice */
};

struct hop {
    struct rng rng;
    sim_us busy_until;              /* the transmitter has sent what it has taken */
    bool cut;                       /* nothing passes */
    sim_us cut_from, cut_until;     /* the last cut; cut_until is SIM_NEVER while it lasts */
    uint64_t good_left, bad_left;   /* packets until the next loss, and to lose from then on */
    double drawn_loss, drawn_burst; /* what good_left was drawn for */
    uint64_t bytes, packets, lost, overflowed;
};

/* What becomes of a burst. Times are those without losses. */
struct hop_burst {
    sim_us waited;      /* the first packet, in the queue */
    sim_us first, last; /* those packets have left the transmitter */
    sim_us arrives;     /* the last packet */
    uint32_t lost;      /* by the wire or a full queue */
    uint32_t behind;    /* packets behind the last lost one */
};

void hop_init(struct hop *l, uint64_t seed, uint64_t stream);

/* What holds at that time: the profile, with the values of its trace. */
struct link_profile hop_profile_at(const struct link_profile *p, sim_us now);

/* Takes `count` packets of `bytes` in all, headers included, which come evenly from `first` to
 * `last`: one moment, or as a line before this one or a sender lets them go. `p` is what
 * hop_profile_at gave. Cuts are not looked at here: who receives asks hop_was_cut. */
struct hop_burst hop_offer(struct hop *l, const struct link_profile *p, sim_us first, sim_us last,
                           uint32_t count, uint64_t bytes);

/* Bytes that are counted but too few to wait for: acknowledgements, handshakes, copies. */
void hop_count(struct hop *l, uint64_t bytes);

void hop_cut(struct hop *l, sim_us now);
void hop_heal(struct hop *l, sim_us now);
bool hop_was_cut(const struct hop *l, sim_us at); /* of the last cut only */

/* Reads lines "SECONDS RTT_MS LOSS_PERCENT [RATE_MBIT]" in the order of time, '#' begins a comment.
 * The last point holds as long as the one before it. Errors name file:line. A line has at most 254
 * bytes, none of them zero; what is no regular file is refused. */
enum hf_err hop_trace_load(struct hop_trace *t, const char *path, struct hf_error *e);
void hop_trace_free(struct hop_trace *t);

#endif
