/*
 * driver.c - the core put together: it runs the publisher engine's effects over the world.
 *
 * One owner thread. Slow work is a job on the writer lane: one at a time of group, commit and
 * recovery as the engine orders them, and between these, in order, facts to be recorded. A job's
 * results are copied to the owner when it is done; the lane's own memory is never read here while a
 * job may run.
 *
 * Effects run in list order, and what happens while they run (a client writes again from its
 * answer, a lane of the simulator finishes at once) is noted and becomes the next event: the engine
 * is never entered twice, and no effect overtakes one of the same list (G3: ANSWER before PUBLISH).
 *
 * Read next: core/publisher.c (when), core/group.c (how), core/service.c (edges), core/enrol.c,
 * core/fence.c.
 */
#include "core/driver_impl.h"

#include "core/mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* For so long status tells that a write failed, if none went well since. */
#define FAILING_MS 60000
#define WAITING_BYTES_MAX (128u << 20)
#define BEACON_MS 1000
#define COMMIT_MS 1000
#define COMMIT_CHANGES 50000u

/* ---- notes ---- */

void hf_core_note(struct hf_core *core, enum hf_level level, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    core->world.note(core->world.ctx, level, text);
}

static hf_ms now_of(struct hf_core *core)
{
    return core->world.now(core->world.ctx);
}

/* ---- the queue of writes ---- */

static size_t write_memory(const struct hf_write *w)
{
    return w->memory_bytes > w->raw_bytes ? w->memory_bytes : w->raw_bytes;
}

/* Also measures it. */
static enum hf_err write_check(struct hf_write *w, const char **text)
{
    *text = "a key is empty or over the limit, or a value is";
    for (uint32_t i = 0; i < w->change_count && i < HF_BATCH_CHANGES_MAX; i++) {
        const struct hf_change *c = &w->change[i];
        if (c->key.len == 0 || (c->op == HF_OP_DEL && c->value.len > 0)) {
            return HF_ARG;
        }
        if (c->key.len > HF_STORE_KEY_MAX || c->value.len > HF_STORE_VALUE_MAX) {
            return HF_TOO_BIG;
        }
    }
    *text = "the request has no changes and no id";
    if (w->change_count == 0 && w->request_id.len == 0) {
        return HF_ARG;
    }
    *text = "the request id, author or reason is over the limit";
    if (w->request_id.len > HF_REQUEST_ID_MAX || w->author.len > HF_AUTHOR_MAX ||
        w->reason.len > HF_REASON_MAX) {
        return HF_TOO_BIG;
    }
    *text = "the request is over the limit of a batch";
    if (w->change_count > HF_BATCH_CHANGES_MAX) {
        return HF_TOO_BIG;
    }
    w->raw_bytes = hf_write_raw_bytes(w);
    if (HF_BODY_OVERHEAD + w->raw_bytes > HF_BATCH_RAW_MAX) {
        return HF_TOO_BIG;
    }
    *text = NULL;
    return HF_OK;
}

static void write_answer(struct hf_write *w, enum hf_err code, const char *text)
{
    w->result = (struct hf_write_result){.code = code, .text = text};
    w->done(w, &w->result);
}

void hf_core_write(struct hf_core *core, struct hf_write *w)
{
    const char *text;
    enum hf_err err = write_check(w, &text);
    if (err != HF_OK) {
        write_answer(w, err, text);
        return;
    }
    if (core->fenced[0] != '\0') {
        write_answer(w, HF_FORK, core->fenced);
        return;
    }
    /* The log may have room where the state has none: what it took now could not be shown to
     * readers, and would have to be replayed over and over. */
    if (core->uncommitted != HF_OK) {
        write_answer(w, core->uncommitted, core->failing);
        return;
    }
    size_t bytes = write_memory(w);
    if (core->waiting_bytes + bytes > core->cfg.waiting_bytes_max) {
        write_answer(w, HF_BUSY, "too many writes are waiting");
        return;
    }
    w->next = NULL;
    *core->waiting_end = w;
    core->waiting_end = &w->next;
    core->waiting_bytes += bytes;
    core->pending.writes++;
    hf_core_drain(core);
}

