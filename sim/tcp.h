/*
 * tcp.h - one direction of a TCP connection over virtual lines: when does a message arrive?
 *
 * A sender of the kind that Debian has: CUBIC decides how much may be on the way (cubic.h). What is
 * lost goes again one round trip after something behind it arrived, and halts nothing but the
 * order; at the end of what there is to send, where nothing behind it tells, a probe or a time-out
 * does. When the path is cut the sender tries on, each time after twice as long.
 *
 * Segments go in flights: what an acknowledged flight or a write lets go, at most a quarter of the
 * window in one. So a message costs a step, and a long one a handful for each round trip, however
 * many packets it has. Within a flight packets are evenly spread, those lost are its last.
 *
 * Invariant: messages arrive in the order of writing, each once or, if the connection ends, never.
 *
 * Not modelled: the receiver's window and the socket's buffers (as if large enough), the rate of
 * acknowledgements (they are counted, but take no time on the line) and their being late, Nagle
 * (off in holdfast), ECN, recoveries that Linux takes back when a packet was only late.
 *
 * PURE but for malloc: time comes as an argument. Next: hop.h, net.c.
 */
#ifndef HF_SIM_TCP_H
#define HF_SIM_TCP_H

#include <stddef.h>

#include "sim/cubic.h"

/* Bytes that several connections may be sending: one publish goes to each edge. */
struct packet {
    uint32_t refs;
    size_t len;
    uint8_t bytes[];
};

struct packet *packet_new(const void *bytes, size_t len);
struct packet *packet_ref(struct packet *p);
void packet_unref(struct packet *p);

/* What a connection runs over, in one direction. */
struct tcp_path {
    struct hop *hub; /* before the hop of the edge, shared by all edges; or NULL */
    const struct link_profile *hub_profile;
    struct hop *hop, *back;             /* of the edge; acknowledgements come back */
    const struct link_profile *profile; /* of both */
    bool swallowed;                     /* something in the middle forgot the connection */
};

struct tcp_message {
    struct packet *packet; /* owned */
    uint64_t tag;          /* the owner's */
    uint64_t end;          /* in the stream of bytes */
    struct tcp_message *next;
};

struct tcp_flight;

struct tcp {
    struct tcp_message *first, **end; /* written, not arrived; in order */
    uint32_t messages;
    uint64_t written, sent, arrived, acked; /* bytes */
    struct tcp_flight *flight;              /* ring */
    uint32_t flight_first, flight_count, flight_room;
    uint32_t in_flight, marked; /* segments on the way, as far as is known; lost, to go again */
    struct cubic cubic;
    uint64_t mending_until;      /* acknowledged so far, what was lost is mended */
    sim_us rtt, slack;           /* of a time-out beyond the round trip */
    uint64_t slack_end;          /* it shrinks when this is acknowledged */
    sim_us sent_at, heard_at;    /* the last */
    sim_us probe_at, timer_from; /* the timer: when nothing is heard until then; of time-outs */
    bool probed;                 /* since something was heard */
    uint32_t retries;            /* time-outs in a row */
    uint64_t sends;              /* flights */
    uint64_t again_bytes;        /* sent more than once */
};

/* A connection that took `rtt` to make. Also to forget one that ended. */
void tcp_open(struct tcp *c, sim_us now, sim_us rtt);
void tcp_close(struct tcp *c); /* what was not delivered is lost */
void tcp_free(struct tcp *c);

/* Takes over a reference of p. `overhead`: bytes around it, of the protocol above. */
void tcp_write(struct tcp *c, struct packet *p, uint32_t overhead, uint64_t tag);

/* Messages that the sender still has for itself: what a socket's queue would hold. */
uint32_t tcp_waiting(const struct tcp *c);

/* Does all that is due, and says when to call again at the latest (SIM_NEVER: after a write or a
 * change of the path). Times never go back. */
sim_us tcp_step(struct tcp *c, const struct tcp_path *path, sim_us now);

/* The next message that has arrived by the last step, with its packet (the caller's), or false. */
bool tcp_take(struct tcp *c, struct packet **p, uint64_t *tag);

#endif
