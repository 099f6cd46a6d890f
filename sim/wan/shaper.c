/*
 * shaper.c - a link's queue, transmitter, losses and delay, computed instead of simulated.
 *
 * The queue is never kept as such: since it is served in order at a known rate, the time at which
 * the transmitter will be idle says how much waits in it. That makes the long-run rate exact
 * however late the emulator is scheduled: a packet's place on the link follows from the packets
 * before it, not from when somebody woke up.
 *
 * It must not read a clock nor look into packets. Next: shaper.h for the model, loop.c for packets.
 */
#include "sim/wan/shaper.h"

#include <string.h>

/* A detour is as long as parallel paths differ by, and at least long enough for four packets to
 * overtake: three make TCP believe in a loss, which is what reordering is feared for. */
#define DETOUR_NS (3 * HF_WAN_MS)
#define DETOUR_PACKETS 4u

void hf_wan_shaper_init(struct hf_wan_shaper *s, uint64_t seed, uint64_t stream)
{
    memset(s, 0, sizeof(*s));
    rng_seed(&s->rng, seed, stream);
}

static uint64_t send_ns(const struct hf_wan_profile *p, uint64_t bytes)
{
    return p->rate_bps == 0 ? 0 : bytes * 8u * HF_WAN_S / p->rate_bps;
}

static bool fits_queue(const struct hf_wan_shaper *s, uint64_t now_ns, uint32_t len)
{
    const struct hf_wan_profile *p = &s->profile;
    if (p->rate_bps == 0 || s->busy_ns <= now_ns) {
        return true; /* an idle transmitter takes any packet, however small the queue is */
    }
    uint64_t waiting_ns = s->busy_ns - now_ns;
    uint64_t max_ns = p->queue_bytes > 0 ? send_ns(p, p->queue_bytes) : p->queue_ns;
    return waiting_ns + send_ns(p, len) <= max_ns;
}

/* Gilbert: the chance to leave a burst is 1 / its mean length; the chance to enter one follows from
 * the mean loss. Where even a gap of one packet after each burst is too much for the loss asked
 * for, the bursts get longer. The state moves once a packet, before the packet. */
static bool is_lost(struct hf_wan_shaper *s)
{
    const struct hf_wan_profile *p = &s->profile;
    if (p->loss <= 0) {
        s->bad = false;
        return false;
    }
    if (p->burst <= 1 || p->loss >= 1) {
        return rng_chance(&s->rng, p->loss);
    }
    double leave = 1 / p->burst;
    double enter = leave * p->loss / (1 - p->loss);
    if (enter > 1) {
        leave /= enter;
        enter = 1;
    }
    s->bad = rng_chance(&s->rng, s->bad ? 1 - leave : enter);
    return s->bad;
}

static uint64_t delay_ns(struct hf_wan_shaper *s)
{
    const struct hf_wan_profile *p = &s->profile;
    if (p->jitter_ns == 0) {
        return p->delay_ns;
    }
    uint64_t low = p->delay_ns > p->jitter_ns ? p->delay_ns - p->jitter_ns : 0;
    return rng_between(&s->rng, low, p->delay_ns + p->jitter_ns);
}

static uint64_t arrival_ns(struct hf_wan_shaper *s, uint32_t len)
{
    const struct hf_wan_profile *p = &s->profile;
    uint64_t at = s->busy_ns + delay_ns(s);
    if (at < s->order_ns) {
        at = s->order_ns;
    }
    if (p->reorder > 0 && rng_chance(&s->rng, p->reorder)) {
        uint64_t others_ns = DETOUR_PACKETS * send_ns(p, len);
        s->count.reordered++;
        return at + (others_ns > DETOUR_NS ? others_ns : DETOUR_NS);
    }
    s->order_ns = at;
    return at;
}

unsigned hf_wan_shaper_offer(struct hf_wan_shaper *s, uint64_t now_ns, uint32_t len,
                             uint64_t at_ns[2])
{
    if (s->cut) {
        s->count.cut++;
        return 0;
    }
    if (!fits_queue(s, now_ns, len)) {
        s->count.overflowed++;
        return 0;
    }
    if (s->busy_ns < now_ns) {
        s->busy_ns = now_ns;
    }
    s->busy_ns += send_ns(&s->profile, len);
    s->count.packets++;
    s->count.bytes += len;
    if (is_lost(s)) {
        s->count.lost++;
        return 0;
    }
    at_ns[0] = at_ns[1] = arrival_ns(s, len);
    if (s->profile.duplicate > 0 && rng_chance(&s->rng, s->profile.duplicate)) {
        s->count.duplicated++;
        return 2;
    }
    return 1;
}
