/*
 * retention.c - how long the core keeps its log and its tombstones, and who is near the end of it.
 *
 * The log goes by whole segments, when it has more bytes or is older than the configuration says.
 * A tombstone goes when it is older than tombstone_ms, or sooner, when every enrolled edge has it
 * and it is TOMBSTONE_SPARE batches old. An edge further behind than tombstone_ms holds nothing
 * back: it gets a SNAPSHOT. What a transfer that is under way began at is kept for another day.
 *
 * Invariants: the log never loses what the state has not committed (head.committed), and
 * what is thrown away by age is so by the clock of ages.c, which cannot jump. A segment is a job of
 * its own on the writer lane, so that a group of writes never waits for more than one (under 20 ms;
 * tests/unit/test_retention.c prints the longest). Tombstones go in the commits, a step in each.
 *
 * It must not touch the lane's memory. Owner's thread. Next: core/ages.c, core/writer.c.
 */
#include "core/driver_impl.h"

#include <inttypes.h>

/* Conditions (IFSEQ) must be able to look back some way in a stream whose edges are all in step:
 * as far as a request id is remembered. */
#define TOMBSTONE_SPARE ((hf_seq)HF_REQUEST_WINDOW)
/* A transfer that began within this time holds back the collection of tombstones. */
#define TRANSFER_HOLD_MS (INT64_C(24) * 3600 * 1000)
/* So many marks to the shorter of the two ages: what is kept too long is 2 % of it. */
#define MARKS_PER_AGE 64u
#define MARK_MS_MIN 1000u
/* Below this a wall clock ahead of the age clock is how a restart looks; above, somebody should
 * hear of it. */
#define AHEAD_MS_NOTED (UINT64_C(24) * 3600 * 1000)
/* An edge is near a floor when no more than a fifth of what is kept is left to it. */
#define NEAR_PART 5u

static const char *const ages_name = "ages";

static bool by_age(const struct hf_core *core)
{
    return core->cfg.log_age_ms > 0 || core->cfg.tombstone_ms > 0;
}

static uint64_t mark_every(const struct hf_core *core)
{
    uint64_t log = (uint64_t)core->cfg.log_age_ms;
    uint64_t tombstones = (uint64_t)core->cfg.tombstone_ms;
    uint64_t age = log == 0 || (tombstones > 0 && tombstones < log) ? tombstones : log;
    uint64_t every = age / MARKS_PER_AGE;
    return every > MARK_MS_MIN ? every : MARK_MS_MIN;
}

static void clock_tell(struct hf_core *core)
{
    struct hf_retention *k = &core->retention;
    uint64_t ahead = hf_ages_tell(&k->ages, core->world.now(core->world.ctx),
                                  core->world.wall_ms(core->world.ctx));
    if (ahead >= AHEAD_MS_NOTED && !k->ahead_noted) {
        hf_core_note(core, HF_LEVEL_WARN,
                     "retention: the clock jumped ahead, or this core was down for long; the log "
                     "ages by a day each hour until it has caught up ahead_hours=%" PRIu64,
                     ahead / 3600000);
    }
    k->ahead_noted = ahead > 0 && (k->ahead_noted || ahead >= AHEAD_MS_NOTED);
}

enum hf_err hf_core_retention_load(struct hf_core *core)
{
    struct hf_retention *k = &core->retention;
    struct hf_view *v = core->writer.view; /* the lane does not run yet */
    struct hf_slice bytes;
    hf_ages_init(&k->ages);
    if (!by_age(core)) {
        return HF_OK;
    }
    enum hf_err err = hf_view_renew(v);
    if (err == HF_OK) {
        err = hf_view_object(v, hf_slice_str(ages_name), &bytes);
    }
    if (err == HF_OK && hf_ages_decode(bytes, &k->ages) != HF_OK) {
        err = HF_CORRUPT;
    }
    hf_view_reset(v);
    clock_tell(core);
    return err == HF_NOTFOUND ? HF_OK : err;
}

/* ---- tombstones ---- */

/* The floor, lowered to what transfers still need. What they need is only the word of the edges, so
 * it counts for a day, or for as many batches again as are kept in any case, and no longer. */
static hf_seq held_back(const struct hf_core *core, hf_seq floor)
{
    const struct hf_core_config *c = &core->cfg;
    hf_ms since = core->world.now(core->world.ctx) - TRANSFER_HOLD_MS;
    hf_seq held = hf_publisher_transfer_base(core->publisher, since);
    hf_seq least = 0;
    if (c->delta_batches > 0 && floor > c->delta_batches) {
        least = floor - c->delta_batches;
    }
    if (c->tombstone_ms > 0) {
        uint64_t age = (uint64_t)(c->tombstone_ms + TRANSFER_HOLD_MS);
        hf_seq old = hf_ages_before(&core->retention.ages, age);
        least = old > least ? old : least;
    }
    held = held > least ? held : least;
    return held < floor ? held : floor;
}

static hf_seq collect_floor(const struct hf_core *core)
{
    const struct hf_core_config *c = &core->cfg;
    hf_seq head = core->head.at.seq;
    hf_seq floor = c->delta_batches > 0 && head > c->delta_batches ? head - c->delta_batches : 0;
    if (c->tombstone_ms > 0) {
        hf_seq old = hf_ages_before(&core->retention.ages, (uint64_t)c->tombstone_ms);
        hf_seq spare = head > TOMBSTONE_SPARE ? head - TOMBSTONE_SPARE : 0;
        hf_seq passed = hf_publisher_passed(core->publisher);
        passed = passed < spare ? passed : spare;
        floor = old > floor ? old : floor;
        floor = passed > floor ? passed : floor;
    }
    return held_back(core, floor);
}

