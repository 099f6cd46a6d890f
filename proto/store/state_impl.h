/*
 * state_impl.h - what the files of the state store share: tables, trees, the writer, the readers'
 * gate.
 *
 * Who does what: env.c opens, creates, grows and reopens the LMDB environment, shape.c measures its
 * file first, vouch.c says when its pages need no check; record.c knows the bytes; moves.c holds
 * back the by-seq index; tree.c writes changes into one generation; state.c is the transaction;
 * tables.c has the small tables; index.c knows what the by-seq index holds; view.c reads; walk.c
 * reads on past damage; sample.c estimates; verify.c reads everything, scrub.c step by step,
 * pages.c what LMDB itself trusts, doctor.c all of it in a child process; stage.c stages a
 * transfer, bulk.c puts chunks of it into pages, parts.c cuts it into parts and moves them,
 * staging.c keeps how far they got; repair.c puts ranges of a transfer in the place of damaged
 * ones.
 *
 * The writer's memory (head, sums, staging) exists twice: as committed and as it is inside the open
 * transaction. Abort copies the first over the second, commit the second over the first; nothing
 * else may change the committed one.
 *
 * Nothing outside proto/store includes this file. The byte formats are at the top of state.c.
 */
#ifndef HF_STORE_STATE_IMPL_H
#define HF_STORE_STATE_IMPL_H

#include "hf/bytes.h"
#include "hf/state.h"
#include "adder.h"

#include "guarded.h"

#include <lmdb.h>

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

enum hf_table {
    HF_TABLE_STATE_0 = 0, /* generation G lives in tables STATE_0 + 2 * (G & 1) and the next */
    HF_TABLE_BYSEQ_0,
    HF_TABLE_STATE_1,
    HF_TABLE_BYSEQ_1,
    HF_TABLE_CHAIN,
    HF_TABLE_INBOX,
    HF_TABLE_OBJECT,
    HF_TABLE_REQUEST,
    HF_TABLE_REQUESTSEQ,
    HF_TABLE_META,
};
#define HF_TABLE_COUNT 10u

/* A point of the order of changes; (0, 0) is before all of them. */
struct hf_point {
    hf_seq seq;
    uint32_t ordinal;
};

/* What meta.view holds: which generation is visible, and the one position of it. */
struct hf_head {
    uint32_t generation;
    struct hf_position at;
    struct hf_signature signature;
    uint32_t header_bytes;
    uint8_t header[HF_HEADER_MAX];
    uint64_t live_count;
    hf_seq delta_floor;
    struct hf_point swept; /* no tombstone is left up to here */
};

/* ---- moves.c: changes of the by-seq index that wait for the commit ---- */

/* A group of 200,000 changes is written early: 13 MB of moves and places, 16 MiB of keys at most.
 */
#define HF_MOVES_MAX 200000u
#define HF_MOVES_KEYS_MAX (16u << 20)

struct hf_move {
    hf_seq old_seq; /* 0 = nowhere */
    hf_seq new_seq; /* 0 = nowhere: it has no place any more */
    uint32_t old_ordinal;
    uint32_t new_ordinal;
    uint32_t key_at;
    uint32_t key_len;
};

struct hf_moves {
    struct hf_move *move; /* owned, as all pointers here */
    uint32_t count;
    uint32_t cap;
    uint8_t *keys;
    uint32_t keys_len;
    uint32_t keys_cap;
};

void hf_moves_free(struct hf_moves *m);
void hf_moves_clear(struct hf_moves *m);
/* True when there may be no room for one more key. */
bool hf_moves_full(const struct hf_moves *m);
/* `old` is where the key is now, by the table or by the move of it that was noted last, `new` where
 * it goes; seq 0 = nowhere. HF_NOMEM. */
enum hf_err hf_moves_note(struct hf_moves *m, struct hf_slice key, struct hf_point old,
                          struct hf_point new);
/* Writes all moves to the table and clears them. */
enum hf_err hf_moves_flush(struct hf_moves *m, MDB_txn *txn, MDB_dbi byseq);

