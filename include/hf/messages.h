/*
 * messages.h - the plain text of control requests and replies (inside the envelope).
 *
 * A request is msgpack [counter, type, body...], a reply [type, code, body...]. The decoders borrow
 * from their input; fixed parts are copied. Every list has a bound. A reply is never empty: it
 * carries data, or a code that says why not. PROTOCOL.md section 7.
 */
#ifndef HF_MESSAGES_H
#define HF_MESSAGES_H

#include "hf/batch.h"
#include "hf/cursor.h"
#include "hf/dictionary.h"
#include "hf/err.h"
#include "hf/seal.h"

enum hf_message_type {
    HF_MSG_COOKIE = 0, /* reply only: nothing but a cookie and the counter to go on from */
    HF_MSG_JOIN = 1,
    HF_MSG_HELLO = 2,
    HF_MSG_PLAN = 3,
    HF_MSG_FETCH = 4,
    HF_MSG_REPORT = 5,
};

#define HF_VERSION_TEXT_MAX 31u
#define HF_CONTENT_KEYS_MAX 64u
#define HF_HELLO_DICTIONARIES_MAX 3u /* as many as fit into a reply beside 64 keys */
#define HF_REPORT_HOLES_MAX 16u
#define HF_REPLY_FRAMES_MAX 512u
/* Plain bytes a data reply may use for frames or records, envelope and framing excluded. Those take
 * 1,203 bytes for a KEYS chunk between two keys of full length. */
#define HF_REPLY_DATA_MAX (HF_MESSAGE_MAX - 1536u)

enum hf_want {
    HF_WANT_LOG = 1,    /* frames first..last */
    HF_WANT_BODY = 2,   /* sealed body of seq from offset */
    HF_WANT_DELTA = 3,  /* keys by last change in (lo, hi] */
    HF_WANT_KEYS = 4,   /* live keys in key order, (lo, end) */
    HF_WANT_RANGES = 5, /* fingerprints of ranges of live keys, (lo, end): for a repair */
};

/* A bound of a DELTA (seq, ordinal, offset) or KEYS (key, offset) range. "Everything up to and
 * including this record, and `offset` bytes of the value of the next one": offset > 0 means the
 * range begins inside the value of the record named. A record that is wholly taken has
 * offset == HF_OFFSET_END. DELTA bounds have no key; in a KEYS bound seq and ordinal name the
 * record that offset is inside of, so that the core can tell that it has changed since (HF_MOVED).
 */
#define HF_OFFSET_END UINT32_MAX
struct hf_bound {
    hf_seq seq;
    uint32_t ordinal;
    uint32_t offset;
    struct hf_slice key; /* KEYS only */
};

struct hf_join_request {
    struct hf_id token;
    struct hf_hash proof;
    struct hf_slice name;
    struct hf_slice version;
};

struct hf_hello_request {
    hf_seq applied;
    struct hf_slice header;        /* signed header of applied; empty if and only if applied is 0 */
    struct hf_signature signature; /* travels only with a header */
    struct hf_id epoch_id;         /* zero when none is known */
    uint32_t wire_min, wire_max;
    uint64_t features;
    struct hf_slice version; /* of the software, text */
    uint32_t dictionary_count;
    hf_seq dictionary[HF_DICTIONARIES_MAX]; /* those that it has; rising */
};

struct hf_plan_request {
    struct hf_id epoch_id;
    hf_seq applied;
};

/* What FETCH's data_max may be, but for 0. The upper bound is what a chunk's records take at most.
 */
#define HF_FETCH_DATA_MIN 1024u
#define HF_FETCH_DATA_MAX (HF_MESSAGE_MAX - 2048u)
/* RANGES: how many live records a sub-range may have, how many sub-ranges a reply, and how much the
 * core reads for one request: records, and bytes of them but for the last one. */
#define HF_GRAIN_MIN 8u
#define HF_GRAIN_MAX 65536u
#define HF_SUBRANGES_MAX 64u
#define HF_RANGES_READ_MAX 131072u
#define HF_RANGES_READ_BYTES_MAX (32u << 20)

