/*
 * doctor.c - examines a state in a child process, sets a damaged one aside, keeps the marker.
 *
 * Invariant: only damage that was seen counts as damage. A child that reports it, or that dies by a
 * signal which bad pages cause, has seen it; one that ran out of time or memory, that was killed
 * from outside, or that found the state locked or of a newer format has seen nothing.
 *
 * The marker is a text of one number: how many runs in a row had ended uncleanly when the run that
 * wrote it began. Whoever finds it at its start follows one more. It is overwritten in place,
 * because on a full disk that still works; an empty or unreadable one counts as 0.
 *
 * The child checks the pages under the tables (pages.c), because much of what LMDB trusts passes
 * every read and kills the first commit, and then what the tables say (verify.c). Read env.c and
 * shape.c for what opening checks by itself.
 */
#include "hf/doctor.h"

#include "state_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ASIDE ".damaged-"

/* ---- in the child ---- */

void hf_child_ends_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
}

/* Nothing is closed: the process ends behind it. */
static void look(const char *dir, struct hf_error *e)
{
    struct hf_state_config c = {.dir = dir};
    struct hf_state *s;
    struct hf_view *v;
    e->code = hf_state_open(&c, &s, e);
    if (e->code != HF_OK) {
        return;
    }
    e->code = hf_state_check_pages(s, true, e);
    if (e->code != HF_OK) {
        return;
    }
    e->code = hf_view_open(s, &v);
    if (e->code == HF_OK) {
        e->code = hf_view_verify(v, e);
    }
    if (e->code == HF_OK || e->code == HF_NOMEM || e->code == HF_BUSY) {
        return;
    }
    /* Reads of a map do no I/O that can fail with a code: what LMDB says here is about its pages.
     */
    if (e->text[0] == '\0') {
        hf_error_set(e, e->code, "%s: %s", dir, hf_err_text(e->code));
    }
    e->code = e->code == HF_DIGEST ? HF_DIGEST : HF_CORRUPT;
}

static _Noreturn void child_run(const char *dir, int out, pid_t parent)
{
    static const int fatal[] = {SIGBUS, SIGSEGV, SIGABRT, SIGFPE, SIGILL};
    const struct rlimit no_core = {0, 0};
    struct hf_error e = {HF_OK, ""};
    hf_child_ends_with(parent);
    setpgid(0, 0);
    setrlimit(RLIMIT_CORE, &no_core);
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
        signal(fatal[i], SIG_DFL);
    }
    look(dir, &e);
    /* Fewer bytes than a pipe takes at once. */
    ssize_t n = write(out, &e, sizeof(e));
    _exit(n == (ssize_t)sizeof(e) ? 0 : 1);
}

/* ---- in the parent ---- */

static hf_ms clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (hf_ms)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The report's bytes until they are all there or the child is gone; false at the limit. */
static bool report_read(int in, hf_ms limit, struct hf_error *report, size_t *got)
{
    hf_ms until = clock_ms() + limit;
    *got = 0;
    while (*got < sizeof(*report)) {
        hf_ms left = until - clock_ms();
        struct pollfd p = {.fd = in, .events = POLLIN};
        if (left <= 0) {
            return false;
        }
        int ready = poll(&p, 1, left < INT_MAX ? (int)left : INT_MAX);
        if (ready <= 0) {
            continue; /* a signal, or the limit */
        }
        ssize_t n = read(in, (uint8_t *)report + *got, sizeof(*report) - *got);
        if (n == 0) {
            return true;
        }
        *got += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static enum hf_err judge_end(const char *dir, int status, struct hf_error *e)
{
    if (WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        bool of_it = number == SIGBUS || number == SIGSEGV || number == SIGABRT ||
                     number == SIGFPE || number == SIGILL;
        return hf_error_set(e, of_it ? HF_CORRUPT : HF_IO, "%s: reading it ended by signal %d (%s)",
                            dir, number, strsignal(number));
    }
    return hf_error_set(e, HF_IO, "%s: the examination ended with status %d and no result", dir,
                        WEXITSTATUS(status));
}

static enum hf_err child_wait(const char *dir, pid_t child, int in, hf_ms limit, struct hf_error *e)
{
    struct hf_error report = {HF_OK, ""};
    size_t got;
    int status = 0;
    bool ended = report_read(in, limit, &report, &got);
    if (!ended) {
        kill(-child, SIGKILL); /* the group: opening may have a child of its own */
        kill(child, SIGKILL);
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return hf_error_set(e, HF_IO, "%s: waiting for the examination: %s", dir,
                                strerror(errno));
        }
    }
    if (!ended) {
        return hf_error_set(e, HF_TIMEOUT, "%s: not read through within %lld ms", dir,
                            (long long)limit);
    }
    if (got < sizeof(report)) {
        return judge_end(dir, status, e);
    }
    *e = report;
    return e->code;
}

enum hf_err hf_state_examine(const char *dir, hf_ms limit, struct hf_error *e)
{
    char path[PATH_MAX];
    int ends[2];
    int n = snprintf(path, sizeof(path), "%s/data.mdb", dir);
    if (n < 0 || (size_t)n >= sizeof(path)) {
        return hf_error_set(e, HF_ARG, "store directory: path too long");
    }
    *e = (struct hf_error){HF_OK, ""};
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        return HF_OK;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return hf_error_set(e, HF_IO, "%s: cannot examine: %s", dir, strerror(errno));
    }
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        child_run(dir, ends[1], parent);
    }
    close(ends[1]);
    enum hf_err err;
    if (child < 0) {
        err = hf_error_set(e, HF_IO, "%s: cannot examine: %s", dir, strerror(errno));
    } else {
        setpgid(child, child); /* here too: whoever is first */
        err = child_wait(dir, child, ends[0], limit, e);
    }
    close(ends[0]);
    return err;
}