/* ---- trees ---- */

/* One of the two generations, as the writer sees it. */
struct hf_tree {
    MDB_dbi state;
    MDB_dbi byseq;
    MDB_cursor *cursor; /* on `state` in the open transaction, or NULL */
    bool overlay;       /* DELTA, REPAIR: no index, the switch merges it */
    struct hf_sum sum;
    struct hf_elements waiting; /* for the sum: read that by hf_tree_sum */
    struct hf_adder *adder;     /* owned; so does what it was given. NULL: there is none */
    struct hf_moves moves;
};

enum hf_rule {
    HF_RULE_ALWAYS,
    HF_RULE_UNLESS_SAME, /* not when the visible value stays as it is */
    HF_RULE_IF_NEWER,    /* not when the record there has the same or a higher point */
    HF_RULE_MERGE,       /* the same; the sum of the tree has the fresh record already */
};

/* The record of a key; HF_NOTFOUND, HF_CORRUPT. Borrowed until the next write. */
enum hf_err hf_tree_find(struct hf_state *s, struct hf_tree *t, struct hf_slice key,
                         struct hf_stored *out);
/* Writes `fresh` if the rule wants it. Its value must not lie in the environment. */
enum hf_err hf_tree_write(struct hf_state *s, struct hf_tree *t, const struct hf_stored *fresh,
                          enum hf_rule rule, bool *changed);
/* The sum of all that was written. */
struct hf_sum *hf_tree_sum(struct hf_tree *t);
/* The sum goes back to what it was, and nothing may wait for it. */
void hf_tree_forget(struct hf_tree *t);
/* Adds to it what is about to be written with HF_RULE_MERGE. */
void hf_tree_join(struct hf_tree *t, const struct hf_sum *sum);
enum hf_err hf_tree_flush(struct hf_state *s, struct hf_tree *t);
/* Empties one of its two tables; *again when the other is not empty. */
enum hf_err hf_tree_drop(struct hf_state *s, struct hf_tree *t, bool *again);

/* ---- staging ---- */

struct hf_fragment {
    bool active;
    struct hf_point at;
    uint32_t total;
    uint32_t have;
    uint32_t key_len;
    uint8_t key[HF_STORE_KEY_MAX];
};

struct hf_staging {
    struct hf_stage stage; /* the keys of its bounds have a length only: the bytes are here */
    uint8_t cursor[HF_STAGE_PARTS_MAX][HF_STORE_KEY_MAX];
    uint8_t until[HF_STAGE_PARTS_MAX][HF_STORE_KEY_MAX];
    struct hf_fragment fragment[HF_STAGE_PARTS_MAX];
};

static inline bool hf_stage_in_keys(const struct hf_stage *g)
{
    return g->kind != HF_PLAN_DELTA && !g->keys_done;
}

/* Its records lie over the visible ones until the switch. */
static inline bool hf_stage_is_overlay(const struct hf_stage *g)
{
    return g->kind == HF_PLAN_DELTA || g->kind == HF_PLAN_REPAIR;
}

/* Empties the staged tables and makes a stage of that kind active, without parts. */
enum hf_err hf_stage_open(struct hf_state *s, enum hf_plan_kind kind,
                          const struct hf_position *base, hf_seq head);
/* Writes a record into the staged tree if the rule wants it. */
enum hf_err hf_stage_put(struct hf_state *s, const struct hf_stored *r, enum hf_rule rule);

/* Reads the stage of meta at open; a damaged or useless one becomes inactive. */
void hf_staging_load(struct hf_state *s, MDB_txn *txn);
/* Writes what changed in the open transaction. */
enum hf_err hf_staging_save(struct hf_state *s);
/* Back to the committed stage, after an abort. */
void hf_staging_restore(struct hf_state *s);
void hf_staging_clear(struct hf_state *s);

/* ---- parts.c ---- */

/* Cuts the range in progress: KEYS, or (covered, target]. No parts when that is empty. */
void hf_parts_cut(struct hf_staging *st, const struct hf_stage_splits *splits);
/* A range of a DELTA, at round numbers: edges that are about as far behind ask for the same pieces.
 */
