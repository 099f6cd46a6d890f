/*
 * hf/reach.h - why a core cannot be reached. nng dials for ever and says nothing; this connects
 * beside it, once in a while, and puts the reason into words for log and status.
 *
 * Looks only while a channel is down: first after 5 s, then every 10 s, at the control port and,
 * when that is up, at the stream's. A look is a name resolved, a connection, and the eight bytes
 * with which an SP listener greets; it sends nothing. One thread: the loop's.
 */
#ifndef HF_REACH_H
#define HF_REACH_H

#include "hf/err.h"
#include "hf/transport.h"

struct uv_loop_s;
struct hf_reach;

struct hf_reach_config {
    const char *core_url; /* of the stream, tcp://HOST:PORT; copied */
    void *ctx;
    /* A reason that is new, or still the same after 10 minutes. */
    void (*on_reason)(void *ctx, const char *reason);
    hf_ms first_ms; /* 0: the 5 s from above */
    hf_ms pause_ms; /* 0: the 10 s; also how long an answer is waited for, at most 5 s */
};

/* HF_ARG: no such URL; HF_NOMEM. It lives as long as the loop: there is no close. */
enum hf_err hf_reach_new(struct uv_loop_s *loop, const struct hf_reach_config *c,
                         struct hf_reach **out);
/* Both channels are down in the beginning. */
void hf_reach_link(struct hf_reach *r, enum hf_channel channel, bool up);
/* "tcp://ADDR:PORT: connection refused"; empty while nothing is known to be wrong, and of NULL.
 * Lives until the loop turns. */
const char *hf_reach_reason(const struct hf_reach *r);

#endif
