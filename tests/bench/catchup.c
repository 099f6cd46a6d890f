/*
 * catchup.c - how long a replica behind an emulated link takes to equal its source again.
 *
 *   catchup fill CORE KEYS              puts keys 0..KEYS-1, in windows of 100
 *   catchup equal CORE EDGE KEYS        waits until the edge has what fill wrote
 *   catchup cut CORE EDGE [options]     cuts the link, writes, heals it, waits until equal
 *   catchup join CORE EDGE [options]    waits until an edge that started --since has all
 *
 * CORE and EDGE are unix sockets (paths begin with /) or ADDR:PORT of any server that speaks RESP,
 * holdfast or redis-server alike; the link is edge 1 of $HF_WAN_CONTROL. Keys have 24 bytes, values
 * 100 random letters that follow from key and version, so that every process knows what must be
 * there. Equal means: the last write can be read at the edge, and after that a read of every key
 * returns what was written last. The time is that of the start of the reading that found all of it,
 * taken by one clock; the servers' own word is not asked.
 *
 * A reader polls random keys at the edge during all of `cut`: an error, a missing key, a closed
 * connection or more than a second is a failed read, more than 100 ms a slow one.
 *
 * Prints "name value" lines for catchup.sh. It must not know which server it measures. Next:
 * catchup.sh, README.md beside it.
 */
#include "sim/wan/control.h"

#include <getopt.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 100u
#define SWEEP 500u /* keys of one MGET */
#define KEY_BYTES 24u
#define VALUE_BYTES 100u
#define POLL_US 5000u
#define READ_EVERY_US 5000u /* 200 a second: enough to see a stall of 10 ms, and hardly a load */
#define READ_SLOW_US 100000u
#define READ_PATIENCE_S 1
#define STRIDE UINT64_C(2147483647) /* a prime above any number of keys: a step that meets all */
#define FLOWS_BYTES 100000u         /* more than handshakes and beacons */

struct run {
    const char *core, *edge, *control;
    const char *profile; /* words for the control socket's "set", empty = leave as it is */
    uint64_t keys, distinct, writes;
    uint64_t cut_us, flap_cut_us, flap_every_us, limit_us;
    double since;      /* wall clock, for join */
    uint32_t *version; /* of each key; 0 = what fill wrote */
    uint64_t last_key;
};

struct reader {
    const struct run *run;
    atomic_bool stop;
    uint64_t reads, failed, slow, worst_us;
};

struct wire {
    uint64_t down, up; /* bytes that the link took */
    uint64_t arrived;  /* down */
    uint64_t overrun;
};

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void sleep_us(uint64_t us)
{
    struct timespec t = {(time_t)(us / 1000000u), (long)(us % 1000000u) * 1000};
    nanosleep(&t, NULL);
}

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "catchup: %s: %s\n", what, why);
    exit(1);
}

/* ---- keys and values ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void make_key(uint64_t n, char key[KEY_BYTES + 1])
{
    snprintf(key, KEY_BYTES + 1, "bench:key:%014" PRIu64, n % UINT64_C(100000000000000));
}

static void make_value(uint64_t n, uint32_t version, char value[VALUE_BYTES])
{
    for (unsigned i = 0; i < VALUE_BYTES; i += 10) {
        uint64_t x = mix((n + 1) * UINT64_C(0x9e3779b97f4a7c15) + ((uint64_t)version << 8) + i);
        for (unsigned j = 0; j < 10; j++, x /= 26) {
            value[i + j] = (char)('a' + x % 26);
        }
    }
}

static bool is_value(const redisReply *r, uint64_t n, uint32_t version)
{
    char value[VALUE_BYTES];
    if (r == NULL || r->type != REDIS_REPLY_STRING || r->len != VALUE_BYTES) {
        return false;
    }
    make_value(n, version, value);
    return memcmp(r->str, value, VALUE_BYTES) == 0;
}

/* ---- connections ---- */

