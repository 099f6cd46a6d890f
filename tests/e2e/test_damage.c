/*
 * test_damage.c - a disk that changed what it was given: an edge heals itself, a core refuses.
 *
 * An edge is stopped, its data file is damaged, and it is started as a supervisor would: again as
 * often as it dies, STARTS_MAX times at most. Meanwhile every key is read and every answer compared
 * with what the core has: a wrong value fails the test; a refusal or a missing key does not, but
 * must be gone in the end, when the edge has the core's digest and all of its values (G15). The
 * core rewrites all keys in each round, so damage that no start notices is met by then.
 *
 * The second and third damage the file under the running process. The fourth is the other side of
 * it: what is sound is not given up, however often the daemon is killed. Next: test_crash.c.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#include <sys/stat.h>

#define SOON_MS 15000
#define ROUNDS 12
#define STARTS_MAX 4
#define KEYS 4000
#define PER_REQUEST 200
#define PAGE 4096

struct pair {
    struct e2e_node *core_node, *edge_node;
    redisContext *core, *edge;
};

static uint64_t seed = 20; /* $HOLDFAST_SEED tries other damage */

static uint64_t random_below(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

/* ---- values ---- */

static const char *value_of(int key, int round)
{
    static char text[128];

    snprintf(text, sizeof text, "%d of round %d, %0*d", key, round, 60 + key % 40, key);
    return text;
}

static void write_all(struct pair *p, int round)
{
    static char text[PER_REQUEST][128], name[PER_REQUEST][16];
    const char *argv[1 + 2 * PER_REQUEST] = {"MSET"};

    for (int from = 0; from < KEYS; from += PER_REQUEST) {
        redisReply *r;

        for (int i = 0; i < PER_REQUEST; i++) {
            snprintf(name[i], sizeof name[i], "key-%06d", from + i);
            snprintf(text[i], sizeof text[i], "%s", value_of(from + i, round));
            argv[1 + 2 * i] = name[i];
            argv[2 + 2 * i] = text[i];
        }
        r = redisCommandArgv(p->core, 1 + 2 * PER_REQUEST, argv, NULL);
        assert_non_null(r);
        assert_int_equal(r->type, REDIS_REPLY_STATUS);
        freeReplyObject(r);
    }
}

struct tally {
    int right, older, missing, refused;
};

/* What the core had once: an edge that has not caught up serves that, and may. */
static bool is_older(int key, const char *text, int round)
{
    int of_round = -1;

    return sscanf(text, "%*d of round %d", &of_round) == 1 && of_round >= 0 && of_round < round &&
           strcmp(text, value_of(key, of_round)) == 0;
}

/* Reads all keys; `round` is the last one written at the core. False when the edge died of it. */
static bool read_all(struct pair *p, int round, struct tally *t)
{
    memset(t, 0, sizeof *t);
    for (int i = 0; i < KEYS; i++) {
        redisAppendCommand(p->edge, "GET key-%06d", i);
    }
    for (int i = 0; i < KEYS; i++) {
        void *reply = NULL;
        const redisReply *r;

        if (redisGetReply(p->edge, &reply) != REDIS_OK) {
            return false;
        }
        r = reply;
        if (r->type == REDIS_REPLY_NIL) {
            t->missing++;
        } else if (r->type == REDIS_REPLY_ERROR) {
            t->refused++;
        } else if (strcmp(r->str, value_of(i, round)) == 0) {
            t->right++;
        } else if (is_older(i, r->str, round)) {
            t->older++;
        } else {
            fail_msg("key %d was served as \"%s\" in round %d", i, r->str, round);
        }
        freeReplyObject(reply);
    }
    return true;
}

/* ---- damage ---- */

static const char *data_file(const struct e2e_node *n)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/main/state/data.mdb", n->dir);
    return path;
}

static void overwrite(int fd, off_t size, off_t bytes)
{
    static uint8_t noise[80 << 10];
    off_t at = size / 2 - bytes / 2;

    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (uint8_t)random_below(256);
    }
    assert_true(at > 2 * PAGE);
    assert_int_equal(pwrite(fd, noise, (size_t)bytes, at), bytes);
}

