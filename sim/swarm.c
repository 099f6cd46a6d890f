/*
 * swarm.c - workers, their seeds, and the account of a campaign (swarm.h).
 *
 * The parent holds one socket a worker: a struct trial goes in, a struct outcome comes back. It
 * always knows which seed a worker has, so that one which dies can be blamed on it.
 */
#include "sim/swarm.h"

#include "sim/seeds.h"
#include "sim/shrink.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEPT_MAX 16u /* first failures of a rule; there are about as many rules */

struct worker {
    pid_t pid; /* 0 = none */
    int fd;
    bool busy;
    struct trial trial; /* what it runs, if busy */
    double since;
};

struct campaign {
    const struct swarm_config *cfg;
    struct worker worker[SWARM_JOBS_MAX];
    uint64_t next, done, failed;
    uint64_t marks[MARK_COUNT];
    double start, shown, virtual_s;
    struct outcome kept[KEPT_MAX];
    uint32_t kept_count;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- workers ---- */

static _Noreturn void work(int fd)
{
    struct trial t;
    struct outcome o;
    prctl(PR_SET_PDEATHSIG, SIGHUP); /* a run removes its directory first */
    signal(SIGINT, SIG_IGN);         /* the parent ends us, and removes what we leave */
    signal(SIGTERM, SIG_IGN);
    while (read(fd, &t, sizeof(t)) == (ssize_t)sizeof(t)) {
        trial_run(&t, NULL, &o);
        if (write(fd, &o, sizeof(o)) != (ssize_t)sizeof(o)) {
            _exit(2);
        }
    }
    _exit(0);
}

static void worker_start(struct worker *w)
{
    int pair[2];
    fflush(NULL);
    HF_ASSERT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    w->pid = fork();
    HF_ASSERT(w->pid >= 0);
    if (w->pid == 0) {
        close(pair[0]);
        work(pair[1]);
    }
    close(pair[1]);
    w->fd = pair[0];
    w->busy = false;
}

/* Returns what waitpid said. */
static int worker_end(struct worker *w)
{
    int status = 0;
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR) {
    }
    sim_clean_after((long)w->pid);
    close(w->fd);
    w->pid = 0;
    w->busy = false;
    return status;
}

static bool give(struct campaign *c, struct worker *w)
{
    bool stopped = interrupted != 0 || (c->cfg->stop && c->failed > 0);
    if (stopped || c->next == c->cfg->count) {
        return false;
    }
    memset(&w->trial, 0, sizeof(w->trial));
    w->trial = (struct trial){.spec = c->cfg->usual, .twice = c->cfg->twice};
    w->trial.spec.seed = c->cfg->from + c->next++;
    while (!w->busy) {
        if (w->pid == 0) {
            worker_start(w);
        }
        w->busy = write(w->fd, &w->trial, sizeof(w->trial)) == (ssize_t)sizeof(w->trial);
        if (!w->busy) {
            (void)worker_end(w); /* somebody ended it while it had nothing to do */
        }
    }
    w->since = seconds();
    return true;
}

/* ---- the account ---- */

static bool rule_is_new(const struct campaign *c, const struct outcome *o)
{
    for (uint32_t i = 0; i < c->kept_count; i++) {
        if (strcmp(c->kept[i].rule, o->rule) == 0) {
            return false;
        }
    }
    return c->kept_count < KEPT_MAX;
}

static void clear_line(void)
{
    if (isatty(2)) {
        fputs("\r\033[K", stderr);
    }
}

static void account(struct campaign *c, const struct outcome *o)
{
    c->done++;
    c->virtual_s += (double)o->result.virtual_us / 1e6;
    for (int m = 0; m < MARK_COUNT; m++) {
        c->marks[m] += o->result.marks[m];
    }
    if (o->result.ok) {
        return;
    }
    char text[SPEC_TEXT_MAX];
    c->failed++;
    spec_text(&o->spec, text);
    clear_line();
    printf("seed %" PRIu64 ": VIOLATION %s\nreplay: holdfast-sim run --trace %s\n", o->spec.seed,
           o->result.violation, text);
    fflush(stdout);
    if (rule_is_new(c, o)) {
        c->kept[c->kept_count++] = *o;
    }
}

static void progress(struct campaign *c)
{
    double now = seconds();
    bool terminal = isatty(2);
    if (now - c->shown < (terminal ? 0.5 : 10)) {
        return;
    }
    c->shown = now;
    double rate = (double)c->done / (now - c->start);
    double left = rate > 0 ? (double)(c->cfg->count - c->done) / rate : 0;
    fprintf(stderr,
            "%s%" PRIu64 "/%" PRIu64 " seeds, %" PRIu64 " failed, %.1f seeds/s, %.0f:%02.0f left%s",
            terminal ? "\r\033[K" : "", c->done, c->cfg->count, c->failed, rate,
            (double)(uint64_t)(left / 60), (double)((uint64_t)left % 60), terminal ? "" : "\n");
}

/* ---- waiting ---- */