/* NULL when nobody answers. */
static redisContext *try_dial(const char *at, int patience_s)
{
    char host[64];
    const char *colon = strrchr(at, ':');
    struct timeval patience = {patience_s, 0};
    redisContext *c = NULL;
    if (*at == '/') {
        c = redisConnectUnixWithTimeout(at, patience);
    } else if (colon != NULL && (size_t)(colon - at) < sizeof(host)) {
        memcpy(host, at, (size_t)(colon - at));
        host[colon - at] = '\0';
        c = redisConnectWithTimeout(host, atoi(colon + 1), patience);
    }
    if (c != NULL && c->err == 0 && redisSetTimeout(c, patience) == REDIS_OK) {
        return c;
    }
    if (c != NULL) {
        redisFree(c);
    }
    return NULL;
}

/* A command on a connection that is made again when it has failed; NULL when there is no answer. */
static redisReply *ask_edge(redisContext **c, const char *at, const char *key)
{
    if (*c == NULL) {
        *c = try_dial(at, READ_PATIENCE_S);
    }
    redisReply *r = *c == NULL ? NULL : redisCommand(*c, "GET %b", key, (size_t)KEY_BYTES);
    if (r == NULL && *c != NULL) {
        redisFree(*c);
        *c = NULL;
    }
    return r;
}

static void write_window(redisContext *c, const uint64_t *key, const uint32_t *version, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[KEY_BYTES + 1];
        char value[VALUE_BYTES];
        make_key(key[i], name);
        make_value(key[i], version[i], value);
        redisAppendCommand(c, "SET %b %b", name, (size_t)KEY_BYTES, value, (size_t)VALUE_BYTES);
    }
    for (unsigned i = 0; i < n; i++) {
        redisReply *r = NULL;
        if (redisGetReply(c, (void **)&r) != REDIS_OK || r->type == REDIS_REPLY_ERROR) {
            die("write", r == NULL ? c->errstr : r->str);
        }
        freeReplyObject(r);
    }
}

static void fill(const char *core, uint64_t keys)
{
    redisContext *c = try_dial(core, 60);
    uint64_t key[WINDOW];
    static const uint32_t version[WINDOW];
    if (c == NULL) {
        die(core, "no server");
    }
    for (uint64_t i = 0; i < keys; i += WINDOW) {
        unsigned n = keys - i < WINDOW ? (unsigned)(keys - i) : WINDOW;
        for (unsigned j = 0; j < n; j++) {
            key[j] = i + j;
        }
        write_window(c, key, version, n);
    }
    redisFree(c);
}

/* ---- the link ---- */

static void link_do(const struct run *r, const char *line)
{
    struct hf_error e;
    if (hf_wan_ask(r->control, line, NULL, NULL, &e) != HF_OK) {
        die(line, e.text);
    }
}

/* The lines of edge 1 begin: edge, way, packets, bytes, arrived_packets, arrived_bytes. */
static struct wire wire_read(const struct run *r)
{
    struct wire w = {0};
    struct hf_error e;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (f == NULL || hf_wan_ask(r->control, "stats 1", f, NULL, &e) != HF_OK || fclose(f) != 0) {
        die("stats", "no answer");
    }
    const char *down = strstr(text, "\n1\tdown\t");
    const char *up = strstr(text, "\n1\tup\t");
    if (down == NULL || up == NULL ||
        sscanf(down, " 1 down %*u %" SCNu64 " %*u %" SCNu64, &w.down, &w.arrived) != 2 ||
        sscanf(up, " 1 up %*u %" SCNu64, &w.up) != 1) {
        die("stats", text);
    }
    for (const char *at = text; (at = strstr(at, "\noverrun\t")) != NULL; at++) {
        uint64_t n = 0;
        (void)sscanf(at, " overrun %*u %" SCNu64, &n);
        w.overrun += n;
    }
    free(text);
    return w;
}

/* A setting of the profile, 0 when it has none. */
static double setting(const struct run *r, const char *name)
{
    const char *at = strstr(r->profile, name);
    return at == NULL ? 0 : strtod(at + strlen(name), NULL);
}

