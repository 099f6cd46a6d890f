/*
 * driver.c - opens an edge, feeds its engine with events, and carries out the effects in order.
 *
 * The driver adds no decision of its own: what to verify, ask, apply or give up is the engine's
 * business (replica.c). It must not block: what takes time is a job on one of the world's lanes,
 * and the world completes no job and answers no request from inside the call that started it.
 */
#include "edge/driver_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

void edge_note(struct hf_edge *edge, enum hf_level level, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    edge->world.note(edge->world.ctx, level, text);
}

void edge_run(struct hf_edge *edge, enum hf_lane lane, struct hf_job *job)
{
    edge->jobs++;
    edge->world.run(edge->world.ctx, lane, job);
}

void edge_job_ended(struct hf_edge *edge)
{
    HF_ASSERT(edge->jobs > 0);
    edge->jobs--;
}

/* ---- effects ---- */

static void note_effect(struct hf_edge *edge, const struct hf_replica_effect *fx)
{
    char text[256];
    hf_replica_note_text(fx->note, fx->a, fx->b, text, sizeof(text));
    edge->world.note(edge->world.ctx, hf_replica_note_level(fx->note), text);
}

static void carry_out(struct hf_edge *edge, const struct hf_replica_effect *fx)
{
    switch (fx->type) {
    case HF_REPFX_VERIFY:
        slots_verify(edge, fx->slot);
        break;
    case HF_REPFX_DROP:
        slots_drop(edge, fx->slot);
        break;
    case HF_REPFX_RELEASE:
        slots_release(edge, fx->last);
        break;
    case HF_REPFX_SEND:
        session_send(edge, fx);
        break;
    case HF_REPFX_APPLIED:
        if (edge->cfg.on_applied != NULL) {
            edge->cfg.on_applied(edge->cfg.ctx, fx->last);
        }
        break;
    case HF_REPFX_REDIAL:
        edge->world.redial(edge->world.ctx, fx->channel);
        break;
    case HF_REPFX_CHECK:
        storing_check(edge);
        break;
    case HF_REPFX_EVIDENCE:
        if (fx->slot < edge->slot_count) {
            const struct hf_frame *f = &edge->slots[fx->slot].frame;
            kept_evidence(edge, f->h.seq, f->header, &f->signature);
        }
        break;
    case HF_REPFX_NOTE:
        note_effect(edge, fx);
        break;
    case HF_REPFX_NARROW:
        compare_narrow(edge, (uint32_t)fx->first);
        break;
    case HF_REPFX_COMPARE:
        compare_run(edge);
        break;
    case HF_REPFX_APPLY:
    case HF_REPFX_TAKE:
    case HF_REPFX_HOLD:
    case HF_REPFX_STAGE_BEGIN:
    case HF_REPFX_STAGE_CHUNK:
    case HF_REPFX_STAGE_SKIP:
    case HF_REPFX_STAGE_TARGET:
    case HF_REPFX_STAGE_FRAME:
    case HF_REPFX_STAGE_SAVE:
    case HF_REPFX_STAGE_SWITCH:
    case HF_REPFX_STAGE_DROP:
    case HF_REPFX_REOPEN:
    case HF_REPFX_MARK:
    case HF_REPFX_COLLECT:
        storing_order(edge, fx);
        break;
    }
}

void edge_event(struct hf_edge *edge, struct hf_replica_event *ev)
{
    struct hf_replica_effects fx;
    if (edge->abandoned) {
        return;
    }
    ev->now = edge->world.now(edge->world.ctx);
    edge->world.random(edge->world.ctx, &ev->entropy, sizeof(ev->entropy));
    hf_replica_step(edge->replica, ev, &fx);
    for (uint32_t i = 0; i < fx.count; i++) {
        carry_out(edge, &fx.at[i]);
    }
    edge->world.wake_at(edge->world.ctx, hf_replica_deadline(edge->replica));
}

/* ---- open and close ---- */

static enum hf_err make_dir(const char *path, struct hf_error *e)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return hf_error_set(e, errno == ENOSPC ? HF_FULL : HF_IO, "cannot make directory %s: %s",
                            path, strerror(errno));
    }
    return HF_OK;
}

