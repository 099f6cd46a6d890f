/*
 * publisher.h - the core's pure engine: when to write, sync, publish, commit and beacon, and what
 * each edge is known to have.
 *
 * PURE: no I/O, clock, randomness, threads or allocation after _new. Same events in the same order,
 * same effects, byte for byte. One owner.
 *
 * Pipeline: WRITE events say that something waits. When no group is under way the engine orders one
 * (GROUP); the driver's writer lane makes it durable and reports GROUP_DONE; only then come ANSWER
 * and PUBLISH, in that order (G3). COMMIT of the state follows when idle, by count, by age, or
 * because a reader waits. Nothing acknowledges or publishes a seq that no START, GROUP_DONE,
 * COMMITTED or RECOVERED has reported. GROUP, COMMIT and RECOVER use the writer lane, one at a
 * time; each ends with its own event.
 */
#ifndef HF_PUBLISHER_H
#define HF_PUBLISHER_H

#include "hf/err.h"
#include "hf/messages.h"
#include "hf/seal.h"
#include "hf/types.h"

struct hf_publisher;

struct hf_publisher_config {
    hf_ms beacon_ms;
    hf_ms commit_ms;
    uint32_t commit_changes;
    uint32_t edges_max; /* rows of the edge table */
};

enum hf_publisher_event_type {
    HF_PUB_START = 0,  /* position; seq = committed */
    HF_PUB_WRITE,      /* something waits; `count` writes */
    HF_PUB_FLUSH,      /* nothing more is coming at this moment */
    HF_PUB_GROUP_DONE, /* code; position is the durable head; count changes made; answered writes */
    HF_PUB_COMMITTED,  /* code; position is the durable head; seq = committed */
    HF_PUB_RECOVERED,  /* code; position is the durable head; seq = committed */
    HF_PUB_RECORDED,   /* facts are durable in the log; the state has them with its next commit */
    HF_PUB_READ_WAITS, /* a connection that wrote wants to read */
    HF_PUB_REPORT,     /* edge, report */
    HF_PUB_HELLO,      /* edge; seq = what it applied; ok: its history is the core's */
    HF_PUB_EDGE,       /* edge is enrolled (ok) or revoked (!ok) */
    HF_PUB_TICK,
};

struct hf_publisher_event {
    enum hf_publisher_event_type type;
    hf_ms now;
    enum hf_err code;
    struct hf_position position;
    hf_seq seq;
    uint32_t count;
    uint32_t answered; /* writes of the group that ended */
    uint32_t edge;     /* row */
    bool ok;
    bool ahead;                     /* HELLO: the edge proved more than this core has */
    const struct hf_report *report; /* borrowed during step */
};

enum hf_publisher_effect_type {
    HF_PUBFX_GROUP = 0, /* run one group of what waits on the writer lane */
    HF_PUBFX_ANSWER,    /* answer the writes of the group that ended, with `code` */
    HF_PUBFX_PUBLISH,   /* the frames of that group to the stream */
    HF_PUBFX_COMMIT,    /* commit the state on the writer lane */
    HF_PUBFX_VISIBLE,   /* readers that waited may go on; after a commit that failed what they see
                           is older than what was answered */
    HF_PUBFX_BEACON,    /* sign and publish a beacon without R */
    HF_PUBFX_RECOVER, /* the append or commit failed: abort, replay the changelog into the state */
};

struct hf_publisher_effect {
    enum hf_publisher_effect_type type;
    enum hf_err code; /* of ANSWER */
};

#define HF_PUBLISHER_EFFECTS_MAX 16u
struct hf_publisher_effects {
    uint32_t count;
    struct hf_publisher_effect at[HF_PUBLISHER_EFFECTS_MAX];
};

struct hf_publisher *hf_publisher_new(const struct hf_publisher_config *c);
void hf_publisher_free(struct hf_publisher *p);
void hf_publisher_step(struct hf_publisher *p, const struct hf_publisher_event *ev,
                       struct hf_publisher_effects *fx);
hf_ms hf_publisher_deadline(const struct hf_publisher *p);
/* True when nothing waits, nothing is under way and everything durable is committed. */
bool hf_publisher_settled(const struct hf_publisher *p);
/* True when settled, or when what is left to do has failed and is tried again later. */
bool hf_publisher_may_end(const struct hf_publisher *p);

/* ---- what is known of an edge ---- */

enum hf_edge_state {
    HF_EDGE_NEVER_SEEN = 0,
    HF_EDGE_LIVE = 1,        /* heard of lately, applied == head or less than 2 s behind */
    HF_EDGE_LAGGING = 2,     /* heard of lately, behind for longer */
    HF_EDGE_CATCHING_UP = 3, /* a transfer is under way */
    HF_EDGE_CUT_OFF = 4,     /* not heard of for 3 reports: what it has now is unknown */
    HF_EDGE_REVOKED = 5,
    HF_EDGE_DIVERGED = 6, /* its digest or history is not the core's */
};
const char *hf_edge_state_name(enum hf_edge_state s); /* "live", "catching-up", ... */

/* Where an edge stands against what the core still keeps. "Near" = it has used up 80 % of the bytes
 * or of the time. */
enum hf_edge_floor {
    HF_FLOOR_UNKNOWN = 0,
    HF_FLOOR_CLEAR = 1,
    HF_FLOOR_NEAR_LOG = 2,    /* soon it needs a DELTA in place of the batches that it missed */
    HF_FLOOR_BELOW_LOG = 3,   /* it needs a DELTA */
    HF_FLOOR_NEAR_DELTA = 4,  /* soon it needs a SNAPSHOT */
    HF_FLOOR_BELOW_DELTA = 5, /* it needs a SNAPSHOT */
};
const char *hf_edge_floor_name(enum hf_edge_floor f); /* NULL for unknown */

/* One row of `holdfast status`. Unknown numbers are UINT64_MAX. */
struct hf_edge_row {
    char name[HF_NAME_MAX + 1];
    struct hf_key key;
    enum hf_edge_state state;
    hf_seq head; /* of the core, now */
    uint64_t received;
    uint64_t applied;
    uint64_t lag_batches;
    uint64_t lag_bytes; /* changelog bytes above applied; filled by the driver */
    uint64_t lag_ms;    /* how long the core has had a batch that the edge has not applied */
    uint64_t holes;
    uint64_t staleness_ms;  /* the bound that the edge last reported, aged since */
    int digest_ok;          /* 1 equal at the same seq, 0 not, -1 unknown */
    uint64_t last_heard_ms; /* ago */
    uint64_t transfer_done, transfer_total;
    uint32_t store_state;
    enum hf_edge_floor floor; /* filled by the driver */
    char version[HF_VERSION_TEXT_MAX + 1];
};

/* Everything but name, key, lag_bytes and floor. */
void hf_publisher_edge(const struct hf_publisher *p, uint32_t edge, hf_ms now,
                       struct hf_edge_row *row);
/* Edges that reported seq or more as durable, in the core's epoch; revoked and diverged ones are
 * not counted. */
uint32_t hf_publisher_edges_at(const struct hf_publisher *p, hf_seq seq);
/* The lowest base of a transfer that an edge began to report at or after `since`; UINT64_MAX when
 * none. */
hf_seq hf_publisher_transfer_base(const struct hf_publisher *p, hf_ms since);
/* What every enrolled edge has applied, as far as is known: 0 while one was not heard of since the
 * start or has diverged; UINT64_MAX when none is enrolled. */
hf_seq hf_publisher_passed(const struct hf_publisher *p);

#endif