static void print_floor(const struct run *r, uint64_t keys)
{
    double bytes = (double)keys * (KEY_BYTES + VALUE_BYTES);
    double rate = setting(r, "rate=");
    printf("changed_keys %" PRIu64 "\nfloor_bytes %.0f\n", keys, bytes);
    printf("floor_s %.2f\n", (rate > 0 ? bytes * 8 / (rate * 1e6) : 0) + setting(r, "rtt=") / 2000);
}

/* ---- equality ---- */

/* Whether each key at the edge has the version that it must have. */
static bool sweep(const struct run *r, redisContext **c)
{
    const char *word[SWEEP + 1] = {"MGET"};
    size_t len[SWEEP + 1] = {4};
    static char key[SWEEP][KEY_BYTES + 1];
    for (uint64_t i = 0; i < r->keys; i += SWEEP) {
        unsigned n = r->keys - i < SWEEP ? (unsigned)(r->keys - i) : SWEEP;
        for (unsigned j = 0; j < n; j++) {
            make_key(i + j, key[j]);
            word[j + 1] = key[j];
            len[j + 1] = KEY_BYTES;
        }
        redisReply *reply = redisCommandArgv(*c, (int)n + 1, word, len);
        bool same = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == n;
        for (unsigned j = 0; same && j < n; j++) {
            same = is_value(reply->element[j], i + j, r->version[i + j]);
        }
        if (reply == NULL) {
            redisFree(*c);
            *c = NULL;
            return false;
        }
        freeReplyObject(reply);
        if (!same) {
            return false;
        }
    }
    return true;
}

static bool last_is_there(const struct run *r, redisContext **c)
{
    char key[KEY_BYTES + 1];
    make_key(r->last_key, key);
    redisReply *reply = ask_edge(c, r->edge, key);
    bool there = is_value(reply, r->last_key, r->version[r->last_key]);
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return there;
}

/* Between two polls: what has come through the link, and the cuts of a flapping one. */
struct progress {
    struct wire before;
    uint64_t first_us, flows_us; /* since the heal; 0 = not yet */
    bool cut;
};

static void progress_look(const struct run *r, struct progress *p, uint64_t since_us)
{
    if (p->flows_us == 0) {
        uint64_t bytes = wire_read(r).arrived - p->before.arrived;
        p->first_us = p->first_us == 0 && bytes > 0 ? since_us : p->first_us;
        p->flows_us = bytes > FLOWS_BYTES ? since_us : 0;
    }
    if (r->flap_every_us > 0) {
        bool cut = since_us % r->flap_every_us >= r->flap_every_us - r->flap_cut_us;
        if (cut != p->cut) {
            link_do(r, cut ? "cut 1" : "heal 1");
            p->cut = cut;
        }
    }
}

/* Returns when the edge was equal, UINT64_MAX when it was not before the limit. p may be NULL. */
static uint64_t wait_equal(const struct run *r, uint64_t from_us, struct progress *p)
{
    redisContext *c = NULL;
    uint64_t equal_us = UINT64_MAX;
    while (equal_us == UINT64_MAX && now_us() - from_us < r->limit_us) {
        if (p != NULL) {
            progress_look(r, p, now_us() - from_us);
        }
        uint64_t start = now_us();
        if (last_is_there(r, &c) && sweep(r, &c)) {
            equal_us = start;
        } else {
            sleep_us(POLL_US);
        }
    }
    if (c != NULL) {
        redisFree(c);
    }
    return equal_us;
}

/* ---- the reader ---- */

