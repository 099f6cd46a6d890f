/*
 * driver_impl.h - what the files of the edge's driver share.
 *
 * driver.c   open, close, events into the engine, effects out of it
 * slots.c    frames between arrival and durability, and their verification
 * chunks.c   chunks between arrival and the writer
 * dictionaries.c  dictionaries that frames brought: learned, stored, asked for
 * session.c  requests sealed, replies opened, HELLO adopted
 * storing.c  the engine's store operations on the writer lane
 * kept.c     what is kept beside the state over a restart
 * history.c  whether a carry file is of the history that is applied
 * import.c   the same store, without engine and daemon: a carry file
 * compare.c  own records against the fingerprints of the core, for a repair
 *
 * The owner's thread runs everything but the `work` functions of jobs. A job's fields belong to its
 * lane from hf_world.run until `done`; a slot that a job uses is marked, and freed only after it.
 */
#ifndef HF_EDGE_DRIVER_IMPL_H
#define HF_EDGE_DRIVER_IMPL_H

#include "hf/edge.h"
#include "hf/repair.h"

#include <stdatomic.h>
#include <zstd.h>

#define EDGE_SLOTS_SPARE 64u /* beyond the engine's table: frames not yet looked at */
/* Requests handed to the transport and not answered: those that the engine awaits, which are fewer,
 * and those that it gave up. */
#define EDGE_PENDING_MAX HF_REPLICA_REQUESTS_MAX
#define EDGE_CHUNK_RAW_MAX (1u << 20)

struct verify_job {
    struct hf_job job; /* first: the lane hands back its address */
    struct hf_edge *edge;
    struct hf_key signer, content;
    bool has_signer, has_content;
    enum hf_err code;
};

struct slot {
    struct verify_job verify; /* first */
    bool used;
    bool orphan;      /* the engine is done with it; a job still uses it */
    bool upgrade;     /* its header has flags that this version must not ignore */
    uint32_t users;   /* jobs that read it */
    uint8_t *message; /* owned; frame borrows from it */
    struct hf_frame frame;
    uint8_t *body; /* owned; sealed body that was fetched in parts */
    size_t body_have;
    uint8_t *raw; /* owned; opened body */
    struct hf_body opened;
};

struct pending {
    uint64_t id; /* the engine's; 0 = free */
    struct hf_replica_effect effect;
    uint8_t nonce[HF_NONCE_BYTES];
    hf_ms t0;
    uint32_t tries;
    uint32_t bytes; /* of the reply */
};

struct chunk {         /* a reply to DELTA or KEYS */
    struct hf_job job; /* first: the lane hands back its address */
    struct hf_edge *edge;
    struct chunk *next; /* in `opening` */
    struct pending asked;
    uint8_t *plain; /* owned; reply borrows from it */
    struct hf_fetch_reply reply;
    struct hf_key key; /* content key that it is sealed under */
    enum hf_err code;
    uint8_t *raw; /* owned; records borrow from it */
    struct hf_records records;
    struct hf_sum sum;
};

struct staged { /* the stage, with the keys of its bounds copied out */
    struct hf_stage stage;
    uint8_t cursor[HF_STAGE_PARTS_MAX][HF_STORE_KEY_MAX];
    uint8_t until[HF_STAGE_PARTS_MAX][HF_STORE_KEY_MAX];
};

/* Of the newest plan, until its transfer begins; kind NONE: there is none. */
struct splits {
    enum hf_plan_kind kind;
    struct hf_stage_splits at;
    uint8_t key[HF_PLAN_SPLITS_MAX][HF_STORE_KEY_MAX];
};

