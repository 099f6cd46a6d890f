/*
 * transport_impl.h - what the files of the transport share: dialer.c (edge), listener.c (core) and
 * their parts inbox.c, requests.c, pipes.c, strangers.c, probe.c, descriptors.c; reach.c looks
 * beside them; transport.c has the helpers.
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
#define HF_URL_BYTES 256u
/* With which each side of an SP connection greets: what it is. */
#define HF_SP_BYTES 8u
enum hf_sp {
    HF_SP_PUB = 0x20,
    HF_SP_SUB = 0x21,
    HF_SP_REQ = 0x30,
    HF_SP_REP = 0x31,
};
void hf_sp_greeting(enum hf_sp self, uint8_t out[HF_SP_BYTES]);
/* The guards look this often; each look costs a few microseconds. */
#define HF_GUARD_MS 250u
/* A pipe on which nothing came for so long may be closed (fault C). */
#define HF_QUIET_MS 500u
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
/* One end of a connection; nng and the kernel name it differently. Compared as bytes. */
struct hf_endpoint {
    uint8_t address[16]; /* IPv4: the first 4, the rest is zero */
    uint16_t family;     /* AF_INET or AF_INET6; 0: not IP, and all is zero */
    uint16_t port;
};
struct hf_endpoint hf_endpoint_of_nng(const nng_sockaddr *a);
struct hf_endpoint hf_endpoint_of_kernel(const struct sockaddr_storage *a);
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

/* ---- one connection of an edge (link.c), loop only but for what the lock protects ---- */

#define HF_ATTEMPTS_MAX 5u

struct hf_attempt {
    nng_dialer dialer;
    uint64_t until_ms;
    bool patient;
};

struct hf_link_counts {
    uint64_t closes;
    uint64_t redials;
};

struct hf_link {
    struct hf_inbox *inbox;
    const char *url; /* borrowed */
    char numeric_url[HF_URL_BYTES];
    nng_socket socket;
    /* Under the inbox's lock. */
    uint32_t adding;
    uint32_t pipe;
    uint64_t adding_ms;
    uint32_t added;    /* pipes so far */
    uint64_t heard_ms; /* last message or reply; also set when the pipe comes up */
    /* The loop's. */
    bool leads; /* the first to find out that an outage is over; set by the owner */
    uint32_t added_seen;
    bool wanted;
    bool tried;          /* one attempt at least since it was wanted */
    uint32_t told;       /* the pipe that the owner knows as up, or 0 */
    uint16_t local_port; /* of that pipe */
    uint16_t ended_port; /* of one before it, until its socket is known to be closed */
    uint64_t ended_ms;
    nng_dialer dialer; /* of that pipe */
    uint64_t up_ms;
    uint64_t used_ms;      /* last reply; also set when the pipe comes up */
    uint64_t lost_ms;      /* without a pipe since */
    uint64_t next_ms;      /* the next attempt is due */
    uint32_t flaps;        /* connections in a row that ended at once */
    uint32_t pause_ms_max; /* the longest pause for them */
    uint32_t patients;
    uint32_t rtt_ms; /* 0: not known yet */
    uint32_t attempt_count;
    struct hf_attempt attempts[HF_ATTEMPTS_MAX];
    bool suspect; /* close it once it was quiet for quiet_ms */
    uint32_t quiet_ms;
    uint32_t closing; /* a pipe that we closed and whose REM_POST is due */
    uint64_t closing_ms;
    struct hf_link_counts counts;
};

/* The link is zeroed before, but for pause_ms_max and leads; nothing is dialled until it is wanted.
 * A result of nng; on failure the socket may be open: its id says so. */
int hf_link_open(struct hf_link *k, enum hf_channel channel, const char *url, struct hf_inbox *in);
/* Whether there is to be a connection. What is no longer wanted is closed once it is quiet. */
void hf_link_want(struct hf_link *k, bool wanted);
/* Another link to the same core has come up: a link that is down is dialled as if it had just been
 * lost, but for the pauses of one whose connections end at once. */
void hf_link_hurry(struct hf_link *k);
/* Nothing was heard for too long: close the pipe once it was quiet for so long, and dial anew. */
void hf_link_suspect(struct hf_link *k, uint32_t quiet_ms);
/* Something was: takes the suspicion back. */
void hf_link_heard(struct hf_link *k);