void hf_core_flush(struct hf_core *core)
{
    core->pending.flush = true;
    hf_core_drain(core);
}

/* Moves what one group may hold from the queue to the group. */
static void group_take(struct hf_core *core)
{
    struct hf_group *g = &core->lane.group;
    size_t bytes = 0;
    uint32_t changes = 0;
    g->first = core->waiting;
    g->write_count = 0;
    struct hf_write *last = NULL;
    HF_ASSERT(core->waiting != NULL);
    do {
        last = core->waiting;
        core->waiting = last->next;
        bytes += last->raw_bytes;
        core->waiting_bytes -= write_memory(last);
        changes += last->change_count;
        g->write_count++;
    } while (core->waiting != NULL && changes < HF_GROUP_CHANGES && bytes < HF_GROUP_BYTES);
    last->next = NULL;
    if (core->waiting == NULL) {
        core->waiting_end = &core->waiting;
    }
}

/* ---- the writer lane ---- */

static void lane_work(struct hf_job *job)
{
    struct hf_lane_job *lane = (struct hf_lane_job *)job;
    struct hf_core_writer *w = &lane->core->writer;
    w->error.text[0] = '\0';
    switch (lane->kind) {
    case HF_ORDER_GROUP:
        lane->code = lane->group.refused ? HF_OK : hf_core_writer_group(w, &lane->group);
        break;
    case HF_ORDER_COMMIT:
        lane->code = hf_core_writer_commit(w, &lane->commit);
        break;
    case HF_ORDER_RECOVER:
        lane->code = hf_core_writer_recover(w);
        break;
    }
    lane->head = w->head;
    memcpy(lane->text, w->error.text, sizeof(lane->text) - 1);
}

static void lane_done(struct hf_job *job)
{
    struct hf_lane_job *lane = (struct hf_lane_job *)job;
    lane->core->jobs--;
    lane->core->pending.lane = true;
    hf_core_drain(lane->core);
}

static void lane_run(struct hf_core *core, enum hf_order kind)
{
    struct hf_lane_job *lane = &core->lane;
    lane->job = (struct hf_job){.work = lane_work, .done = lane_done};
    lane->core = core;
    lane->kind = kind;
    core->jobs++;
    core->world.run(core->world.ctx, HF_LANE_WRITER, &lane->job);
}

static void order_group(struct hf_core *core)
{
    struct hf_group *g = &core->lane.group;
    group_take(core);
    g->refused = hf_core_fence_group(core, g);
    core->world.random(core->world.ctx, g->seed, sizeof(g->seed));
    g->wall_ms = core->world.wall_ms(core->world.ctx);
    lane_run(core, HF_ORDER_GROUP);
}

static void order_commit(struct hf_core *core)
{
    core->lane.commit = (struct hf_commit){.mark = core->fenced[0] == '\0'};
    hf_core_retention_commit(core, &core->lane.commit);
    lane_run(core, HF_ORDER_COMMIT);
}

void hf_core_keys_drop(struct hf_core *core)
{
    struct hf_keyring_needs needs = hf_core_writer_needs(&core->writer);
    hf_keyring_drop(hf_registry_keys(core->registry), &needs);
}

/* A long replay commits as it goes. Where that was all, no commit follows that could end the
 * refusal.
 */
static void recovered(struct hf_core *core)
{
    const struct hf_lane_job *lane = &core->lane;
    if (hf_err_is_damage(lane->code)) {
        core->uncommitted = lane->code; /* or each write would replay it all, in vain */
    }
    if (lane->code == HF_OK && core->uncommitted != HF_OK &&
        lane->head.committed == lane->head.at.seq) {
        core->uncommitted = HF_OK;
        core->failing[0] = '\0';
    }
}

