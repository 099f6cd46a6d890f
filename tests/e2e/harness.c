/*
 * harness.c - starts and ends daemons; answers.h talks to them, hole.c cuts their links.
 *
 * Invariant: nothing outlives the test program. Each daemon asks the kernel to be killed with its
 * parent, teardown kills by pid and waits, and a handler does the same when the program is told to
 * end or runs into its alarm. Ports are picked below the ephemeral range, so that no connection of
 * another program takes a daemon's port while it restarts.
 *
 * Test programs include this file and hole.c, as unit tests include their fixtures: one program,
 * one object. It must not decide what is right: the tests do. Next: answers.h, hole.c,
 * test_main_path.c.
 */
#include "tests/e2e/harness.h"
#include "tests/e2e/network.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <dirent.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define CONNECTIONS_MAX 256u
#define READY_MS 10000
#define STOP_MS 8000
/* A test program that hangs is ended by its own alarm, and leaves nothing behind either. */
#define PROGRAM_SECONDS_MAX 240u
#define TEXTS 8u
#define TEXT_BYTES 4096u

static struct {
    char dir[64];
    char bin[512];
    struct e2e_node node[E2E_NODES_MAX];
    size_t node_count;
    redisContext *connection[CONNECTIONS_MAX];
    char mounted[160];
    int open_tests; /* begun and not passed */
} box;

/* ---- small things ---- */

int64_t e2e_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void e2e_sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

static char *next_text(void)
{
    static char text[TEXTS][TEXT_BYTES];
    static size_t at;

    at = (at + 1) % TEXTS;
    text[at][0] = '\0';
    return text[at];
}

const char *e2e_path(const char *name)
{
    char *text = next_text();

    snprintf(text, TEXT_BYTES, "%s/%s", box.dir, name);
    return text;
}

int e2e_listen(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 64) == 0) {
        return fd;
    }
    close(fd);
    return -1;
}

int e2e_ports(int n)
{
    for (int tries = 0; tries < 1000; tries++) {
        uint16_t r;
        int base, free_count = 0;

        if (getrandom(&r, sizeof r, 0) != sizeof r) {
            continue;
        }
        base = 10000 + r % 20000;
        for (int i = 0; i < n; i++) {
            int fd = e2e_listen(base + i);

            free_count += fd >= 0;
            if (fd >= 0) {
                close(fd);
            }
        }
        if (free_count == n) {
            return base;
        }
    }
    fail_msg("no free ports");
    return 0;
}

static size_t read_file(const char *path, char *text, size_t cap)
{
    FILE *f = fopen(path, "re");
    size_t n = f == NULL ? 0 : fread(text, 1, cap - 1, f);

    if (f != NULL) {
        fclose(f);
    }
    text[n] = '\0';
    return n;
}

/* ---- the box ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Only calls that a signal handler may make. */
static void on_end(int signal_number)
{
    for (size_t i = 0; i < box.node_count; i++) {
        if (box.node[i].pid > 0) {
            kill(box.node[i].pid, SIGKILL);
        }
    }
    if (box.mounted[0] != '\0') {
        umount2(box.mounted, MNT_DETACH); /* NOLINT: not in the list, but a bare system call */
    }
    if (box.dir[0] != '\0' && fork() == 0) {
        execl("/bin/rm", "rm", "-rf", "--", box.dir, (char *)NULL);
        _exit(1);
    }
    _exit(128 + signal_number);
}

static void find_binaries(void)
{
    const char *given = getenv("HOLDFAST_BIN");
    ssize_t n;

    if (given != NULL) {
        snprintf(box.bin, sizeof box.bin, "%s", given);
        return;
    }
    n = readlink("/proc/self/exe", box.bin, sizeof box.bin - 1);
    assert_true(n > 0);
    box.bin[n] = '\0';
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(box.bin, '/');

        assert_non_null(slash);
        *slash = '\0';
    }
}