struct store_job {
    struct hf_job job; /* first: the lane hands back its address */
    struct hf_edge *edge;
    struct hf_replica_effect effect;
    struct slot **slot; /* APPLY, HOLD: the frames, in order; STAGE_FRAME, STAGE_SWITCH: one */
    uint32_t slot_count;
    const struct hf_key_ranges *ranges; /* STAGE_BEGIN of a REPAIR */
    enum hf_err code;
    bool verified;  /* TAKE */
    bool collected; /* COLLECT: all of it */
    hf_seq seq;
    struct hf_position position;
    /* Large, and not cleared for each operation: only those named read them. */
    struct chunk *chunk[HF_STAGE_PARTS_MAX]; /* STAGE_CHUNK; owned */
    struct splits splits;                    /* STAGE_BEGIN */
    struct staged staged;                    /* all: the stage as it is afterwards */
};

struct kept { /* by the process before this one; see kept.c */
    uint64_t transfer_total, transfer_done;
    bool damaged;
};

struct check_job {     /* the whole state is read and verified; see storing.c */
    struct hf_job job; /* first */
    struct hf_edge *edge;
    bool busy;
    enum hf_err code;
    struct hf_error why;
};

/* The engine may want one while the store refuses a digest, and one at the end of a repair. */
#define EDGE_CHECKS 2u

struct comparison;

struct hf_edge {
    struct hf_edge_config cfg;
    struct hf_world world;
    const struct hf_identity *id;
    struct hf_state *state;
    struct hf_replica *replica;

    _Atomic(ZSTD_DCtx *) decompressor; /* owned; NULL while a lane uses it */
    struct slot *slots;
    uint32_t slot_count;
    uint32_t *free_slots; /* stack of indexes */
    uint32_t free_count;

    /* ---- session ---- */
    struct hf_envelope_keys *keys; /* owned, guarded memory */
    struct hf_token token;
    bool has_token;
    struct hf_id stream; /* zero until a genesis is known */
    struct hf_id cookie;
    uint64_t counter;
    struct pending pending[EDGE_PENDING_MAX];
    bool has_genesis;
    struct hf_genesis genesis;
    char name[HF_NAME_MAX + 1];
    hf_ms beacon_told; /* by the core, in its last HELLO; 0 = not yet */
    struct hf_content_key content[HF_CONTENT_KEYS_MAX]; /* newest last */
    uint32_t content_count;
    struct hf_dictionaries *dictionaries; /* owned */
    bool adopting;                        /* a HELLO's facts are being made durable */

    /* ---- store ---- */
    struct store_job store;    /* the engine orders one at a time */
    struct slot **store_slots; /* owned */
    struct staged staged;
    struct splits splits;
    struct kept kept;
    struct hf_position position;             /* durable */
    struct chunk *opening;                   /* owned; a list of those that the pool has */
    struct chunk *chunk[HF_STAGE_PARTS_MAX]; /* owned; the newest of each part, opened, or NULL */
    struct check_job check[EDGE_CHECKS];
    struct comparison *comparison; /* owned */
    struct hf_scrub *scrub;        /* owned */
    uint32_t jobs;                 /* under way */
    bool abandoned; /* crashed, in the simulator: nothing reaches the engine any more */

    hf_ms opened_at;
    uint64_t received_bytes, applied_changes, dropped;
};