/* ---- the trainer ---- */

static void train_work(struct hf_job *job)
{
    hf_trainer_train(((struct hf_train_job *)job)->core->writer.trainer);
}

static void train_done(struct hf_job *job)
{
    struct hf_train_job *t = (struct hf_train_job *)job;
    t->under_way = false;
    t->core->jobs--;
}

static void train_if_ready(struct hf_core *core)
{
    struct hf_trainer *trainer = core->writer.trainer;
    if (trainer == NULL || core->train.under_way || !hf_trainer_ready(trainer)) {
        return;
    }
    core->train = (struct hf_train_job){
        .job = {.work = train_work, .done = train_done}, .core = core, .under_way = true};
    core->jobs++;
    core->world.run(core->world.ctx, HF_LANE_POOL, &core->train.job);
}

/* ---- the end of an order ---- */

/* What is tried each second, or as often as clients please, fails as often. */
static void failing_note(struct hf_core *core)
{
    const struct hf_lane_job *lane = &core->lane;
    hf_ms *at = &core->noted[lane->kind][lane->code];
    if (*at == 0 || core->failed_at - *at >= FAILING_MS) {
        *at = core->failed_at;
        hf_core_note(core, HF_LEVEL_ERROR, "core: %s", core->failing);
    }
}

/* What refused writes are told, until it goes well again. */
static void failing_keep(struct hf_core *core)
{
    const struct hf_lane_job *lane = &core->lane;
    if (lane->code != HF_OK) {
        core->failed_at = now_of(core);
        snprintf(core->failing, sizeof(core->failing), "%s",
                 lane->text[0] != '\0' ? lane->text : hf_err_text(lane->code));
        failing_note(core);
        return;
    }
    if (lane->kind != HF_ORDER_RECOVER && core->uncommitted == HF_OK) {
        core->failing[0] = '\0'; /* it was retried and went well */
    }
}

static void head_take(struct hf_core *core)
{
    const struct hf_core_head *head = &core->lane.head;
    if (head->dictionary != core->head.dictionary && head->gain_percent > 0) {
        hf_core_note(core, HF_LEVEL_INFO,
                     "core: small batches are packed with a dictionary of their own seq=%" PRIu64
                     " gain=%" PRIu32 "%%",
                     head->dictionary, head->gain_percent);
    }
    if (head->at.seq >= core->head.at.seq) {
        core->head = *head;
        hf_service_head(core->service);
    }
}

/* What the job left behind becomes the event that ends it. */
static void lane_event(struct hf_core *core, struct hf_publisher_event *ev)
{
    const struct hf_lane_job *lane = &core->lane;
    ev->code = lane->code;
    ev->position = lane->head.at;
    ev->seq = lane->head.committed;
    head_take(core);
    switch (lane->kind) {
    case HF_ORDER_GROUP:
        ev->type = HF_PUB_GROUP_DONE;
        ev->count = lane->group.change_count;
        ev->answered = lane->group.write_count;
        core->n.groups++;
        core->n.group_failures += lane->code != HF_OK;
        core->n.changes += lane->code == HF_OK ? lane->group.change_count : 0;
        break;
    case HF_ORDER_COMMIT:
        ev->type = HF_PUB_COMMITTED;
        core->uncommitted = lane->code;
        core->n.commits++;
        hf_core_retention_committed(core, &lane->commit, lane->code);
        break;
    case HF_ORDER_RECOVER:
        ev->type = HF_PUB_RECOVERED;
        core->n.recoveries++;
        recovered(core);
        break;
    }
    failing_keep(core);
}

/* What becomes possible by it. */
static void lane_follow_up(struct hf_core *core)
{
    train_if_ready(core);
    hf_core_keys_drop(core);
    if (core->lane.kind == HF_ORDER_COMMIT) {
        hf_core_retain(core);
    }
}

/* ---- effects ---- */