static void *reader_main(void *arg)
{
    struct reader *d = arg;
    redisContext *c = NULL;
    uint64_t x = 1;
    while (!d->stop) {
        char key[KEY_BYTES + 1];
        make_key(mix(x++) % d->run->keys, key);
        uint64_t start = now_us();
        redisReply *r = ask_edge(&c, d->run->edge, key);
        uint64_t took = now_us() - start;
        d->reads++;
        d->failed +=
            r == NULL || r->type != REDIS_REPLY_STRING || took > READ_PATIENCE_S * 1000000u;
        d->slow += took > READ_SLOW_US;
        d->worst_us = took > d->worst_us ? took : d->worst_us;
        if (r != NULL) {
            freeReplyObject(r);
        }
        if (took < READ_EVERY_US) {
            sleep_us(READ_EVERY_US - took);
        }
    }
    if (c != NULL) {
        redisFree(c);
    }
    return NULL;
}

/* ---- runs ---- */

/* The writes, evenly over the time of the cut, to keys drawn from the distinct ones. */
static void write_all(struct run *r)
{
    redisContext *c = try_dial(r->core, 60);
    uint64_t key[WINDOW];
    uint32_t version[WINDOW];
    uint64_t start = now_us();
    uint64_t draw = start;
    if (c == NULL) {
        die(r->core, "no server");
    }
    for (uint64_t i = 0; i < r->writes; i += WINDOW) {
        unsigned n = r->writes - i < WINDOW ? (unsigned)(r->writes - i) : WINDOW;
        uint64_t due = start + (uint64_t)((double)i / (double)r->writes * (double)r->cut_us);
        uint64_t now = now_us();
        if (now < due) {
            sleep_us(due - now);
        }
        for (unsigned j = 0; j < n; j++) {
            /* The first pass meets each once, so that just as many change as were asked for. */
            uint64_t any = i + j < r->distinct ? (i + j) * STRIDE : mix(draw++);
            key[j] = any % r->distinct;
            version[j] = ++r->version[key[j]];
            r->last_key = key[j];
        }
        write_window(c, key, version, n);
    }
    redisFree(c);
    uint64_t took = now_us() - start;
    printf("written_per_s %.0f\n", (double)r->writes * 1e6 / (double)took);
    if (took < r->cut_us) {
        sleep_us(r->cut_us - took);
    }
}

static void apply_profile(const struct run *r)
{
    char line[400];
    if (*r->profile != '\0') {
        snprintf(line, sizeof(line), "set 1 %s", r->profile);
        link_do(r, line);
    }
}

static int report(const struct run *r, uint64_t from_us, uint64_t equal_us,
                  const struct progress *p)
{
    struct wire after = wire_read(r);
    printf("down_bytes %" PRIu64 "\nup_bytes %" PRIu64 "\noverrun %" PRIu64 "\n",
           after.down - p->before.down, after.up - p->before.up, after.overrun);
    printf("first_s %.2f\nflows_s %.2f\n", (double)p->first_us / 1e6, (double)p->flows_us / 1e6);
    if (equal_us == UINT64_MAX) {
        printf("equal_s never\n");
        return 1;
    }
    printf("equal_s %.3f\n", (double)(equal_us - from_us) / 1e6);
    return 0;
}

static int run_cut(struct run *r)
{
    struct reader d = {.run = r};
    pthread_t thread;
    apply_profile(r);
    if (pthread_create(&thread, NULL, reader_main, &d) != 0) {
        die("pthread_create", "failed");
    }
    sleep_us(2000000); /* connections find their pace on the link as it now is */
    uint64_t cut_at = now_us();
    link_do(r, "cut 1");
    write_all(r);
    struct progress p = {.before = wire_read(r)};
    uint64_t healed = now_us();
    link_do(r, "heal 1");
    printf("cut_s %.1f\n", (double)(healed - cut_at) / 1e6);
    uint64_t equal = wait_equal(r, healed, &p);
    d.stop = true;
    (void)pthread_join(thread, NULL);
    printf("reads %" PRIu64 "\nreads_failed %" PRIu64 "\nreads_slow %" PRIu64
           "\nread_worst_ms %.1f\n",
           d.reads, d.failed, d.slow, (double)d.worst_us / 1000);
    uint64_t changed = 0;
    for (uint64_t i = 0; i < r->keys; i++) {
        changed += r->version[i] > 0;
    }
    print_floor(r, changed);
    return report(r, healed, equal, &p);
}