int e2e_setup(void **state)
{
    static const int ends[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGABRT};

    (void)state;
    memset(&box, 0, sizeof box);
    find_binaries();
    snprintf(box.dir, sizeof box.dir, "/tmp/holdfast-e2e.XXXXXX");
    if (mkdtemp(box.dir) == NULL) {
        return -1;
    }
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        signal(ends[i], on_end);
    }
    alarm(PROGRAM_SECONDS_MAX);
    return 0;
}

/* The end of the log, for the reader of a failed test. */
static void show_log(const struct e2e_node *n)
{
    static char text[1u << 20];
    size_t len = read_file(n->err, text, sizeof text);
    size_t at = len;

    for (int lines = 0; at > 0 && lines < 25; at--) {
        lines += text[at - 1] == '\n';
    }
    fprintf(stderr, "---- %s (%s) ----\n%s", n->name, n->program, text + at);
    /* A signal leaves nothing in a log. */
    if (n->pid == 0 && WIFSIGNALED(n->status)) {
        fprintf(stderr, "(ended by signal %d)\n", WTERMSIG(n->status));
    } else if (n->pid == 0 && WEXITSTATUS(n->status) != 0) {
        fprintf(stderr, "(ended with status %d)\n", WEXITSTATUS(n->status));
    }
}

/* What no test may overlook, whatever it was about. */
static bool complained(const struct e2e_node *n)
{
    return e2e_logged(n, "assertion failed") || e2e_logged(n, "runtime error:") ||
           e2e_logged(n, "Sanitizer");
}

int e2e_teardown(void **state)
{
    bool bad = false;

    (void)state;
    for (size_t i = 0; i < box.node_count; i++) {
        struct e2e_node *n = &box.node[i];

        bad = bad || complained(n);
        if (e2e_alive(n)) {
            kill(n->pid, SIGKILL);
            waitpid(n->pid, NULL, 0);
        }
        if (box.open_tests > 0 || complained(n)) {
            show_log(n);
        }
    }
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (box.connection[i] != NULL) {
            redisFree(box.connection[i]);
        }
    }
    e2e_holes_free();
    if (box.mounted[0] != '\0') {
        umount2(box.mounted, MNT_DETACH);
    }
    nftw(box.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    alarm(0);
    box.node_count = 0;
    return bad ? -1 : 0;
}

void e2e_begin(void **state)
{
    (void)state;
    box.open_tests++;
}

void e2e_passed(void)
{
    box.open_tests--;
}

bool e2e_mount(const char *path, size_t bytes)
{
    char options[64];

    snprintf(options, sizeof options, "size=%zu,mode=700", bytes);
    if (mkdir(path, 0700) != 0 || mount("holdfast", path, "tmpfs", 0, options) != 0) {
        return false;
    }
    snprintf(box.mounted, sizeof box.mounted, "%s", path);
    return true;
}

/* ---- daemons ---- */

static void arg_add(struct e2e_node *n, const char *text)
{
    assert_true(n->arg_count < E2E_ARGS_MAX && strlen(text) < sizeof n->arg[0]);
    strcpy(n->arg[n->arg_count++], text);
}

void e2e_arg_set(struct e2e_node *n, const char *option, const char *value)
{
    for (size_t i = 0; i + 1 < n->arg_count; i += 2) {
        if (strcmp(n->arg[i], option) != 0) {
            continue;
        }
        snprintf(n->arg[i + 1], sizeof n->arg[i + 1], "%s", value);
        return;
    }
    arg_add(n, option);
    arg_add(n, value);
}

const char *e2e_config(struct e2e_node *n, const char *text)
{
    char name[64];
    const char *path;
    FILE *f;

    snprintf(name, sizeof name, "%s.conf", n->name);
    path = e2e_path(name);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    e2e_arg_set(n, "--config", path);
    return path;
}

