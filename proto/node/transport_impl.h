/*
 * transport_impl.h - what the files of the transport share: dialer.c (edge), listener.c (core) and
 * their parts inbox.c, requests.c, pipes.c, probe.c, descriptors.c; transport.c has the helpers.
 *
 * Invariant: nng's threads touch only what inbox.lock protects, and a pipe callback or a completion
 * never calls anything of nng that can wait. All else belongs to the loop's thread.
 *
 * Must not: be included outside proto/node/. Nothing above the transport knows of nng.
 *
 * Lifetime: what nng's threads can still reach after hf_dialer_close or hf_listener_close (the
 * object, its contexts and aios) is never freed, because the only way to make nng let go of it is
 * nng_close, which can hang. The process is about to exit or to execute itself again.
 *
 * Read next: dialer.c or listener.c.
 */
#ifndef HF_TRANSPORT_IMPL_H
#define HF_TRANSPORT_IMPL_H

#include "hf/transport.h"

#include <pthread.h>
#include <sys/socket.h>

#include <nng/nng.h>
#include <uv.h>

/* nng counts the header of a request or reply (4 bytes a hop) in NNG_OPT_RECVMAXSZ. */
#define HF_RECV_MAX (HF_MESSAGE_MAX + 64u)
#define HF_URL_MAX 256u
/* The guards look this often; each look costs a few microseconds. */
#define HF_GUARD_MS 250u
/* Without REM_POST for this long after a close, nng's reap thread is stuck (fault C). */
#define HF_WEDGED_MS 2000u

/* ---- helpers (transport.c) ---- */

static inline uint64_t hf_transport_now(void)
{
    return uv_hrtime() / 1000000u;
}

/* A message of nng with a copy of the bytes, or NULL. */
nng_msg *hf_transport_message(struct hf_slice bytes);
/* Turns a result of nng into ours, with the text "what url: reason". */
enum hf_err hf_transport_error(struct hf_error *e, int rv, const char *what, const char *url);
/* The same URL with another port. */
enum hf_err hf_transport_url(const char *url, uint32_t port, char *out, size_t cap);
/* The port of a URL that we accept, or HF_ARG. */
enum hf_err hf_transport_port(const char *url, uint32_t *port);

/* ---- inbox: from nng's threads to the loop (inbox.c) ---- */

struct hf_inbox_item {
    nng_msg *msg; /* owned; NULL stands for a failure */
    uint32_t kind;
    uint32_t index;
};

struct hf_inbox {
    pthread_mutex_t lock;
    uv_async_t async;
    struct hf_inbox_item *items; /* owned */
    uint32_t cap;
    uint32_t head;
    uint32_t count;
    size_t bytes;
    bool closed;
};

/* on_wake runs on the loop with the handle whose `data` is given here. */
enum hf_err hf_inbox_init(struct hf_inbox *in, uv_loop_t *loop, uint32_t cap, uv_async_cb on_wake,
                          void *data);
/* The three below need in->lock. put takes the message over in any case; false: no room, freed. */
bool hf_inbox_put(struct hf_inbox *in, struct hf_inbox_item item);
void hf_inbox_wake(struct hf_inbox *in);
uint32_t hf_inbox_take(struct hf_inbox *in, struct hf_inbox_item *out, uint32_t max);
/* Loop only; takes the lock. After it nothing is kept and the loop is not woken any more. */
void hf_inbox_close(struct hf_inbox *in, uv_close_cb on_closed);

/* ---- requests over REQ contexts (requests.c), loop only ---- */

#define HF_REQUESTS_MAX 64u
#define HF_CONTROL_MAX 8u
#define HF_SLOTS_PER_CONNECTION 2u

struct hf_requests;

struct hf_requests_config {
    struct hf_inbox *inbox; /* a completion arrives there as {msg, kind, slot} */
    uint32_t kind;
    const nng_socket *sockets; /* REQ, one a connection; copied */
    uint32_t connections;
};

enum hf_err hf_requests_new(const struct hf_requests_config *c, struct hf_requests **r, int *rv);
void hf_requests_free(struct hf_requests *r); /* only before the first request */
enum hf_err hf_requests_add(struct hf_requests *r, uint64_t id, struct hf_slice message,
                            hf_ms timeout_ms);
