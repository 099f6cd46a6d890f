/*
 * test_repair.c - an edge whose records were damaged fetches the ranges that differ, and no more.
 *
 * An edge with 100,000 keys is stopped, bytes are flipped in the values of some records, and it is
 * started again. What leads to the repair is, in turn, a change of the core that meets a damaged
 * record, a reader that does, and `holdfast repair`. In the end the edge has the core's digest and
 * every value, no snapshot was taken, and what it received is far less than a snapshot and grows
 * with the damage. A kill in the middle of it delays it, and no more. A core whose scrub meets
 * damage says so.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#define SOON_MS 30000
#define KEYS 100000
#define PER_REQUEST 500

struct pair {
    struct e2e_node *core_node, *edge_node;
    redisContext *core, *edge;
    struct e2e_hole *hole;
};

static uint64_t noise(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Half of it does not compress. */
static const char *value_of(int key)
{
    static char text[128];

    snprintf(text, sizeof text, "value %06d %016llx%016llx%016llx and so on", key,
             (unsigned long long)noise((uint64_t)key * 3 + 1),
             (unsigned long long)noise((uint64_t)key * 3 + 2),
             (unsigned long long)noise((uint64_t)key * 3 + 3));
    return text;
}

static void write_all(redisContext *core)
{
    static char text[PER_REQUEST][128], name[PER_REQUEST][16];
    const char *argv[1 + 2 * PER_REQUEST] = {"MSET"};

    for (int from = 0; from < KEYS; from += PER_REQUEST) {
        redisReply *r;

        for (int i = 0; i < PER_REQUEST; i++) {
            snprintf(name[i], sizeof name[i], "key-%06d", from + i);
            snprintf(text[i], sizeof text[i], "%s", value_of(from + i));
            argv[1 + 2 * i] = name[i];
            argv[2 + 2 * i] = text[i];
        }
        r = redisCommandArgv(core, 1 + 2 * PER_REQUEST, argv, NULL);
        assert_non_null(r);
        assert_int_equal(r->type, REDIS_REPLY_STATUS);
        freeReplyObject(r);
    }
}

static int64_t info_of(redisContext *c, const char *field)
{
    redisReply *r = redisCommand(c, "INFO");
    const char *at;
    char name[64];
    int64_t n;

    assert_non_null(r);
    snprintf(name, sizeof name, "\n%s:", field);
    at = strstr(r->str, name);
    assert_non_null(at);
    n = strtoll(at + strlen(name), NULL, 10);
    freeReplyObject(r);
    return n;
}

static struct pair open_pair(void)
{
    struct pair p = {.core_node = e2e_core_new("core")};

    e2e_start(p.core_node);
    p.core = e2e_connect(p.core_node);
    write_all(p.core);
    p.hole = e2e_hole_new(p.core_node->port);
    p.edge_node = e2e_edge_new(p.core_node, "edge", e2e_hole_port(p.hole));
    e2e_start(p.edge_node);
    p.edge = e2e_connect(p.edge_node);
    E2E_WAIT(SOON_MS, e2e_equal(p.core, p.edge));
    return p;
}

/* Flips a byte in the values of `count` records, spread over all keys, wherever copies of them lie.
 * All those of one test have an odd key, and key 1 is one of them. */
static void damage(const struct e2e_node *n, int count)
{
    static uint8_t file[128u << 20];
    char path[256];
    ssize_t size;
    int fd;
    int hits = 0;

    snprintf(path, sizeof path, "%s/main/state/data.mdb", n->dir);
    fd = open(path, O_RDWR | O_CLOEXEC);
    size = pread(fd, file, sizeof file, 0);
    assert_true(size > 0 && (size_t)size < sizeof file);
    for (uint8_t *at = file; (at = memmem(at, (size_t)(file + size - at), "value ", 6)) != NULL;
         at++) {
        char *end;
        long key = strtol((const char *)at + 6, &end, 10);

        if (end != (char *)at + 12 || (key - 1) % (KEYS / count) != 0 ||
            memcmp(at, value_of((int)key), 40) != 0) {
            continue;
        }
        assert_int_equal(pwrite(fd, "X", 1, at - file + 20), 1);
        hits++;
    }
    close(fd);
    assert_true(hits >= count);
}

static void start_damaged(struct pair *p, int count)
{
    e2e_disconnect(p->edge);
    e2e_stop(p->edge_node, SIGTERM);
    damage(p->edge_node, count);
    e2e_start(p->edge_node);
    p->edge = e2e_connect(p->edge_node);
    E2E_WAIT(SOON_MS, e2e_edge_says(p->edge, "live"));
}

/* How many of all keys have their value; a wrong one fails the test. */
static int right_values(redisContext *edge)
{
    int right = 0;

    for (int from = 0; from < KEYS; from += PER_REQUEST) {
        for (int i = 0; i < PER_REQUEST; i++) {
            redisAppendCommand(edge, "GET key-%06d", from + i);
        }
        for (int i = 0; i < PER_REQUEST; i++) {
            void *reply = NULL;
            const redisReply *r;

            assert_int_equal(redisGetReply(edge, &reply), REDIS_OK);
            r = reply;
            if (r->type == REDIS_REPLY_STRING) {
                assert_string_equal(r->str, value_of(from + i));
                right++;
            }
            freeReplyObject(reply);
        }
    }
    return right;
}

