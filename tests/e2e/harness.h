/*
 * harness.h - what the end-to-end programs stand on: real daemons in a temporary directory, a RESP
 * client, a link that can be cut, and waits that end.
 *
 * A test program has one box: a directory of mkdtemp and the daemons in it. e2e_setup makes it,
 * e2e_teardown ends every daemon by its pid and removes the directory, also after a failed test;
 * when the process itself is killed the kernel kills the daemons. A test ends with e2e_passed(),
 * and without that teardown shows the ends of the daemons' logs.
 *
 * Binaries are those of the same build (two folders above the test), or of $HOLDFAST_BIN.
 *
 * It must not be used from more than one thread; only the hole has a thread of its own, and nothing
 * else sees it. Nothing here sleeps for a result: it waits for one, with a deadline. Next:
 * harness.c.
 */
#ifndef HF_TESTS_E2E_HARNESS_H
#define HF_TESTS_E2E_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#define E2E_NODES_MAX 12u
#define E2E_ARGS_MAX 32u
#define E2E_UNKNOWN (-1)

/* Sanitizers make programs larger and slower: bounds on memory and time are wider under them. */
#if defined(__SANITIZE_ADDRESS__)
#define E2E_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define E2E_SANITIZED 1
#endif
#endif
#ifndef E2E_SANITIZED
#define E2E_SANITIZED 0
#endif

struct e2e_node {
    const char *program; /* "holdfast-core" or "holdfast-edge" */
    char name[32];
    char dir[128]; /* --data */
    char out[160], err[160];
    char arg[E2E_ARGS_MAX][512];
    size_t arg_count;
    int port;      /* of a core's stream; control is the next */
    int resp_port; /* of local clients */
    char key[65];  /* public key, from the ready lines */
    pid_t pid;     /* 0 = not running */
    int status;    /* of waitpid, when e2e_alive has found it gone; else 0 */
    int netns;     /* the network that it runs in (network.h); 0 = that of this program */
};

/* ---- the box ---- */

int e2e_setup(void **state);
int e2e_teardown(void **state);
/* The first and the last statement of a test. */
void e2e_begin(void **state);
void e2e_passed(void);
/* DIR/name of the box, in one of a few buffers that are used in turn. */
const char *e2e_path(const char *name);
/* Mounts a tmpfs of so many bytes on a new directory of the box; false when that is not allowed. */
bool e2e_mount(const char *path, size_t bytes);

int64_t e2e_now_ms(void);
void e2e_sleep_ms(int ms);
/* n consecutive free ports below the ephemeral range, so that a restarted daemon finds its own. */
int e2e_ports(int n);