struct hf_fetch_request {
    struct hf_id epoch_id;
    enum hf_want want;
    hf_seq first, last;    /* LOG: inclusive; BODY: first = seq; DELTA: last = hi */
    uint32_t offset;       /* BODY */
    uint32_t grain;        /* RANGES; travels in the place of offset */
    struct hf_bound from;  /* DELTA, KEYS, RANGES: exclusive lower bound */
    struct hf_slice until; /* KEYS, RANGES: the last key of the range, not below from.key; empty =
                              the end of the key space */
    uint32_t data_max; /* bytes of frames, body or packed records that are wanted at most: 0 = as
                          many as fit; one frame, record or piece of one always comes, and may
                          be larger */
    hf_seq
        asof_min; /* DELTA, KEYS, RANGES: the chunk must have been read from the state at this seq
                     or a later one; 0 = from the newest. One that was made for another
                     edge is given out when it is new enough, so say what the stage needs:
                     the head that KEYS began at, or the DELTA's target */
};

enum hf_store_state {
    HF_STORE_OK = 0,
    HF_STORE_FULL = 1,     /* no space; serves, does not acknowledge */
    HF_STORE_FAILED = 2,   /* I/O error; serves from what it holds */
    HF_STORE_DIVERGED = 3, /* digest mismatch with a sound store */
};
/* "ok", "full", ...; NULL for a state of a later version. */
const char *hf_store_state_name(uint32_t state);

struct hf_report {
    struct hf_id epoch_id;
    hf_seq applied;        /* durable */
    hf_seq received;       /* highest verified */
    struct hf_hash digest; /* of applied */
    uint32_t store_state;
    uint64_t staleness_ms;                  /* UINT64_MAX = unknown */
    uint64_t applied_total;                 /* changes since start */
    uint64_t received_bytes;                /* since start */
    hf_seq transfer_base;                   /* all up to it is staged, 0 = none */
    uint64_t transfer_done, transfer_total; /* bytes */
    uint64_t uptime_ms;
    uint32_t hole_count; /* the lowest holes, in order, HF_REPORT_HOLES_MAX at most */
    struct hf_range hole[HF_REPORT_HOLES_MAX];
    uint32_t holes_total;
    struct hf_slice version;
};

struct hf_request { /* decoded; body borrowed */
    uint64_t counter;
    enum hf_message_type type;
    union {
        struct hf_join_request join;
        struct hf_hello_request hello;
        struct hf_plan_request plan;
        struct hf_fetch_request fetch;
        struct hf_report report;
    };
};

/* Writes the fields that the type (and a FETCH's want) has; the others need not be set. */
void hf_request_encode(const struct hf_request *q, struct hf_writer *w);
/* Unknown trailing elements are skipped. HF_MALFORMED, and q is zeroed. */
enum hf_err hf_request_decode(struct hf_slice plain, struct hf_request *q);

struct hf_content_key {
    uint32_t id;
    hf_seq from; /* first seq that may use it */
    struct hf_key key;
};

struct hf_limits { /* 0 = not said, use your own */
    uint32_t message_max;
    uint32_t in_flight_max; /* requests for data of one edge */
    uint32_t report_ms;     /* how often REPORT is wanted */
    uint32_t beacon_ms;     /* how often a beacon comes on an idle stream */
};

struct hf_beacon_proof { /* a signed beacon that answers this request */
    struct hf_slice signed_beacon;
    uint32_t index;
    uint32_t path_len;
    struct hf_hash path[HF_PROOF_MAX];
};

struct hf_hello_reply {
    struct hf_beacon_proof beacon;
    struct hf_slice genesis; /* signed */
    uint32_t key_count;
    struct hf_content_key key[HF_CONTENT_KEYS_MAX]; /* ids rise */
    struct hf_limits limits;
    struct hf_slice edge_name;
    struct hf_slice
        evidence; /* HF_FORK: msgpack [header, signature] of the core at that seq, else empty */
    /* Frames of dictionaries that the edge has not and may need, the oldest first; if more are left
     * it asks again, knowing these. */
    uint32_t dictionary_count;
    struct hf_slice dictionary[HF_HELLO_DICTIONARIES_MAX];
};

enum hf_plan_kind {
    HF_PLAN_NONE = 0, /* nothing to send */
    HF_PLAN_LOG = 1,
    HF_PLAN_DELTA = 2,
    HF_PLAN_SNAPSHOT = 3,
    HF_PLAN_REPAIR = 4, /* an edge's own: never on the wire */
};