void hf_parts_cut_evenly(struct hf_staging *st);
/* REPAIR: as many of its ranges as are left and there are parts for, one in each. */
void hf_parts_take(struct hf_state *s);
bool hf_parts_done(const struct hf_stage *g);
/* True when the part is open and the range asked for begins at its cursor. */
bool hf_part_begins(const struct hf_staging *st, uint32_t part, const struct hf_bound *from);
/* True when nothing was taken of the part, and it is not the first. */
bool hf_part_untouched(const struct hf_staging *st, uint32_t part);
/* True when a record may come in this part, behind the one that ends at `at`. */
bool hf_part_holds(const struct hf_staging *st, uint32_t part, const struct hf_bound *at,
                   const struct hf_record *r);
/* Moves the cursor to the end of a staged chunk. */
void hf_part_advance(struct hf_state *s, uint32_t part, const struct hf_chunk *c);
/* Moves the cursor behind the value that it is inside of. */
void hf_part_skip(struct hf_state *s, uint32_t part);
/* Joins a piece of a value; *whole has the record when it was the last one, else seq 0. */
enum hf_err hf_part_join(struct hf_state *s, uint32_t part, const struct hf_record *r,
                         struct hf_stored *whole);
void hf_part_forget(struct hf_state *s, uint32_t part); /* the fragment of it */

/* ---- bulk.c ---- */

#define HF_BULK_WEDGES 6u
#define HF_BULK_RUN 64u /* in 4 KiB there is room for more of the smallest only */

struct hf_bulk { /* on the stack, for one chunk */
    uint32_t wedges;
    size_t wedge_len; /* of the first one's key; each other is a byte longer */
    uint8_t wedge[HF_STORE_KEY_MAX + HF_BULK_WEDGES]; /* `until` of the part before, and zeros */

    size_t before; /* bytes of the newest record in its page; 0 = none yet */
    size_t room;   /* of its page, if that is known; else 0 */

    uint32_t count;
    struct hf_stored run[HF_BULK_RUN]; /* not put yet; values borrowed from the chunk */
    size_t keys_len;
    uint8_t keys[4096]; /* theirs */
};

/* `begins_part`: there is nothing yet of the chunk's part, and another part lies in front of it. */
enum hf_err hf_bulk_begin(struct hf_state *s, struct hf_bulk *b, const struct hf_chunk *c,
                          const struct hf_records *records, bool begins_part);
/* A whole record of the chunk, in order of keys. Its key is copied, its value has to last. */
enum hf_err hf_bulk_put(struct hf_state *s, struct hf_bulk *b, const struct hf_stored *r);
/* Only then all of them are in. After an error the transaction has to be aborted. */
enum hf_err hf_bulk_end(struct hf_state *s, struct hf_bulk *b);

/* ---- repair.c ---- */

struct hf_repair_range { /* behind `after`, up to and including `until`; of no length: all */
    uint16_t after_len;
    uint16_t until_len;
    uint8_t after[HF_STORE_KEY_MAX];
    uint8_t until[HF_STORE_KEY_MAX];
};

/* Puts the staged records in the place of all that is visible in the ranges of the repair, and over
 * what is older elsewhere; then computes sum and index anew from all records. */
enum hf_err hf_repair_merge(struct hf_state *s);

/* ---- index.c ---- */

/* Whether a record has a place in the index by seq of its tree. */
bool hf_index_has(const struct hf_state *s, bool tombstone);
/* Makes the index of a tree anew from its records. HF_CORRUPT. */
enum hf_err hf_index_rebuild(struct hf_state *s, struct hf_tree *t);
/* Changes an open store of format 1 over to an index of tombstones, in a commit of its own. */
enum hf_err hf_index_change_over(struct hf_state *s, struct hf_error *e);

/* ---- the store ---- */

struct hf_gate { /* views come and go; the owner of the environment closes it for a moment */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t live;
    bool closed;
};

