/*
 * health.c - when an edge doubts its store, what it looks at, and what it does with a damaged one.
 *
 * A store of which only records are damaged stays: the engine repairs it, and serves the others,
 * without a core if need be. Three ways lead to the end of one that is worse, set aside for a
 * snapshot from the core:
 * - It kills. A daemon marks that it runs; after two unclean ends in a row, each soon after its
 *   start, the next one reads the store in a child process before anything else opens it.
 * - It does not open. That needs no examination (main.c calls edge_health_set_aside).
 * - It does not kill, but LMDB refuses its own pages, which looks like a failing disk, or uses one
 *   twice. The pages are looked at in the running process when an error was noted, and when nothing
 *   moves behind a core that answers. If they are damaged, the marker is made to say that the next
 *   start must examine, and the process starts itself anew.
 *
 * Invariant: only damage that was seen gives up a store. One that could not be read in time, for
 * want of memory or because somebody else holds it, is opened as it is; and without a core that
 * answers nothing is given up by a running edge, because there is nothing to put in its place.
 *
 * It must not touch the store on the loop's thread: reading every page takes longer than readers
 * can wait, and a slow disk is just when it is called for. Next: proto/store/doctor.c and pages.c
 * do the looking, tests/e2e/test_damage.c shows it with real daemons.
 */
#include "edge/health.h"

#include "hf/log.h"

#include <stdio.h>

/* How often it is asked whether to look, how long nothing must have moved, and the longest pause
 * between two looks: each is twice the one before, and it begins anew after a calm. */
#define CHECK_MS 1000
#define STUCK_MS 5000
#define PAUSE_MS_MAX 600000

#define PATH_BYTES 320

/* ---- at the start ---- */

enum hf_err edge_health_set_aside(const struct edge_health *h, const char *why, struct hf_error *e)
{
    char dir[PATH_BYTES];
    char to[PATH_BYTES + 32];
    struct hf_error own = {.code = HF_OK};
    snprintf(dir, sizeof(dir), "%s/state", h->dir);
    if (hf_state_set_aside(dir, hf_clock_wall_ms() / 1000, to, sizeof(to), &own) != HF_OK) {
        return hf_error_set(e, own.code, "the store is damaged, and %s", own.text);
    }
    hf_log(HF_LEVEL_ERROR,
           "store: damaged, beginning with an empty one and a snapshot from the core "
           "kept=%s reason=%s",
           to, why);
    return HF_OK;
}

enum hf_err edge_health_examine(struct edge_health *h, struct hf_error *e)
{
    char marker[PATH_BYTES];
    char state[PATH_BYTES];
    struct hf_error found = {.code = HF_OK};
    snprintf(marker, sizeof(marker), "%s.running", h->dir);
    snprintf(state, sizeof(state), "%s/state", h->dir);
    enum hf_err err = hf_life_examine(&h->life, marker, state, &found);
    if (err == HF_OK) {
        return HF_OK;
    }
    hf_life_forgive(&h->life);
    if (err == HF_CORRUPT) {
        return edge_health_set_aside(h, found.text, e);
    }
    hf_log(HF_LEVEL_ERROR, "store: records are damaged, repairing them reason=%s", found.text);
    h->records_damaged = true;
    return HF_OK;
}

void edge_health_begin(struct edge_health *h)
{
    hf_life_begin(&h->life);
}

void edge_health_end(const struct edge_health *h)
{
    hf_life_end(&h->life);
    if (!h->alarmed && !h->looking) {
        hf_state_vouch(hf_edge_state(h->edge));
    }
}

void edge_health_undo(const struct edge_health *h)
{
    hf_life_undo(&h->life);
}

/* ---- while it runs ---- */

static void look_work(struct hf_job *job)
{
    struct edge_health *h = (struct edge_health *)job;
    h->found = hf_state_check_pages(hf_edge_state(h->edge), false, &h->why);
}

static void look_done(struct hf_job *job)
{
    struct edge_health *h = (struct edge_health *)job;
    h->looking = false;
    if (h->found != HF_CORRUPT) {
        return;
    }
    /* So that the start examines it. On a disk that came to an end there is no other start. */
    enum hf_err err = hf_life_doubt(&h->life);
    if (err != HF_OK) {
        hf_log(HF_LEVEL_ERROR,
               "store: damaged, and the disk takes no other, serving what can be read reason=%s",
               h->why.text);
        return;
    }
    hf_log(HF_LEVEL_ERROR, "store: damaged, starting this process anew to replace it reason=%s",
           h->why.text);
    h->on_damaged(h->ctx);
}

void edge_health_watch(struct edge_health *h, struct hf_loop *loop, struct hf_edge *edge)
{
    h->loop = loop;
    h->edge = edge;
    h->look = (struct hf_job){.work = look_work, .done = look_done};
    h->pause = STUCK_MS;
    if (h->records_damaged) {
        hf_edge_repair(edge, true);
    }
}

void edge_health_note(struct edge_health *h, enum hf_level level)
{
    h->alarmed |= level == HF_LEVEL_ERROR;
}

static bool is_stuck(struct edge_health *h, const struct hf_replica_status *s, hf_ms now)
{
    if (s->head <= s->applied || !s->link_up[HF_CHANNEL_CONTROL] || s->applied != h->applied ||
        s->transfer_done != h->done) {
        h->applied = s->applied;
        h->done = s->transfer_done;
        h->moved_at = now;
    }
    return now - h->moved_at >= STUCK_MS;
}

static void look_for_damage(struct edge_health *h, hf_ms now)
{
    struct hf_replica_status s;
    hf_edge_status(h->edge, now, &s);
    bool stuck = is_stuck(h, &s, now);
    if (!s.link_up[HF_CHANNEL_CONTROL]) {
        return;
    }
    if (!stuck && !h->alarmed) {
        h->pause = now - h->not_before > PAUSE_MS_MAX ? STUCK_MS : h->pause;
    } else if (now >= h->not_before && !h->looking) {
        h->not_before = now + h->pause;
        h->pause = h->pause * 2 < PAUSE_MS_MAX ? h->pause * 2 : PAUSE_MS_MAX;
        h->alarmed = false;
        h->looking = true;
        hf_loop_job(h->loop, HF_LANE_WRITER, &h->look);
    }
}

void edge_health_on_tick(struct edge_health *h, hf_ms now)
{
    if (now >= h->check_at) {
        h->check_at = now + CHECK_MS;
        look_for_damage(h, now);
    }
    hf_life_on_tick(&h->life, h->loop, now);
}