static void answer(struct hf_core *core, enum hf_err code)
{
    struct hf_write *w = core->lane.group.first;
    core->lane.group.first = NULL;
    while (w != NULL) {
        struct hf_write *next = w->next; /* done may free it */
        if (code != HF_OK) {
            write_answer(w, code, core->failing);
        } else {
            w->done(w, &w->result);
        }
        w = next;
    }
}

static void message_publish(struct hf_core *core, struct hf_slice message)
{
    core->n.published++;
    core->n.published_bytes += message.len;
    core->world.publish(core->world.ctx, message);
}

static void publish(struct hf_core *core)
{
    const struct hf_core_writer *w = &core->writer;
    for (uint32_t i = 0; i < w->place_count; i++) {
        struct hf_slice message = hf_slice_of(w->frames.data + w->place[i].at, w->place[i].len);
        if (message.len <= HF_MESSAGE_MAX) {
            message_publish(core, message);
            continue;
        }
        uint8_t bytes[HF_HEADER_MAX + HF_FRAME_OVERHEAD];
        struct hf_writer alone;
        hf_writer_init(&alone, bytes, sizeof(bytes));
        enum hf_err err = hf_frame_alone(message, &alone);
        HF_ASSERT(err == HF_OK); /* this core made it a moment ago */
        message_publish(core, hf_writer_bytes(&alone));
    }
}

static void beacon(struct hf_core *core)
{
    uint8_t bytes[HF_PREFIX_BYTES + HF_BEACON_MAX];
    struct hf_writer w;
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_prefix_write(&w, HF_KIND_BEACON, &core->writer.genesis.stream);
    hf_service_beacon(core->service, NULL, &w);
    HF_ASSERT(!w.failed);
    core->n.beacons++;
    message_publish(core, hf_writer_bytes(&w));
}

void hf_core_survey(struct hf_core *core)
{
    uint8_t bytes[HF_PREFIX_BYTES + HF_ID_BYTES + 2];
    struct hf_id nonce;
    struct hf_writer w;
    core->world.random(core->world.ctx, nonce.b, sizeof(nonce.b));
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_prefix_write(&w, HF_KIND_SURVEY, &core->writer.genesis.stream);
    hf_write_fixed(&w, nonce.b, sizeof(nonce.b));
    HF_ASSERT(!w.failed);
    message_publish(core, hf_writer_bytes(&w));
}

static void readers_go(struct hf_core *core)
{
    struct hf_visible_wait *wait = core->waits;
    core->waits = NULL;
    while (wait != NULL) {
        struct hf_visible_wait *next = wait->next;
        wait->done(wait->ctx);
        free(wait);
        wait = next;
    }
}

static void effect_run(struct hf_core *core, const struct hf_publisher_effect *e)
{
    switch (e->type) {
    case HF_PUBFX_GROUP:
        order_group(core);
        return;
    case HF_PUBFX_ANSWER:
        answer(core, e->code);
        if (core->cfg.on_answered != NULL) {
            core->cfg.on_answered(core->world.ctx);
        }
        return;
    case HF_PUBFX_PUBLISH:
        publish(core);
        return;
    case HF_PUBFX_COMMIT:
        order_commit(core);
        return;
    case HF_PUBFX_VISIBLE:
        readers_go(core);
        return;
    case HF_PUBFX_BEACON:
        beacon(core);
        return;
    case HF_PUBFX_RECOVER:
        lane_run(core, HF_ORDER_RECOVER);
        return;
    }
    HF_UNREACHABLE();
}

/* ---- events ---- */

/* The next thing that happened; false when there is none. A lane's end comes first, so that what
 * waits joins the group after it. */
