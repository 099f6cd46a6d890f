/*
 * sent.h - what the kernel's TCP of one node has been given to send, connections that are gone
 * included.
 *
 * The kernel is asked for the TCP figures of all sockets of a network namespace, and tells those of
 * each socket that it destroys (sock_diag's multicast group), so that nothing falls between two
 * questions. Once: bytes that were sent, retransmissions not counted. Waiting: bytes that were
 * handed over but never sent: those of a socket that was destroyed with a full buffer never will
 * be.
 *
 * Needs a kernel with tcp_diag. It must not touch a packet. One caller; a thread of its own
 * listens. Next: catchup.c.
 */
#ifndef HF_BENCH_SENT_H
#define HF_BENCH_SENT_H

#include <stdbool.h>
#include <stdint.h>

struct hf_sent;

struct hf_sent_bytes {
    uint64_t once, again, waiting;
    uint64_t ended; /* sockets that were destroyed since the start */
};

/* netns is a descriptor of the namespace, borrowed for this call. NULL when the kernel does not
 * tell. */
struct hf_sent *hf_sent_new(int netns);
/* Totals since the namespace's sockets were made; false when an answer or an event was lost. */
bool hf_sent_read(struct hf_sent *s, struct hf_sent_bytes *out);
void hf_sent_free(struct hf_sent *s);

#endif
