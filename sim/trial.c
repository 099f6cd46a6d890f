/*
 * trial.c - one run in this process or in a child, and the rule that it broke (trial.h).
 */
#include "sim/trial.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void trial_rule(const char *violation, char out[TRIAL_RULE_MAX])
{
    const char *rule = strstr(violation, " s: ");
    rule = strncmp(violation, "at ", 3) == 0 && rule != NULL ? rule + 4 : violation;
    snprintf(out, TRIAL_RULE_MAX, "%.*s", (int)strcspn(rule, ":"), rule);
}

void trial_run(const struct trial *t, FILE *trace, struct outcome *out)
{
    struct sim_options o;
    struct sim_result again;
    memset(out, 0, sizeof(*out)); /* padding too: it goes through sockets */
    out->spec = t->spec;
    spec_options(&t->spec, &o);
    o.record = t->record;
    sim_run(&o, trace, &out->result);
    o.record = NULL;
    if (t->twice && out->result.ok) {
        sim_run(&o, NULL, &again);
        if (again.trace_hash != out->result.trace_hash) {
            out->result.ok = false;
            snprintf(out->result.violation, sizeof(out->result.violation),
                     "determinism: trace hash %016" PRIx64 ", and %016" PRIx64
                     " when run a second time",
                     out->result.trace_hash, again.trace_hash);
        }
    }
    if (!out->result.ok) {
        trial_rule(out->result.violation, out->rule);
    }
}

void trial_died(const struct sim_spec *s, int status, bool hung, uint32_t limit_s,
                struct outcome *out)
{
    memset(out, 0, sizeof(*out));
    out->spec = *s;
    char *text = out->result.violation;
    if (hung) {
        snprintf(text, sizeof(out->result.violation), "hang: no end after %u s", limit_s);
    } else if (WIFSIGNALED(status)) {
        snprintf(text, sizeof(out->result.violation), "crash: signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    } else {
        snprintf(text, sizeof(out->result.violation), "crash: exit status %d", WEXITSTATUS(status));
    }
    trial_rule(text, out->rule);
}

/* ---- apart ---- */

/* What the child prints about its own end would come once for each run of a shrink. */
static void child(const struct trial *t, int result)
{
    struct outcome o;
    prctl(PR_SET_PDEATHSIG, SIGHUP); /* a run removes its directory first */
    if (freopen("/dev/null", "w", stderr) == NULL) {
        _exit(2);
    }
    trial_run(t, NULL, &o);
    _exit(write(result, &o, sizeof(o)) == (ssize_t)sizeof(o) ? 0 : 2);
}

/* Waits for a child, reading its outcome. False when it died or had to be ended. */
static bool wait_for(pid_t pid, int result, uint32_t limit_s, struct outcome *out, int *status,
                     bool *hung)
{
    struct pollfd p = {.fd = result, .events = POLLIN};
    *hung = poll(&p, 1, (int)limit_s * 1000) == 0;
    if (*hung) {
        kill(pid, SIGKILL);
    }
    ssize_t n = *hung ? 0 : read(result, out, sizeof(*out));
    while (waitpid(pid, status, 0) < 0 && errno == EINTR) {
    }
    sim_clean_after((long)pid);
    return n == (ssize_t)sizeof(*out);
}

void trial_apart(const struct trial *t, uint32_t limit_s, struct outcome *out)
{
    int pipe_fd[2];
    int status = 0;
    bool hung = false;
    fflush(NULL);
    HF_ASSERT(pipe(pipe_fd) == 0); /* an outcome fits a pipe's buffer, so the child never waits */
    pid_t pid = fork();
    HF_ASSERT(pid >= 0);
    if (pid == 0) {
        close(pipe_fd[0]);
        child(t, pipe_fd[1]);
    }
    close(pipe_fd[1]);
    if (!wait_for(pid, pipe_fd[0], limit_s, out, &status, &hung)) {
        trial_died(&t->spec, status, hung, limit_s, out);
    }
    close(pipe_fd[0]);
}

bool trial_timeline(const struct sim_spec *s, uint32_t limit_s)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    HF_ASSERT(pid >= 0);
    if (pid == 0) {
        struct sim_options o;
        struct sim_result r;
        prctl(PR_SET_PDEATHSIG, SIGHUP); /* a run removes its directory first */
        alarm(limit_s);
        setvbuf(stdout, NULL, _IOLBF, 0); /* it may crash, and all lines before that count */
        spec_options(s, &o);
        o.timeline = stdout;
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(2);
        }
        sim_run(&o, NULL, &r);
        fflush(stdout);
        _exit(r.ok ? 0 : 1);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    sim_clean_after((long)pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
