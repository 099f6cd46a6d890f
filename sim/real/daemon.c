/*
 * daemon.c - the daemons of a run: their directories, their processes, their disks.
 *
 * A daemon is started by `holdfast-sim link-exec`, which becomes it inside the node's network. It
 * is ended by SIGKILL only: a scenario's `crash` is one. A node whose disk will be full has its
 * directory on a tmpfs; it is full when the tmpfs is made as small as what it holds.
 *
 * Invariant: a process of the node is there from _start until on_end; a start that is ordered in
 * between waits for the end. Nobody but this file knows process ids. Next: real.h.
 */
#include "sim/real/history.h"

#include "hf/err.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX 20
#define DISK_BYTES (UINT64_C(1) << 30) /* of a tmpfs that is not full: more than a run writes */
#define SHRINKS_MAX 10                 /* a daemon that writes meanwhile makes a size too small */

/* ---- directory and config ---- */

static bool will_be_full(const struct real_node *n)
{
    const struct script *s = n->run->script;
    for (uint32_t i = 0; i < s->action_count; i++) {
        const struct script_action *a = &s->action[i];
        if (a->verb == SCRIPT_DISK_FULL && script_has(&a->nodes, n->index)) {
            return true;
        }
    }
    return false;
}

static bool disk_size(const struct real_node *n, uint64_t bytes, unsigned long flags)
{
    char size[64];
    snprintf(size, sizeof(size), "size=%" PRIu64 ",mode=700", bytes);
    return mount("holdfast", n->dir, "tmpfs", flags | MS_NOSUID | MS_NODEV, size) == 0;
}

/* The page by which a preloaded library is steered, where the script wants what it can do. */
static bool make_faults(struct real_node *n)
{
    const struct script *s = n->run->script;
    char path[REAL_DIR_MAX + 8];
    bool wanted = false;
    for (uint32_t i = 0; i < s->action_count; i++) {
        wanted |= real_needs_faults(s->action[i].verb) && script_has(&s->action[i].nodes, n->index);
    }
    if (!wanted) {
        return true;
    }
    snprintf(path, sizeof(path), "%s.page", n->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *page = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, sizeof(*n->faults)) == 0) {
        page = mmap(NULL, sizeof(*n->faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (page == MAP_FAILED) {
        return false;
    }
    n->faults = page;
    n->faults->set = 1;
    return true;
}

static bool write_config(const struct real_node *n)
{
    const struct script *s = n->run->script;
    bool core = n->index == SCRIPT_CORE;
    char path[REAL_DIR_MAX + 8];
    snprintf(path, sizeof(path), "%s.conf", n->dir);
    FILE *f = fopen(path, "we");
    if (f == NULL) {
        return false;
    }
    fprintf(f, "[%s]\nresp = off\n", core ? "core" : "edge");
    if (core) {
        fputs("listen = " REAL_CORE_URL "\n", f);
    }
    if (s->beacon_us > 0) {
        fprintf(f, "[link]\nbeacon = %" PRIu64 "ms\n", s->beacon_us / 1000);
    }
    if (core && s->log_bytes + s->log_age_us + s->tombstone_us > 0) {
        fputs("[retention]\n", f);
    }
    if (core && s->log_bytes > 0) {
        fprintf(f, "log_bytes = %" PRIu64 "\n", s->log_bytes);
    }
    if (core && s->log_age_us > 0) {
        fprintf(f, "log_age = %" PRIu64 "ms\n", s->log_age_us / 1000);
    }
    if (core && s->tombstone_us > 0) {
        fprintf(f, "tombstone_retention = %" PRIu64 "ms\n", s->tombstone_us / 1000);
    }
    /* The log is trimmed by whole files: with the default's 16 MiB a small one would stay whole. */
    if (core && s->log_bytes > 0) {
        fputs("[store]\nsegment = 1MiB\n", f);
    }
    return fclose(f) == 0;
}

bool real_daemon_prepare(struct real_node *n)
{
    n->small_disk = will_be_full(n);
    if (mkdir(n->dir, 0700) != 0 || !write_config(n) || !make_faults(n)) {
        real_fail(n->run, "%s: %s", n->dir, strerror(errno));
        return false;
    }
    if (n->small_disk && !disk_size(n, DISK_BYTES, 0)) {
        real_fail(n->run, "a tmpfs on %s: %s", n->dir, strerror(errno));
        return false;
    }
    return true;
}

/* ---- processes ---- */

static void spawn(struct real_node *n);

static void on_closed(uv_handle_t *handle)
{
    struct real_node *n = handle->data;
    void (*then)(struct real_node *) = n->on_end;
    n->alive = n->ending = n->paused = false;
    n->on_end = NULL;
    if (then != NULL) {
        then(n);
    }
    if (n->wanted && !n->alive && !n->run->done) {
        spawn(n);
    }
}

static void on_ended(uv_process_t *process, int64_t status, int signal_number)
{
    struct real_node *n = process->data;
    if (!n->ending) {
        real_fail(n->run, "%s ended by itself, by %s %d: see %s.log (--keep)", n->name,
                  signal_number != 0 ? "signal" : "status",
                  signal_number != 0 ? signal_number : (int)status, n->dir);
        n->wanted = false;
    }
    uv_close((uv_handle_t *)process, on_closed);
}

/* The words of the command, each borrowed from n, from the text or constant. */
static void make_args(const struct real_node *n, char *text, size_t cap, const char **arg)
{
    size_t count = 0;
    int program = snprintf(text, cap, "%s/%s", n->run->options.bin,
                           n->index == SCRIPT_CORE ? "holdfast-core" : "holdfast-edge");
    char *conf = text + program + 1;
    int len = snprintf(conf, cap - (size_t)program - 1, "%s.conf", n->dir);
    char *node = conf + len + 1;
    snprintf(node, cap - (size_t)(node - text), "%" PRIu32, n->index);
    const char *words[] = {getenv("HF_WAN_SIM"), "link-exec", node, "--", text, "--data", n->dir,
                           "--config",           conf};
    for (; count < sizeof(words) / sizeof(words[0]); count++) {
        arg[count] = words[count];
    }
    if (n->index != SCRIPT_CORE) {
        arg[count++] = "--join";
        arg[count++] = n->token;
    }
    arg[count] = NULL;
    HF_ASSERT(count < ARGS_MAX);
}

/* The library is in the environment of the nodes that it is for, and of no other process. */
static void set_preload(const struct real_node *n)
{
    char library[REAL_DIR_MAX + 32];
    char page[REAL_DIR_MAX + 8];
    if (n->faults == NULL) {
        (void)unsetenv("LD_PRELOAD");
        return;
    }
    snprintf(library, sizeof(library), "%s/" REAL_FAULTS_LIBRARY, n->run->options.bin);
    snprintf(page, sizeof(page), "%s.page", n->dir);
    (void)setenv("LD_PRELOAD", library, 1);
    (void)setenv("HF_FAULTS_DIR", n->dir, 1);
    (void)setenv("HF_FAULTS_PAGE", page, 1);
}

static void spawn(struct real_node *n)
{
    char text[3 * REAL_DIR_MAX];
    const char *arg[ARGS_MAX];
    char path[REAL_DIR_MAX + 8];
    snprintf(path, sizeof(path), "%s.log", n->dir);
    int out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    make_args(n, text, sizeof(text), arg);
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE},
                                     {.flags = UV_INHERIT_FD, .data.fd = out},
                                     {.flags = UV_INHERIT_FD, .data.fd = out}};
    uv_process_options_t options = {.exit_cb = on_ended,
                                    .file = arg[0],
                                    .args = (char **)(uintptr_t)arg,
                                    .stdio = stdio,
                                    .stdio_count = 3};
    n->process.data = n;
    set_preload(n);
    real_history_start(n->run->history, n);
    int rc = out < 0 ? -errno : uv_spawn(&n->run->loop, &n->process, &options);
    (void)unsetenv("LD_PRELOAD");
    if (out >= 0) {
        close(out);
    }
    if (rc != 0) {
        real_fail(n->run, "%s does not start: %s", n->name, uv_strerror(rc));
        n->wanted = false;
        return;
    }
    n->alive = true;
    n->starts++;
}

