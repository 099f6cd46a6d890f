/*
 * positions.c - a fault at every single write: kill -9, EIO or ENOSPC at the N-th call of a daemon
 * that changes a file, for N = 1, 2, ... until a run ends with fewer than N.
 *
 * Each position begins with the same two directories: a core and an edge that hold a few keys, or,
 * with --new, a node that has nothing but its key. The other node runs untouched. Then come the
 * transactions, one after the other, each tried again with its id until it is answered. Checked:
 *
 * - no answer was false: after a kill -9 and a clean start, the core knows every acknowledged id
 *   with its number, and the edge is not behind what it had shown
 * - no crash: the daemon died of nothing but the kill that was asked for; an exit with a message is
 *   none where it could not begin (EIO, ENOSPC while it starts)
 * - reads go on: every read of an old key, between all transactions, is answered right; only to the
 *   connection that wrote, a core may say that it cannot show what it wrote
 * - recovery: once the fault is over, writing goes on within RECOVER_MS, without a restart
 * - equal: the edge ends with the core's digest
 *
 * `step` and a random first position make a short form: every step-th position.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"
#include "tests/reliability/daemons.h"

#define TRANSACTIONS_MAX 200u
#define RECOVER_MS 10000 /* a disk that all campaigns share syncs late */
/* How long a fault that stays is watched before it is lifted. */
#define STAY_MS 150

static struct campaign_option options[] = {
    {"--node", "core", "which daemon is harmed: core or edge", NULL},
    {"--fault", "kill", "kill, EIO or ENOSPC", NULL},
    {"--lasting", "once", "once, or stays: every call from the N-th on fails until it is lifted",
     NULL},
    {"--new", "no", "yes: the daemon begins with an empty directory", NULL},
    {"--transactions", "50", "how many transactions a run has", NULL},
    {"--step", "1", "only every so many-th position", NULL},
    {NULL, NULL, NULL, NULL},
};

static struct campaign campaign;
static struct {
    bool harm_edge, kills, stays, is_new;
    uint32_t error;
    unsigned transactions;
} plan;

static struct {
    struct e2e_node *core, *edge, *victim;
    struct fault_page page;
    redisContext *core_client, *edge_client;
    redisContext *reader;           /* at the core; it never writes */
    uint64_t seq[TRANSACTIONS_MAX]; /* answered; 0 = not */
    int64_t shown;                  /* highest position seen at the edge */
} run;

static struct {
    uint64_t positions, acked, lost, crashes, exits, reads, reads_failed, refusals;
    double recovery_ms[1u << 16];
    size_t recovery_count;
} tally;

/* ---- asking, where a daemon may be gone ---- */

static void hang_up(redisContext **c)
{
    if (*c != NULL) {
        e2e_disconnect(*c);
        *c = NULL;
    }
}

/* NULL when there is no answer. */
static redisReply *ask(struct e2e_node *n, redisContext **c, const char *format, ...)
{
    redisReply *r = NULL;
    va_list args;

    if (*c == NULL) {
        *c = e2e_try_connect(n);
    }
    if (*c != NULL) {
        va_start(args, format);
        r = redisvCommand(*c, format, args);
        va_end(args);
        if (r == NULL) {
            hang_up(c);
        }
    }
    return r;
}

/* The last write that was not taken: what was said, and after how long. */
static struct {
    char text[120];
    int64_t took_ms;
} refusal;

static bool transact(unsigned i)
{
    int64_t began = e2e_now_ms();
    redisReply *r =
        ask(run.core, &run.core_client, "HF.APPLY t-%u SET a-%u %u SET last %u", i, i, i, i);
    bool good = r != NULL && r->type == REDIS_REPLY_ARRAY;

    if (good) {
        run.seq[i] = (uint64_t)r->element[0]->integer;
    } else {
        tally.refusals += r != NULL;
        snprintf(refusal.text, sizeof refusal.text, "%s", r == NULL ? "no answer" : r->str);
        refusal.took_ms = e2e_now_ms() - began;
    }
    freeReplyObject(r);
    return good;
}

