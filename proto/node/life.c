/*
 * life.c - when a daemon doubts its store at a start.
 *
 * kill -9 and a power cut leave a good store, so one unclean end is no reason to keep clients
 * waiting; a damaged page ends every run, and soon. Hence the count of ends in a row, each within
 * LIVED_MS.
 *
 * While clients are served only _on_tick is called, and that leaves the disk to the pool. Next:
 * hf/life.h, proto/store/doctor.c.
 */
#include "hf/life.h"

#include "hf/log.h"

#define UNCLEAN_MAX 1u
#define LIVED_MS 60000
/* 1,000,000 keys take 4 s; a store that is not read through by then is opened as it is. */
#define EXAMINE_MS_MAX 60000

static void lived_work(struct hf_job *job)
{
    hf_running_lived(&((struct hf_life *)job)->running);
}

static void lived_done(struct hf_job *job)
{
    (void)job;
}

/* Before any thread: the child that reads the store in this process's place is forked here. */
enum hf_err hf_life_examine(struct hf_life *l, const char *marker, const char *state,
                            struct hf_error *e)
{
    struct hf_running *r = &l->running;
    struct hf_error found = {.code = HF_OK};
    if (hf_running_find(r, marker) != HF_OK || r->unclean <= UNCLEAN_MAX) {
        return HF_OK;
    }
    hf_log(HF_LEVEL_WARN, "store: examining it, because of unclean ends in a row count=%u",
           r->unclean);
    enum hf_err err = hf_state_examine(state, EXAMINE_MS_MAX, &found);
    if (hf_err_is_damage(err)) {
        *e = found;
        return err;
    }
    if (err == HF_OK) {
        hf_log(HF_LEVEL_INFO, "store: examined, it is sound");
    } else {
        hf_log(HF_LEVEL_WARN, "store: not known to be sound, opening it reason=%s", found.text);
    }
    hf_life_forgive(l);
    return HF_OK;
}

void hf_life_forgive(struct hf_life *l)
{
    l->running.unclean = 0;
}

void hf_life_begin(struct hf_life *l)
{
    enum hf_err err = hf_running_begin(&l->running);
    if (err != HF_OK) {
        hf_log(HF_LEVEL_WARN, "store: cannot write %s: %s; unclean ends are not counted",
               l->running.path, hf_err_text(err));
    }
    l->job = (struct hf_job){.work = lived_work, .done = lived_done};
    l->lived_at = hf_clock_ms() + LIVED_MS;
}

void hf_life_on_tick(struct hf_life *l, struct hf_loop *loop, hf_ms now)
{
    if (now >= l->lived_at) {
        l->lived_at = INT64_MAX;
        hf_loop_job(loop, HF_LANE_POOL, &l->job);
    }
}

enum hf_err hf_life_doubt(struct hf_life *l)
{
    l->running.unclean = UNCLEAN_MAX; /* and this run is one more */
    return hf_running_begin(&l->running);
}

void hf_life_end(const struct hf_life *l)
{
    hf_running_end(&l->running);
}

void hf_life_undo(const struct hf_life *l)
{
    hf_running_undo(&l->running);
}