/* ---- setting aside ---- */

/* `path` without its last name, in place. */
static void cut_to_parent(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash != NULL && slash != path) {
        *slash = '\0';
    } else {
        strcpy(path, slash == NULL ? "." : "/");
    }
}

static enum hf_err sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return hf_env_error(errno);
    }
    enum hf_err err = fsync(fd) == 0 ? HF_OK : hf_env_error(errno);
    close(fd);
    return err;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path); /* what stays is tried again by the next one */
    return 0;
}

/* All of parent/NAME.damaged-* but the one just made. */
static void remove_older(const char *parent, const char *name, const char *kept)
{
    size_t len = strlen(name);
    DIR *d = opendir(parent);
    struct dirent *entry;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        char path[PATH_MAX];
        if (strncmp(entry->d_name, name, len) != 0 ||
            strncmp(entry->d_name + len, ASIDE, sizeof(ASIDE) - 1) != 0 ||
            strcmp(entry->d_name, kept) == 0) {
            continue;
        }
        int n = snprintf(path, sizeof(path), "%s/%s", parent, entry->d_name);
        if (n > 0 && (size_t)n < sizeof(path)) {
            nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

enum hf_err hf_state_set_aside(const char *dir, uint64_t unix_time, char *to, size_t cap,
                               struct hf_error *e)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(dir, '/');
    const char *name = slash == NULL ? dir : slash + 1;
    int rc = -1;
    errno = EEXIST;
    if (strlen(dir) >= sizeof(parent) || name[0] == '\0') {
        return hf_error_set(e, HF_ARG, "store directory: no name, or path too long");
    }
    /* Two within one second are not expected; the later name is as good. */
    for (uint64_t t = unix_time; rc != 0 && t < unix_time + 8; t++) {
        int n = snprintf(to, cap, "%s%s%llu", dir, ASIDE, (unsigned long long)t);
        if (n < 0 || (size_t)n >= cap) {
            return hf_error_set(e, HF_ARG, "store directory: path too long");
        }
        rc = rename(dir, to);
        if (rc != 0 && errno != EEXIST && errno != ENOTEMPTY) {
            break;
        }
    }
    if (rc != 0) {
        return hf_error_set(e, hf_env_error(errno), "cannot rename %s to %s: %s", dir, to,
                            strerror(errno));
    }
    strcpy(parent, dir);
    cut_to_parent(parent);
    enum hf_err err = sync_dir(parent);
    if (err != HF_OK) {
        return hf_error_set(e, err, "%s: %s", parent, hf_err_text(err));
    }
    remove_older(parent, name, strrchr(to, '/') == NULL ? to : strrchr(to, '/') + 1);
    return HF_OK;
}

/* ---- the marker ---- */

enum hf_err hf_running_find(struct hf_running *r, const char *path)
{
    char text[16] = "";
    memset(r, 0, sizeof(*r));
    if (strlen(path) >= sizeof(r->path)) {
        return HF_ARG;
    }
    strcpy(r->path, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return HF_OK;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    unsigned long count = n > 0 ? strtoul(text, NULL, 10) : 0;
    r->unclean = count < 1000000 ? (uint32_t)count + 1 : 1;
    return HF_OK;
}

static enum hf_err marker_write(const char *path, uint32_t count, int flags)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%010u\n", (unsigned)count);
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
    if (fd < 0) {
        return hf_env_error(errno);
    }
    enum hf_err err = HF_OK;
    ssize_t n = pwrite(fd, text, (size_t)len, 0);
    if (n != len) {
        err = n < 0 ? hf_env_error(errno) : HF_FULL;
    } else if (fsync(fd) != 0) {
        err = hf_env_error(errno);
    }
    close(fd);
    return err;
}

static enum hf_err sync_parent(const char *path)
{
    char parent[HF_RUNNING_PATH_MAX];
    strcpy(parent, path);
    cut_to_parent(parent);
    return sync_dir(parent);
}

enum hf_err hf_running_begin(const struct hf_running *r)
{
    enum hf_err err = marker_write(r->path, r->unclean, O_CREAT);
    return err == HF_OK ? sync_parent(r->path) : err;
}

void hf_running_lived(const struct hf_running *r)
{
    /* Without O_CREAT: the clean end may have come between. */
    (void)marker_write(r->path, 0, 0);
}

void hf_running_end(const struct hf_running *r)
{
    if (unlink(r->path) == 0) {
        (void)sync_parent(r->path);
    }
}

void hf_running_undo(const struct hf_running *r)
{
    if (r->unclean == 0) {
        hf_running_end(r);
    } else {
        (void)marker_write(r->path, r->unclean - 1, 0);
    }
}
