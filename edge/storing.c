/*
 * storing.c - the engine's store operations, run on the writer lane, and what the store says at
 * open.
 *
 * Each operation is one LMDB transaction (G4; dropping a stage is several) that is committed and
 * synced before its STORE_DONE (G2); what is staged, or applied ahead, may stay in the open one for
 * a while, and goes back with it. A run of frames whose digest fails is aborted and applied up to
 * the last good one. A full map grows and the operation runs again; a full disk is reported and
 * nothing is kept of it.
 *
 * Objects in the store: "genesis" (signed), "name", "ckey/<be32 id>" (from, key), and those of
 * dictionaries.c and kept.c.
 */
#include "edge/driver_impl.h"

#include "hf/bytes.h"

#include <stddef.h>
#include <stdlib.h>

#define GROW_TRIES 8u
/* Records that a step of collecting looks at; some milliseconds, which a frame may have to wait. */
#define COLLECT_STEP 2000u

/* ---- operations; each runs on the writer lane ---- */

/* Frames that were applied and not committed. */
static hf_seq frames_open(const struct hf_state *s)
{
    return hf_state_position(s).seq - hf_state_committed(s).seq;
}

/* How many of the run's frames the open transaction has. One that has more is undone: a repair may
 * have set a limit meanwhile. */
static uint32_t run_open(struct store_job *j)
{
    struct hf_state *s = j->edge->state;
    if (frames_open(s) > j->slot_count) {
        hf_state_abort(s);
    }
    return (uint32_t)frames_open(s);
}

static enum hf_err apply_run(struct store_job *j, uint32_t count)
{
    struct hf_state *s = j->edge->state;
    for (uint32_t i = run_open(j); i < count; i++) {
        struct hf_body body = j->slot[i]->opened;
        enum hf_err err = hf_state_apply_batch(s, &j->slot[i]->frame, &body);
        if (err == HF_OK && j->slot[i]->frame.h.kind == HF_BATCH_DICTIONARY) {
            err = dictionary_store(j->edge, j->slot[i]->frame.h.seq);
        }
        if (err != HF_OK) {
            j->seq = j->effect.first + i;
            return err;
        }
    }
    return count == 0 ? HF_OK : hf_state_inbox_del(s, 0, j->effect.first + count - 1);
}

static enum hf_err op_apply(struct store_job *j)
{
    struct hf_state *s = j->edge->state;
    j->seq = j->effect.first; /* unless it is a frame that fails: then all before it are doubtful */
    enum hf_err err = apply_run(j, j->slot_count);
    if (err == HF_OK) {
        return j->effect.commit ? hf_state_commit(s) : HF_OK;
    }
    hf_seq bad = j->seq;
    if (err == HF_MAP_FULL || err == HF_FULL || err == HF_IO || bad == j->effect.first) {
        return err;
    }
    /* The frames before the bad one are good: keep them, and report the bad one. */
    hf_state_abort(s);
    enum hf_err prefix = apply_run(j, (uint32_t)(bad - j->effect.first));
    prefix = prefix == HF_OK ? hf_state_commit(s) : prefix;
    j->seq = prefix == HF_OK ? bad : j->effect.first;
    return prefix == HF_OK ? err : prefix;
}

static enum hf_err op_take(struct store_job *j)
{
    if (!j->verified) { /* it may come here again after the map grew */
        enum hf_err err = slot_verify(j->slot[0]);
        if (err != HF_OK) {
            return err;
        }
        j->verified = true;
    }
    return op_apply(j);
}

static enum hf_err op_hold(struct store_job *j)
{
    for (uint32_t i = 0; i < j->slot_count; i++) {
        const struct slot *slot = j->slot[i];
        size_t cap = HF_FRAME_OVERHEAD + slot->frame.header.len + slot->frame.body.len;
        uint8_t *whole = malloc(cap);
        if (whole == NULL) {
            return HF_NOMEM;
        }
        struct hf_writer w;
        hf_writer_init(&w, whole, cap);
        hf_frame_encode(&j->edge->stream, slot->frame.header, &slot->frame.signature,
                        slot->frame.body, &w);
        enum hf_err err =
            w.failed ? HF_TOO_BIG
                     : hf_state_inbox_put(j->edge->state, slot->frame.h.seq, hf_writer_bytes(&w));
        free(whole);
        if (err != HF_OK) {
            return err;
        }
    }
    return hf_state_commit(j->edge->state);
}