void real_daemon_start(struct real_node *n)
{
    n->wanted = true;
    if (!n->alive) {
        spawn(n);
    }
}

void real_daemon_kill(struct real_node *n, void (*then)(struct real_node *n))
{
    n->wanted = false;
    if (!n->alive) {
        if (then != NULL) {
            then(n);
        }
        return;
    }
    n->on_end = then;
    n->ending = true;
    (void)uv_process_kill(&n->process, SIGKILL);
}

void real_daemon_pause(struct real_node *n, bool pause)
{
    if (n->alive && !n->ending && n->paused != pause) {
        (void)uv_process_kill(&n->process, pause ? SIGSTOP : SIGCONT);
        n->paused = pause;
    }
}

extern char **environ;

bool real_run(const char *const *words)
{
    pid_t pid;
    int status;
    return posix_spawnp(&pid, words[0], NULL, NULL, (char **)(uintptr_t)words, environ) == 0 &&
           waitpid(pid, &status, 0) == pid && status == 0;
}

/* ---- disks and clocks ---- */

static bool fill_disk(const struct real_node *n)
{
    for (int i = 0; i < SHRINKS_MAX; i++) {
        struct statvfs v;
        if (statvfs(n->dir, &v) != 0) {
            return false;
        }
        if (disk_size(n, (v.f_blocks - v.f_bfree) * v.f_frsize, MS_REMOUNT)) {
            return true;
        }
    }
    return false;
}

void real_daemon_disk_full(struct real_node *n, bool full)
{
    if (!n->small_disk) {
        return;
    }
    if (!(full ? fill_disk(n) : disk_size(n, DISK_BYTES, MS_REMOUNT))) {
        real_fail(n->run, "the size of the tmpfs on %s: %s", n->dir, strerror(errno));
    }
}

void real_daemon_disk_slow(struct real_node *n, uint64_t us)
{
    n->faults->slow_ms = (uint32_t)(us / 1000);
}

void real_daemon_disk_failing(struct real_node *n)
{
    n->faults->error = EIO;
    n->faults->error_stays = 1;
    n->faults->error_at = n->faults->calls + 1;
}

void real_daemon_disk_well(struct real_node *n)
{
    real_daemon_disk_full(n, false);
    if (n->faults != NULL) {
        n->faults->slow_ms = 0;
        n->faults->error_at = 0;
    }
}

void real_daemon_clock(struct real_node *n, int64_t step_us)
{
    n->faults->clock_ns += step_us * 1000;
}

void real_daemon_release(struct real_node *n)
{
    if (n->faults != NULL) {
        (void)munmap(n->faults, sizeof(*n->faults));
        n->faults = NULL;
    }
}