static void assert_healed(struct pair *p)
{
    E2E_WAIT(SOON_MS, e2e_equal(p->core, p->edge));
    assert_int_equal(right_values(p->edge), KEYS);
    assert_false(e2e_logged(p->edge_node, "cannot be repaired"));
    assert_false(e2e_logged(p->edge_node, "beginning with an empty one"));
}

/* ---- the tests ---- */

/* What leads to the repair: an operator, a reader, a change of the core that meets a damaged
 * record, or the scrub alone. */
static void begin_repair(struct pair *p, int how)
{
    char out[512];

    if (how == 0) {
        assert_int_equal(E2E_TOOL(p->edge_node, out, "repair"), 0);
        print_message("%s", out);
        assert_non_null(strstr(out, "1 ranges differed"));
        assert_non_null(strstr(out, "digest ok"));
    } else if (how == 1) {
        e2e_error(p->edge, "CORRUPT", "GET key-000001");
    } else if (how == 2) {
        e2e_ok(p->core, "SET key-000001 %s", "soon put back");
    }
}

static void damaged_records_are_fetched_and_nothing_else(void **state)
{
    static const int counts[] = {1, 10, 100, 200};
    struct pair p;
    uint64_t snapshot, last = 0;

    e2e_begin(state);
    p = open_pair();
    snapshot = e2e_hole_bytes(p.hole);
    print_message("all keys took %llu bytes\n", (unsigned long long)snapshot);
    for (int i = 0; i < 4; i++) {
        uint64_t bytes;
        int64_t began, ranges;

        e2e_arg_set(p.edge_node, "--scrub", i == 3 ? "10s" : "0s");
        start_damaged(&p, counts[i]);
        bytes = e2e_hole_bytes(p.hole);
        began = e2e_now_ms();
        begin_repair(&p, i);
        E2E_WAIT(SOON_MS, info_of(p.edge, "repairs") == 1);
        E2E_WAIT(SOON_MS, e2e_equal(p.core, p.edge));
        bytes = e2e_hole_bytes(p.hole) - bytes;
        ranges = info_of(p.edge, "repaired_ranges");
        print_message("%3d damaged: %llu bytes, %lld ranges, %lld ms\n", counts[i],
                      (unsigned long long)bytes, (long long)ranges,
                      (long long)(e2e_now_ms() - began));
        assert_in_range(ranges, counts[i] * 9 / 10, counts[i]);
        assert_true(bytes > last && bytes < (uint64_t)counts[i] * 8000 + 60000);
        last = bytes;
        if (i == 2) {
            e2e_ok(p.core, "SET key-000001 %s", value_of(1));
        }
        assert_healed(&p);
    }
    assert_true(last < snapshot / 4);
    e2e_passed();
}

/* Both sides are compared at one seq: keys that are written meanwhile are not taken for damaged. */
static void writes_of_the_core_do_not_look_like_damage(void **state)
{
    struct pair p;
    int64_t until, written = 0, ranges;

    e2e_begin(state);
    p = open_pair();
    start_damaged(&p, 10);
    until = e2e_now_ms() + SOON_MS;
    freeReplyObject(redisCommand(p.edge, "HF.REPAIR"));
    while (info_of(p.edge, "repairs") == 0) {
        assert_true(e2e_now_ms() < until);
        for (int i = 0; i < 50; i++) {
            int key = (int)(noise((uint64_t)++written) % (KEYS / 2)) * 2;

            e2e_ok(p.core, "SET key-%06d written-%d", key, (int)written);
        }
    }
    ranges = info_of(p.edge, "repaired_ranges");
    print_message("%lld writes meanwhile, %lld ranges\n", (long long)written, (long long)ranges);
    assert_in_range(ranges, 9, 14);
    assert_false(e2e_logged(p.edge_node, "cannot be repaired"));
    E2E_WAIT(SOON_MS, e2e_equal(p.core, p.edge));
    e2e_passed();
}

static void kill_and_start(struct pair *p)
{
    e2e_stop(p->edge_node, SIGKILL);
    e2e_disconnect(p->edge);
    e2e_start(p->edge_node);
    p->edge = e2e_connect(p->edge_node);
}

/* Over 5 KB/s, what differs cannot be there within a second. Nobody reads, writes, or scrubs
 * afterwards: it is what the store remembers that leads to the repair. Once only: after two such
 * ends in a row the store is examined and replaced. */