static bool event_next(struct hf_core *core, struct hf_publisher_event *ev)
{
    struct hf_pending *p = &core->pending;
    memset(ev, 0, sizeof(*ev));
    ev->now = now_of(core);
    if (p->lane) {
        p->lane = false;
        lane_event(core, ev);
        lane_follow_up(core);
    } else if (p->writes > 0) {
        ev->type = HF_PUB_WRITE;
        ev->count = p->writes;
        p->writes = 0;
    } else if (p->recorded) {
        p->recorded = false;
        ev->type = HF_PUB_RECORDED;
    } else if (p->read_waits) {
        p->read_waits = false;
        ev->type = HF_PUB_READ_WAITS;
    } else if (p->flush) {
        p->flush = false;
        ev->type = HF_PUB_FLUSH;
    } else if (p->tick) {
        p->tick = false;
        ev->type = HF_PUB_TICK;
    } else {
        return false;
    }
    return true;
}

void hf_core_drain(struct hf_core *core)
{
    if (core->draining) {
        return;
    }
    core->draining = true;
    struct hf_publisher_event ev;
    while (event_next(core, &ev)) {
        struct hf_publisher_effects fx;
        hf_publisher_step(core->publisher, &ev, &fx);
        for (uint32_t i = 0; i < fx.count; i++) {
            effect_run(core, &fx.at[i]);
        }
    }
    core->draining = false;
    if (core->world.wake_at != NULL) {
        core->world.wake_at(core->world.ctx, hf_publisher_deadline(core->publisher));
    }
}

void hf_core_when_visible(struct hf_core *core, void (*done)(void *ctx), void *ctx)
{
    struct hf_visible_wait *wait = NULL;
    if (core->head.committed < core->head.at.seq) {
        wait = malloc(sizeof(*wait));
    }
    if (wait == NULL) {
        done(ctx); /* nothing is uncommitted, or there is no memory to wait with */
        return;
    }
    *wait = (struct hf_visible_wait){.done = done, .ctx = ctx, .next = core->waits};
    core->waits = wait;
    core->pending.read_waits = true;
    hf_core_drain(core);
}

/* A write that failed is tried again by nobody but its client. */
static void failing_forget(struct hf_core *core, hf_ms now)
{
    if (core->uncommitted == HF_OK && now - core->failed_at >= FAILING_MS) {
        core->failing[0] = '\0';
    }
}

hf_ms hf_core_on_tick(struct hf_core *core, hf_ms now)
{
    failing_forget(core, now);
    core->pending.tick = true; /* the world's clock is asked for each event */
    hf_core_retain(core);
    hf_core_drain(core);
    hf_core_presence(core, now);
    hf_ms scrub = hf_scrub_tick(core->scrub, now);
    hf_ms next = hf_publisher_deadline(core->publisher);
    return scrub < next ? scrub : next;
}

bool hf_core_on_request(struct hf_core *core, uint64_t handle, struct hf_slice message,
                        const char *peer)
{
    return hf_service_on_request(core->service, handle, message, peer);
}

void hf_core_requests_end(struct hf_core *core)
{
    hf_service_requests_end(core->service);
}

/* ---- what the service asks for ---- */

static void on_service_record(void *ctx, struct hf_fact_order *order)
{
    hf_core_record(ctx, order);
}

static void on_service_fence(void *ctx, const char *why, const struct hf_evidence_fact *evidence)
{
    hf_core_fence(ctx, why, evidence);
}

static const char *on_service_objection(void *ctx, const char *name, const struct hf_key *key,
                                        enum hf_err *code)
{
    return hf_core_enrol_objection(ctx, name, key, code);
}

/* ---- open and close ---- */

