/*
 * daemon.c - the part of a daemon's main that core and edge share; see hf/daemon.h.
 *
 * It decides nothing about data. Secrets must not reach a core file or another process of this
 * user; one process has a DIR, held by a lock that the kernel gives up with it and its children.
 */
#include "hf/daemon.h"

#include "hf/log.h"
#include "hf/stdio.h"
#include "hf/version.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define AGAIN_MAX 4
#define LOCK_WAIT_MS 1000

void hf_daemon_die(const struct hf_daemon *d, const struct hf_error *e)
{
    fprintf(stderr, "%s: %s\n", d->name, e->text);
    exit(e->code == HF_ARG ? 2 : 1);
}

void hf_daemon_options(const struct hf_daemon *d, const struct hf_config_table *t, void *options,
                       const bool *example, const char *usage)
{
    struct hf_error e = {.code = HF_OK};
    int next = d->argc;
    hf_stdio_open();
    hf_config_presets(t, options);
    enum hf_err err = hf_config_args(t, d->argc, d->argv, options, &next, &e);
    if (err == HF_NOTFOUND && strcmp(e.text, "help") == 0) {
        fputs(usage, stdout);
        hf_config_help(t, stdout);
        exit(hf_stdio_finish(d->name) ? 0 : 1);
    }
    if (err == HF_NOTFOUND) {
        printf("%s %s\n", d->name, HF_VERSION);
        exit(hf_stdio_finish(d->name) ? 0 : 1);
    }
    if (err == HF_OK && *example) {
        hf_config_example(t, stdout);
        exit(hf_stdio_finish(d->name) ? 0 : 1);
    }
    if (err == HF_OK && next < d->argc) {
        err = hf_error_set(&e, HF_ARG, "unexpected argument '%s' (see --help)", d->argv[next]);
    }
    if (err != HF_OK) {
        e.code = HF_ARG;
        hf_daemon_die(d, &e);
    }
}

void hf_daemon_harden(void)
{
    struct rlimit limit;
    umask(077);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    limit = (struct rlimit){0, 0};
    setrlimit(RLIMIT_CORE, &limit);
}

/* A run that was killed while a child of it examined its store has left that child behind, with all
 * its locks; it is told to end, and does so when it next gets a processor. */
static bool lock_soon(int fd)
{
    hf_ms until = hf_clock_ms() + LOCK_WAIT_MS;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK || hf_clock_ms() >= until) {
            return false;
        }
        (void)poll(NULL, 0, 10);
    }
    return true;
}

enum hf_err hf_daemon_data(const struct hf_daemon *d, const char *dir, const char *foreign,
                           struct hf_error *e)
{
    if (dir[0] == '\0') {
        return hf_error_set(e, HF_ARG, "--data DIR is needed (see --help)");
    }
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        return hf_error_set(e, HF_IO, "cannot make --data %s: %s", dir, strerror(errno));
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return hf_error_set(e, HF_IO, "--data %s: %s", dir, strerror(errno));
    }
    if (faccessat(fd, foreign, F_OK, 0) == 0) {
        close(fd);
        return hf_error_set(e, HF_MISMATCH,
                            "--data %s has an %s: it belongs to another kind of daemon than %s; "
                            "give each a directory of its own",
                            dir, foreign, d->name);
    }
    if (lock_soon(fd)) {
        return HF_OK; /* the descriptor stays open as long as the process */
    }
    int why = errno;
    close(fd);
    if (why != EWOULDBLOCK) {
        return hf_error_set(e, HF_IO, "--data %s: cannot be locked: %s", dir, strerror(why));
    }
    return hf_error_set(e, HF_LOCKED, "--data %s: another %s is running on it", dir, d->name);
}

/* ---- the world ---- */

static hf_ms world_now(void *ctx)
{
    (void)ctx;
    return hf_clock_ms();
}

static uint64_t world_wall(void *ctx)
{
    (void)ctx;
    return hf_clock_wall_ms();
}

static void world_random(void *ctx, void *buffer, size_t len)
{
    uint8_t *at = buffer;
    (void)ctx;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        HF_ASSERT(n > 0 || errno == EINTR);
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void world_run(void *ctx, enum hf_lane lane, struct hf_job *job)
{
    const struct hf_daemon *d = ctx;
    hf_loop_job(d->loop, lane, job);
}

static void world_wake_at(void *ctx, hf_ms when)
{
    const struct hf_daemon *d = ctx;
    hf_loop_wake_at(d->loop, when);
}

static void world_note(void *ctx, enum hf_level level, const char *text)
{
    (void)ctx;
    hf_log(level, "%s", text);
}

struct hf_world hf_daemon_world(struct hf_daemon *d)
{
    return (struct hf_world){.ctx = d,
                             .now = world_now,
                             .wall_ms = world_wall,
                             .random = world_random,
                             .run = world_run,
                             .wake_at = world_wake_at,
                             .note = world_note};
}

/* ---- starting anew ---- */

/* Which of the options argv[i] is: `--option VALUE` (2 arguments) or `--option=VALUE` (1); 0 =
 * none. */
static int option_width(const char *argument, const char *const *option, int count)
{
    for (int i = 0; i < count; i++) {
        size_t len = strlen(option[i]);
        if (strncmp(argument, option[i], len) == 0 && argument[len] == '=') {
            return 1;
        }
        if (strcmp(argument, option[i]) == 0) {
            return 2;
        }
    }
    return 0;
}

void hf_daemon_again(const struct hf_daemon *d, const char *const *option, const char *const *value,
                     int count)
{
    HF_ASSERT(count <= AGAIN_MAX);
    const char **again = calloc((size_t)d->argc + 2 * AGAIN_MAX + 1, sizeof(*again));
    int n = 0;
    hf_loop_unpair(d->loop);
    if (again == NULL) {
        hf_reexec(d->argv);
    }
    for (int i = 0; i < d->argc;) {
        int width = i == 0 ? 0 : option_width(d->argv[i], option, count);
        if (width == 0) {
            again[n++] = d->argv[i];
        }
        i += width == 0 ? 1 : width;
    }
    for (int i = 0; i < count; i++) {
        again[n++] = option[i];
        again[n++] = value[i];
    }
    hf_reexec((char **)(uintptr_t)again);
}
