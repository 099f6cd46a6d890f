/*
 * transport.h - all of nng behind connect, send, request, and link up or down.
 *
 * nng's data path is fast and robust; the connection life cycle of Debian's 1.5.2 is not
 * (PROTOCOL.md appendix A lists faults A to E). The guards live here, so that nothing above knows
 * of them: A  every listener is probed with a connection of its own, and opened again when that
 * becomes no pipe; B  each dialer is one try, made anew; C  a pipe is closed only after it has been
 * silent, never while bytes arrive; a pipe whose removal is not confirmed within 2 s, or whose
 * socket outlives it, means that nng's reaper is stuck: on_wedged, and the daemon re-executes; D no
 * message above HF_MESSAGE_MAX, at most 2 requests in flight a connection, no reply to one that was
 * reset, and a watch on descriptors that no pipe accounts for: on_wedged; E  no RESPONDENT or
 * SURVEYOR sockets. NNG_OPT_RECVMAXSZ is set on every socket before it listens or dials.
 *
 * Threads: everything is called from the loop's thread, and every callback arrives there, except
 * that hf_listener_reply may be called from any thread. nng's own threads only enqueue.
 */
#ifndef HF_TRANSPORT_H
#define HF_TRANSPORT_H

#include "hf/err.h"
#include "hf/types.h"
#include "hf/world.h"

struct uv_loop_s;

/* HF_ARG, with a sentence for who configured it, unless the URL is tcp://host:port. TLS is refused:
 * see proto/node/transport.c. */
enum hf_err hf_url_check(const char *url, struct hf_error *e);
/* "tcp://127.0.0.1:7410" into the URL of the next port. Port 0 is refused. */
enum hf_err hf_url_control(const char *stream_url, char *control_url, size_t cap);

/* ---- edge: one SUB, one REQ and a pool of REQ connections to a core ---- */

struct hf_dialer;

struct hf_dialer_config {
    const char *stream_url;
    const char *control_url;
    /* For hf_dialer_fetch, up to 32, opened as they are needed and closed when they were not used
     * for a while. 0: such requests go over the control connection, one at a time. */
    uint32_t data_connections;
    hf_ms data_idle_ms; /* 30 s when 0 */
    void *ctx;
    void (*on_link)(void *ctx, enum hf_channel channel, bool up);
    void (*on_message)(void *ctx, struct hf_slice message); /* from the stream; borrowed */
    /* message.data == NULL: timed out, or the connection broke. Borrowed. Exactly once an id. */
    void (*on_reply)(void *ctx, uint64_t id, struct hf_slice message);
    /* At most once. The connections go on working, but each one that ends leaks a descriptor, and
     * at a core its place under the caps. Only a new process helps; how soon is the owner's choice.
     */
    void (*on_wedged)(void *ctx, const char *why);
};

enum hf_err hf_dialer_open(struct uv_loop_s *loop, const struct hf_dialer_config *c,
                           struct hf_dialer **d, struct hf_error *e);
/* Only messages that begin with this prefix are delivered from now on; may be called for several.
 */
enum hf_err hf_dialer_subscribe(struct hf_dialer *d, struct hf_slice prefix);
/* Each connection carries two requests at most; more wait, and the time-out counts from now. At
 * most 128 may be open, 112 of them for data: HF_BUSY. One whose answer is small goes over the
 * control connection, one that asks for data over the pool, so that neither waits for the other. */
enum hf_err hf_dialer_request(struct hf_dialer *d, uint64_t id, struct hf_slice message,
                              hf_ms timeout_ms);
enum hf_err hf_dialer_fetch(struct hf_dialer *d, uint64_t id, struct hf_slice message,
                            hf_ms timeout_ms);
/* The owner has heard nothing for too long: drop what is there once it is silent, and dial anew. */
void hf_dialer_redial(struct hf_dialer *d, enum hf_channel channel);

struct hf_dialer_counts {
    uint64_t messages; /* delivered from the stream */
    uint64_t dropped;  /* stream messages lost because the loop was late (4,096 or 64 MiB queued) */
    uint64_t closes;   /* silent connections closed on request */
    uint64_t redials;  /* tries to connect beyond the first of each outage */
    uint32_t data_links; /* connections of the pool that are up now */
};
/* So many requests for data are about to come: connections for them are begun now, and not given
 * up for two seconds. */
void hf_dialer_expect(struct hf_dialer *d, uint32_t requests);
void hf_dialer_counts(const struct hf_dialer *d, struct hf_dialer_counts *out);

/* No callback comes after it, open requests included. Abandons nng's sockets, whose memory is not
 * freed: nng_close can hang. For a process that ends or executes itself again. */
void hf_dialer_close(struct hf_dialer *d);

/* ---- core: one PUB and one REP listener ---- */

struct hf_listener;

struct hf_listener_config {
    const char *stream_url;     /* port 0 picks a free pair P, P+1 */
    uint32_t contexts;          /* REP contexts, default 1024 when 0 */
    uint32_t pipes_per_address; /* default 8192 when 0 */
    uint32_t pipes_max;         /* default 16384 when 0 */
    void *ctx;
    /* A request; answer it with hf_listener_reply(handle), or drop it with an empty reply.
     * Borrowed. peer is an address text without port, for quotas and logs. Returns whether it was
     * authentic, which decides what its connection may expect when there are strangers
     * (PROTOCOL.md 2.4). */
    bool (*on_request)(void *ctx, uint64_t handle, struct hf_slice message, const char *peer);
    /* Those that were there have been delivered. May be NULL. */
    void (*on_requests_end)(void *ctx);
    void (*on_wedged)(void *ctx, const char *why); /* as for the dialer */
};

enum hf_err hf_listener_open(struct uv_loop_s *loop, const struct hf_listener_config *c,
                             struct hf_listener **l, struct hf_error *e);
uint16_t hf_listener_port(const struct hf_listener *l); /* of the stream */
void hf_listener_publish(struct hf_listener *l, struct hf_slice message);
void hf_listener_reply(struct hf_listener *l, uint64_t handle,
                       struct hf_slice message);         /* any thread */
uint32_t hf_listener_pipes(const struct hf_listener *l); /* connections, both ports together */

struct hf_listener_counts {
    uint64_t refused_pipes;    /* over a cap on connections */
    uint64_t refused_streams;  /* over the cap on strangers there */
    uint64_t ended_pipes;      /* of strangers, when these were too many */
    uint64_t refused_requests; /* dropped: too many at once from one connection */
    uint64_t probes;           /* of our own listeners, that succeeded */
    uint64_t relistens;        /* listeners found dead and opened again; drops all connections */
};
void hf_listener_counts(const struct hf_listener *l, struct hf_listener_counts *out);

/* As hf_dialer_close. The ports are free again afterwards. */
void hf_listener_close(struct hf_listener *l);

#endif