static void answered(struct campaign *c, struct worker *w)
{
    struct outcome o;
    if (read(w->fd, &o, sizeof(o)) == (ssize_t)sizeof(o)) {
        w->busy = false;
    } else {
        struct sim_spec spec = w->trial.spec;
        trial_died(&spec, worker_end(w), false, c->cfg->limit_s, &o);
    }
    account(c, &o);
}

static void end_hung(struct campaign *c, struct worker *w)
{
    struct outcome o;
    if (seconds() - w->since > c->cfg->limit_s) {
        kill(w->pid, SIGKILL);
        int status = worker_end(w);
        trial_died(&w->trial.spec, status, true, c->cfg->limit_s, &o);
        account(c, &o);
    }
}

/* Gives out seeds and takes answers until there is nothing more to wait for. */
static void run_all(struct campaign *c)
{
    for (;;) {
        struct pollfd p[SWARM_JOBS_MAX];
        struct worker *of[SWARM_JOBS_MAX];
        nfds_t count = 0;
        for (uint32_t i = 0; i < c->cfg->jobs; i++) {
            struct worker *w = &c->worker[i];
            if (w->busy || give(c, w)) {
                of[count] = w;
                p[count++] = (struct pollfd){.fd = w->fd, .events = POLLIN};
            }
        }
        if (count == 0 || interrupted != 0) {
            return;
        }
        int ready = poll(p, count, 500);
        for (nfds_t i = 0; i < count; i++) {
            if (ready > 0 && p[i].revents != 0) {
                answered(c, of[i]);
            } else {
                end_hung(c, of[i]);
            }
        }
        progress(c);
    }
}

static void end_all(struct campaign *c)
{
    for (uint32_t i = 0; i < c->cfg->jobs; i++) {
        if (c->worker[i].pid != 0) {
            kill(c->worker[i].pid, SIGKILL);
            (void)worker_end(&c->worker[i]);
        }
    }
}

/* ---- what failed ---- */

struct same_rule {
    const struct campaign *c;
    const char *rule;
};

static bool fails_alike(void *ctx, const struct sim_spec *s)
{
    const struct same_rule *same = ctx;
    struct trial t = {.spec = *s, .twice = same->c->cfg->twice};
    struct outcome o;
    if (interrupted != 0) {
        return false;
    }
    trial_apart(&t, same->c->cfg->limit_s, &o);
    return strcmp(o.rule, same->rule) == 0;
}

static void explain(struct campaign *c, struct outcome *o)
{
    struct same_rule same = {c, o->rule};
    char text[SPEC_TEXT_MAX];
    uint32_t tries = 0;
    if (!c->cfg->no_shrink) {
        fprintf(stderr, "shrinking seed %" PRIu64 " (%s)\n", o->spec.seed, o->rule);
        spec_name_faults(&o->spec);
        tries = shrink(&o->spec, fails_alike, &same);
        spec_text(&o->spec, text);
        printf("\n%s, the smallest of %u runs:\nholdfast-sim run --trace %s\n", o->rule, tries,
               text);
        (void)trial_timeline(&o->spec, c->cfg->limit_s);
    }
    if (c->cfg->save != NULL) {
        (void)seeds_append(c->cfg->save, c->cfg->commit, o);
    }
}

/* Returns how many were never hit. */
static uint32_t print_marks(const struct campaign *c)
{
    uint32_t missed = 0;
    for (int m = 0; m < MARK_COUNT; m++) {
        missed += c->marks[m] == 0;
        printf("mark %-26s %" PRIu64 "%s\n", mark_name((enum mark)m), c->marks[m],
               c->marks[m] == 0 ? "  never" : "");
    }
    printf("%d of %d marks were hit\n", MARK_COUNT - (int)missed, MARK_COUNT);
    return missed;
}

int swarm_run(const struct swarm_config *cfg)
{
    struct campaign *c = calloc(1, sizeof(*c));
    HF_ASSERT(c != NULL && cfg->jobs >= 1 && cfg->jobs <= SWARM_JOBS_MAX);
    c->cfg = cfg;
    c->start = c->shown = seconds();
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    signal(SIGPIPE, SIG_IGN); /* a worker that died is noticed by what it does not answer */
    run_all(c);
    end_all(c);
    clear_line();
    double took = seconds() - c->start;
    for (uint32_t i = 0; i < c->kept_count && interrupted == 0; i++) {
        explain(c, &c->kept[i]);
    }
    uint32_t missed = print_marks(c);
    printf("%" PRIu64 " seeds, %" PRIu64 " violations, %.0f virtual s in %.0f s (%.1f seeds/s)\n",
           c->done, c->failed, c->virtual_s, took, (double)c->done / took);
    if (interrupted != 0) {
        printf("interrupted after %" PRIu64 " of %" PRIu64 " seeds\n", c->done, cfg->count);
    }
    bool good = c->failed == 0 && interrupted == 0 && !(cfg->need_marks && missed > 0);
    if (cfg->need_marks && missed > 0) {
        printf("%u marks were never hit: what they stand for was not tested\n", missed);
    }
    free(c);
    return good ? 0 : 1;
}