static void config_fill(struct hf_core *core, const struct hf_core_config *c)
{
    struct hf_core_config *f = &core->cfg;
    *f = *c;
    f->beacon_ms = c->beacon_ms > 0 ? c->beacon_ms : BEACON_MS;
    f->commit_ms = c->commit_ms > 0 ? c->commit_ms : COMMIT_MS;
    f->commit_changes = c->commit_changes > 0 ? c->commit_changes : COMMIT_CHANGES;
    f->waiting_bytes_max = c->waiting_bytes_max > 0 ? c->waiting_bytes_max : WAITING_BYTES_MAX;
    f->log_bytes_max = c->log_bytes_max > 0 ? c->log_bytes_max : UINT64_MAX;
    snprintf(core->dir, sizeof(core->dir), "%s", c->dir);
    snprintf(core->stream, sizeof(core->stream), "%s", c->stream);
    snprintf(core->url, sizeof(core->url), "%s", c->url != NULL ? c->url : "");
    if (c->mark_path != NULL) {
        snprintf(core->mark_path, sizeof(core->mark_path), "%s", c->mark_path);
    } else {
        snprintf(core->mark_path, sizeof(core->mark_path), "%s.mark", c->dir);
    }
    f->dir = core->dir;
    f->stream = core->stream;
    f->url = core->url;
}

static enum hf_err engine_start(struct hf_core *core)
{
    struct hf_publisher_config pc = {.beacon_ms = core->cfg.beacon_ms,
                                     .commit_ms = core->cfg.commit_ms,
                                     .commit_changes = core->cfg.commit_changes,
                                     .edges_max = HF_EDGES_MAX};
    core->publisher = hf_publisher_new(&pc);
    if (core->publisher == NULL) {
        return HF_NOMEM;
    }
    core->head = core->writer.head;
    struct hf_publisher_effects fx;
    struct hf_publisher_event ev = {.type = HF_PUB_START,
                                    .now = now_of(core),
                                    .position = core->head.at,
                                    .seq = core->head.committed};
    hf_publisher_step(core->publisher, &ev, &fx);
    HF_ASSERT(fx.count == 0);
    for (uint32_t row = 0; row < hf_registry_count(core->registry); row++) {
        hf_core_edge_told(core, row);
    }
    return HF_OK;
}

static enum hf_err service_start(struct hf_core *core, uint64_t boot)
{
    struct hf_core_writer *w = &core->writer;
    struct hf_service_config sc = {
        .world = &core->world,
        .id = core->id,
        .registry = core->registry,
        .publisher = core->publisher,
        .state = w->state,
        .log = w->log,
        .dictionaries = w->dictionaries,
        .head = &core->head,
        .genesis = &w->genesis,
        .genesis_signed = hf_slice_of(w->genesis_signed.data, w->genesis_signed.len),
        .boot = boot,
        .beacon_ms = core->cfg.beacon_ms,
        .ctx = core,
        .record = on_service_record,
        .objection = on_service_objection,
        .fence = on_service_fence,
    };
    core->service = hf_service_new(&sc);
    return core->service == NULL ? HF_NOMEM : HF_OK;
}

/* There is nobody to be repaired from: it is for the operator, before a replay or an edge meets it.
 */
static void on_damage(void *ctx, uint64_t count, struct hf_slice key)
{
    char hex[2 * 32 + 1];
    hf_hex(key.data, key.len < 32 ? key.len : 32, hex);
    hf_core_note(
        ctx, HF_LEVEL_ERROR,
        "scrub: records do not match their checksums, see RUNBOOK.md, A core's scrub finds "
        "errors count=%" PRIu64 " first_key_hex=%s",
        count, hex);
}

static enum hf_err scrub_start(struct hf_core *core)
{
    struct hf_scrub_config c = {.world = &core->world,
                                .state = core->writer.state,
                                .period_ms = core->cfg.scrub_ms,
                                .ctx = core,
                                .on_damage = on_damage};
    core->scrub = hf_scrub_new(&c);
    return core->scrub == NULL ? HF_NOMEM : HF_OK;
}

static void core_free(struct hf_core *core)
{
    while (core->orders != NULL) {
        struct hf_fact_order *next = core->orders->next;
        free(core->orders);
        core->orders = next;
    }
    while (core->waits != NULL) {
        struct hf_visible_wait *next = core->waits->next;
        free(core->waits);
        core->waits = next;
    }
    hf_scrub_free(core->scrub);
    hf_service_free(core->service);
    hf_publisher_free(core->publisher);
    if (core->writer.state != NULL) {
        hf_core_writer_close(&core->writer);
    }
    hf_registry_free(core->registry);
    free(core);
}

