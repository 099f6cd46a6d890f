/*
 * lost.c - what a disk may hold after a power cut, far more of it than power.c meets: of all that
 * was written and not yet synced, any part may be there, in any order, and torn.
 *
 * A core takes writes while libholdfast-faults.so records each call that changes its files. Then,
 * --count times: a moment of that record is drawn, a disk is made as it may have been then, a core
 * is started on it and must have all that was acknowledged before that moment, and of the rest a
 * beginning: no write without the one before it, none in part. With --node edge the files are those
 * of an edge, which says by WAIT what it has; it is started on its disk without a core.
 *
 * The disk: what a sync has covered is there. Of the other writes a third is there, a third is not,
 * and of a third only some sectors of 512 bytes; so with the write that was under way. Names (files
 * that were made, renamed, removed) come in order, as with a journal, up to at least what a sync of
 * them or of their directory has covered. What the library does not see (record.h) is as at the
 * beginning.
 *
 * --control yes is the test of this test: as if no sync had covered anything. Most disks must then
 * be found out.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"
#include "sim/preload/record.h"
#include "tests/reliability/daemons.h"

#define WRITES 300u
#define VALUE_BYTES 6000u
#define SECTOR 512u
#define OPS_MAX (1u << 16)
#define NAMES_MAX 256u
#define NAME_BYTES 128u
#define CONTROL_MIN 80u /* percent of the control's disks; early ones have nothing to lose */

static struct campaign_option options[] = {
    {"--node", "core", "whose disk: core or edge", NULL},
    {"--control", "no", "yes: as if no sync had covered anything, which must be noticed", NULL},
    {NULL, NULL, NULL, NULL},
};

struct op {
    struct hf_recorded r;
    unsigned name, to; /* of names[]; `to` of a rename, else the same */
    const uint8_t *data;
    uint64_t end; /* where the record ends */
    bool durable; /* at the moment that is drawn */
};

static struct campaign campaign;
static struct e2e_node *core_node, *edge_node, *victim;
static struct fault_page page;
static char names[NAMES_MAX][NAME_BYTES];
static unsigned parent_of[NAMES_MAX], name_count;
static struct op ops[OPS_MAX];
static size_t op_count;
static uint64_t acked_at[WRITES + 1]; /* bytes of the record when write i was answered */
static bool control, at_edge;
static uint64_t done, acked_sum, found_out, bad;

/* ---- the record ---- */

static unsigned name_id(const char *name)
{
    for (unsigned i = 0; i < name_count; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    assert_true(name_count < NAMES_MAX && strlen(name) < NAME_BYTES);
    unsigned id = name_count++;
    char parent[NAME_BYTES];
    snprintf(names[id], NAME_BYTES, "%s", name);
    snprintf(parent, sizeof(parent), "%s", name);
    char *slash = strrchr(parent, '/');
    parent[slash == NULL ? 0 : slash - parent] = '\0';
    parent_of[id] = name[0] == '\0' ? id : name_id(parent);
    return id;
}

static void load_record(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0);
    const uint8_t *all = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_true(all != MAP_FAILED);
    close(fd);
    for (size_t at = 0; at + sizeof(struct hf_recorded) <= (size_t)st.st_size;) {
        struct op *o = &ops[op_count++];

        assert_true(op_count < OPS_MAX);
        memcpy(&o->r, all + at, sizeof(o->r));
        const char *name = (const char *)all + at + sizeof(o->r);
        bool is_write = o->r.kind == HF_RECORDED_WRITE || o->r.kind == HF_RECORDED_DSYNC;
        o->name = o->to = name_id(name);
        if (o->r.kind == HF_RECORDED_RENAME) {
            o->to = name_id(name + strlen(name) + 1);
        }
        o->data = (const uint8_t *)name + o->r.name_bytes;
        at += sizeof(o->r) + o->r.name_bytes + (is_write ? o->r.bytes : 0);
        o->end = at;
        assert_true(at <= (size_t)st.st_size);
    }
}

static bool is_of_names(const struct op *o)
{
    return o->r.kind >= HF_RECORDED_MAKE;
}

/* ---- a disk at a moment ---- */

/* Marks what is durable after the first `cut` operations; returns how many of them have certainly
 * had their effect on names. */