/* A bit in every twentieth leaf page. */
static void flip_bits(int fd, off_t size)
{
    int flipped = 0;

    for (off_t page = 2; page < size / PAGE; page++) {
        uint8_t bytes[PAGE];
        size_t at = random_below(PAGE);

        assert_int_equal(pread(fd, bytes, PAGE, page * PAGE), PAGE);
        if (bytes[10] != 2 || random_below(20) != 0) {
            continue;
        }
        bytes[at] ^= (uint8_t)(1u << random_below(8));
        assert_int_equal(pwrite(fd, bytes + at, 1, page * PAGE + (off_t)at), 1);
        flipped++;
    }
    assert_true(flipped > 0);
}

/* The length of an entry in every fifth leaf page: what LMDB moves when it writes there next
 * reaches over the end of the page, in the file or in memory. */
static void lengthen_entries(const struct e2e_node *n)
{
    int fd = open(data_file(n), O_RDWR | O_CLOEXEC);
    struct stat st;
    int changed = 0;

    assert_int_equal(fstat(fd, &st), 0);
    for (off_t page = 2; page < st.st_size / PAGE; page++) {
        uint8_t bytes[PAGE];
        size_t entry;

        assert_int_equal(pread(fd, bytes, PAGE, page * PAGE), PAGE);
        entry = bytes[16] | (size_t)bytes[17] << 8;
        if (bytes[10] != 2 || entry < 18 || entry >= PAGE || random_below(5) != 0) {
            continue;
        }
        bytes[entry] ^= 0x10;
        assert_int_equal(pwrite(fd, bytes + entry, 1, page * PAGE + (off_t)entry), 1);
        changed++;
    }
    assert_true(changed > 0);
    close(fd);
}

/* A record, found by its value, wherever copies of it lie. */
static void damage_value(const struct e2e_node *n, const char *value)
{
    static uint8_t file[8u << 20];
    int fd = open(data_file(n), O_RDWR | O_CLOEXEC);
    ssize_t size = pread(fd, file, sizeof file, 0);
    size_t len = strlen(value);
    int hits = 0;

    for (ssize_t at = 0; at + (ssize_t)len <= size; at++) {
        if (memcmp(file + at, value, len) != 0) {
            continue;
        }
        assert_int_equal(pwrite(fd, "X", 1, at), 1);
        hits++;
    }
    assert_true(hits > 0);
    close(fd);
}

/* Of each kind a few, in turn. Returns its name. */
static const char *damage(const struct e2e_node *n, int round)
{
    static const uint8_t zeros[PAGE];
    const char *what = NULL;
    int fd = open(data_file(n), O_RDWR | O_CLOEXEC);
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    switch (round % 4) {
    case 0:
        what = "80 KB overwritten";
        overwrite(fd, st.st_size, 80 << 10);
        break;
    case 1:
        what = "cut in half";
        assert_int_equal(ftruncate(fd, st.st_size / 2 / PAGE * PAGE), 0);
        break;
    case 2:
        what = "bits flipped in leaf pages";
        flip_bits(fd, st.st_size);
        break;
    case 3:
        what = "a meta page zeroed";
        assert_int_equal(pwrite(fd, zeros, PAGE, round % 8 == 3 ? 0 : PAGE), PAGE);
        break;
    }
    close(fd);
    return what;
}

/* ---- the supervisor ---- */

/* False when it ended by itself before it was ready. */
static bool start_once(struct e2e_node *n)
{
    int64_t until = e2e_now_ms() + READY_MS;
    char text[1024] = "";

    launch(n);
    while (strstr(text, "\nready\n") == NULL) {
        if (!e2e_alive(n)) {
            return false;
        }
        if (e2e_now_ms() > until) {
            fail_msg("%s is neither ready nor dead", n->name);
        }
        e2e_sleep_ms(2);
        read_file(n->out, text, sizeof text);
    }
    n->resp_port = ready_port(text, "resp ");
    return true;
}

/* The edge's applied seq, state digest and state, asked in a way that survives its death. */
static bool edge_is_equal(struct pair *p, bool *alive)
{
    struct e2e_core_status c = e2e_core_status(p->core);
    redisReply *r = redisCommand(p->edge, "HF.STATUS");
    bool equal = false;

    *alive = r != NULL;
    if (r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements >= 17) {
        equal = number_at(r, 5) == c.head && r->element[7]->type == REDIS_REPLY_STRING &&
                strcmp(r->element[7]->str, c.digest) == 0;
    }
    freeReplyObject(r);
    return equal;
}

