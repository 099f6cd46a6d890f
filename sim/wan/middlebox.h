/*
 * middlebox.h - a stateful box on the way of an edge's connections, a NAT or a firewall, which can
 * lose its table.
 *
 * From that moment packets of the connections that were open vanish in both directions, and nobody
 * is told; those that the edge opens afterwards pass, as the box sees their SYN. So connections
 * become half-open, which no cut can do: after a cut heals, TCP goes on.
 *
 * A connection is known by the edge's port: edges dial one core, and use a port once at a time.
 * What is not TCP passes. Not for use from two threads.
 */
#ifndef HF_WAN_MIDDLEBOX_H
#define HF_WAN_MIDDLEBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/wan/wan.h"

struct hf_wan_middlebox {
    bool forgot;                    /* false: everything passes, and `known` means nothing */
    uint64_t known[(1 << 16) / 64]; /* a bit for each port whose SYN was seen since */
};

void hf_wan_middlebox_forget(struct hf_wan_middlebox *m);

/* Whether an IPv4 packet of len bytes passes; way says whose port is the source. */
bool hf_wan_middlebox_pass(struct hf_wan_middlebox *m, const uint8_t *packet, uint32_t len,
                           enum hf_wan_way way);

#endif