enum hf_link_change {
    HF_LINK_SAME = 0,
    HF_LINK_UP = 1,
    HF_LINK_DOWN = 2,
};
/* What changed since the last call; to be called again until nothing did. */
enum hf_link_change hf_link_settle(struct hf_link *k);
/* Every HF_GUARD_MS. False: nng's reap thread is stuck. */
bool hf_link_guard(struct hf_link *k);
void hf_link_close(struct hf_link *k); /* its attempts and its dialer, not the socket */

/* ---- requests over REQ contexts (requests.c), loop only ---- */

#define HF_REQUESTS_MAX 128u
#define HF_REQUESTS_SMALL 16u /* of them no data: what hangs must not keep HELLO and REPORT out */
#define HF_SLOTS_PER_CONNECTION 2u
/* Connection 0 carries what is small, those after it data. */
#define HF_DATA_MAX 32u
#define HF_CONTROL_MAX (1u + HF_DATA_MAX)

struct hf_requests;

/* A completion arrives in the inbox as {msg, kind, slot}. */
struct hf_requests *hf_requests_new(struct hf_inbox *in, uint32_t kind);
void hf_requests_free(struct hf_requests *r); /* only before the first request */
/* Opens the slots of a connection; a result of nng. */
int hf_requests_connect(struct hf_requests *r, uint32_t connection, nng_socket socket);

struct hf_request_new {
    uint64_t id;
    bool data;
    struct hf_slice message;
    hf_ms timeout_ms;
};
enum hf_err hf_requests_add(struct hf_requests *r, const struct hf_request_new *q);
/* Whether requests may be handed to this connection. */
void hf_requests_usable(struct hf_requests *r, uint32_t connection, bool usable);

struct hf_request_end {
    uint64_t id;
    uint32_t connection;
    bool timed_out;
};
/* Ends the request that the slot carried; starts the next one. */
struct hf_request_end hf_requests_done(struct hf_requests *r, uint32_t slot);
/* Takes out one waiting request whose time is up. */
bool hf_requests_expired(struct hf_requests *r, uint64_t now, uint64_t *id);
/* When the next waiting request is due; UINT64_MAX: none waits. */
uint64_t hf_requests_deadline(const struct hf_requests *r);
/* Data requests, waiting and flying. */
uint32_t hf_requests_data(const struct hf_requests *r);
uint32_t hf_requests_flying(const struct hf_requests *r, uint32_t connection);

/* ---- connections of a listener, with caps (pipes.c); the caller holds the lock ---- */

#define HF_PEER_TEXT_MAX 48u

struct hf_pipe {
    struct hf_endpoint peer;
    enum hf_channel channel;
    uint32_t id;
    uint32_t next;
    uint32_t address; /* its place in the table of addresses */
    uint32_t busy;    /* REP contexts that this connection occupies */
    bool trusted;     /* its last request was authentic */
    bool ended;       /* we have shut its socket down */
    uint64_t since_ms;
    char text[HF_PEER_TEXT_MAX];
};

/* A connection as the kernel finds it, too. */
struct hf_connection {
    struct hf_endpoint peer;
    enum hf_channel channel;
    uint32_t id;
    uint64_t since_ms;
    bool again; /* we have shut its socket down before, and it is still there */
};

struct hf_pipes;

struct hf_pipes_caps {
    uint32_t all;
    uint32_t per_address;
    uint32_t stranger_streams;  /* new ones are refused */
    uint32_t stranger_controls; /* the oldest may be ended */
};

struct hf_pipes *hf_pipes_new(const struct hf_pipes_caps *caps);
void hf_pipes_free(struct hf_pipes *p);

enum hf_pipes_answer {
    HF_PIPES_TAKEN = 0,
    HF_PIPES_FULL = 1,    /* a cap on all, or on its address */
    HF_PIPES_STRANGE = 2, /* the one on strangers on the stream */
};
/* Unless it is taken nothing is recorded. */
enum hf_pipes_answer hf_pipes_add(struct hf_pipes *p, uint32_t id, enum hf_channel channel,
                                  const struct hf_endpoint *peer, uint64_t now);
void hf_pipes_remove(struct hf_pipes *p, uint32_t id); /* an unknown id is fine */
struct hf_pipe *hf_pipes_find(struct hf_pipes *p, uint32_t id);
uint32_t hf_pipes_count(const struct hf_pipes *p);
/* It brought a request, an authentic one or not. */
void hf_pipes_trust(struct hf_pipes *p, uint32_t id, bool trusted); /* an unknown id is fine */
/* Marks as ended, and writes to `out`, which has room for all, the strangers of the control channel
 * beyond their cap and beyond half of one address's places: the oldest, and none that came after
 * `before_ms`. How many. */
