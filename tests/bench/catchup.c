/*
 * catchup.c - how long a replica behind an emulated link takes to equal its source again.
 *
 *   catchup fill CORE KEYS              puts keys 0..KEYS-1, in windows of 100
 *   catchup equal CORE EDGE KEYS        waits until the edge has what fill wrote
 *   catchup cut CORE EDGE [options]     cuts the link, writes, heals it, waits until equal
 *   catchup join CORE EDGE [options]    waits until an edge that started --since has all
 *
 * CORE and EDGE are servers as keys.h has them, holdfast or redis-server alike; the link is edge 1
 * of $HF_WAN_CONTROL. Equal means: the last write can be read at the edge, and after that a read of
 * every key returns what was written last. The time is that of the start of the reading that found
 * all of it, taken by one clock; the servers' own word is not asked. --distinct takes a list: a cut
 * for each, one after the other, all over the same two servers.
 *
 * A reader polls random keys at the edge during all of `cut`: an error, a missing key, a closed
 * connection or more than a second is a failed read, more than 100 ms a slow one. Its times before
 * the cut are "idle", those between the heal and equality "busy".
 *
 * Prints "name value" lines for catchup.sh; a line "step DISTINCT" begins those of a cut. It must
 * not know which server it measures. Next: catchup.sh, README.md beside it.
 */
#include "tests/bench/keys.h"
#include "tests/bench/sent.h"
#include "tests/bench/wire.h"

#include "sim/wan/control.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POLL_US 5000u
#define IDLE_US 3000000u    /* connections find their pace on the link, reads are timed alone */
#define READ_EVERY_US 1000u /* 1,000 a second: of one second, ten are above the 99th percentile */
#define READ_SLOW_US 100000u
#define READ_PATIENCE_S 1
#define STRIDE UINT64_C(2147483647) /* a prime above any number of keys: a step that meets all */
#define FLOWS_BYTES 100000u         /* more than handshakes and beacons */
#define STEPS_MAX 8u

struct run {
    const char *core, *edge, *control;
    const char *profile; /* words for the control socket's "set", empty = leave as it is */
    uint64_t keys, distinct, writes;
    uint64_t step[STEPS_MAX]; /* a value of distinct for each cut */
    unsigned step_count;
    uint64_t cut_us, flap_cut_us, flap_every_us, limit_us;
    double since;      /* wall clock, for join */
    uint32_t *version; /* of each key; 0 = what fill wrote */
    uint64_t last_key;
    struct hf_sent *sent; /* owned; NULL = the kernel does not tell */
};

struct sample {
    uint64_t at_us;
    uint32_t took_us;
};

struct reader {
    const struct run *run;
    atomic_bool stop;
    uint64_t failed;
    struct sample *sample; /* owned */
    size_t count, room;
};

/* ---- the link ---- */

/* A setting of the profile, 0 when it has none. */
static double setting(const struct run *r, const char *name)
{
    const char *at = strstr(r->profile, name);
    return at == NULL ? 0 : strtod(at + strlen(name), NULL);
}

/* How long that many bytes take at the link's rate, and half a round trip. */
static double floor_s(const struct run *r, double bytes)
{
    double rate = setting(r, "rate=");
    return (rate > 0 ? bytes * 8 / (rate * 1e6) : 0) + setting(r, "rtt=") / 2000;
}

/* Keys 0 to keys-1 differ: what they are, and what is left of them when they are compressed. */
static void print_floor(const struct run *r, uint64_t keys)
{
    double bytes = (double)keys * (HF_BENCH_KEY_BYTES + HF_BENCH_VALUE_BYTES);
    double packed = (double)hf_keys_packed_bytes(r->version, keys);
    printf("changed_keys %" PRIu64 "\nfloor_bytes %.0f\nfloor_s %.2f\n", keys, bytes,
           floor_s(r, bytes));
    printf("packed_bytes %.0f\npacked_s %.3f\n", packed, floor_s(r, packed));
}

static void sent_open(struct run *r)
{
    struct hf_error e;
    int fd = -1;
    if (hf_wan_ask(r->control, "netns 0", NULL, &fd, &e) != HF_OK || fd < 0) {
        hf_keys_die("netns 0", e.text);
    }
    r->sent = hf_sent_new(fd);
    close(fd);
}