/* The newest committed state, held in a transaction of the writer's; guarded by its mutex. */
struct hf_held {
    pthread_mutex_t mutex; /* recursive: a thread may have two views */
    MDB_txn *txn;          /* NULL when there is none */
};

struct hf_state {
    char *dir; /* owned */
    uint64_t map_bytes;
    bool chainless;
    bool tombstone_index; /* as the format says */
    int lock_fd;
    MDB_env *env; /* NULL after a reopen that found a file and could not open it */
    MDB_dbi table[HF_TABLE_COUNT];
    struct hf_gate gate;
    struct hf_view *views; /* all open views; guarded by gate.mutex */
    struct hf_held held;

    MDB_txn *txn;
    bool open; /* begun and not yet committed or aborted; txn is NULL after a failed commit */
    bool meta_synced;  /* the meta pages were written again since the environment was opened */
    bool broken;       /* the disk failed: nothing more is written before a reopen */
    bool half;         /* changes of a batch are in without its position */
    enum hf_err error; /* sticky until abort */
    /* A write failed, or damage was met: its pages are not vouched for, until it is closed. */
    atomic_bool doubtful;
    struct hf_head head;
    struct hf_head head_committed;
    struct hf_tree tree[2];
    struct hf_sum sum_committed[2];
    struct hf_staging staging;
    struct hf_staging staging_committed;
    bool staging_dirty;
    uint32_t fragments_dirty; /* a bit for each part */
    /* Owned; HF_STORE_VALUE_MAX bytes each once its part had a fragment. */
    uint8_t *fragment[HF_STAGE_PARTS_MAX];
    uint8_t *scratch; /* owned; a value on its way from the stage to the visible tree */
    struct hf_repair_range *range; /* owned; of the newest repair */
    uint32_t range_count;
};

static inline struct hf_tree *hf_tree_visible(struct hf_state *s)
{
    return &s->tree[s->head.generation & 1];
}

static inline struct hf_tree *hf_tree_staged(struct hf_state *s)
{
    return &s->tree[(s->head.generation + 1) & 1];
}

/* Opens the transaction if none is; the sticky error if there is one. */
enum hf_err hf_state_writable(struct hf_state *s);
/* Makes an error sticky, except those that are raised before anything was touched. */
enum hf_err hf_state_fail(struct hf_state *s, enum hf_err e);
/* Puts the position, header and chain hash of a batch that is wholly in. */
enum hf_err hf_state_settle(struct hf_state *s, const struct hf_header *h, struct hf_slice header,
                            const struct hf_signature *signature);
/* Reads head, sums and stage after the environment was opened. */
enum hf_err hf_state_load(struct hf_state *s, struct hf_error *e);
enum hf_err hf_chain_put(struct hf_state *s, hf_seq seq, const struct hf_hash *chain);

/* What a store says that its index by seq has. */
#define FORMAT_FULL_INDEX 1u /* every record: a core's */
#define FORMAT_TOMBSTONES 2u /* tombstones only: an edge's */

struct hf_path {
    char text[PATH_MAX];
};
/* A file of a store's directory, whose name hf_state_open has found short enough. */
struct hf_path hf_path_of(const char *dir, const char *name);
enum hf_err hf_env_error(int rc);
/* HF_FULL for an HF_IO whose cause is a full disk. */
enum hf_err hf_env_judge(const struct hf_state *s, enum hf_err e);
enum hf_err hf_env_new(const struct hf_state *s, const char *path, unsigned flags, MDB_env **env);
/* In the first write transaction since the environment was opened: writes its meta pages again. */
enum hf_err hf_env_meta_sync(struct hf_state *s);
const char *hf_table_name(enum hf_table table);
int hf_tables_open(MDB_txn *txn, unsigned flags, MDB_dbi table[HF_TABLE_COUNT]);
/* HF_CORRUPT when the file is damaged or too short; makes the map large enough for it. */
enum hf_err hf_shape_check(struct hf_state *s, const char *path, struct hf_error *e);
/* Called by a child that was forked for an examination: it has the locks of the parent, and must
 * not keep them when that is gone. In doctor.c. */