#define HF_PLAN_SPLITS_MAX 31u
/* A part of a range is worth a request of its own above two full replies. */
#define HF_PLAN_PART_BYTES (32u << 10)
struct hf_plan_reply {
    enum hf_plan_kind kind;
    uint64_t bytes;         /* estimate of the whole transfer */
    hf_seq head;            /* S: the last batch that it brings */
    struct hf_slice reason; /* a sentence for the log */
    /* What cuts the range into about equal parts, each up to and including the place named, in
     * order: seqs for a DELTA, keys for a SNAPSHOT; none for the others. Plans that are not far
     * apart name the same places, whatever their bases. */
    uint32_t split_count;
    hf_seq split[HF_PLAN_SPLITS_MAX];
    struct hf_slice split_key[HF_PLAN_SPLITS_MAX];
};

struct hf_chunk {               /* DELTA and KEYS */
    struct hf_slice descriptor; /* bytes that are the associated data */
    enum hf_want want;
    struct hf_bound from, to; /* `to` is how far this chunk got; exclusive, inclusive */
    bool end;                 /* the range asked for is complete */
    hf_seq asof;
    uint32_t key_id;
    uint32_t raw_bytes; /* of the records before compression */
    uint32_t compression;
    struct hf_slice sealed;
};

/* What a core's live records of a range add up to: the keys behind the sub-range before it (the
 * first: behind `from`), up to and including `last`. */
struct hf_subrange {
    struct hf_slice last;       /* empty only in the last one, at the end of the key space */
    uint32_t count;             /* live records */
    struct hf_hash fingerprint; /* PROTOCOL.md section 8.5; only ever used to narrow down */
};

struct hf_fetch_reply {
    enum hf_want want;        /* may be 0 in a refusal */
    uint32_t frame_count;     /* LOG: whole frame messages, in order, contiguous; >= 1 */
    struct hf_slice frames;   /* LOG: the bins, walk with hf_fetch_next_frame */
    uint32_t range_count;     /* RANGES: sub-ranges, side by side; >= 1 */
    struct hf_slice ranges;   /* RANGES: walk with hf_fetch_next_range */
    bool end;                 /* RANGES: the last one reaches to the end of the range asked for */
    hf_seq seq;               /* LOG: of the last frame; BODY: seq; RANGES: the state's */
    uint32_t offset, total;   /* BODY */
    struct hf_slice body;     /* BODY */
    struct hf_chunk chunk;    /* DELTA, KEYS */
    uint32_t retry_ms;        /* HF_BUSY; at most 60,000 */
    struct hf_slice evidence; /* reserved */
};

struct hf_reply {
    enum hf_message_type type;
    enum hf_err code; /* HF_OK, or why not */
    union {
        uint64_t counter;            /* COOKIE: use counters above this */
        struct hf_hello_reply hello; /* JOIN answers with type JOIN and edge_name set */
        struct hf_plan_reply plan;
        struct hf_fetch_reply fetch;
        struct hf_beacon_proof report;
    };
};

/* Every type has one shape, whatever the code; what a refusal has no use for travels as zero and
 * empty. Only the data of a FETCH (frames, body, chunk) is left out unless the code is HF_OK. */
void hf_reply_encode(const struct hf_reply *p, struct hf_writer *w);
/* How many bytes at the end of what that writes are sealed under a content key already: the data of
 * a FETCH, but for RANGES. They may travel as they are (hf_reply_seal). */
size_t hf_reply_tail(const struct hf_reply *p);
/* Errors as hf_request_decode. */
enum hf_err hf_reply_decode(struct hf_slice plain, struct hf_reply *p);

/* Building and walking the frames of a LOG reply (each a bin with a whole frame message). next is
 * false at the end, and on damage, when *frames stays non-empty; decode has checked the walk. */
void hf_fetch_put_frame(struct hf_writer *frames, struct hf_slice message);
bool hf_fetch_next_frame(struct hf_slice *frames, struct hf_slice *message);

/* The same for the sub-ranges of a RANGES reply. */
void hf_fetch_put_range(struct hf_writer *ranges, const struct hf_subrange *s);
bool hf_fetch_next_range(struct hf_slice *ranges, struct hf_subrange *s);

/* Encodes the descriptor of a chunk (want, from, to, end, asof, key id, raw bytes, compression). A
 * reply carries c->descriptor, these bytes: they were sealed with, and decode reads the fields
 * from them. It wants from <= to, from < to unless `end`, and for DELTA to.seq <= asof. */
void hf_chunk_describe(const struct hf_chunk *c, struct hf_writer *w);

#endif