__attribute__((format(printf, 3, 4))) static void arg_pair(struct e2e_node *n, const char *option,
                                                           const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    e2e_arg_set(n, option, text);
}

static struct e2e_node *node_new(const char *program, const char *name)
{
    struct e2e_node *n = &box.node[box.node_count++];

    assert_true(box.node_count <= E2E_NODES_MAX);
    *n = (struct e2e_node){.program = program};
    snprintf(n->name, sizeof n->name, "%s", name);
    snprintf(n->dir, sizeof n->dir, "%s", e2e_path(name));
    snprintf(n->out, sizeof n->out, "%s.out", e2e_path(name));
    snprintf(n->err, sizeof n->err, "%s.err", e2e_path(name));
    arg_pair(n, "--data", "%s", n->dir);
    return n;
}

struct e2e_node *e2e_core_new(const char *name)
{
    struct e2e_node *n = node_new("holdfast-core", name);

    n->port = e2e_ports(3);
    n->resp_port = n->port + 2;
    arg_pair(n, "--listen", "tcp://127.0.0.1:%d", n->port);
    arg_pair(n, "--resp", "127.0.0.1:%d", n->resp_port);
    return n;
}

struct e2e_node *e2e_edge_bare(const char *name)
{
    struct e2e_node *n = node_new("holdfast-edge", name);

    n->resp_port = e2e_ports(1);
    arg_pair(n, "--resp", "127.0.0.1:%d", n->resp_port);
    return n;
}

struct e2e_node *e2e_edge_new(struct e2e_node *core, const char *name, int core_port)
{
    struct e2e_node *n = e2e_edge_bare(name);
    char key_path[160], out[256];

    assert_int_equal(mkdir(n->dir, 0700), 0);
    snprintf(key_path, sizeof key_path, "%s/edge.key", n->dir);
    assert_int_equal(E2E_TOOL(NULL, out, "keygen", key_path), 0);
    out[strcspn(out, "\n")] = '\0';
    snprintf(n->key, sizeof n->key, "%.64s", out);
    assert_int_equal(E2E_TOOL(core, out, "edge", "add", name, n->key), 0);
    arg_pair(n, "--core", "tcp://127.0.0.1:%d", core_port);
    arg_pair(n, "--core-key", "%s", core->key);
    return n;
}

static int open_output(const char *path, int flags)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

    assert_true(fd >= 0);
    return fd;
}

/* Runs a program. The child is killed with this process, whatever ends it. */
static pid_t spawn(char *const *argv, int in, int out, int err)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid > 0) {
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(127);
    }
    signal(SIGPIPE, SIG_DFL);
    alarm(0);
    if (in >= 0) {
        dup2(in, 0);
    }
    dup2(out, 1);
    dup2(err, 2);
    execv(argv[0], argv);
    _exit(127);
}

static void launch(struct e2e_node *n)
{
    char program[600];
    char *argv[E2E_ARGS_MAX + 2] = {program};
    n->status = 0;
    int out = open_output(n->out, O_TRUNC);
    int err = open_output(n->err, O_APPEND);

    snprintf(program, sizeof program, "%s/%s", box.bin, n->program);
    for (size_t i = 0; i < n->arg_count; i++) {
        argv[i + 1] = n->arg[i];
    }
    int own = network_enter(n->netns);
    n->pid = spawn(argv, -1, out, err);
    network_leave(own);
    close(out);
    close(err);
}

/* The number behind the last colon of the line that begins with the word. */
static int ready_port(const char *text, const char *word)
{
    const char *line = strstr(text, word);
    char url[128];

    if (line == NULL || sscanf(line + strlen(word), "%127s", url) != 1) {
        return 0;
    }
    return strrchr(url, ':') == NULL ? 0 : atoi(strrchr(url, ':') + 1);
}

static bool is_ready(struct e2e_node *n, char *text, size_t cap)
{
    if (!e2e_alive(n)) {
        fail_msg("%s ended before it was ready", n->name);
    }
    read_file(n->out, text, cap);
    return strstr(text, "\nready\n") != NULL;
}