static void look_from(redisContext **c, bool wrote)
{
    redisReply *r = ask(run.victim, c, "GET old-%u", (unsigned)(tally.reads % 8));

    /* A daemon that begins with nothing has no old keys; one that is gone answers nobody. */
    bool nothing = r == NULL || plan.is_new;

    if (nothing || (wrote && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "NOTYET ", 7) == 0)) {
        freeReplyObject(r);
        return;
    }
    tally.reads++;
    if (r->type != REDIS_REPLY_STRING || strcmp(r->str, "before") != 0) {
        if (tally.reads_failed == 0) {
            show_log(run.victim);
        }
        tally.reads_failed++;
        fprintf(stderr, "%s: a read was answered %s\n", campaign.name,
                r->type == REDIS_REPLY_NIL ? "(nil)" : r->str);
    }
    freeReplyObject(r);
}

/* An old key, at the harmed daemon. At a core the second one waits for a commit. */
static void look(void)
{
    if (plan.harm_edge) {
        look_from(&run.edge_client, false);
        return;
    }
    look_from(&run.reader, false);
    look_from(&run.core_client, true);
}

static int64_t edge_applied(void)
{
    redisReply *r = ask(run.edge, &run.edge_client, "HF.STATUS");
    int64_t applied = r != NULL && r->type == REDIS_REPLY_ARRAY ? number_at(r, 5) : -1;

    freeReplyObject(r);
    run.shown = applied > run.shown ? applied : run.shown;
    return applied;
}

/* ---- one position ---- */

static const char *aside(const struct e2e_node *n)
{
    static char path[160];

    snprintf(path, sizeof(path), "%s.aside", n->dir);
    return path;
}

static void restore(struct e2e_node *n)
{
    copy_tree(aside(n), n->dir);
}

static void set_fault(uint64_t n)
{
    fault_page_clear(&run.page);
    if (plan.kills) {
        run.page.faults->kill_half = n % 2 == 0;
        run.page.faults->kill_at = n;
        return;
    }
    run.page.faults->error = plan.error;
    run.page.faults->error_stays = plan.stays;
    run.page.faults->error_at = n;
}

static bool struck(void)
{
    return plan.kills ? run.victim->pid == 0 : run.page.faults->failed > 0;
}

/* What became of the victim; true while it lives. Counts what must not happen. */
static bool victim_lives(void)
{
    int status = 0;
    enum daemon_end end = daemon_end_of(run.victim, &status);

    if (run.victim->pid != 0) {
        return true;
    }
    if (end == DAEMON_EXITED) {
        tally.exits++;
    } else if (end == DAEMON_DIED && !(plan.kills && WTERMSIG(status) == SIGKILL)) {
        tally.crashes++;
        fprintf(stderr, "%s: %s died of signal %d at call %llu\n", campaign.name, run.victim->name,
                WTERMSIG(status), (unsigned long long)run.page.faults->calls);
    }
    return false;
}

static void lift(void)
{
    run.page.faults->error_at = 0;
}

/* Transaction i until it is answered; false when the core died. A fault that stays is lifted once
 * it has been refused for a while. */
static bool transact_until_answered(unsigned i)
{
    int64_t began = e2e_now_ms(), lifted = 0;

    while (!transact(i)) {
        int64_t now = e2e_now_ms();

        if (!victim_lives() && !plan.harm_edge) {
            return false;
        }
        look();
        if (lifted == 0 && (!plan.stays || now - began > STAY_MS)) {
            lift();
            lifted = now;
        }
        if (lifted != 0 && now - lifted > RECOVER_MS) {
            fail_msg("the core takes no writes %d ms after the fault was over; the last one, after "
                     "%lld ms: %s",
                     RECOVER_MS, (long long)refusal.took_ms, refusal.text);
        }
        e2e_sleep_ms(2);
    }
    if (lifted != 0 && tally.recovery_count < 1u << 16) {
        tally.recovery_ms[tally.recovery_count++] = (double)(e2e_now_ms() - lifted);
    }
    return true;
}