void hf_child_ends_with(pid_t parent);
/* Whether the process before this one vouched for the file as it is now; asked once at an open. */
bool hf_state_vouched(const struct hf_state *s);
/* Waits until no view is live, and keeps new ones out until hf_gate_open. */
void hf_gate_close(struct hf_gate *g);
/* The owner waits in hf_gate_close, and with him all who come after: who is live for long must
 * stop. */
bool hf_gate_closing(struct hf_gate *g);
void hf_gate_open(struct hf_gate *g);
/* On one thread, both. */
void hf_gate_enter(struct hf_gate *g);
void hf_gate_leave(struct hf_gate *g);
/* Aborts the transactions of all open views. The gate is closed. */
void hf_views_detach(struct hf_state *s);
/* After a commit, and after the environment was opened: what is held is the newest state. */
void hf_held_renew(struct hf_state *s);
/* Before the environment is closed or its map moves; no view may be live. */
void hf_held_drop(struct hf_state *s);

/* ---- record.c ---- */

#define HF_RECORD_HEAD 24u
#define HF_POINT_BYTES 12u
#define HF_LANES_BYTES 2048u
#define HF_META_HEAD_MAX (200u + HF_HEADER_MAX)
#define HF_META_LANES (HF_LANES_BYTES + 8u)
#define HF_META_STAGE_FIXED (HF_LANES_BYTES + 92u)
#define HF_META_PART_MAX (36u + 24u + 3 * HF_STORE_KEY_MAX)
#define HF_META_STAGE_MAX (HF_META_STAGE_FIXED + HF_STAGE_PARTS_MAX * HF_META_PART_MAX + 8u)
#define HF_CHAIN_BYTES (HF_HASH_BYTES + 8u)

static inline MDB_val hf_val(struct hf_slice s)
{
    return (MDB_val){s.len, (void *)(uintptr_t)s.data};
}

static inline struct hf_slice hf_slice_of_val(MDB_val v)
{
    return hf_slice_of(v.mv_data, v.mv_size);
}

void hf_record_put_head(uint8_t out[HF_RECORD_HEAD], const struct hf_stored *r);
/* HF_CORRUPT when the checksum or the shape is wrong. */
enum hf_err hf_record_get(struct hf_slice key, MDB_val data, struct hf_stored *out);
/* What the head of a record says, unverified: for estimates. HF_CORRUPT when it has none. */
enum hf_err hf_record_look(struct hf_slice record, struct hf_stored *out);

void hf_point_put(uint8_t out[HF_POINT_BYTES], struct hf_point p);
struct hf_point hf_point_get(const uint8_t in[HF_POINT_BYTES]);
int hf_point_cmp(struct hf_point a, struct hf_point b);

size_t hf_head_encode(const struct hf_head *h, uint8_t out[HF_META_HEAD_MAX]);
enum hf_err hf_head_decode(struct hf_slice in, struct hf_head *h);
void hf_lanes_encode(const struct hf_lthash *l, hf_seq seq, uint8_t out[HF_META_LANES]);
enum hf_err hf_lanes_decode(struct hf_slice in, hf_seq seq, struct hf_lthash *l);
size_t hf_staging_encode(const struct hf_staging *st, const struct hf_sum *sum,
                         uint8_t out[HF_META_STAGE_MAX]);
enum hf_err hf_staging_decode(struct hf_slice in, struct hf_staging *st, struct hf_sum *sum);
void hf_chain_encode(hf_seq seq, const struct hf_hash *chain, uint8_t out[HF_CHAIN_BYTES]);
enum hf_err hf_chain_decode(hf_seq seq, struct hf_slice in, struct hf_hash *chain);
/* xxh3 || bytes, the form of inbox and object: the checksum also covers the key. */
uint64_t hf_blob_sum(struct hf_slice key, struct hf_slice bytes);
enum hf_err hf_blob_get(struct hf_slice key, struct hf_slice in, struct hf_slice *bytes);

#endif