static enum hf_err stage_one(struct hf_edge *edge, uint32_t part, const struct chunk *c)
{
    enum hf_err err =
        hf_state_stage_chunk(edge->state, part, &c->reply.chunk, &c->records, &c->sum);
    /* It does not begin where the part is: that went back with an abort, or the chunk is late. What
     * is missing is asked for again. */
    return err == HF_ARG ? HF_OK : err;
}

/* If that went well, commits it, and how far the transfer is then, in one. */
static enum hf_err commit_staged(struct store_job *j, enum hf_err err)
{
    struct hf_state *s = j->edge->state;
    err = err == HF_OK ? kept_transfer_put(s, j->effect.a, j->effect.b) : err;
    return err == HF_OK ? hf_state_commit(s) : err;
}

static enum hf_err op_chunks(struct store_job *j)
{
    enum hf_err err = HF_OK;
    for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX && err == HF_OK; i++) {
        if (j->chunk[i] != NULL) {
            err = stage_one(j->edge, i, j->chunk[i]);
        }
    }
    return err;
}

enum hf_err stage_drop(struct hf_state *s)
{
    bool again = true;
    while (again) {
        enum hf_err err = hf_state_stage_drop(s, &again);
        err = err == HF_OK ? hf_state_commit(s) : err;
        if (err != HF_OK) {
            return err;
        }
    }
    return HF_OK;
}

static enum hf_err op_mark(struct store_job *j)
{
    return commit_staged(j, kept_damage_put(j->edge->state, j->effect.first != 0));
}

static enum hf_err op_collect(struct store_job *j)
{
    bool again = false;
    enum hf_err err = hf_state_collect(j->edge->state, j->effect.last, COLLECT_STEP, &again);
    err = err == HF_OK ? hf_state_commit(j->edge->state) : err;
    j->collected = err == HF_OK && !again;
    j->seq = j->effect.last;
    return err;
}

/* No plan came before a SNAPSHOT that is to replace what cannot be mended. Its own keys are about
 * the core's; if they cannot be read either, it has one part. */
static void cut_by_own_keys(struct hf_state *s, struct splits *out)
{
    struct hf_slice place[HF_PLAN_SPLITS_MAX];
    struct hf_sample *sample = malloc(sizeof(*sample));
    struct hf_view *v = NULL;
    uint32_t count = 0;
    if (sample != NULL && hf_view_open(s, &v) == HF_OK && hf_view_sample_keys(v, sample) == HF_OK) {
        count = hf_sample_cut_keys(sample, HF_PLAN_PART_BYTES, HF_PLAN_SPLITS_MAX, place);
    }
    for (uint32_t i = 0; i < count; i++) {
        memcpy(out->key[i], place[i].data, place[i].len);
        out->at.at[i] = (struct hf_bound){.key = hf_slice_of(out->key[i], place[i].len),
                                          .offset = HF_OFFSET_END};
    }
    out->at.count = count;
    if (v != NULL) {
        hf_view_close(v);
    }
    free(sample);
}

static enum hf_err op_begin(struct store_job *j)
{
    struct hf_state *s = j->edge->state;
    const struct hf_replica_effect *fx = &j->effect;
    if (fx->plan == HF_PLAN_REPAIR) {
        return commit_staged(j, hf_state_repair_begin(s, &j->position, j->ranges));
    }
    if (fx->plan == HF_PLAN_SNAPSHOT && j->splits.kind != HF_PLAN_SNAPSHOT) {
        cut_by_own_keys(s, &j->splits);
    }
    return commit_staged(j,
                         hf_state_stage_begin(s, fx->plan, &j->position, fx->last, &j->splits.at));
}