/* ---- equality ---- */

static bool last_is_there(const struct run *r, redisContext **c)
{
    redisReply *reply = hf_keys_ask(c, r->edge, r->last_key, READ_PATIENCE_S);
    bool there = hf_keys_is(reply, r->last_key, r->version[r->last_key]);
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return there;
}

/* Between two polls: what has come through the link, and the cuts of a flapping one. */
struct progress {
    struct hf_wire before;
    struct hf_sent_bytes sent_before;
    uint64_t first_us, flows_us; /* since the heal; 0 = not yet */
    bool cut;
};

static void progress_look(const struct run *r, struct progress *p, uint64_t since_us)
{
    if (p->flows_us == 0) {
        uint64_t bytes = hf_wire_read(r->control, "1").arrived - p->before.arrived;
        p->first_us = p->first_us == 0 && bytes > 0 ? since_us : p->first_us;
        p->flows_us = bytes > FLOWS_BYTES ? since_us : 0;
    }
    if (r->flap_every_us > 0) {
        bool cut = since_us % r->flap_every_us >= r->flap_every_us - r->flap_cut_us;
        if (cut != p->cut) {
            hf_wire_do(r->control, cut ? "cut 1" : "heal 1");
            p->cut = cut;
        }
    }
}

/* Returns when the edge was equal, UINT64_MAX when it was not before the limit. p may be NULL. */
static uint64_t wait_equal(const struct run *r, uint64_t from_us, struct progress *p)
{
    redisContext *c = NULL;
    uint64_t equal_us = UINT64_MAX;
    while (equal_us == UINT64_MAX && hf_now_us() - from_us < r->limit_us) {
        if (p != NULL) {
            progress_look(r, p, hf_now_us() - from_us);
        }
        uint64_t start = hf_now_us();
        if (last_is_there(r, &c) && hf_keys_all(&c, r->version, r->keys)) {
            equal_us = start;
        } else {
            hf_sleep_us(POLL_US);
        }
    }
    if (c != NULL) {
        redisFree(c);
    }
    return equal_us;
}

/* ---- the reader ---- */

static void reader_note(struct reader *d, uint64_t at_us, uint64_t took_us)
{
    if (d->count == d->room) {
        d->room = d->room == 0 ? 65536 : 2 * d->room;
        d->sample = realloc(d->sample, d->room * sizeof(*d->sample));
        if (d->sample == NULL) {
            hf_keys_die("reader", "no memory");
        }
    }
    uint32_t took = took_us > UINT32_MAX ? UINT32_MAX : (uint32_t)took_us;
    d->sample[d->count++] = (struct sample){at_us, took};
}

