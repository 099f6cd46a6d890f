/*
 * flight.h - the packets that are under way: a fixed pool of buffers and a heap by time of arrival.
 *
 * Invariant: packets leave in the order of their times, and among equal times in the order in which
 * they were added, so that a link that keeps order in its times keeps it in fact.
 *
 * It must not know sockets or clocks, and allocates only in _new. Next: loop.c, which uses it.
 */
#ifndef HF_WAN_FLIGHT_H
#define HF_WAN_FLIGHT_H

#include <stdint.h>

#include "sim/wan/wan.h"

struct hf_wan_packet {
    uint16_t edge;
    uint8_t way; /* enum hf_wan_way */
    uint32_t len;
    uint8_t byte[HF_WAN_MTU];
};

struct hf_wan_flight;

/* NULL when there is no memory. Pages of buffers that were never needed are never touched. */
struct hf_wan_flight *hf_wan_flight_new(void);
void hf_wan_flight_free(struct hf_wan_flight *f);

/* A buffer to fill, NULL when all are under way. It goes back by _add and _pop, or by _return. */
struct hf_wan_packet *hf_wan_flight_take(struct hf_wan_flight *f);
void hf_wan_flight_return(struct hf_wan_flight *f, struct hf_wan_packet *p);
void hf_wan_flight_add(struct hf_wan_flight *f, struct hf_wan_packet *p, uint64_t at_ns);

/* When the next packet is due, UINT64_MAX when there is none. */
uint64_t hf_wan_flight_next(const struct hf_wan_flight *f);
/* Takes that packet out; the caller returns it. There must be one. */
struct hf_wan_packet *hf_wan_flight_pop(struct hf_wan_flight *f);

#endif