static void edge_killed_in_the_middle_of_a_repair_begins_it_again(void **state)
{
    struct pair p;

    e2e_begin(state);
    p = open_pair();
    e2e_arg_set(p.edge_node, "--scrub", "0s");
    start_damaged(&p, 100);
    e2e_hole_rate(p.hole, 5000);
    e2e_error(p.edge, "CORRUPT", "GET key-000001");
    E2E_WAIT(SOON_MS, e2e_logged(p.edge_node, "comparing own records with the core"));
    e2e_sleep_ms(1000);
    assert_int_equal(info_of(p.edge, "repairs"), 0);
    e2e_hole_rate(p.hole, 0);
    kill_and_start(&p);
    E2E_WAIT(SOON_MS, info_of(p.edge, "repairs") == 1);
    assert_in_range(info_of(p.edge, "repaired_ranges"), 90, 100);
    assert_healed(&p);
    e2e_stop(p.edge_node, SIGTERM); /* it is forgotten once it is healed */
    e2e_disconnect(p.edge);
    e2e_start(p.edge_node);
    p.edge = e2e_connect(p.edge_node);
    E2E_WAIT(SOON_MS, e2e_edge_says(p.edge, "live"));
    e2e_sleep_ms(1000);
    assert_int_equal(info_of(p.edge, "repairs"), 0);
    e2e_passed();
}

/* Frames cannot be applied for the damage, the core writes on, and the process is killed. */
static void edge_blocked_by_damage_under_writes_heals_over_a_kill(void **state)
{
    struct pair p;
    int64_t until, written = 0;
    bool killed = false;

    e2e_begin(state);
    p = open_pair();
    e2e_arg_set(p.edge_node, "--scrub", "0s");
    start_damaged(&p, 100);
    until = e2e_now_ms() + SOON_MS;
    e2e_hole_rate(p.hole, 2000000);
    e2e_ok(p.core, "SET key-000001 %s", "soon put back");
    while (!killed || info_of(p.edge, "repairs") == 0) {
        assert_true(e2e_now_ms() < until);
        for (int i = 0; i < 50; i++) {
            int key = (int)(noise((uint64_t)++written) % (KEYS / 2)) * 2;

            e2e_ok(p.core, "SET key-%06d %s", key, value_of(key));
            e2e_ok(p.core, "SET moving %d", (int)written);
        }
        if (!killed && e2e_logged(p.edge_node, "store: own state is damaged")) {
            assert_int_equal(info_of(p.edge, "repairs"), 0);
            kill_and_start(&p);
            killed = true;
        }
    }
    print_message("healed over a kill and %lld writes\n", (long long)written);
    e2e_hole_rate(p.hole, 0);
    e2e_ok(p.core, "SET key-000001 %s", value_of(1));
    assert_healed(&p);
    e2e_passed();
}

static void sound_edge_fetches_no_records_and_a_core_is_not_repaired(void **state)
{
    struct pair p;
    char out[512];
    uint64_t bytes;

    e2e_begin(state);
    p = open_pair();
    bytes = e2e_hole_bytes(p.hole);
    assert_int_equal(E2E_TOOL(p.edge_node, out, "repair"), 0);
    bytes = e2e_hole_bytes(p.hole) - bytes;
    print_message("%ssound: %llu bytes\n", out, (unsigned long long)bytes);
    assert_non_null(strstr(out, "compared 100000 keys, 0 ranges differed, 0 records fetched"));
    assert_true(bytes < 20000);
    assert_int_equal(E2E_TOOL(p.core_node, out, "repair"), 1);
    e2e_error(p.core, "ERR a core has nobody", "HF.REPAIR");
    e2e_passed();
}

/* Nobody can repair it; its operator must know before a replay or a new edge meets it. */
static void core_whose_scrub_meets_damage_raises_an_alarm(void **state)
{
    struct pair p = {.core_node = e2e_core_new("core")};

    e2e_begin(state);
    e2e_start(p.core_node);
    p.core = e2e_connect(p.core_node);
    write_all(p.core);
    e2e_disconnect(p.core);
    e2e_stop(p.core_node, SIGTERM);
    damage(p.core_node, 200);
    e2e_arg_set(p.core_node, "--scrub", "10s");
    e2e_start(p.core_node);
    p.core = e2e_connect(p.core_node);
    E2E_WAIT(SOON_MS, info_of(p.core, "scrub_errors") > 0);
    assert_true(e2e_logged(p.core_node, "scrub: records do not match their checksums"));
    e2e_ok(p.core, "SET another value"); /* it goes on */
    e2e_stop(p.core_node, SIGTERM);
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(damaged_records_are_fetched_and_nothing_else, e2e_setup,
                                        e2e_teardown),
        cmocka_unit_test_setup_teardown(writes_of_the_core_do_not_look_like_damage, e2e_setup,
                                        e2e_teardown),
        cmocka_unit_test_setup_teardown(edge_killed_in_the_middle_of_a_repair_begins_it_again,
                                        e2e_setup, e2e_teardown),
        cmocka_unit_test_setup_teardown(edge_blocked_by_damage_under_writes_heals_over_a_kill,
                                        e2e_setup, e2e_teardown),
        cmocka_unit_test_setup_teardown(core_whose_scrub_meets_damage_raises_an_alarm, e2e_setup,
                                        e2e_teardown),
        cmocka_unit_test_setup_teardown(sound_edge_fetches_no_records_and_a_core_is_not_repaired,
                                        e2e_setup, e2e_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
