/*
 * middlebox.c - which TCP connections a box knows that has lost its table (middlebox.h).
 *
 * Invariant: it looks at packets and never changes them. Fragments do not happen: both ends have
 * the MTU of the emulated line. Next: loop.c, which asks for each packet that it takes.
 */
#include "sim/wan/middlebox.h"

#include <string.h>

/* In the IPv4 header, and from the TCP header's beginning. */
#define HEADER_WORDS 0x0f
#define PROTOCOL 9
#define PROTOCOL_TCP 6
#define SOURCE 0
#define DESTINATION 2
#define FLAGS 13
#define TCP_HEADER_BYTES 20
#define SYN 0x02
#define ACK 0x10

void hf_wan_middlebox_forget(struct hf_wan_middlebox *m)
{
    m->forgot = true;
    memset(m->known, 0, sizeof(m->known));
}

bool hf_wan_middlebox_pass(struct hf_wan_middlebox *m, const uint8_t *packet, uint32_t len,
                           enum hf_wan_way way)
{
    if (!m->forgot || packet[PROTOCOL] != PROTOCOL_TCP) {
        return true;
    }
    uint32_t header = 4u * (packet[0] & HEADER_WORDS);
    if (len < header + TCP_HEADER_BYTES) {
        return true; /* whoever it is for will drop it */
    }
    const uint8_t *tcp = packet + header;
    const uint8_t *at = tcp + (way == HF_WAN_UP ? SOURCE : DESTINATION);
    uint32_t port = (uint32_t)at[0] << 8 | at[1];
    uint64_t bit = UINT64_C(1) << port % 64;
    if (way == HF_WAN_UP && (tcp[FLAGS] & (SYN | ACK)) == SYN) {
        m->known[port / 64] |= bit;
    }
    return (m->known[port / 64] & bit) != 0;
}