/* The edge until it has all, or is dead. */
static void let_edge_follow(int64_t head)
{
    int64_t began = e2e_now_ms(), lifted = 0;

    while (victim_lives() && edge_applied() < head) {
        int64_t now = e2e_now_ms();

        look();
        if (lifted == 0 && struck() && now - began > STAY_MS) {
            lift();
            lifted = now;
        }
        if (now - (lifted != 0 ? lifted : began) > SETTLE_MS) {
            fail_msg("the edge is at %lld of %lld", (long long)run.shown, (long long)head);
        }
        e2e_sleep_ms(2);
    }
    if (lifted != 0 && run.victim->pid != 0 && tally.recovery_count < 1u << 16) {
        tally.recovery_ms[tally.recovery_count++] = (double)(e2e_now_ms() - lifted);
    }
}

static void run_transactions(void)
{
    for (unsigned i = 0; i < plan.transactions; i++) {
        if (!transact_until_answered(i)) {
            return;
        }
        /* Each on its own: an edge that falls behind takes many batches in one commit. */
        if (plan.harm_edge) {
            let_edge_follow((int64_t)run.seq[i]);
        }
        look();
    }
    if (plan.harm_edge) {
        return;
    }
    /* The last transaction's commit of the state comes a moment later. */
    for (int i = 0; i < 20 && victim_lives(); i++) {
        e2e_sleep_ms(5);
    }
}

/* After a kill -9 and a clean start: everything that was answered is there. */
static void check_all(void)
{
    redisContext *core, *edge;

    hang_up(&run.core_client);
    hang_up(&run.edge_client);
    hang_up(&run.reader);
    e2e_stop(run.victim, SIGKILL);
    e2e_start(run.victim);
    if (plan.is_new && !plan.harm_edge) {
        char out[256]; /* a new stream knows no edge */
        assert_int_equal(E2E_TOOL(run.core, out, "edge", "add", "edge", run.edge->key), 0);
    }
    if (run.core->pid == 0 || run.edge->pid == 0) {
        fail_msg("a daemon that nobody harmed is gone");
    }
    core = e2e_connect(run.core);
    edge = e2e_connect(run.edge);
    if (e2e_edge_status(edge).applied < run.shown) {
        fail_msg("the edge went back from %lld", (long long)run.shown);
    }
    for (unsigned i = 0; i < plan.transactions; i++) {
        uint64_t before = run.seq[i];

        run.core_client = core;
        if (!transact(i)) {
            fail_msg("transaction %u is refused after a clean start", i);
        }
        tally.acked += before != 0;
        if (before != 0 && run.seq[i] != before) {
            tally.lost++;
            fprintf(stderr, "%s: transaction %u was acknowledged as %llu and is lost\n",
                    campaign.name, i, (unsigned long long)before);
        }
    }
    wait_settled(core, edge);
    for (unsigned i = 0; i < plan.transactions; i++) {
        assert_int_equal(atoi(e2e_text(edge, "GET a-%u", i)), i);
    }
    e2e_disconnect(core);
    e2e_disconnect(edge);
    run.core_client = run.edge_client = NULL;
}

/* True when the run ended without ever coming to call n. */
static bool run_position(uint64_t n)
{
    struct e2e_node *other = plan.harm_edge ? run.core : run.edge;
    bool beyond;
    int status;

    e2e_stop(run.core, SIGKILL);
    e2e_stop(run.edge, SIGKILL);
    restore(run.core);
    restore(run.edge);
    memset(run.seq, 0, sizeof(run.seq));
    run.shown = -1;
    set_fault(n);
    unlink(run.victim->err);
    e2e_start(other);
    launch_with_faults(run.victim, &run.page);
    if (came_up(run.victim, &status) == DAEMON_LIVES) {
        run_transactions();
    } else if (WIFEXITED(status)) {
        tally.exits++;
    } else if (!plan.kills || WTERMSIG(status) != SIGKILL) {
        tally.crashes++;
    }
    beyond = run.page.faults->calls < n;
    check_all();
    tally.positions += !beyond;
    return beyond;
}

/* ---- the campaign ---- */