enum hf_err hf_core_open(const struct hf_core_config *c, const struct hf_world *world,
                         const struct hf_identity *id, struct hf_core **out, struct hf_error *e)
{
    struct hf_error own = {.code = HF_OK};
    struct hf_opened opened;
    e = e != NULL ? e : &own;
    if (strlen(c->dir) + strlen(c->stream) + 16 > HF_CORE_PATH_MAX ||
        strlen(c->stream) > HF_NAME_MAX || (c->url != NULL && strlen(c->url) > HF_URL_MAX) ||
        (c->mark_path != NULL && strlen(c->mark_path) >= HF_CORE_PATH_MAX)) {
        return hf_error_set(e, HF_ARG, "a path, name or URL is too long");
    }
    struct hf_core *core = calloc(1, sizeof(*core));
    if (core == NULL) {
        return hf_error_set(e, HF_NOMEM, "%s", hf_err_text(HF_NOMEM));
    }
    config_fill(core, c);
    core->world = *world;
    core->id = id;
    core->waiting_end = &core->waiting;
    core->registry = hf_registry_new(HF_EDGES_MAX);
    core->writer.cfg = &core->cfg;
    core->writer.id = id;
    core->writer.mark_path = core->mark_path;
    enum hf_err err = core->registry == NULL ? hf_error_set(e, HF_NOMEM, "no memory for edges")
                                             : hf_core_writer_open(&core->writer, &core->world,
                                                                   core->registry, &opened, e);
    if (err != HF_OK) {
        core_free(core);
        return err;
    }
    err = engine_start(core);
    err = err == HF_OK ? hf_core_retention_load(core) : err;
    err = err == HF_OK ? service_start(core, opened.boot) : err;
    err = err == HF_OK ? scrub_start(core) : err;
    if (err != HF_OK) {
        core_free(core);
        return hf_error_set(e, err, "%s", hf_err_text(err));
    }
    core->created = opened.created;
    memcpy(core->fenced, opened.fenced, sizeof(opened.fenced));
    if (opened.uncommitted != HF_OK) {
        core->uncommitted = opened.uncommitted;
        snprintf(core->failing, sizeof(core->failing), "%s", core->writer.error.text);
        hf_core_note(core, HF_LEVEL_ERROR, "core: writes are refused: %s", core->failing);
        core->pending.recorded = true; /* so that a commit is tried though no write may come */
    }
    if (opened.note[0] != '\0') {
        hf_core_note(core, HF_LEVEL_WARN, "core: %s", opened.note);
    }
    if (core->fenced[0] != '\0') {
        hf_core_note(core, HF_LEVEL_ERROR, "core: writes are refused: %s", core->fenced);
    }
    *out = core;
    return HF_OK;
}

bool hf_core_idle(const struct hf_core *core)
{
    return core->jobs == 0 && hf_publisher_may_end(core->publisher) &&
           hf_service_idle(core->service) && !hf_scrub_busy(core->scrub);
}

void hf_core_close(struct hf_core *core)
{
    HF_ASSERT(core->jobs == 0 && core->waiting == NULL && hf_service_idle(core->service) &&
              !hf_scrub_busy(core->scrub));
    struct hf_commit c = {.mark = core->fenced[0] == '\0'};
    enum hf_err err = hf_core_writer_commit(&core->writer, &c);
    if (err != HF_OK) {
        hf_core_note(core, HF_LEVEL_WARN, "core: last commit: %s; the log will replay",
                     hf_err_text(err));
    }
    core->head = core->writer.head;
    readers_go(core);
    core_free(core);
}

void hf_core_crash(struct hf_core *core)
{
    core_free(core);
}