/* Reads; lets the core write, and write again, as cores do, until the edge has it all and all is
 * right. False when the edge's process ended meanwhile. */
static bool live_through(struct pair *p, int *round, struct tally *first)
{
    int64_t until = e2e_now_ms() + SOON_MS * (E2E_SANITIZED ? 3 : 1);
    int64_t write_at = 0;
    struct tally t;
    bool alive = true;

    if (!read_all(p, *round, first)) {
        return false;
    }
    for (;;) {
        bool equal;

        if (e2e_now_ms() >= write_at) {
            write_all(p, ++*round);
            write_at = e2e_now_ms() + 2000;
        }
        equal = edge_is_equal(p, &alive);
        if (!alive || !read_all(p, *round, &t)) {
            return false;
        }
        if (equal && t.right == KEYS) {
            return true;
        }
        if (e2e_now_ms() > until) {
            fail_msg("not healed: right=%d older=%d missing=%d refused=%d", t.right, t.older,
                     t.missing, t.refused);
        }
        e2e_sleep_ms(5);
    }
}

/* The connection broke: the process died, or it has started itself anew and takes clients again. */
static bool came_back(struct pair *p)
{
    int64_t until = e2e_now_ms() + SOON_MS;

    e2e_disconnect(p->edge);
    p->edge = NULL;
    while (e2e_alive(p->edge_node) && p->edge == NULL) {
        if (e2e_now_ms() > until) {
            fail_msg("%s lives and takes no clients", p->edge_node->name);
        }
        e2e_sleep_ms(10);
        p->edge = e2e_try_connect(p->edge_node);
    }
    return p->edge != NULL;
}

/* Returns how many starts it took, those of the daemon's own included; with one that is `up`, that
 * is the first. */
static int supervise(struct pair *p, bool up, int *round, struct tally *first)
{
    for (int start = 1; start <= STARTS_MAX; start++) {
        if (!up && !start_once(p->edge_node)) {
            continue;
        }
        if (!up) {
            p->edge = e2e_try_connect(p->edge_node);
        }
        if (p->edge != NULL && live_through(p, round, first)) {
            return start;
        }
        up = p->edge != NULL && came_back(p);
    }
    fail_msg("%s was given up after %d starts", p->edge_node->name, STARTS_MAX);
    return 0;
}

/* Also when what is damaged is only met now, and the edge has to begin once more. */
static bool equal_in_the_end(struct pair *p)
{
    bool alive = p->edge != NULL;
    bool equal = alive && edge_is_equal(p, &alive);

    if (!alive && !came_back(p) && start_once(p->edge_node)) {
        p->edge = e2e_try_connect(p->edge_node);
    }
    return equal;
}

static struct pair open_pair(void)
{
    struct pair p = {.core_node = e2e_core_new("core")};

    e2e_start(p.core_node);
    p.core = e2e_connect(p.core_node);
    p.edge_node = e2e_edge_new(p.core_node, "edge", p.core_node->port);
    e2e_start(p.edge_node);
    p.edge = e2e_connect(p.edge_node);
    write_all(&p, 0);
    E2E_WAIT(SOON_MS, e2e_equal(p.core, p.edge));
    return p;
}

static int set_aside_count(const struct e2e_node *n)
{
    char path[256];
    DIR *d;
    const struct dirent *e;
    int count = 0;

    snprintf(path, sizeof path, "%s/main", n->dir);
    d = opendir(path);
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        count += strncmp(e->d_name, "state.damaged-", 14) == 0;
    }
    closedir(d);
    return count;
}

/* ---- the tests ---- */

static void damaged_edge_heals_and_never_serves_a_wrong_value(void **state)
{
    struct pair p = open_pair();
    int round = 0;

    e2e_begin(state);
    for (int i = 0; i < ROUNDS; i++) {
        struct tally first = {0};
        int64_t began = e2e_now_ms();
        const char *what;
        int starts;

        e2e_disconnect(p.edge);
        e2e_stop(p.edge_node, i % 3 == 2 ? SIGKILL : SIGTERM);
        what = damage(p.edge_node, i);
        starts = supervise(&p, false, &round, &first);
        print_message("%-27s %d starts, %lld ms; at first %d right, %d missing, %d refused\n", what,
                      starts, (long long)(e2e_now_ms() - began), first.right, first.missing,
                      first.refused);
        assert_true(e2e_equal(p.core, p.edge));
        assert_true(set_aside_count(p.edge_node) <= 1);
    }
    assert_true(e2e_logged(p.edge_node, "store: damaged, beginning with an empty one"));
    e2e_passed();
}

