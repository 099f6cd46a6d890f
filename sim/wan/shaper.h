/*
 * shaper.h - one direction of an emulated link: what becomes of each packet, and when it arrives.
 *
 * A packet meets, in this order: a cut (it vanishes), the queue before the transmitter (it vanishes
 * when the queue is full), the transmitter (it takes len / rate), the wire (it may be lost, after
 * it has taken its time on the link, as a damaged one does), the delay, and then perhaps a detour
 * (others overtake it) or a copy. Loss is independent per packet, or comes in bursts by Gilbert's
 * model: two states, in the bad one everything is lost; what is asked for is the mean loss and the
 * mean length of a burst in packets.
 *
 * Invariant: without reordering, packets arrive in the order in which they were offered, whatever
 * jitter and run-time changes do. Rates count bytes of the IP packet; there is no frame around it.
 *
 * PURE: time and randomness come from outside, nothing is allocated and no packet is touched. Not
 * for use from two threads. Next: profile.h (how settings are written), wan.h (real packets).
 */
#ifndef HF_WAN_SHAPER_H
#define HF_WAN_SHAPER_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/rng.h"

#define HF_WAN_MS UINT64_C(1000000) /* of the nanoseconds that all times here are in */
#define HF_WAN_S UINT64_C(1000000000)

struct hf_wan_profile {
    uint64_t delay_ns;    /* one way */
    uint64_t jitter_ns;   /* at most so much is added to or taken from the delay, evenly drawn */
    uint64_t rate_bps;    /* 0 = as fast as packets come */
    uint64_t queue_bytes; /* before the transmitter; 0 = by time */
    uint64_t queue_ns;    /* how long a packet may wait there */
    double loss;          /* 0 to 1, mean */
    double burst;         /* mean packets of a burst; up to 1 = independent losses */
    double reorder, duplicate;
};

/* Counted per direction: name, what it says. One list for the struct, stats and the final table. */
#define HF_WAN_COUNTERS(X)                                                                         \
    X(packets, "taken onto the link")                                                              \
    X(bytes, "of these, IP headers included")                                                      \
    X(arrived_packets, "that came out at the other end, copies included")                          \
    X(arrived_bytes, "of these")                                                                   \
    X(lost, "packets that the link lost")                                                          \
    X(overflowed, "dropped before a full queue")                                                   \
    X(cut, "swallowed while the link was cut")                                                     \
    X(forgotten, "of connections that had become half-open")                                       \
    X(reordered, "sent on a detour")                                                               \
    X(duplicated, "that arrived twice")                                                            \
    X(starved, "dropped for want of the emulator's own buffers; must be 0")

struct hf_wan_counters {
#define X(name, text) uint64_t name;
    HF_WAN_COUNTERS(X)
#undef X
};

struct hf_wan_shaper {
    struct hf_wan_profile profile;
    bool cut;
    bool bad;          /* Gilbert's state */
    uint64_t busy_ns;  /* when the transmitter has sent what it has taken */
    uint64_t order_ns; /* the latest arrival so far that was not a detour */
    struct rng rng;
    struct hf_wan_counters count;
};

/* A link that does nothing to packets. */
void hf_wan_shaper_init(struct hf_wan_shaper *s, uint64_t seed, uint64_t stream);

/* Takes a packet of len bytes at now_ns, which never goes back. Returns when it arrives, in
 * at_ns[0] and for a copy in at_ns[1], and how many times: 0 to 2. Counts all but the arrival,
 * which a cut may still prevent. */
unsigned hf_wan_shaper_offer(struct hf_wan_shaper *s, uint64_t now_ns, uint32_t len,
                             uint64_t at_ns[2]);

#endif