static enum hf_err op_frame(struct store_job *j)
{
    const struct slot *slot = j->slot[0];
    struct hf_body body = slot->opened;
    enum hf_err err = hf_state_stage_frame(j->edge->state, &slot->frame, &body);
    if (err == HF_OK && slot->frame.h.kind == HF_BATCH_DICTIONARY) {
        err = dictionary_store(j->edge, slot->frame.h.seq);
    }
    return err;
}

static enum hf_err op_switch(struct store_job *j)
{
    struct hf_state *s = j->edge->state;
    enum hf_err err;
    if (j->slot_count > 0) {
        j->seq = j->slot[0]->frame.h.seq;
        err = hf_state_stage_switch(s, &j->slot[0]->frame);
    } else {
        j->seq = j->position.seq;
        err = hf_state_repair_switch(s);
    }
    return commit_staged(j, err == HF_OK ? hf_state_inbox_del(s, 0, j->seq) : err);
}

static enum hf_err run_once(void *arg)
{
    struct store_job *j = arg;
    struct hf_state *s = j->edge->state;
    struct hf_error e;
    switch (j->effect.type) {
    case HF_REPFX_APPLY:
        return op_apply(j);
    case HF_REPFX_TAKE:
        return op_take(j);
    case HF_REPFX_HOLD:
        return op_hold(j);
    case HF_REPFX_STAGE_BEGIN:
        return op_begin(j);
    case HF_REPFX_STAGE_CHUNK:
        return op_chunks(j);
    case HF_REPFX_STAGE_SKIP:
        return commit_staged(j, hf_state_stage_skip(s, j->effect.part));
    case HF_REPFX_STAGE_TARGET:
        return commit_staged(j, hf_state_stage_target(s, j->effect.last));
    case HF_REPFX_STAGE_FRAME:
        return op_frame(j);
    case HF_REPFX_STAGE_SAVE:
        return commit_staged(j, HF_OK);
    case HF_REPFX_STAGE_SWITCH:
        return op_switch(j);
    case HF_REPFX_STAGE_DROP:
        return stage_drop(s);
    case HF_REPFX_REOPEN:
        return hf_state_reopen(s, &e);
    case HF_REPFX_MARK:
        return op_mark(j);
    case HF_REPFX_COLLECT:
        return op_collect(j);
    case HF_REPFX_VERIFY:
    case HF_REPFX_DROP:
    case HF_REPFX_RELEASE:
    case HF_REPFX_SEND:
    case HF_REPFX_APPLIED:
    case HF_REPFX_REDIAL:
    case HF_REPFX_CHECK:
    case HF_REPFX_EVIDENCE:
    case HF_REPFX_NOTE:
    case HF_REPFX_NARROW:
    case HF_REPFX_COMPARE:
        break;
    }
    HF_UNREACHABLE();
}

static void key_copy(struct hf_bound *b, uint8_t room[HF_STORE_KEY_MAX])
{
    HF_ASSERT(b->key.len <= HF_STORE_KEY_MAX);
    if (b->key.len > 0) {
        memcpy(room, b->key.data, b->key.len);
    }
    b->key.data = room;
}

static void staged_copy(struct staged *to, const struct hf_stage *from)
{
    to->stage = *from;
    for (uint32_t i = 0; i < from->part_count; i++) {
        key_copy(&to->stage.part[i].cursor, to->cursor[i]);
        key_copy(&to->stage.part[i].until, to->until[i]);
    }
}

/* They are for one transfer. */
static void splits_move(struct splits *to, struct splits *from)
{
    to->kind = from->kind;
    to->at = from->at;
    for (uint32_t i = 0; i < from->at.count; i++) {
        key_copy(&to->at.at[i], to->key[i]);
    }
    from->kind = HF_PLAN_NONE;
    from->at.count = 0;
}

/* In the transaction that is open, or else in a new one. */
static enum hf_err grow_and_run(struct hf_state *s, enum hf_err (*once)(void *), void *arg)
{
    enum hf_err err = once(arg);
    for (uint32_t i = 0; i < GROW_TRIES && err == HF_MAP_FULL; i++) {
        hf_state_abort(s);
        enum hf_err grown = hf_state_grow(s);
        err = grown == HF_OK ? once(arg) : grown;
    }
    if (err != HF_OK) {
        hf_state_abort(s);
    }
    return err == HF_MAP_FULL ? HF_FULL : err;
}