/* The disk changes under the running process, which cannot see it coming: it may die of the next
 * write, once, but the start after that looks at every page. */
static void structure_damaged_under_a_running_edge_does_not_end_it_again_and_again(void **state)
{
    struct pair p = open_pair();
    int round = 0;

    e2e_begin(state);
    for (int i = 0; i < ROUNDS / 2; i++) {
        struct tally first = {0};
        int starts;

        lengthen_entries(p.edge_node);
        starts = supervise(&p, true, &round, &first);
        print_message("lengths of entries changed: %d starts; at first %d right, %d missing, %d "
                      "refused\n",
                      starts, first.right, first.missing, first.refused);
        assert_in_range(starts, 1, 2); /* the one that ran, and one anew */
        E2E_WAIT(SOON_MS, equal_in_the_end(&p));
        assert_true(set_aside_count(p.edge_node) <= 1);
    }
    assert_true(e2e_logged(p.edge_node, "store: damaged, beginning with an empty one"));
    e2e_passed();
}

/* What the disk does not give back reads as damage; only a write that needs it may end the process.
 */
static void pages_lost_under_a_running_edge_are_fetched_anew(void **state)
{
    struct pair p = open_pair();
    int round = 0;

    e2e_begin(state);
    for (int i = 0; i < ROUNDS / 2; i++) {
        struct tally first = {0};
        struct stat st;

        assert_int_equal(stat(data_file(p.edge_node), &st), 0);
        assert_int_equal(truncate(data_file(p.edge_node), st.st_size / 2 / PAGE * PAGE), 0);
        int starts = supervise(&p, true, &round, &first);
        print_message("half of the file lost: %d starts; at first %d right, %d refused\n", starts,
                      first.right, first.refused);
        assert_int_equal(first.missing, 0);
        E2E_WAIT(SOON_MS, equal_in_the_end(&p));
    }
    assert_true(e2e_logged(p.edge_node, "the disk does not give a page of the state"));
    e2e_passed();
}

/* Killed under load again and again, so it is examined each second time: it must pass. */
static void sound_edge_is_examined_and_kept(void **state)
{
    struct pair p = open_pair();

    e2e_begin(state);
    for (int i = 1; i <= 8; i++) {
        struct tally t;
        int64_t applied = e2e_edge_status(p.edge).applied;

        write_all(&p, i);
        e2e_sleep_ms((int)random_below(30));
        e2e_stop(p.edge_node, SIGKILL);
        e2e_disconnect(p.edge);
        e2e_start(p.edge_node);
        p.edge = e2e_connect(p.edge_node);
        assert_true(e2e_edge_status(p.edge).applied >= applied);
        assert_true(read_all(&p, i, &t));
        assert_int_equal(t.right + t.older, KEYS);
        E2E_WAIT(SOON_MS, e2e_equal(p.core, p.edge));
    }
    assert_true(e2e_logged(p.edge_node, "store: examined, it is sound"));
    assert_false(e2e_logged(p.edge_node, "damaged"));
    assert_int_equal(set_aside_count(p.edge_node), 0);
    e2e_passed();
}

/* One value of the edge; without the core, which could heal it. */
static void stop_and_damage_the_edge(struct pair *p)
{
    e2e_disconnect(p->edge);
    e2e_stop(p->edge_node, SIGTERM);
    e2e_disconnect(p->core);
    e2e_stop(p->core_node, SIGTERM);
    damage_value(p->edge_node, value_of(17, 0));
}

/* One kill is nothing and two are looked into, whatever the store is like. Without its core the
 * edge cannot heal, and so it must not give up what it has. Nobody reads the damaged value until it
 * is healed: it is the examination that asks for the repair. */