/* The link has the profile already, and the counters begin at 0: the edge was started just now. */
static int run_join(struct run *r)
{
    struct timespec t;
    struct progress p = {0};
    clock_gettime(CLOCK_REALTIME, &t);
    double ago = (double)t.tv_sec + (double)t.tv_nsec / 1e9 - r->since;
    uint64_t from = now_us() - (uint64_t)(ago * 1e6);
    uint64_t equal = wait_equal(r, from, &p);
    print_floor(r, r->keys);
    return report(r, from, equal, &p);
}

static uint64_t seconds(const char *text)
{
    return (uint64_t)(strtod(text, NULL) * 1e6);
}

static void parse(int argc, char **argv, struct run *r)
{
    enum { KEYS = 256, DISTINCT, WRITES, CUT, FLAP, LIMIT, PROFILE, SINCE };
    static const struct option longs[] = {
        {"keys", 1, NULL, KEYS},       {"distinct", 1, NULL, DISTINCT}, {"writes", 1, NULL, WRITES},
        {"cut", 1, NULL, CUT},         {"flap", 1, NULL, FLAP},         {"limit", 1, NULL, LIMIT},
        {"profile", 1, NULL, PROFILE}, {"since", 1, NULL, SINCE},       {NULL, 0, NULL, 0}};
    const char *slash;
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case KEYS:
            r->keys = strtoull(optarg, NULL, 10);
            break;
        case DISTINCT:
            r->distinct = strtoull(optarg, NULL, 10);
            break;
        case WRITES:
            r->writes = strtoull(optarg, NULL, 10);
            break;
        case CUT:
            r->cut_us = seconds(optarg);
            break;
        case FLAP: /* CUT/EVERY, in seconds */
            slash = strchr(optarg, '/');
            r->flap_cut_us = seconds(optarg);
            r->flap_every_us = slash == NULL ? 0 : seconds(slash + 1);
            break;
        case LIMIT:
            r->limit_us = seconds(optarg);
            break;
        case PROFILE:
            r->profile = optarg;
            break;
        case SINCE:
            r->since = strtod(optarg, NULL);
            break;
        default:
            exit(2); /* getopt has said why */
        }
    }
    if (r->keys == 0 || r->distinct == 0 || r->distinct > r->keys || r->writes < r->distinct) {
        die("options", "1 <= distinct <= keys, and writes >= distinct");
    }
}

int main(int argc, char **argv)
{
    struct run r = {.control = getenv("HF_WAN_CONTROL"),
                    .profile = "",
                    .keys = 20000,
                    .distinct = 20000,
                    .writes = 200000,
                    .cut_us = 20000000,
                    .limit_us = 300000000};
    const char *mode = argc >= 4 ? argv[1] : "";
    if (strcmp(mode, "fill") == 0) {
        fill(argv[2], strtoull(argv[3], NULL, 10));
        return 0;
    }
    if (strcmp(mode, "equal") == 0 && argc == 5) {
        r.keys = r.distinct = strtoull(argv[4], NULL, 10);
    } else if (strcmp(mode, "cut") == 0 || strcmp(mode, "join") == 0) {
        parse(argc - 3, argv + 3, &r);
    } else {
        fprintf(stderr, "usage: catchup fill|equal|cut|join CORE EDGE... (see catchup.sh)\n");
        return 2;
    }
    r.core = argv[2];
    r.edge = argv[3];
    r.version = calloc(r.keys, sizeof(*r.version));
    r.last_key = r.keys - 1;
    if (r.version == NULL || (*mode != 'e' && r.control == NULL)) {
        die("catchup", "no memory, or not under holdfast-sim link");
    }
    if (*mode == 'e') {
        return wait_equal(&r, now_us(), NULL) == UINT64_MAX;
    }
    return *mode == 'c' ? run_cut(&r) : run_join(&r);
}