uint32_t hf_pipes_end_strangers(struct hf_pipes *p, uint64_t before_ms, struct hf_connection *out);
/* Writes all to `out`; how many. */
uint32_t hf_pipes_list(const struct hf_pipes *p, struct hf_connection *out);

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
    uint8_t hello[HF_SP_BYTES];
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
    struct hf_endpoint from;
    uint32_t pipe; /* the pipe that the probe became; 0: none yet */
    bool reaped;
};

void hf_probe_init(struct hf_probe *p, uv_loop_t *loop, enum hf_sp self);
/* The address of the listener; ANY becomes loopback. */
void hf_probe_target(struct hf_probe *p, const nng_sockaddr *bound);
enum hf_probe_verdict hf_probe_tick(struct hf_probe *p, uint64_t now, pthread_mutex_t *lock);
/* Under the lock, from ADD_PRE: is this connection the probe's own? */
bool hf_probe_claim(struct hf_probe *p, uint32_t pipe, const struct hf_endpoint *peer);
void hf_probe_removed(struct hf_probe *p, uint32_t pipe);
void hf_probe_close(struct hf_probe *p);

/* ---- what the kernel knows of our TCP sockets (descriptors.c) ---- */

/* TCP sockets of this process that were shut down but are still open: nng has not closed them yet,
 * or never will (fault D). */
struct hf_dead {
    uint64_t
        bits[1024]; /* by the number of the socket, which unlike a descriptor's is not reused */
};
uint32_t hf_descriptors_dead(struct hf_dead *d); /* how many */
/* Leaves in d what is in `now` too; how many that are. */
uint32_t hf_descriptors_still(struct hf_dead *d, const struct hf_dead *now);
/* Whether one of them has this local port. */
bool hf_descriptors_is_dead(uint16_t local_port);
struct hf_connection_state {
    bool found;
    uint32_t quiet_ms; /* since anything arrived, acknowledgements included */
    uint32_t rtt_us;   /* smoothed */
};
/* The connection with these ports. */
struct hf_connection_state hf_descriptors_look(uint16_t local_port, uint16_t remote_port);
/* Both shut sockets down that were accepted on these ports, as if their peers had, and nng closes
 * them. What a peer sent before is thrown away, or nng would read it first; who goes on sending all
 * the same is reset by the kernel, the second time. They sort the list. Any thread.
 *
 * end: those of the list. end_others: those that are not in it, though we sent the last byte, which
 * is that of the handshake, so long ago; how many. nng gives each step of a handshake 10 s, so that
 * who sends a byte now and then keeps a descriptor for a minute and more. */
void hf_descriptors_end(struct hf_connection *list, uint32_t count,
                        const uint16_t ports[HF_CHANNELS]);
uint32_t hf_descriptors_end_others(struct hf_connection *list, uint32_t count,
                                   const uint16_t ports[HF_CHANNELS], uint32_t age_ms);
/* Settings for what is accepted on a port of ours, which nng has no options for. False: we have no
 * such listener. */
bool hf_descriptors_tune(uint16_t port, bool replies);

/* ---- ending connections of strangers (strangers.c), loop only ---- */

struct hf_strangers {
    uv_loop_t *loop;
    struct hf_pipes *pipes; /* borrowed, under the lock */
    pthread_mutex_t *lock;
    uint32_t places;
    uint64_t handshakes_ended;
    uint64_t handshakes_ms; /* the next look at them */
    bool walking;
    /* Of the walk under way. */
    uv_work_t work;
    struct hf_connection *list; /* owned; room for all places */
    uint32_t count;
    bool others; /* those that are not in the list */
    uint32_t found;
    uint16_t ports[HF_CHANNELS];
};

bool hf_strangers_init(struct hf_strangers *s, uv_loop_t *loop, struct hf_pipes *pipes,
                       uint32_t places, pthread_mutex_t *lock); /* false: out of memory */
void hf_strangers_deinit(struct hf_strangers *s);               /* before the first tick only */
void hf_strangers_tick(struct hf_strangers *s, uint16_t stream_port, uint64_t now);

#endif
