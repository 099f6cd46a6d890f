/*
 * timeline.c - the actions of a script, each carried out at its moment on real daemons.
 *
 * One function for each verb in one table; a verb without one was refused before anything started
 * (refuse.c). Copies of the core's directory are taken of a core that was killed, as in the virtual
 * world: a copy of a running store would not be one state.
 */
#include "sim/real/judge.h"
#include "sim/real/writer.h"

#include "hf/err.h"

#include <inttypes.h>

typedef void action(struct real_node *n, const struct script_action *a);

/* ---- links ---- */

static void do_cut(struct real_node *n, const struct script_action *a)
{
    real_link_cut(n, a->down, a->up);
}

static void do_heal(struct real_node *n, const struct script_action *a)
{
    (void)a;
    real_link_heal(n);
}

static void do_half_open(struct real_node *n, const struct script_action *a)
{
    (void)a;
    real_watch_note(n, "net: connections become half-open");
    real_link_half_open(n);
}

static void do_link(struct real_node *n, const struct script_action *a)
{
    real_link_set(n, &a->link);
}

/* ---- processes, disks, clocks ---- */

static void do_crash(struct real_node *n, const struct script_action *a)
{
    (void)a;
    real_daemon_kill(n, NULL);
}

static void do_start(struct real_node *n, const struct script_action *a)
{
    (void)a;
    real_daemon_start(n);
}

static void do_pause(struct real_node *n, const struct script_action *a)
{
    (void)a;
    real_daemon_pause(n, true);
}

static void do_resume(struct real_node *n, const struct script_action *a)
{
    (void)a;
    real_daemon_pause(n, false);
}

static void do_disk_full(struct real_node *n, const struct script_action *a)
{
    (void)a;
    real_watch_note(n, "disk: full");
    real_daemon_disk_full(n, true);
}

static void do_disk_slow(struct real_node *n, const struct script_action *a)
{
    real_watch_note(n, "disk: a sync takes %" PRIu64 " ms more", a->us / 1000);
    real_daemon_disk_slow(n, a->us);
}

static void do_disk_failing(struct real_node *n, const struct script_action *a)
{
    (void)a;
    real_watch_note(n, "disk: failing");
    real_daemon_disk_failing(n);
}

static void do_disk_well(struct real_node *n, const struct script_action *a)
{
    (void)a;
    real_watch_note(n, "disk: well");
    real_daemon_disk_well(n);
}

static void do_clock(struct real_node *n, const struct script_action *a)
{
    real_watch_note(n, "operator: steps the clock by %" PRId64 " ms", a->step_us / 1000);
    real_daemon_clock(n, a->step_us);
}

/* ---- the core's directory, aside and back ---- */

static bool run(struct real *r, const char *const *words)
{
    bool good = real_run(words);
    if (!good) {
        real_fail(r, "%s %s failed: see what it printed", words[0], words[1]);
    }
    return good;
}

/* Of the copy; `suffix` may ask for what is in it. */
static void copy_path(const struct real_node *core, const char *suffix, char *out, size_t cap)
{
    snprintf(out, cap, "%s.backup.%" PRIu64 "%s", core->dir, core->run->copy, suffix);
}

static void take_copy(struct real_node *core)
{
    char to[REAL_DIR_MAX + 40];
    const char *const words[] = {"cp", "-a", core->dir, to, NULL};
    copy_path(core, "", to, sizeof(to));
    if (run(core->run, words)) {
        real_daemon_start(core);
    }
}

/* The directory stays, and what is in it goes: it may be a mount. */
static void put_back(struct real_node *core)
{
    char from[REAL_DIR_MAX + 40];
    const char *const away[] = {"find", core->dir, "-mindepth", "1", "-delete", NULL};
    const char *const back[] = {"cp", "-a", from, core->dir, NULL};
    copy_path(core, "/.", from, sizeof(from));
    if (run(core->run, away) && run(core->run, back)) {
        real_daemon_start(core);
    }
}

static void do_backup(struct real_node *n, const struct script_action *a)
{
    n->run->copy = a->us;
    real_watch_note(n, "operator: takes a backup");
    real_daemon_kill(n, take_copy);
}

static void do_restore(struct real_node *n, const struct script_action *a)
{
    n->run->copy = a->us;
    n->run->rolled_back = true;
    real_watch_note(n, "operator: restores a backup");
    real_daemon_kill(n, put_back);
}

/* ---- operators and clients ---- */