static size_t mark_durable(size_t cut)
{
    size_t names_until = 0;

    for (size_t i = 0; i < cut; i++) {
        ops[i].durable = false;
    }
    for (size_t s = 0; s < cut && !control; s++) {
        const struct op *sync = &ops[s];
        bool dsync = sync->r.kind == HF_RECORDED_DSYNC;

        if (sync->r.kind != HF_RECORDED_SYNC && !dsync) {
            continue;
        }
        ops[s].durable = true;
        for (size_t i = 0; i < s && (dsync || ops[i].end <= sync->r.covers); i++) {
            if (is_of_names(&ops[i])) {
                bool covered = ops[i].to == sync->name || parent_of[ops[i].to] == sync->name;
                names_until = covered && i + 1 > names_until ? i + 1 : names_until;
            } else if (ops[i].name == sync->name && !dsync) {
                ops[i].durable = true;
            }
        }
    }
    return names_until;
}

static const char *path_of(unsigned name)
{
    static char path[2][400];
    static unsigned at;

    at = 1 - at;
    snprintf(path[at], sizeof(path[at]), "%s/%s", victim->dir, names[name]);
    return path[at];
}

static void apply_name(const struct op *o)
{
    switch (o->r.kind) {
    case HF_RECORDED_MAKE:
        close(open(path_of(o->name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        break;
    case HF_RECORDED_RENAME:
        (void)!rename(path_of(o->name), path_of(o->to));
        break;
    case HF_RECORDED_REMOVE:
        (void)!remove(path_of(o->name));
        break;
    default:
        (void)!mkdir(path_of(o->name), 0700);
        break;
    }
}

static void write_sectors(int fd, const struct op *o, bool torn)
{
    for (uint64_t at = 0; at < o->r.bytes;) {
        uint64_t end = (o->r.at + at) / SECTOR * SECTOR + SECTOR - o->r.at;
        uint64_t n = (end < o->r.bytes ? end : o->r.bytes) - at;

        if (!torn) {
            n = o->r.bytes;
        }
        if (!torn || campaign_random_below(&campaign, 2) == 0) {
            assert_int_equal(pwrite(fd, o->data + at, n, (off_t)(o->r.at + at)), (ssize_t)n);
        }
        at += n;
    }
}

static void apply_data(const struct op *o, bool torn)
{
    int fd = open(path_of(o->name), O_WRONLY | O_CLOEXEC);

    if (fd < 0) {
        return; /* its name is not there either */
    }
    if (o->r.kind == HF_RECORDED_SIZE) {
        assert_int_equal(ftruncate(fd, (off_t)o->r.at), 0);
    } else if (o->r.kind == HF_RECORDED_ALLOCATE) {
        (void)!posix_fallocate(fd, (off_t)o->r.at, (off_t)o->r.bytes);
    } else if (o->r.kind != HF_RECORDED_SYNC) {
        write_sectors(fd, o, torn);
    }
    close(fd);
}

static void make_disk(size_t cut)
{
    char aside[160];
    size_t names_until = mark_durable(cut);

    snprintf(aside, sizeof(aside), "%s.aside", victim->dir);
    copy_tree(aside, victim->dir);
    names_until += campaign_random_below(&campaign, cut - names_until + 1);
    for (size_t i = 0; i < cut; i++) {
        const struct op *o = &ops[i];
        uint64_t fate = o->durable ? 1 : campaign_random_below(&campaign, 3);

        if (is_of_names(o)) {
            if (i < names_until) {
                apply_name(o);
            }
        } else if (fate > 0) {
            apply_data(o, fate == 2);
        }
    }
    if (cut < op_count && !is_of_names(&ops[cut])) {
        apply_data(&ops[cut], true);
    }
}

/* ---- what a daemon makes of it ---- */

static void fill_value(char *value, unsigned i)
{
    uint64_t x = i + 1;

    for (size_t at = 0; at < VALUE_BYTES; at++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        value[at] = (char)('!' + (x >> 33) % 90);
    }
}

/* 1 there and right, 0 absent, -1 anything else. */
static int look(redisContext *c, unsigned i)
{
    static char want[VALUE_BYTES];
    redisReply *r = redisCommand(c, "GET a-%u", i);
    int found = -1;

    fill_value(want, i);
    if (r != NULL && r->type == REDIS_REPLY_NIL) {
        found = 0;
    } else if (r != NULL && r->type == REDIS_REPLY_STRING && r->len == VALUE_BYTES &&
               memcmp(r->str, want, VALUE_BYTES) == 0) {
        found = 1;
    }
    freeReplyObject(r);
    return found;
}

/* All that was acknowledged, and of the rest a beginning. */
static bool holds(unsigned acked)
{
    redisContext *c = e2e_connect(victim);
    int before = 1;
    bool good = true;

    if (!at_edge) {
        e2e_ok(c, "SET probe 1"); /* who has written sees all that was written before */
    }
    for (unsigned i = 1; i <= WRITES && good; i++) {
        int found = look(c, i);

        good = found >= 0 && found <= before && (i > acked || found == 1);
        before = found;
        if (!good && !control) {
            fprintf(stderr, "lost: write %u of %u acknowledged ones is %s\n", i, acked,
                    found == 0 ? "gone" : "there without the one before it, or wrong");
        }
    }
    e2e_disconnect(c);
    return good;
}

static bool one_disk(void)
{
    size_t cut = (size_t)campaign_random_below(&campaign, op_count + 1);
    unsigned acked = 0;
    int status;

    while (acked < WRITES && cut > 0 && acked_at[acked + 1] <= ops[cut - 1].end) {
        acked++;
    }
    acked_sum += acked;
    make_disk(cut);
    unlink(victim->err);
    launch(victim);
    bool good = came_up(victim, &status) == DAEMON_LIVES;
    if (!good && !control) {
        fprintf(stderr, "lost: the daemon does not start on the disk of moment %zu\n", cut);
        show_log(victim);
    }
    good = good && holds(acked);
    e2e_stop(victim, SIGKILL);
    return good;
}

/* ---- the campaign ---- */

/* Stops the daemon, keeps its directory for later, and has it go on with its calls recorded. */
static void record_from_now(const char *record)
{
    char aside[160];
    int status;

    e2e_stop(victim, SIGTERM);
    snprintf(aside, sizeof(aside), "%s.aside", victim->dir);
    copy_tree(victim->dir, aside);
    fault_page_new(&page, "faults");
    fault_page_clear(&page);
    setenv("HF_FAULTS_RECORD", record, 1);
    launch_with_faults(victim, &page);
    unsetenv("HF_FAULTS_RECORD");
    assert_int_equal(came_up(victim, &status), DAEMON_LIVES);
}

static void write_all(const char *record)
{
    struct stat st;
    static char value[VALUE_BYTES];
    redisContext *c = e2e_connect(core_node);

    for (unsigned i = 1; i <= WRITES; i++) {
        fill_value(value, i);
        redisReply *r = redisCommand(c, "SET a-%u %b", i, value, (size_t)VALUE_BYTES);
        assert_true(r != NULL && r->type == REDIS_REPLY_STATUS);
        freeReplyObject(r);
        if (at_edge) {
            assert_int_equal(e2e_integer(c, "WAIT 1 %d", SETTLE_MS), 1);
        }
        assert_int_equal(stat(record, &st), 0);
        acked_at[i] = (uint64_t)st.st_size;
    }
    e2e_disconnect(c);
}

static void write_and_record(const char *record)
{
    core_node = victim = e2e_core_new("core");
    e2e_config(core_node, SMALL_SEGMENTS);
    e2e_start(core_node);
    if (at_edge) {
        edge_node = victim = e2e_edge_new(core_node, "edge", core_node->port);
        e2e_start(edge_node);
        redisContext *at[2] = {e2e_connect(core_node), e2e_connect(edge_node)};
        e2e_ok(at[0], "SET first 1");
        wait_settled(at[0], at[1]);
        e2e_disconnect(at[0]);
        e2e_disconnect(at[1]);
    }
    record_from_now(record);
    write_all(record);
    e2e_sleep_ms(200); /* the last commit of the state */
    e2e_stop(victim, SIGKILL);
    if (at_edge) {
        e2e_stop(core_node, SIGKILL); /* or it would heal what is lost */
    }
}

static void all_disks(void **state)
{
    char record[160];

    e2e_begin(state);
    alarm(CAMPAIGN_SECONDS_MAX);
    snprintf(record, sizeof(record), "%s", e2e_path("record"));
    write_and_record(record);
    load_record(record);
    for (; done < campaign.count; done++) {
        bool good = one_disk();

        found_out += control && !good;
        bad += !control && !good;
        campaign_progress(&campaign, done + 1);
    }
    assert_int_equal(bad, 0);
    assert_true(!control || found_out * 100 >= done * CONTROL_MIN);
    e2e_passed();
}

static int finish(void **state)
{
    campaign_set(&campaign, "count", done);
    campaign_set(&campaign, "calls", op_count);
    campaign_set(&campaign, "acknowledged", acked_sum);
    campaign_set(&campaign, control ? "noticed" : "lost", control ? found_out : bad);
    return e2e_teardown(state);
}

int main(int argc, char **argv)
{
    campaign_begin(&campaign, "lost", "disks that lost, tore or reordered what was not synced", 50,
                   options, argc, argv);
    control = strcmp(campaign_option(&campaign, "--control"), "yes") == 0;
    at_edge = strcmp(campaign_option(&campaign, "--node"), "edge") == 0;
    return campaign_run(&campaign, all_disks, finish);
}