/* Waits until the condition holds; fails the test at the deadline. */
#define E2E_WAIT(ms, condition)                                                                    \
    do {                                                                                           \
        int64_t e2e_until = e2e_now_ms() + (ms) * (E2E_SANITIZED ? 3 : 1);                         \
        while (!(condition)) {                                                                     \
            if (e2e_now_ms() > e2e_until)                                                          \
                fail_msg("not within %d ms: %s", (int)(ms), #condition);                           \
            e2e_sleep_ms(5);                                                                       \
        }                                                                                          \
    } while (0)

/* ---- daemons ---- */

/* A core with ports of its own; not yet started. */
struct e2e_node *e2e_core_new(const char *name);
/* An edge that finds the core at core_port (the core's own or a hole's), enrolled by its key. */
struct e2e_node *e2e_edge_new(struct e2e_node *core, const char *name, int core_port);
/* An edge with nothing but --data and --resp: the test adds how it joins. */
struct e2e_node *e2e_edge_bare(const char *name);
/* Gives an option its value, in place of the one it had. */
void e2e_arg_set(struct e2e_node *n, const char *option, const char *value);
/* Gives a daemon a config file of this text; returns its path. */
const char *e2e_config(struct e2e_node *n, const char *text);
/* Starts and waits for "ready"; fails the test when that does not come. */
void e2e_start(struct e2e_node *n);
/* Starts what must refuse to start. Returns its exit status and its messages. */
int e2e_start_refused(struct e2e_node *n, char *text, size_t cap);
/* Signals and waits for the end. */
void e2e_stop(struct e2e_node *n, int signal);
bool e2e_alive(struct e2e_node *n);
size_t e2e_fds(const struct e2e_node *n);
/* "VmRSS" or "VmHWM" of /proc/PID/status. */
size_t e2e_memory_kib(const struct e2e_node *n, const char *field);
/* Whether the log of a daemon has the text, anywhere. */
bool e2e_logged(const struct e2e_node *n, const char *text);

/* Runs the holdfast tool with a NULL-terminated list of words; --data of the node is added. Returns
 * its exit status, with stdout in out. input is a file for stdin, or NULL. */
int e2e_tool(const struct e2e_node *n, const char *input, char *out, size_t cap,
             const char *const *words);
#define E2E_TOOL(n, out, ...)                                                                      \
    e2e_tool((n), NULL, (out), sizeof(out), (const char *const[]){__VA_ARGS__, NULL})

/* ---- clients ---- */

/* A connection to the node's RESP port, closed by teardown at the latest; NULL when refused. */
redisContext *e2e_try_connect(const struct e2e_node *n);
redisContext *e2e_connect(const struct e2e_node *n);
void e2e_disconnect(redisContext *c);
/* One command; the reply is an error of the test unless it has the named form. */
void e2e_ok(redisContext *c, const char *format, ...);
int64_t e2e_integer(redisContext *c, const char *format, ...);
/* The text of a string, status or error reply, "(nil)" for nil; in one of a few buffers. */
const char *e2e_text(redisContext *c, const char *format, ...);
/* A number that INFO has under this name. */
int64_t e2e_counter(redisContext *c, const char *name);
/* Fails unless the reply is an error that begins with the word. */
void e2e_error(redisContext *c, const char *word, const char *format, ...);

struct e2e_core_status {
    int64_t epoch, head, committed, log_first, live_keys, edge_count;
    char digest[65];
    char refusing[256];
};
struct e2e_row { /* an edge, as the core sees it */
    char state[16], store[16], key[65];
    int64_t head, received, applied, lag_batches, lag_ms, holes, staleness_ms, digest_ok, heard_ms;
};
struct e2e_edge_status { /* an edge, as it sees itself */
    char state[16], store[16], digest[65], name[64];
    int64_t epoch, head, applied, received, holes, staleness_ms, live_keys, done, total;
};

struct e2e_core_status e2e_core_status(redisContext *c);
/* False when the core lists no such edge. */
bool e2e_row(redisContext *c, const char *name, struct e2e_row *row);
struct e2e_edge_status e2e_edge_status(redisContext *c);
/* The edge has applied the core's head and shows the same digest. */
bool e2e_equal(redisContext *core, redisContext *edge);
/* The state of the edge, at the core and at the edge itself. */
bool e2e_core_says(redisContext *core, const char *edge, const char *state);
bool e2e_edge_says(redisContext *edge, const char *state);

/* ---- a link that can be cut without a word ---- */

struct e2e_hole;
enum e2e_hole_mode {
    E2E_HOLE_PASS = 0,
    E2E_HOLE_SILENT, /* nothing moves, nothing is closed, nobody is accepted */
};

/* Forwards two neighbouring ports to to_port and to_port + 1. Ends with the box. */
struct e2e_hole *e2e_hole_new(int to_port);
int e2e_hole_port(const struct e2e_hole *h);
void e2e_hole_set(struct e2e_hole *h, enum e2e_hole_mode mode);
/* At most so many bytes a second, both ways in sum; 0 = no limit. */
void e2e_hole_rate(struct e2e_hole *h, uint64_t bytes_per_second);
/* Bytes forwarded to the edge so far. */
uint64_t e2e_hole_bytes(const struct e2e_hole *h);
/* For teardown. */
void e2e_holes_free(void);
/* A listening socket on the loopback, -1 when the port is taken. */
int e2e_listen(int port);

#endif