static void on_revoked(void *ctx, const redisReply *reply)
{
    struct real_node *n = ctx;
    if (reply == NULL || reply->type != REDIS_REPLY_STATUS) {
        real_fail(n->run, "%s could not be revoked: %s", n->name,
                  reply == NULL || reply->str == NULL ? "the core did not answer" : reply->str);
        return;
    }
    n->revoked = true;
}

static void do_revoke(struct real_node *n, const struct script_action *a)
{
    const char *const words[] = {"HF.EDGE", "REVOKE", n->name, NULL};
    (void)a;
    real_watch_note(n, "operator: revokes it");
    if (!real_client_say(&n->run->node[SCRIPT_CORE].status, on_revoked, n, words)) {
        on_revoked(n, NULL);
    }
}

static void do_read(struct real_node *n, const struct script_action *a)
{
    (void)a;
    real_reads_all(n);
}

static void do_damage(struct real_node *n, const struct script_action *a)
{
    real_watch_note(n, "disk: damages %" PRIu64 " records", a->count);
    real_damage(n, a->count);
}

static action *const actions[SCRIPT_VERBS] = {
    [SCRIPT_CUT] = do_cut,
    [SCRIPT_HEAL] = do_heal,
    [SCRIPT_HALF_OPEN] = do_half_open,
    [SCRIPT_LINK] = do_link,
    [SCRIPT_CRASH] = do_crash,
    [SCRIPT_START] = do_start,
    [SCRIPT_PAUSE] = do_pause,
    [SCRIPT_RESUME] = do_resume,
    [SCRIPT_DISK_SLOW] = do_disk_slow,
    [SCRIPT_DISK_FULL] = do_disk_full,
    [SCRIPT_DISK_FAILING] = do_disk_failing,
    [SCRIPT_DISK_WELL] = do_disk_well,
    [SCRIPT_DAMAGE] = do_damage,
    [SCRIPT_CLOCK] = do_clock,
    [SCRIPT_BACKUP] = do_backup,
    [SCRIPT_RESTORE] = do_restore,
    [SCRIPT_REVOKE] = do_revoke,
    [SCRIPT_READ] = do_read,
};

static void do_clients(struct real *r, const struct script_action *a)
{
    struct real_node *core = &r->node[SCRIPT_CORE];
    if (a->verb == SCRIPT_WRITE) {
        real_watch_note(core, "client: writes %" PRIu64, a->count);
        real_writer_order(r->writer, a->count);
    } else if (a->verb == SCRIPT_RELEASE) {
        real_watch_note(core, "operator: releases new values of %" PRIu64 " keys", a->count);
        real_writer_release(r->writer, (uint32_t)a->count);
    } else if (a->verb == SCRIPT_ROLLBACK) {
        real_watch_note(core, "operator: takes the release back");
        real_writer_rollback(r->writer);
    }
}

/* ---- when ---- */

static void strike(struct real *r, const struct script_action *a)
{
    do_clients(r, a);
    for (uint32_t i = 0; i < r->node_count; i++) {
        if (script_has(&a->nodes, i)) {
            HF_ASSERT(actions[a->verb] != NULL);
            actions[a->verb](&r->node[i], a);
        }
    }
    real_judge_action(r->judge, a);
}

static void on_due(uv_timer_t *timer)
{
    struct real *r = timer->data;
    const struct script *s = r->script;
    uint64_t now = real_now_us(r);
    while (r->next_action < s->action_count && s->action[r->next_action].at_us <= now) {
        strike(r, &s->action[r->next_action++]);
    }
    bool more = r->next_action < s->action_count;
    uint64_t next = more ? s->action[r->next_action].at_us : s->duration_us;
    if (!more && next <= now) {
        real_player_timeline_over(r);
        return;
    }
    (void)uv_timer_start(timer, on_due, (next - now) / 1000 + 1, 0);
}

void real_timeline_start(struct real *r)
{
    on_due(&r->timeline_timer);
}

/* What a scenario did to the world is undone, as in the virtual one: links lose nothing any more,
 * but keep their delay and their rate. What was revoked stays so. */
void real_heal_all(struct real *r)
{
    for (uint32_t i = 0; i < r->node_count; i++) {
        struct real_node *n = &r->node[i];
        real_daemon_disk_well(n);
        if (i != SCRIPT_CORE) {
            struct script_link link = n->link;
            link.loss = 0;
            link.trace = NULL;
            real_link_set(n, &link);
            real_link_heal(n);
        }
        real_daemon_pause(n, false);
        real_daemon_start(n);
    }
}