static void restore_inbox(struct hf_edge *edge)
{
    struct hf_view *v;
    struct hf_slice message;
    hf_seq at;
    hf_seq seq;
    hf_seq next = edge->position.seq + 1;
    if (hf_view_open(edge->state, &v) != HF_OK) {
        return;
    }
    uint32_t restored = 0;
    while (edge->free_count > EDGE_SLOTS_SPARE &&
           hf_view_inbox_next(v, next, &at, &message) == HF_OK) {
        bool taken = slots_take(edge, message, FROM_INBOX, &seq);
        restored += taken;
        edge->dropped += !taken;
        next = at + 1;
    }
    hf_view_close(v);
    if (restored > 0) {
        edge_note(edge, HF_LEVEL_INFO, "edge: took up held batches from disk count=%u", restored);
    }
}

static void start(struct hf_edge *edge)
{
    struct hf_stage stage = edge->staged.stage;
    struct hf_position position = edge->position;
    struct hf_replica_event ev = {.type = HF_REPEV_START,
                                  .position = &position,
                                  .stage = &stage,
                                  .total = edge->kept.transfer_total,
                                  .offset = edge->kept.transfer_done,
                                  .ok = edge->has_genesis,
                                  .damaged = edge->kept.damaged,
                                  /* A token is spent once; who knows the genesis was enrolled. */
                                  .join = edge->has_token && !edge->has_genesis};
    edge_event(edge, &ev);
    if (edge->has_token && edge->has_genesis) {
        edge_note(edge, HF_LEVEL_INFO,
                  "edge: enrolled before; of the join token only the core's address is used");
    }
    if (stage.active) {
        edge_note(edge, HF_LEVEL_INFO, "edge: goes on with a transfer done=%llu total=%llu",
                  (unsigned long long)edge->kept.transfer_done,
                  (unsigned long long)edge->kept.transfer_total);
    }
    if (edge->has_genesis) {
        edge->world.subscribe(edge->world.ctx, &edge->stream);
        restore_inbox(edge);
    }
}

enum hf_err edge_open_store(struct hf_edge *edge, struct hf_error *e)
{
    char path[512];
    enum hf_err err = make_dir(edge->cfg.dir, e);
    if (err != HF_OK) {
        return err;
    }
    edge->dictionaries = hf_dictionaries_new();
    if (edge->dictionaries == NULL) {
        return hf_error_set(e, HF_NOMEM, "%s", hf_err_text(HF_NOMEM));
    }
    snprintf(path, sizeof(path), "%s/state", edge->cfg.dir);
    struct hf_state_config sc = {
        .dir = path, .map_bytes = edge->cfg.map_bytes, .chainless = true, .tombstone_index = true};
    err = hf_state_open(&sc, &edge->state, e);
    err = err == HF_OK ? storing_load(edge, e) : err;
    return err == HF_OK ? session_init(edge, e) : err;
}

static void on_damage(void *ctx, uint64_t count, struct hf_slice key)
{
    struct hf_edge *edge = ctx;
    char hex[2 * 32 + 1];
    hf_hex(key.data, key.len < 32 ? key.len : 32, hex);
    edge_note(edge, HF_LEVEL_ERROR,
              "scrub: records do not match their checksums count=%llu first_key_hex=%s",
              (unsigned long long)count, hex);
    hf_edge_repair(edge, true);
}

static enum hf_err scrub_open(struct hf_edge *edge, struct hf_error *e)
{
    struct hf_scrub_config c = {.world = &edge->world,
                                .state = edge->state,
                                .period_ms = edge->cfg.scrub_ms,
                                .ctx = edge,
                                .on_damage = on_damage};
    edge->scrub = hf_scrub_new(&c);
    return edge->scrub != NULL ? HF_OK : hf_error_set(e, HF_NOMEM, "edge: out of memory");
}

enum hf_err hf_edge_open(const struct hf_edge_config *c, const struct hf_world *world,
                         const struct hf_identity *id, struct hf_edge **out, struct hf_error *e)
{
    enum hf_err err = HF_NOMEM;
    struct hf_edge *edge = calloc(1, sizeof(*edge));
    if (edge == NULL) {
        return hf_error_set(e, HF_NOMEM, "edge: out of memory");
    }
    edge->cfg = *c;
    edge->world = *world;
    edge->opened_at = world->now(world->ctx);
    edge->id = id;
    if (c->token != NULL) {
        edge->token = *c->token;
        edge->has_token = true;
    }
    edge->replica = hf_replica_new(&c->replica);
    if (edge->replica == NULL || slots_init(edge) != HF_OK || compare_init(edge) != HF_OK) {
        hf_error_set(e, HF_NOMEM, "edge: out of memory");
        goto fail;
    }
    err = edge_open_store(edge, e);
    err = err == HF_OK ? scrub_open(edge, e) : err;
    if (err != HF_OK) {
        goto fail;
    }
    start(edge);
    *out = edge;
    return HF_OK;
fail:
    hf_edge_close(edge);
    return err;
}