void e2e_start(struct e2e_node *n)
{
    bool core = strcmp(n->program, "holdfast-core") == 0;
    char text[1024];

    launch(n);
    E2E_WAIT(READY_MS, is_ready(n, text, sizeof text));
    if (core) {
        n->port = ready_port(text, "stream ");
    }
    n->resp_port = ready_port(text, "resp ");
    assert_int_equal(sscanf(text, "%*s key %64s", n->key), 1);
    assert_true(n->resp_port > 0);
}

int e2e_start_refused(struct e2e_node *n, char *text, size_t cap)
{
    int64_t until = e2e_now_ms() + READY_MS;
    int status = 0;

    unlink(n->err);
    launch(n);
    while (waitpid(n->pid, &status, WNOHANG) == 0) {
        if (e2e_now_ms() > until) {
            fail_msg("%s should have refused to start", n->name);
        }
        e2e_sleep_ms(5);
    }
    n->pid = 0;
    read_file(n->err, text, cap);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool e2e_alive(struct e2e_node *n)
{
    if (n->pid > 0 && waitpid(n->pid, &n->status, WNOHANG) == n->pid) {
        n->pid = 0;
    }
    return n->pid > 0;
}

void e2e_stop(struct e2e_node *n, int signal_number)
{
    if (n->pid <= 0) {
        return;
    }
    kill(n->pid, signal_number);
    if (signal_number == SIGKILL) {
        waitpid(n->pid, NULL, 0);
        n->pid = 0;
        return;
    }
    E2E_WAIT(STOP_MS, !e2e_alive(n));
}

size_t e2e_fds(const struct e2e_node *n)
{
    char path[64];
    size_t count = 0;
    DIR *d;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)n->pid);
    d = opendir(path);
    assert_non_null(d);
    while (readdir(d) != NULL) {
        count++;
    }
    closedir(d);
    return count;
}

size_t e2e_memory_kib(const struct e2e_node *n, const char *field)
{
    char path[64], text[8192];
    const char *line;

    snprintf(path, sizeof path, "/proc/%d/status", (int)n->pid);
    read_file(path, text, sizeof text);
    line = strstr(text, field);
    assert_non_null(line);
    return strtoul(line + strlen(field) + 1, NULL, 10);
}

bool e2e_logged(const struct e2e_node *n, const char *text)
{
    static char log[4u << 20];

    read_file(n->err, log, sizeof log);
    return strstr(log, text) != NULL;
}

int e2e_tool(const struct e2e_node *n, const char *input, char *out, size_t cap,
             const char *const *words)
{
    char program[600], out_path[160], err_path[160];
    static char data_option[] = "--data";
    char *argv[24] = {program};
    size_t argc = 1;
    int in = input == NULL ? -1 : open(input, O_RDONLY | O_CLOEXEC);
    int status = 0, out_fd, err_fd;
    pid_t pid;

    snprintf(program, sizeof program, "%s/holdfast", box.bin);
    snprintf(out_path, sizeof out_path, "%s/tool.out", box.dir);
    snprintf(err_path, sizeof err_path, "%s/tool.err", box.dir);
    if (n != NULL) {
        argv[argc++] = data_option;
        argv[argc++] = (char *)(uintptr_t)n->dir;
    }
    for (size_t i = 0; words[i] != NULL; i++) {
        assert_true(argc + 1 < sizeof argv / sizeof argv[0]);
        argv[argc++] = (char *)(uintptr_t)words[i];
    }
    out_fd = open_output(out_path, O_TRUNC);
    err_fd = open_output(err_path, O_TRUNC);
    pid = spawn(argv, in, out_fd, err_fd);
    close(out_fd);
    close(err_fd);
    if (in >= 0) {
        close(in);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    read_file(out_path, out, cap);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#include "tests/e2e/answers.h"