/* ---- the log ---- */

/* Whether the oldest segment has outlived its age; *oldest is its last frame. */
static bool log_aged(const struct hf_core *core, hf_seq *oldest)
{
    if (!hf_changelog_oldest(core->writer.log, oldest) || core->cfg.log_age_ms == 0) {
        return false;
    }
    return *oldest <= hf_ages_before(&core->retention.ages, (uint64_t)core->cfg.log_age_ms);
}

static void trim_work(struct hf_job *job)
{
    struct hf_trim_job *t = (struct hf_trim_job *)job;
    struct hf_core_writer *w = &t->core->writer;
    bool again;
    t->code = hf_changelog_trim(w->log, t->bytes_max, w->head.committed, &again);
}

static void trim_done(struct hf_job *job)
{
    struct hf_trim_job *t = (struct hf_trim_job *)job;
    struct hf_core *core = t->core;
    core->jobs--;
    t->under_way = false;
    if (t->code != HF_OK && !t->noted) {
        hf_core_note(core, HF_LEVEL_WARN, "retention: the log cannot be trimmed and grows: %s",
                     hf_err_text(t->code));
    }
    t->noted = t->code != HF_OK;
    if (hf_changelog_segment_bytes(core->writer.log) != t->bytes) {
        t->tried = false;
        core->n.trims++;
        hf_core_keys_drop(core);
        hf_core_retain(core);
    }
}

static void trim_order(struct hf_core *core, bool aged)
{
    struct hf_trim_job *t = &core->retention.trim;
    hf_seq oldest;
    bool several = hf_changelog_oldest(core->writer.log, &oldest);
    bool tried = t->tried && t->oldest == oldest && t->committed == core->head.committed;
    /* The log knows one more reason to keep a segment: a fact at its end. Nothing is gained by
     * asking again until something has changed. */
    if (t->under_way || tried || !several || oldest > core->head.committed) {
        return;
    }
    t->job = (struct hf_job){.work = trim_work, .done = trim_done};
    t->core = core;
    t->under_way = t->tried = true;
    t->bytes_max = aged ? 0 : core->cfg.log_bytes_max;
    t->oldest = oldest;
    t->committed = core->head.committed;
    t->bytes = hf_changelog_segment_bytes(core->writer.log);
    core->jobs++;
    core->world.run(core->world.ctx, HF_LANE_WRITER, &t->job);
}

/* ---- what the driver calls ---- */

void hf_core_retain(struct hf_core *core)
{
    if (by_age(core)) {
        clock_tell(core);
        core->retention.unsaved |=
            hf_ages_mark(&core->retention.ages, core->head.at.seq, mark_every(core));
    }
    bool over = hf_changelog_segment_bytes(core->writer.log) > core->cfg.log_bytes_max;
    hf_seq oldest;
    bool aged = log_aged(core, &oldest);
    if (over || aged) {
        trim_order(core, aged);
    }
    bool settled = hf_publisher_settled(core->publisher);
    if (settled && (core->retention.unsaved || collect_floor(core) > core->head.delta_floor)) {
        core->pending.recorded = true; /* a commit, which else only writes bring about */
    }
}

void hf_core_retention_commit(struct hf_core *core, struct hf_commit *c)
{
    struct hf_retention *k = &core->retention;
    c->collect = collect_floor(core);
    if (k->unsaved) {
        k->unsaved = false;
        c->object_name = hf_slice_str(ages_name);
        c->object = hf_ages_encode(&k->ages, k->encoded);
    }
}

void hf_core_retention_committed(struct hf_core *core, const struct hf_commit *c, enum hf_err code)
{
    core->retention.unsaved |= code != HF_OK && c->object.len > 0;
}

static bool is_near(uint64_t used, uint64_t kept)
{
    return kept > 0 && used != UINT64_MAX && used >= kept - kept / NEAR_PART;
}

enum hf_edge_floor hf_core_floor_of(const struct hf_core *core, const struct hf_edge_row *row)
{
    const struct hf_core_config *c = &core->cfg;
    if (row->applied == UINT64_MAX || row->state == HF_EDGE_REVOKED ||
        row->state == HF_EDGE_DIVERGED) {
        return HF_FLOOR_UNKNOWN;
    }
    if (row->applied >= row->head) {
        return HF_FLOOR_CLEAR;
    }
    uint64_t age = hf_ages_of(&core->retention.ages, row->applied + 1);
    bool in_log = row->applied + 1 >= hf_changelog_first(core->writer.log);
    bool in_delta = row->applied > 0 && row->applied >= core->head.delta_floor;
    bool near_log =
        is_near(row->lag_bytes, c->log_bytes_max) || is_near(age, (uint64_t)c->log_age_ms);
    bool near_delta =
        is_near(row->lag_batches, c->delta_batches) || is_near(age, (uint64_t)c->tombstone_ms);
    if (in_log) {
        return near_log ? HF_FLOOR_NEAR_LOG : HF_FLOOR_CLEAR;
    }
    if (!in_delta) {
        return HF_FLOOR_BELOW_DELTA;
    }
    return near_delta ? HF_FLOOR_NEAR_DELTA : HF_FLOOR_BELOW_LOG;
}