/* ---- driver.c ---- */
/* Opens the store of cfg.dir, loads what it knows, and derives the envelope's keys. */
enum hf_err edge_open_store(struct hf_edge *edge, struct hf_error *e);
void edge_event(struct hf_edge *edge, struct hf_replica_event *ev);
void edge_note(struct hf_edge *edge, enum hf_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void edge_run(struct hf_edge *edge, enum hf_lane lane, struct hf_job *job);
void edge_job_ended(struct hf_edge *edge);

/* ---- slots.c ---- */
enum hf_err slots_init(struct hf_edge *edge);
void slots_deinit(struct hf_edge *edge);
/* Copies a frame message into a slot and tells the engine. `request` is the one whose reply brought
 * it, or one of the two below. False: not well-formed, or no slot. */
#define FROM_STREAM 0u
#define FROM_INBOX UINT64_MAX
bool slots_take(struct hf_edge *edge, struct hf_slice message, uint64_t request, hf_seq *seq);
/* Frees what the slot has. */
void slot_clear(struct slot *s);
void slots_drop(struct hf_edge *edge, uint32_t slot);
void slots_release(struct hf_edge *edge, hf_seq last);
void slots_verify(struct hf_edge *edge, uint32_t slot);
/* The same in two halves, for a job of the writer lane: keys in, on the owner's thread; then the
 * checks. */
void slot_prepare(struct hf_edge *edge, struct slot *s);
enum hf_err slot_verify(struct slot *s);
struct slot *slots_by_seq(struct hf_edge *edge, hf_seq seq);
void slot_use(struct slot *s);
void slot_unuse(struct hf_edge *edge, struct slot *s);
/* Adds the next bytes of a body that is fetched in parts; frame.body is set with the last. A part
 * that is not the next is HF_MALFORMED. */
enum hf_err slot_body_add(struct slot *s, const struct hf_fetch_reply *part);
/* Adds fetched bytes of a body; false when they do not belong there. */
bool slots_body(struct hf_edge *edge, const struct hf_fetch_reply *part, size_t *have,
                size_t *total);
const struct hf_key *content_key(const struct hf_edge *edge, uint32_t id);

/* A decompressor has 160 KiB, which costs more to get from the kernel than a small body to open.
 * One is kept; lanes that want more at the same moment make their own. Any lane; keep takes NULL.
 */
ZSTD_DCtx *decompressor_take(struct hf_edge *edge);
void decompressor_keep(struct hf_edge *edge, ZSTD_DCtx *zctx);

/* ---- dictionaries.c ---- */
/* Keeps that of a verified frame, whose opened body is raw. Any lane. HF_MALFORMED, HF_NOMEM. */
enum hf_err dictionary_learn(struct hf_edge *edge, const struct hf_frame *f, struct hf_slice raw);
/* Verifies and opens a frame that came with HELLO, or lies in the store; `more`: keys that came
 * with it. HF_MALFORMED, HF_AUTH, HF_SEALED, HF_NOMEM. */
enum hf_err dictionary_open(const struct hf_edge *edge, const struct hf_genesis *genesis,
                            const struct hf_content_key *more, uint32_t more_count,
                            struct hf_slice message, struct hf_dictionary **out);
/* Puts them into the store, in the open transaction; the oldest go when there are too many. */
enum hf_err dictionaries_put(struct hf_state *s, struct hf_dictionary *const *d, uint32_t count);
/* The same for one that is known. */
enum hf_err dictionary_store(struct hf_edge *edge, hf_seq seq);
enum hf_err dictionaries_load(struct hf_edge *edge, struct hf_view *v);

/* ---- chunks.c ---- */
/* Opens a chunk's records into raw, whose memory the caller frees on HF_OK. Any lane. */
enum hf_err chunk_open(struct hf_edge *edge, const struct hf_chunk *c, const struct hf_key *key,
                       struct hf_writer *raw);
/* Takes the chunk of a reply that decoded, and delivers that when it is opened. HF_NOMEM,
 * HF_SEALED: it does not. */
enum hf_err chunks_take(struct hf_edge *edge, const struct pending *asked, struct hf_slice plain);
void chunk_free(struct chunk *c); /* NULL is fine */
/* Frees those that wait for the writer: they are of another transfer. */
void chunks_clear(struct hf_edge *edge);
void chunks_deinit(struct hf_edge *edge);

/* ---- session.c ---- */
enum hf_err session_init(struct hf_edge *edge, struct hf_error *e);
void session_deinit(struct hf_edge *edge);
void session_send(struct hf_edge *edge, const struct hf_replica_effect *fx);
void session_reply(struct hf_edge *edge, uint64_t request, struct hf_slice message);
/* Hands the engine the reply to a request. */
void session_deliver(struct hf_edge *edge, const struct pending *p, struct hf_replica_event *ev);
/* Checks a signed beacon under the genesis and hands it to the engine. */
bool session_beacon(struct hf_edge *edge, struct hf_slice signed_beacon,
                    const struct pending *answers);

struct adoption;
/* Fills what of a HELLO is new; HF_OK, or why it is refused. */
enum hf_err adoption_prepare(struct hf_edge *edge, const struct hf_hello_reply *h,
                             struct adoption *a);
/* Goes by what is durable now; before it, `a` still owns what adoption_free lets go. */
void adoption_take(struct hf_edge *edge, struct adoption *a);
void adoption_free(struct adoption *a); /* NULL is fine */
/* Remembers a content key, in place of one of its id; when there are too many the oldest goes. */
void content_add(struct hf_edge *edge, const struct hf_content_key *k);

/* ---- compare.c ---- */
enum hf_err compare_init(struct hf_edge *edge); /* HF_NOMEM */
void compare_narrow(struct hf_edge *edge, uint32_t level);
/* What RANGES asks for next. */
void compare_fill(const struct hf_edge *edge, struct hf_fetch_request *q);
/* Keeps a reply until COMPARE. HF_NOMEM, HF_BUSY. */
enum hf_err compare_take(struct hf_edge *edge, struct hf_slice plain);
void compare_run(struct hf_edge *edge);
/* What was found to differ. */
const struct hf_key_ranges *compare_found(const struct hf_edge *edge);
void compare_deinit(struct hf_edge *edge);

/* ---- storing.c ---- */
/* Drops the stage and what a switch left behind, in committed steps. */
enum hf_err stage_drop(struct hf_state *s);
/* Runs one transaction, again after each growth of the map; whatever fails leaves nothing open.
 * Frames that were applied ahead are undone first: what commits them, the engine has to know. */
enum hf_err with_room(struct hf_state *s, enum hf_err (*once)(void *), void *arg);
/* Loads what the store has: position, genesis, name, keys, dictionaries, what is kept and staged.
 */
enum hf_err storing_load(struct hf_edge *edge, struct hf_error *e);
void storing_order(struct hf_edge *edge, const struct hf_replica_effect *fx);
void storing_check(struct hf_edge *edge);
/* Makes what HELLO brought durable, then calls done. */
struct adoption;
typedef void adopted(struct hf_edge *edge, struct adoption *a, enum hf_err code);
struct adoption {
    struct hf_job job;
    struct hf_edge *edge;
    enum hf_err code;
    bool first; /* no genesis was known before */
    uint8_t genesis[HF_GENESIS_MAX];
    size_t genesis_len;
    struct hf_genesis opened;
    struct hf_position origin; /* the position of seq 0 */
    struct hf_content_key key[HF_CONTENT_KEYS_MAX];
    uint32_t key_count;
    struct hf_dictionary *dictionary[HF_HELLO_DICTIONARIES_MAX]; /* owned until adopted */
    uint32_t dictionary_count;
    char name[HF_NAME_MAX + 1];
    uint64_t request;
    adopted *done;
};
void storing_adopt(struct hf_edge *edge, struct adoption *a);

/* ---- kept.c ---- */
/* Puts how far a transfer is, in the open transaction. */
enum hf_err kept_transfer_put(struct hf_state *s, uint64_t total, uint64_t done);
/* Puts whether the state is known to be damaged, in the open transaction. */
enum hf_err kept_damage_put(struct hf_state *s, bool damaged);
/* Fills edge->kept. */
void kept_load(struct hf_edge *edge, struct hf_view *v);
/* Keeps a header that the core signed as proof of a fork: one a seq, and not many. */
void kept_evidence(struct hf_edge *edge, hf_seq seq, struct hf_slice header,
                   const struct hf_signature *signature);
/* The same for a signed beacon whose head is seq. */
void kept_beacon(struct hf_edge *edge, hf_seq seq, struct hf_slice signed_beacon);

#endif