static void edge_that_ended_twice_on_a_damaged_record_serves_the_others_and_repairs(void **state)
{
    struct pair p = open_pair();
    struct tally t = {0};

    e2e_begin(state);
    stop_and_damage_the_edge(&p);
    for (int i = 0; i < 3; i++) {
        e2e_start(p.edge_node);
        assert_true(e2e_logged(p.edge_node, "examining") == (i == 2));
        p.edge = e2e_connect(p.edge_node);
        for (int key = 0; key < KEYS; key += 100) {
            assert_string_equal(e2e_text(p.edge, "GET key-%06d", key), value_of(key, 0));
        }
        if (i < 2) {
            e2e_stop(p.edge_node, SIGKILL);
            e2e_disconnect(p.edge);
        }
    }
    assert_true(e2e_logged(p.edge_node, "store: records are damaged, repairing them"));
    assert_true(e2e_logged(p.edge_node, "does not match its checksum"));
    e2e_start(p.core_node);
    p.core = e2e_connect(p.core_node);
    E2E_WAIT(SOON_MS, e2e_logged(p.edge_node, "repaired, the digest is right"));
    assert_true(read_all(&p, 0, &t));
    assert_int_equal(t.right, KEYS);
    assert_true(e2e_equal(p.core, p.edge));
    assert_int_equal(set_aside_count(p.edge_node), 0);
    e2e_passed();
}

static void damaged_value_is_refused_and_the_others_are_served_without_a_core(void **state)
{
    struct pair p = open_pair();
    struct tally t = {0};

    e2e_begin(state);
    stop_and_damage_the_edge(&p);
    e2e_start(p.edge_node);
    p.edge = e2e_connect(p.edge_node);
    for (int i = 0; i < 2; i++) {
        assert_true(read_all(&p, 0, &t));
        assert_int_equal(t.right, KEYS - 1);
        assert_int_equal(t.refused, 1);
    }
    e2e_passed();
}

static void clean_stops_are_not_counted(void **state)
{
    struct pair p = open_pair();
    char marker[256];

    e2e_begin(state);
    snprintf(marker, sizeof marker, "%s/main.running", p.edge_node->dir);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(access(marker, F_OK), 0);
        e2e_disconnect(p.edge);
        e2e_stop(p.edge_node, SIGTERM);
        assert_int_equal(access(marker, F_OK), -1);
        e2e_start(p.edge_node);
        p.edge = e2e_connect(p.edge_node);
    }
    assert_false(e2e_logged(p.edge_node, "examin"));
    e2e_passed();
}

static void damaged_core_refuses_to_start_and_says_what_to_do(void **state)
{
    struct pair p = {.core_node = e2e_core_new("core")};
    char text[4096];
    struct stat st;

    e2e_begin(state);
    e2e_start(p.core_node);
    p.core = e2e_connect(p.core_node);
    write_all(&p, 0);
    e2e_stop(p.core_node, SIGTERM);
    damage_value(p.core_node, value_of(17, 0));
    for (int i = 0; i < 2; i++) {
        e2e_start(p.core_node);
        assert_false(e2e_logged(p.core_node, "examining"));
        e2e_stop(p.core_node, SIGKILL);
    }
    for (int i = 0; i < 2; i++) { /* refused is refused, however often it is tried */
        assert_int_equal(e2e_start_refused(p.core_node, text, sizeof text), 1);
        assert_non_null(strstr(text, "does not match its checksum"));
        assert_non_null(strstr(text, "restore it from a backup"));
        assert_non_null(strstr(text, "RUNBOOK.md"));
    }
    assert_int_equal(set_aside_count(p.core_node), 0);
    /* What does not even open is refused at once. */
    unlink(e2e_path("core/main.running"));
    assert_int_equal(stat(data_file(p.core_node), &st), 0);
    assert_int_equal(truncate(data_file(p.core_node), st.st_size / 2), 0);
    assert_int_equal(e2e_start_refused(p.core_node, text, sizeof text), 1);
    assert_non_null(strstr(text, "RUNBOOK.md"));
    e2e_passed();
}

int main(void)
{
    const char *given = getenv("HOLDFAST_SEED");
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, e2e_teardown)
        BOXED(damaged_edge_heals_and_never_serves_a_wrong_value),
        BOXED(structure_damaged_under_a_running_edge_does_not_end_it_again_and_again),
        BOXED(pages_lost_under_a_running_edge_are_fetched_anew),
        BOXED(sound_edge_is_examined_and_kept),
        BOXED(edge_that_ended_twice_on_a_damaged_record_serves_the_others_and_repairs),
        BOXED(damaged_value_is_refused_and_the_others_are_served_without_a_core),
        BOXED(clean_stops_are_not_counted),
        BOXED(damaged_core_refuses_to_start_and_says_what_to_do),
    };

    seed = given == NULL ? seed : strtoull(given, NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