enum hf_err with_room(struct hf_state *s, enum hf_err (*once)(void *), void *arg)
{
    if (frames_open(s) > 0) {
        hf_state_abort(s);
    }
    return grow_and_run(s, once, arg);
}

static void store_work(struct hf_job *job)
{
    struct store_job *j = (struct store_job *)job;
    struct hf_state *s = j->edge->state;
    bool apply = j->effect.type == HF_REPFX_APPLY;
    j->code = apply ? grow_and_run(s, run_once, j) : with_room(s, run_once, j);
    j->position = hf_state_committed(s);
    struct hf_stage stage;
    hf_state_stage_get(s, &stage);
    staged_copy(&j->staged, &stage);
}

/* ---- the owner's side ---- */

static void store_done(struct hf_job *job)
{
    struct store_job *j = (struct store_job *)job;
    struct hf_edge *edge = j->edge;
    struct hf_position position = j->position;
    struct hf_replica_event ev = {
        .type = HF_REPEV_STORE_DONE,
        .op = j->effect.type,
        .code = j->code,
        .ok = j->verified || j->collected,
        .seq = j->effect.type == HF_REPFX_HOLD ? j->effect.first : j->seq,
        .position = &position,
        .stage = &edge->staged.stage,
    };
    edge->position = position;
    staged_copy(&edge->staged, &j->staged.stage);
    for (uint32_t i = 0; i < j->slot_count; i++) {
        if (j->code == HF_OK && j->effect.commit) {
            edge->applied_changes += j->slot[i]->frame.h.change_count;
        }
        slot_unuse(edge, j->slot[i]);
    }
    for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX && j->effect.type == HF_REPFX_STAGE_CHUNK; i++) {
        chunk_free(j->chunk[i]);
        j->chunk[i] = NULL;
    }
    edge_job_ended(edge);
    edge_event(edge, &ev);
}

static void use_slot(struct store_job *j, struct slot *s)
{
    slot_use(s);
    j->slot[j->slot_count++] = s;
}

/* Of the frames first..last: whether this slot has one of them, whole. */
static bool has_one_of(const struct slot *s, hf_seq first, hf_seq last)
{
    return s->used && !s->orphan && s->frame.h.seq >= first && s->frame.h.seq <= last &&
           s->frame.body.data != NULL;
}

/* All of them, in order of seq. */
static void use_run(struct hf_edge *edge, struct store_job *j, hf_seq first, hf_seq last)
{
    HF_ASSERT(last - first < edge->slot_count);
    for (uint32_t i = 0; i < edge->slot_count; i++) {
        struct slot *s = &edge->slots[i];
        if (has_one_of(s, first, last)) {
            slot_use(s);
            j->slot[s->frame.h.seq - first] = s;
            j->slot_count++;
        }
    }
    HF_ASSERT(j->slot_count == last - first + 1);
}

/* Those that no job reads, in any order. */
static void use_held(struct hf_edge *edge, struct store_job *j, hf_seq first, hf_seq last)
{
    for (uint32_t i = 0; i < edge->slot_count; i++) {
        struct slot *s = &edge->slots[i];
        if (s->users == 0 && has_one_of(s, first, last)) {
            use_slot(j, s);
        }
    }
}

static void use_chunks(struct hf_edge *edge, struct store_job *j, uint32_t parts)
{
    for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX; i++) {
        if ((parts >> i & 1) != 0) {
            j->chunk[i] = edge->chunk[i];
            edge->chunk[i] = NULL;
        }
    }
}