/* The two directories that every position begins with. */
static void prepare(void)
{
    redisContext *core, *edge;

    run.core = e2e_core_new("core");
    e2e_config(run.core, SMALL_SEGMENTS);
    e2e_start(run.core);
    run.edge = e2e_edge_new(run.core, "edge", run.core->port);
    if (plan.is_new) {
        copy_tree(run.edge->dir, aside(run.edge));
    }
    e2e_start(run.edge);
    core = e2e_connect(run.core);
    edge = e2e_connect(run.edge);
    for (int i = 0; i < 8 && !plan.is_new; i++) {
        e2e_ok(core, "SET old-%d before", i);
    }
    wait_settled(core, edge);
    e2e_disconnect(core);
    e2e_disconnect(edge);
    e2e_stop(run.edge, SIGTERM);
    e2e_stop(run.core, SIGTERM);
    if (plan.is_new && !plan.harm_edge) {
        remove_tree(e2e_path("core/main"));
        remove_tree(e2e_path("core/main.mark"));
    }
    copy_tree(run.core->dir, aside(run.core));
    if (!plan.is_new) {
        copy_tree(run.edge->dir, aside(run.edge));
    }
    run.victim = plan.harm_edge ? run.edge : run.core;
    fault_page_new(&run.page, "faults");
}

static void every_position(void **state)
{
    uint64_t step = strtoull(campaign_option(&campaign, "--step"), NULL, 10);
    uint64_t first = step > 1 ? 1 + campaign_random_below(&campaign, step) : 1;

    e2e_begin(state);
    alarm(CAMPAIGN_SECONDS_MAX);
    prepare();
    /* --count bounds a run that would go on for too long; 0 goes on to the end. */
    for (uint64_t n = first; campaign.count == 0 || tally.positions < campaign.count; n += step) {
        if (run_position(n)) {
            campaign_set(&campaign, "calls", n - 1);
            break;
        }
        campaign_progress(&campaign, tally.positions);
    }
    assert_int_equal(tally.lost, 0);
    assert_int_equal(tally.crashes, 0);
    assert_int_equal(tally.reads_failed, 0);
    assert_true(tally.positions > 0);
    e2e_passed();
}

static int finish(void **state)
{
    campaign_set(&campaign, "count", tally.positions);
    campaign_set(&campaign, "acknowledged", tally.acked);
    campaign_set(&campaign, "lost", tally.lost);
    campaign_set(&campaign, "crashes", tally.crashes);
    campaign_set(&campaign, "exits", tally.exits);
    campaign_set(&campaign, "refused", tally.refusals);
    campaign_set(&campaign, "reads", tally.reads);
    campaign_set(&campaign, "reads_failed", tally.reads_failed);
    campaign_set_times(&campaign, "recovery", tally.recovery_ms, tally.recovery_count);
    return e2e_teardown(state);
}

static uint32_t error_named(const char *name)
{
    return strcmp(name, "EIO") == 0 ? EIO : strcmp(name, "ENOSPC") == 0 ? ENOSPC : 0;
}

int main(int argc, char **argv)
{
    campaign_begin(&campaign, "positions", "a fault at every write of a daemon", 0, options, argc,
                   argv);
    plan.harm_edge = strcmp(campaign_option(&campaign, "--node"), "edge") == 0;
    plan.kills = strcmp(campaign_option(&campaign, "--fault"), "kill") == 0;
    plan.error = error_named(campaign_option(&campaign, "--fault"));
    plan.stays = strcmp(campaign_option(&campaign, "--lasting"), "stays") == 0;
    plan.is_new = strcmp(campaign_option(&campaign, "--new"), "yes") == 0;
    plan.transactions = (unsigned)strtoul(campaign_option(&campaign, "--transactions"), NULL, 10);
    if ((!plan.kills && plan.error == 0) || plan.transactions == 0 ||
        plan.transactions > TRANSACTIONS_MAX) {
        fprintf(stderr, "positions: --fault is kill, EIO or ENOSPC; --transactions 1 to %u\n",
                TRANSACTIONS_MAX);
        return 2;
    }
    return campaign_run(&campaign, every_position, finish);
}