void hf_edge_close(struct hf_edge *edge)
{
    if (edge == NULL) {
        return;
    }
    session_deinit(edge);
    compare_deinit(edge);
    slots_deinit(edge);
    chunks_deinit(edge);
    hf_dictionaries_free(edge->dictionaries);
    hf_replica_free(edge->replica);
    hf_scrub_free(edge->scrub);
    if (edge->state != NULL) {
        hf_state_close(edge->state);
    }
    free(edge);
}

void hf_edge_abandon(struct hf_edge *edge)
{
    edge->abandoned = true;
}

/* ---- events from the world ---- */

void hf_edge_on_link(struct hf_edge *edge, enum hf_channel channel, bool up)
{
    struct hf_replica_event ev = {.type = HF_REPEV_LINK, .channel = channel, .ok = up};
    edge_event(edge, &ev);
}

void hf_edge_on_message(struct hf_edge *edge, struct hf_slice message)
{
    struct hf_reader r;
    enum hf_kind kind;
    struct hf_id stream;
    hf_seq seq;
    if (edge->abandoned) {
        return;
    }
    edge->received_bytes += message.len;
    hf_reader_init(&r, message);
    if (hf_prefix_read(&r, &kind, &stream) != HF_OK || !edge->has_genesis ||
        !hf_id_eq(&stream, &edge->stream)) {
        edge->dropped++;
        return;
    }
    if (kind == HF_KIND_BATCH) {
        edge->dropped += !slots_take(edge, message, FROM_STREAM, &seq);
    } else if (kind == HF_KIND_BEACON) {
        struct hf_slice rest = hf_slice_of(r.at, hf_reader_left(&r));
        edge->dropped += !session_beacon(edge, rest, NULL);
    } else if (kind == HF_KIND_SURVEY) {
        struct hf_replica_event ev = {.type = HF_REPEV_SURVEY};
        edge_event(edge, &ev);
    } else {
        edge->dropped++;
    }
}

void hf_edge_on_reply(struct hf_edge *edge, uint64_t request, struct hf_slice message)
{
    if (edge->abandoned) {
        return;
    }
    edge->received_bytes += message.len;
    session_reply(edge, request, message);
}

hf_ms hf_edge_on_tick(struct hf_edge *edge, hf_ms now)
{
    if (now >= hf_replica_deadline(edge->replica)) {
        struct hf_replica_event ev = {.type = HF_REPEV_TICK};
        edge_event(edge, &ev);
    }
    hf_ms scrub = hf_scrub_tick(edge->scrub, now);
    hf_ms next = hf_replica_deadline(edge->replica);
    return scrub < next ? scrub : next;
}

void hf_edge_repair(struct hf_edge *edge, bool damaged)
{
    struct hf_replica_event ev = {.type = HF_REPEV_REPAIR, .ok = damaged};
    edge_event(edge, &ev);
}

/* ---- inspection ---- */

struct hf_state *hf_edge_state(struct hf_edge *edge)
{
    return edge->state;
}

void hf_edge_status(const struct hf_edge *edge, hf_ms now, struct hf_replica_status *out)
{
    hf_replica_status(edge->replica, now, out);
}

bool hf_edge_loaded(const struct hf_edge *edge)
{
    return hf_replica_loaded(edge->replica);
}

void hf_edge_info(const struct hf_edge *edge, struct hf_edge_info *out)
{
    *out = (struct hf_edge_info){.position = edge->position,
                                 .has_genesis = edge->has_genesis,
                                 .genesis = edge->genesis,
                                 .received_bytes = edge->received_bytes,
                                 .applied_changes = edge->applied_changes,
                                 .dropped = edge->dropped};
    memcpy(out->name, edge->name, sizeof(out->name));
    hf_scrub_status(edge->scrub, &out->scrub);
}

const struct hf_position *hf_edge_position(const struct hf_edge *edge)
{
    return &edge->position;
}

const char *hf_edge_pending(const struct hf_edge *edge)
{
    return hf_replica_pending(edge->replica);
}