/* Whether requests may be handed to this connection. */
void hf_requests_usable(struct hf_requests *r, uint32_t connection, bool usable);
/* Ends the request that the slot carried and gives its id and connection; starts the next one. */
uint64_t hf_requests_done(struct hf_requests *r, uint32_t slot, uint32_t *connection);
/* Takes out one waiting request whose time is up. */
bool hf_requests_expired(struct hf_requests *r, uint64_t now, uint64_t *id);
/* When the next waiting request is due; UINT64_MAX: none waits. */
uint64_t hf_requests_deadline(const struct hf_requests *r);

/* ---- connections of a listener, with caps (pipes.c); the caller holds the lock ---- */

#define HF_PEER_TEXT_MAX 48u

struct hf_pipe {
    uint32_t id;
    uint32_t next;
    uint16_t family;
    uint8_t address[16];
    uint32_t busy; /* REP contexts that this connection occupies */
    char text[HF_PEER_TEXT_MAX];
};

struct hf_pipes;

struct hf_pipes *hf_pipes_new(uint32_t per_address, uint32_t max);
void hf_pipes_free(struct hf_pipes *p);
/* False: a cap is reached; nothing is recorded. */
bool hf_pipes_add(struct hf_pipes *p, uint32_t id, const nng_sockaddr *peer);
void hf_pipes_remove(struct hf_pipes *p, uint32_t id); /* an unknown id is fine */
struct hf_pipe *hf_pipes_find(struct hf_pipes *p, uint32_t id);
uint32_t hf_pipes_count(const struct hf_pipes *p);

/* ---- the probe of one of our own listeners (probe.c) ---- */

enum hf_probe_verdict {
    HF_PROBE_WAIT = 0,  /* nothing to say yet, or all is well */
    HF_PROBE_DEAD = 1,  /* connections no longer become pipes: listen anew */
    HF_PROBE_STUCK = 2, /* pipes are no longer reaped: the process has to execute itself again */
};

struct hf_probe {
    uv_loop_t *loop;
    uv_tcp_t tcp;
    uv_connect_t connecting;
    uv_write_t writing;
    struct sockaddr_storage to;
    uint8_t hello[8];
    char sink[64];
    bool off;  /* an address that is not TCP */
    bool open; /* the handle is in use, up to its close callback */
    bool running;
    bool refused; /* the TCP connection failed */
    uint64_t started_ms;
    uint64_t next_ms;
    uint32_t failures;
    uint32_t unreaped;
    uint64_t count; /* probes that succeeded */
    /* Under the inbox's lock. */
    struct sockaddr_storage from;
    uint32_t pipe; /* the pipe that the probe became; 0: none yet */
    bool reaped;
};

void hf_probe_init(struct hf_probe *p, uv_loop_t *loop, uint16_t protocol);
/* The address of the listener; ANY becomes loopback. */
void hf_probe_target(struct hf_probe *p, const nng_sockaddr *bound);
enum hf_probe_verdict hf_probe_tick(struct hf_probe *p, uint64_t now, pthread_mutex_t *lock);
/* Under the lock, from ADD_PRE: is this connection the probe's own? */
bool hf_probe_claim(struct hf_probe *p, uint32_t pipe, const nng_sockaddr *peer);
void hf_probe_removed(struct hf_probe *p, uint32_t pipe);
void hf_probe_close(struct hf_probe *p);

/* ---- what the kernel knows of our TCP sockets (descriptors.c) ---- */

/* TCP sockets of this process that were shut down but are still open: nng leaks them (fault D). */
uint32_t hf_descriptors_dead(void);
/* Whether one of them has this local port. */
bool hf_descriptors_is_dead(uint16_t local_port);
/* Milliseconds since anything arrived on the connection with these ports; -1: there is none. */
int64_t hf_descriptors_quiet_ms(uint16_t local_port, uint16_t remote_port);
/* Connections to this remote port, and those to any port that are still being made: until the peer
 * has answered, the kernel does not say where one goes. */
uint32_t hf_descriptors_dialled(uint16_t remote_port);

#endif