static void *reader_main(void *arg)
{
    struct reader *d = arg;
    redisContext *c = NULL;
    uint64_t x = 1;
    while (!d->stop) {
        uint64_t start = hf_now_us();
        redisReply *r =
            hf_keys_ask(&c, d->run->edge, hf_keys_mix(x++) % d->run->keys, READ_PATIENCE_S);
        uint64_t took = hf_now_us() - start;
        d->failed +=
            r == NULL || r->type != REDIS_REPLY_STRING || took > READ_PATIENCE_S * 1000000u;
        reader_note(d, start, took);
        if (r != NULL) {
            freeReplyObject(r);
        }
        if (took < READ_EVERY_US) {
            hf_sleep_us(READ_EVERY_US - took);
        }
    }
    if (c != NULL) {
        redisFree(c);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = ((const struct sample *)a)->took_us;
    uint32_t y = ((const struct sample *)b)->took_us;
    return (x > y) - (x < y);
}

/* Reads that began in [from, to). They are sorted where they lie, which leaves the order of time
 * of all others: parts must not overlap. */
static void print_part(struct reader *d, const char *name, uint64_t from_us, uint64_t to_us)
{
    size_t first = 0;
    while (first < d->count && d->sample[first].at_us < from_us) {
        first++;
    }
    size_t end = first;
    while (end < d->count && d->sample[end].at_us < to_us) {
        end++;
    }
    size_t n = end - first;
    if (n == 0) {
        return;
    }
    qsort(d->sample + first, n, sizeof(*d->sample), compare);
    printf("%s_reads %zu\n%s_p50_us %u\n%s_p99_us %u\n%s_worst_us %u\n", name, n, name,
           d->sample[first + n / 2].took_us, name, d->sample[first + n * 99 / 100].took_us, name,
           d->sample[end - 1].took_us);
}

static void print_reads(struct reader *d, uint64_t cut_us, uint64_t heal_us, uint64_t equal_us)
{
    uint32_t worst = 0;
    uint64_t slow = 0;
    for (size_t i = 0; i < d->count; i++) {
        uint32_t took = d->sample[i].took_us;
        slow += took > READ_SLOW_US;
        worst = took > worst ? took : worst;
    }
    printf("reads %zu\nreads_failed %" PRIu64 "\nreads_slow %" PRIu64 "\nread_worst_ms %.1f\n",
           d->count, d->failed, slow, (double)worst / 1000);
    print_part(d, "idle", 0, cut_us);
    print_part(d, "busy", heal_us, equal_us);
}

/* ---- runs ---- */

/* The writes, evenly over the time of the cut, to keys drawn from the distinct ones. */
static void write_all(struct run *r)
{
    redisContext *c = hf_keys_dial(r->core, 60);
    uint64_t key[HF_KEYS_WINDOW];
    uint32_t version[HF_KEYS_WINDOW];
    uint64_t start = hf_now_us();
    uint64_t draw = start;
    if (c == NULL) {
        hf_keys_die(r->core, "no server");
    }
    for (uint64_t i = 0; i < r->writes; i += HF_KEYS_WINDOW) {
        unsigned n = r->writes - i < HF_KEYS_WINDOW ? (unsigned)(r->writes - i) : HF_KEYS_WINDOW;
        uint64_t due = start + (uint64_t)((double)i / (double)r->writes * (double)r->cut_us);
        uint64_t now = hf_now_us();
        if (now < due) {
            hf_sleep_us(due - now);
        }
        for (unsigned j = 0; j < n; j++) {
            /* The first pass meets each once, so that just as many change as were asked for. */
            uint64_t any = i + j < r->distinct ? (i + j) * STRIDE : hf_keys_mix(draw++);
            key[j] = any % r->distinct;
            version[j] = ++r->version[key[j]];
            r->last_key = key[j];
        }
        hf_keys_write(c, key, version, n);
    }
    redisFree(c);
    uint64_t took = hf_now_us() - start;
    printf("written_per_s %.0f\n", (double)r->writes * 1e6 / (double)took);
    if (took < r->cut_us) {
        hf_sleep_us(r->cut_us - took);
    }
}

/* What TCP of the core's node was given since then, where the kernel tells. */
static void print_sent(const struct run *r, const struct hf_sent_bytes *was)
{
    struct hf_sent_bytes is;
    if (r->sent == NULL || !hf_sent_read(r->sent, &is)) {
        return;
    }
    printf("handed_bytes %" PRIu64 "\nsent_once_bytes %" PRIu64 "\nsent_again_bytes %" PRIu64
           "\nended_sockets %" PRIu64 "\n",
           is.once + is.waiting - was->once - was->waiting, is.once - was->once,
           is.again - was->again, is.ended - was->ended);
}

static int report(const struct run *r, uint64_t from_us, uint64_t equal_us,
                  const struct progress *p)
{
    struct hf_wire after = hf_wire_read(r->control, "1");
    uint64_t down = after.down - p->before.down;
    uint64_t up = after.up - p->before.up;
    printf("down_bytes %" PRIu64 "\nup_bytes %" PRIu64 "\nboth_bytes %" PRIu64 "\noverrun %" PRIu64
           "\n",
           down, up, down + up, after.overrun);
    print_sent(r, &p->sent_before);
    printf("first_s %.2f\nflows_s %.2f\n", (double)p->first_us / 1e6, (double)p->flows_us / 1e6);
    if (equal_us == UINT64_MAX) {
        printf("equal_s never\n");
        return 1;
    }
    printf("equal_s %.3f\n", (double)(equal_us - from_us) / 1e6);
    return 0;
}

static int run_step(struct run *r)
{
    struct reader d = {.run = r};
    pthread_t thread;
    printf("step %" PRIu64 "\n", r->distinct);
    if (pthread_create(&thread, NULL, reader_main, &d) != 0) {
        hf_keys_die("pthread_create", "failed");
    }
    hf_sleep_us(IDLE_US);
    uint64_t cut_at = hf_now_us();
    hf_wire_do(r->control, "cut 1");
    write_all(r);
    struct progress p = {.before = hf_wire_read(r->control, "1")};
    if (r->sent != NULL && !hf_sent_read(r->sent, &p.sent_before)) {
        hf_sent_free(r->sent);
        r->sent = NULL;
    }
    uint64_t healed = hf_now_us();
    hf_wire_do(r->control, "heal 1");
    printf("cut_s %.1f\n", (double)(healed - cut_at) / 1e6);
    uint64_t equal = wait_equal(r, healed, &p);
    int status = report(r, healed, equal, &p);
    d.stop = true;
    (void)pthread_join(thread, NULL);
    print_reads(&d, cut_at, healed, equal);
    free(d.sample);
    print_floor(r, r->distinct);
    if (p.cut) {
        hf_wire_do(r->control, "heal 1");
    }
    return status;
}

static int run_cut(struct run *r)
{
    uint64_t writes = r->writes;
    char line[400];
    if (*r->profile != '\0') {
        snprintf(line, sizeof(line), "set 1 %s", r->profile);
        hf_wire_do(r->control, line);
    }
    sent_open(r);
    for (unsigned i = 0; i < r->step_count; i++) {
        r->distinct = r->step[i];
        r->writes = writes > r->distinct ? writes : r->distinct;
        if (run_step(r) != 0) {
            return 1;
        }
    }
    return 0;
}

/* The link has the profile already, and the counters begin at 0: the edge was started just now. */
static int run_join(struct run *r)
{
    struct timespec t;
    struct progress p = {0};
    sent_open(r);
    clock_gettime(CLOCK_REALTIME, &t);
    double ago = (double)t.tv_sec + (double)t.tv_nsec / 1e9 - r->since;
    uint64_t from = hf_now_us() - (uint64_t)(ago * 1e6);
    uint64_t equal = wait_equal(r, from, &p);
    print_floor(r, r->keys);
    return report(r, from, equal, &p);
}

/* ---- options ---- */

static void parse_steps(struct run *r, const char *text)
{
    char *end;
    for (r->step_count = 0; *text != '\0'; text = *end == ',' ? end + 1 : end) {
        uint64_t n = strtoull(text, &end, 10);
        if (r->step_count == STEPS_MAX || n == 0 || end == text || (*end != ',' && *end != '\0')) {
            hf_keys_die("distinct", "up to 8 numbers with commas between them");
        }
        r->step[r->step_count++] = n;
    }
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
            parse_steps(r, optarg);
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
    for (unsigned i = 0; i < r->step_count; i++) {
        if (r->step[i] > r->keys) {
            hf_keys_die("options", "distinct is at most keys");
        }
    }
}

int main(int argc, char **argv)
{
    struct run r = {.control = getenv("HF_WAN_CONTROL"),
                    .profile = "",
                    .keys = 20000,
                    .step = {20000},
                    .step_count = 1,
                    .writes = 200000,
                    .cut_us = 20000000,
                    .limit_us = 300000000};
    const char *mode = argc >= 4 ? argv[1] : "";
    if (strcmp(mode, "fill") == 0) {
        hf_keys_fill(argv[2], strtoull(argv[3], NULL, 10));
        return 0;
    }
    if (strcmp(mode, "equal") == 0 && argc == 5) {
        r.keys = strtoull(argv[4], NULL, 10);
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
        hf_keys_die("catchup", "no memory, or not under holdfast-sim link");
    }
    int status = *mode == 'e'   ? wait_equal(&r, hf_now_us(), NULL) == UINT64_MAX
                 : *mode == 'c' ? run_cut(&r)
                                : run_join(&r);
    hf_sent_free(r.sent);
    free(r.version);
    return status;
}