void storing_order(struct hf_edge *edge, const struct hf_replica_effect *fx)
{
    struct store_job *j = &edge->store;
    memset(j, 0, offsetof(struct store_job, chunk)); /* what follows has 80 KB */
    j->job.work = store_work;
    j->job.done = store_done;
    j->edge = edge;
    j->effect = *fx;
    j->slot = edge->store_slots;
    j->position = edge->position;
    if (fx->type == HF_REPFX_APPLY) {
        use_run(edge, j, fx->first, fx->last);
    } else if (fx->type == HF_REPFX_HOLD) {
        use_held(edge, j, fx->first, fx->last);
    } else if (fx->type == HF_REPFX_TAKE) {
        use_slot(j, &edge->slots[fx->slot]);
        slot_prepare(edge, j->slot[0]);
    } else if (fx->type == HF_REPFX_STAGE_FRAME ||
               (fx->type == HF_REPFX_STAGE_SWITCH && fx->slot != UINT32_MAX)) {
        use_slot(j, &edge->slots[fx->slot]);
    } else if (fx->type == HF_REPFX_STAGE_CHUNK) {
        use_chunks(edge, j, fx->parts);
    } else if (fx->type == HF_REPFX_STAGE_BEGIN) {
        splits_move(&j->splits, &edge->splits);
        j->ranges = compare_found(edge); /* stays as it is while the engine stages */
    }
    if (fx->type == HF_REPFX_STAGE_BEGIN || fx->type == HF_REPFX_STAGE_DROP) {
        chunks_clear(edge);
    }
    edge_run(edge, HF_LANE_WRITER, &j->job);
}

/* ---- adoption of what HELLO brought ---- */

static enum hf_err adopt(void *arg)
{
    struct adoption *a = arg;
    struct hf_state *s = a->edge->state;
    enum hf_err err = HF_OK;
    if (a->first) {
        err = hf_state_genesis(s, &a->origin);
        if (err == HF_OK) {
            err = hf_state_object_put(s, hf_slice_str("genesis"),
                                      hf_slice_of(a->genesis, a->genesis_len));
        }
    }
    if (err == HF_OK && a->name[0] != '\0') {
        err = hf_state_object_put(s, hf_slice_str("name"), hf_slice_str(a->name));
    }
    for (uint32_t i = 0; err == HF_OK && i < a->key_count; i++) {
        uint8_t name[9] = {'c', 'k', 'e', 'y', '/'};
        uint8_t bytes[64];
        struct hf_writer w;
        hf_store32_be(name + 5, a->key[i].id);
        hf_writer_init(&w, bytes, sizeof(bytes));
        hf_write_uint(&w, a->key[i].from);
        hf_write_fixed(&w, a->key[i].key.b, HF_KEY_BYTES);
        err = hf_state_object_put(s, hf_slice_of(name, sizeof(name)), hf_writer_bytes(&w));
    }
    if (err == HF_OK) {
        err = dictionaries_put(s, a->dictionary, a->dictionary_count);
    }
    return err == HF_OK ? hf_state_commit(s) : err;
}

static void adopt_work(struct hf_job *job)
{
    struct adoption *a = (struct adoption *)job;
    a->code = with_room(a->edge->state, adopt, a);
    if (a->code == HF_IO) {
        /* An edge that has no genesis yet orders nothing of the store, and so no REOPEN either. */
        struct hf_error e;
        (void)hf_state_reopen(a->edge->state, &e);
    }
}

static void adopt_done(struct hf_job *job)
{
    struct adoption *a = (struct adoption *)job;
    struct hf_edge *edge = a->edge;
    edge_job_ended(edge);
    a->done(edge, a, a->code);
    adoption_free(a);
}

void storing_adopt(struct hf_edge *edge, struct adoption *a)
{
    a->job.work = adopt_work;
    a->job.done = adopt_done;
    a->edge = edge;
    edge_run(edge, HF_LANE_WRITER, &a->job);
}

/* ---- at open ---- */

/* A damaged one ends it: those behind it are as unknown as one that was never given, and the next
 * HELLO brings them again. Nothing else of the store is worse for it. */
static void load_keys(struct hf_edge *edge, struct hf_view *v)
{
    struct hf_slice prefix = hf_slice_str("ckey/");
    struct hf_slice name = {0};
    struct hf_slice bytes;
    uint8_t last[9];
    enum hf_err err = hf_view_next_object(v, prefix, name, &name, &bytes);
    while (err == HF_OK) {
        struct hf_reader r;
        struct hf_content_key key = {0};
        hf_reader_init(&r, bytes);
        key.from = hf_read_uint(&r, UINT64_MAX);
        hf_read_fixed(&r, key.key.b, HF_KEY_BYTES);
        if (!hf_reader_done(&r) || name.len != sizeof(last)) {
            err = HF_CORRUPT;
            break;
        }
        key.id = hf_load32_be(name.data + 5);
        content_add(edge, &key);
        memcpy(last, name.data, sizeof(last));
        err = hf_view_next_object(v, prefix, hf_slice_of(last, sizeof(last)), &name, &bytes);
    }
    if (err != HF_NOTFOUND) {
        edge_note(edge, HF_LEVEL_WARN,
                  "store: content keys cannot be read, the core gives them "
                  "again: %s",
                  hf_err_text(err));
    }
}

static enum hf_err load_facts(struct hf_edge *edge, struct hf_view *v, struct hf_error *e)
{
    struct hf_slice bytes;
    struct hf_hash chain;
    enum hf_err err = hf_view_object(v, hf_slice_str("genesis"), &bytes);
    if (err == HF_NOTFOUND) {
        return HF_OK;
    }
    err = err == HF_OK ? hf_genesis_open(bytes, &edge->cfg.core_key, &edge->genesis, &chain) : err;
    if (err == HF_AUTH) {
        return hf_error_set(e, HF_MISMATCH,
                            "this directory belongs to another core (its genesis is not signed by "
                            "the pinned core key); use another --data, or the right core key");
    }
    if (err != HF_OK) {
        return hf_error_set(e, err, "edge store: the genesis: %s", hf_err_text(err));
    }
    edge->has_genesis = true;
    edge->stream = edge->genesis.stream;
    if (hf_view_object(v, hf_slice_str("name"), &bytes) == HF_OK && bytes.len <= HF_NAME_MAX) {
        memcpy(edge->name, bytes.data, bytes.len);
        edge->name[bytes.len] = '\0';
    }
    struct hf_applied applied;
    hf_view_applied(v, &applied);
    edge->position = applied.at;
    load_keys(edge, v);
    err = dictionaries_load(edge, v);
    if (err != HF_OK) {
        return hf_error_set(e, err, "edge store: %s", hf_err_text(err));
    }
    return err;
}

enum hf_err storing_load(struct hf_edge *edge, struct hf_error *e)
{
    struct hf_view *v;
    enum hf_err err = hf_view_open(edge->state, &v);
    if (err != HF_OK) {
        return hf_error_set(e, err, "edge store: %s", hf_err_text(err));
    }
    err = load_facts(edge, v, e);
    kept_load(edge, v);
    hf_view_close(v);
    struct hf_stage stage;
    hf_state_stage_get(edge->state, &stage);
    staged_copy(&edge->staged, &stage);
    return err;
}

/* ---- check ---- */

static void check_work(struct hf_job *job)
{
    struct check_job *c = (struct check_job *)job;
    struct hf_view *v;
    c->code = hf_view_open(c->edge->state, &v);
    if (c->code == HF_OK) {
        c->code = hf_view_verify(v, &c->why);
        hf_view_close(v);
    }
}

static void check_done(struct hf_job *job)
{
    struct check_job *c = (struct check_job *)job;
    struct hf_edge *edge = c->edge;
    struct hf_replica_event ev = {.type = HF_REPEV_CHECKED, .code = c->code};
    if (hf_err_is_damage(c->code)) {
        edge_note(edge, HF_LEVEL_ERROR, "store: own state is damaged reason=%s", c->why.text);
    } else if (c->code != HF_OK) {
        edge_note(edge, HF_LEVEL_WARN, "store: own state could not be checked reason=%s",
                  hf_err_text(c->code));
    }
    c->busy = false;
    edge_job_ended(edge);
    edge_event(edge, &ev);
}

void storing_check(struct hf_edge *edge)
{
    struct check_job *c = edge->check;
    while (c->busy) {
        c++;
        HF_ASSERT(c < edge->check + EDGE_CHECKS);
    }
    *c = (struct check_job){
        .job = {.work = check_work, .done = check_done}, .edge = edge, .busy = true};
    edge_run(edge, HF_LANE_POOL, &c->job);
}
