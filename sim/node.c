/*
 * node.c - the life of a node: start on its directory, crash at any event, start again.
 *
 * A crash loses what was not durable: work of the writer lane that had not run, the core's open
 * LMDB transaction, everything in memory. The core may also find a torn write behind its last
 * synced byte.
 */
#include "sim/sim.h"

#include "hf/doctor.h"

#include "sim/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

sim_us node_disk_well(const struct node *n)
{
    return n->index == SIM_CORE ? SIM_DISK_WELL : n->sim->limits.edge_disk;
}

void node_init(struct sim *sim, uint32_t index, const char *name)
{
    struct node *n = &sim->node[index];
    uint8_t seed[32];
    memset(n, 0, sizeof(*n));
    n->sim = sim;
    n->index = index;
    n->disk = node_disk_well(n);
    net_init(sim, n);
    snprintf(n->name, sizeof(n->name), "%s", name);
    snprintf(n->dir, sizeof(n->dir), "%s/%.63s", sim->root, name);
    rng_seed(&n->rng, sim->opt.seed, 1000 + index);
    rng_fill(&n->rng, seed, sizeof(seed));
    HF_ASSERT(hf_identity_from_seed(&n->id, seed) == HF_OK);
    bool remember = (sim->opt.faults >> FAULT_POWER_CUT & 1u) != 0;
    n->disk_io = disk_new(sim->opt.seed * 1000 + index, remember);
    HF_ASSERT(mkdir(n->dir, 0700) == 0 || errno == EEXIST);
    world_init(n);
}

void node_free(struct node *n)
{
    net_free(n);
    hf_identity_free(&n->id);
    free(n->held);
    disk_free(n->disk_io);
}

struct node *node_named(struct sim *sim, const char *name)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        if (strcmp(sim->node[i].name, name) == 0) {
            return &sim->node[i];
        }
    }
    return NULL;
}

/* A store on a disk in trouble may refuse; then somebody starts the daemon again and again. */
static bool not_open(struct sim *sim, struct node *n, const struct hf_error *e)
{
    if (!disk_in_trouble(n->disk_io)) {
        violate(sim, "G9: %s does not open: %s", n->name, e->text);
        return false;
    }
    sim_trace(sim, n, "node: does not open: %s", hf_err_name(e->code));
    struct event *again = sim_at(sim, sim->now + SIM_S, EV_FAULT, n->index);
    again->life = UINT32_MAX;
    again->a = fault_end_of_crash();
    return false;
}

static bool start_core(struct sim *sim, struct node *n)
{
    char dir[300];
    char mark[300];
    struct hf_error e = {.code = HF_OK};
    snprintf(dir, sizeof(dir), "%s/main", n->dir);
    snprintf(mark, sizeof(mark), "%s/main.mark", n->dir);
    struct hf_core_config c = {.dir = dir,
                               .stream = "main",
                               .url = "tcp://127.0.0.1:7410",
                               .mark_path = mark,
                               .log_bytes_max = sim->opt.log_bytes,
                               .segment_bytes = 256 << 10,
                               .map_bytes = 64u << 20,
                               .single_thread = true,
                               .log_age_ms = (hf_ms)(sim->opt.log_age / SIM_MS),
                               .tombstone_ms = (hf_ms)(sim->opt.tombstone / SIM_MS),
                               .beacon_ms = (hf_ms)(sim->opt.beacon / SIM_MS),
                               .delta_batches = sim->opt.delta_batches,
                               .dictionary = true,
                               .dictionary_samples = 8 << 10,
                               .commit_changes = sim->limits.commit_changes};
    if (hf_core_open(&c, &n->world, &n->id, &n->core, &e) != HF_OK) {
        return not_open(sim, n, &e);
    }
    n->alive = true;
    oracle_core_opened(sim);
    world_init(n);
    n->world.wake_at(n, n->world.now(n));
    load_resend(sim);
    return true;
}

/* What the daemon does at its start with a store that is damaged below the records (edge/main.c):
 * what it had is gone, and nobody can hold it to that any more. */
static enum hf_err open_edge(struct node *n, const struct hf_edge_config *c, struct hf_error *e)
{
    char state[300];
    char aside[340];
    enum hf_err err = hf_edge_open(c, &n->world, &n->id, &n->edge, e);
    if (err != HF_CORRUPT || !n->shattered) {
        return err;
    }
    n->reached = 0; /* from now on, also if a failing disk lets it be set aside but not say so */
    snprintf(state, sizeof(state), "%s/state", c->dir);
    err = hf_state_set_aside(state, n->sim->now / SIM_S, aside, sizeof(aside), e);
    if (err != HF_OK) {
        return err;
    }
    sim_trace(n->sim, n, "node: damaged store is set aside");
    mark_hit(n->sim, MARK_SET_ASIDE);
    n->shattered = n->damaged = false;
    return hf_edge_open(c, &n->world, &n->id, &n->edge, e);
}

static bool start_edge(struct sim *sim, struct node *n)
{
    char dir[300];
    struct hf_token token;
    struct hf_error e = {.code = HF_OK};
    if (hf_token_parse(n->token, &token, &e) != HF_OK) {
        violate(sim, "token of %s: %s", n->name, e.text);
        return false;
    }
    snprintf(dir, sizeof(dir), "%s/main", n->dir);
    struct hf_edge_config c = {.dir = dir,
                               .version = "sim",
                               .core_key = sim->node[SIM_CORE].id.public_key,
                               .token = &token,
                               .map_bytes = 64u << 20};
    hf_replica_defaults(&c.replica);
    c.replica.hold_frames_max = sim->limits.hold_frames_max;
    c.replica.hold_bytes_max = sim->limits.hold_bytes_max;
    c.replica.fetch_max = sim->limits.fetch_max;
    c.replica.apply_frames_max = sim->limits.apply_frames_max;
    c.replica.ahead_frames_min = sim->limits.ahead_frames_min;
    c.replica.plan_batches = sim->limits.plan_batches;
    c.replica.stage_bytes = sim->limits.stage_bytes;
    c.replica.take_next = sim->limits.take_next;
    c.ctx = n;
    c.on_applied = oracle_shown;
    c.replica.collect_ms = 3000; /* often, so that it meets everything else */
    if (sim->opt.beacon > 0) {
        /* Of a month, what edges report each second is all that takes time. */
        c.replica.beacon_ms = c.replica.report_ms = (hf_ms)(sim->opt.beacon / SIM_MS);
        c.replica.collect_ms = 3 * c.replica.beacon_ms;
    }
    n->alive = true; /* open subscribes */
    if (open_edge(n, &c, &e) != HF_OK) {
        n->alive = false;
        return not_open(sim, n, &e);
    }
    conn_dial(sim, n, HF_CHANNEL_STREAM, 0);
    conn_dial(sim, n, HF_CHANNEL_CONTROL, 0);
    return true;
}

bool node_start(struct sim *sim, struct node *n)
{
    if (n->alive) {
        return true;
    }
    n->tick_at = 0;
    n->writer_free = 0;
    n->started_at = sim->now;
    n->unread_since = 0;
    n->resumed_at = 0;
    sim_trace(sim, n, "node: start");
    struct disk *before = disk_use(n->disk_io);
    bool good = n->index == SIM_CORE ? start_core(sim, n) : start_edge(sim, n);
    (void)disk_use(before);
    if (good) {
        oracle_node(sim, n);
    }
    return good;
}

/* Bytes of a write that was under way when the power went. */
static void tear_tail(struct sim *sim, const char *path, uint64_t offset)
{
    uint8_t junk[512];
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    rng_fill(&sim->rng_fault, junk, sizeof(junk));
    size_t len = (size_t)rng_between(&sim->rng_fault, 1, sizeof(junk));
    struct stat st;
    if (fstat(fd, &st) == 0 && offset + len <= (uint64_t)st.st_size &&
        pwrite(fd, junk, len, (off_t)offset) == (ssize_t)len) {
        mark_hit(sim, MARK_TORN_TAIL);
    }
    close(fd);
}

static void mark_disk(struct sim *sim, const struct node *n)
{
    struct disk_counts c = disk_counts(n->disk_io);
    sim->marks[MARK_DISK_FULL] += c.full;
    sim->marks[MARK_DISK_ERROR] += c.errors;
    sim->marks[MARK_SYNC_FAILED] += c.syncs_failed;
}

static void stop(struct sim *sim, struct node *n, bool power)
{
    if (!n->alive) {
        return;
    }
    node_resume(sim, n); /* what it was doing is cut off like everything else */
    sim_trace(sim, n, "node: crash");
    struct disk *before = disk_use(n->disk_io);
    mark_hit(sim, n->index == SIM_CORE ? MARK_CORE_CRASH : MARK_EDGE_CRASH);
    if (n->index == SIM_CORE) {
        char path[512] = "";
        uint64_t offset = 0;
        world_abandon(sim, n, false); /* hf_core_crash frees what its jobs own */
        hf_core_synced_at(n->core, path, &offset);
        hf_core_crash(n->core);
        n->core = NULL;
        (void)disk_use(NULL);
        if (rng_chance(&sim->rng_fault, 0.5)) {
            tear_tail(sim, path, offset);
        }
    } else {
        hf_edge_abandon(n->edge);
        world_abandon(sim, n, true);
        hf_edge_close(n->edge);
        n->edge = NULL;
    }
    (void)disk_use(before);
    if (power) {
        mark_hit(sim, MARK_POWER_CUT);
        sim->marks[MARK_PAGE_LOST] += disk_power_cut(n->disk_io);
    }
    mark_disk(sim, n);
    disk_keep(n->disk_io);
    n->alive = false;
    n->life++;
    net_node_gone(sim, n);
}

void node_crash(struct sim *sim, struct node *n)
{
    stop(sim, n, false);
}

void node_power_cut(struct sim *sim, struct node *n)
{
    stop(sim, n, true);
}

/* ---- a stopped process ---- */

void node_pause(struct sim *sim, struct node *n)
{
    if (n->alive && !n->paused) {
        sim_trace(sim, n, "node: pause");
        n->paused = true;
    }
}

bool node_holds(struct node *n, struct event *ev)
{
    if (!n->paused || ev->type == EV_FAULT || ev->type == EV_CHECK) {
        return false;
    }
    if (n->held_count == n->held_cap) {
        n->held_cap = n->held_cap == 0 ? 64 : 2 * n->held_cap;
        n->held = realloc(n->held, n->held_cap * sizeof(struct event *));
        HF_ASSERT(n->held != NULL);
    }
    n->held[n->held_count++] = ev;
    return true;
}

/* What waited in sockets and queues arrives now, in its order. */
void node_resume(struct sim *sim, struct node *n)
{
    if (!n->paused) {
        return;
    }
    sim_trace(sim, n, "node: resume");
    n->paused = false;
    n->resumed_at = sim->now;
    for (size_t i = 0; i < n->held_count; i++) {
        struct event *old = n->held[i];
        struct event *ev = sim_at(sim, sim->now, old->type, old->node);
        sim_us at = ev->at;
        uint64_t order = ev->order;
        /* Those that count still do. */
        if (old->type == EV_TICK && old->at == n->tick_at) {
            n->tick_at = at;
        }
        if (old->type == EV_FLOW && old->at == n->link.conn[old->a].step_at) {
            n->link.conn[old->a].step_at = at;
        }
        *ev = *old;
        ev->at = at;
        ev->order = order;
        old->bytes = NULL;
        sim_event_free(old);
    }
    n->held_count = 0;
    if (n->index == SIM_CORE) {
        load_send_waiting(sim);
    }
}

/* ---- clocks ---- */

static int64_t gained(const struct node *n)
{
    double since = (double)(n->sim->now - n->drift_from);
    return n->drift_gained + (int64_t)(since * n->drift_ppm / 1e6);
}

sim_us node_clock(const struct node *n)
{
    return (sim_us)((int64_t)n->sim->now + gained(n));
}

void node_drift(struct node *n, double ppm)
{
    n->drift_gained = gained(n);
    n->drift_from = n->sim->now;
    n->drift_ppm = ppm;
}

/* ---- backup and restore: an operator's copy of the whole directory ---- */

static char copy_from[300], copy_to[300]; /* nftw has no context argument */

static int copy_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    char to[1024];
    char buffer[65536];
    (void)ftw;
    snprintf(to, sizeof(to), "%s%s", copy_to, path + strlen(copy_from));
    if (flag == FTW_D) {
        return mkdir(to, 0700) == 0 || errno == EEXIST ? 0 : -1;
    }
    int in = open(path, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = in < 0 || out < 0 ? -1 : 1;
    while (n > 0) {
        n = read(in, buffer, sizeof(buffer));
        n = n > 0 && write(out, buffer, (size_t)n) != n ? -1 : n;
    }
    close(in);
    close(out);
    (void)st;
    return n < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void copy_tree(const char *from, const char *to)
{
    snprintf(copy_from, sizeof(copy_from), "%s", from);
    snprintf(copy_to, sizeof(copy_to), "%s", to);
    nftw(to, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    HF_ASSERT(nftw(from, copy_one, 16, FTW_PHYS) == 0);
}

/* No node's name has a blank. */
static void backup_path(const struct node *n, uint64_t number, char *out, size_t cap)
{
    snprintf(out, cap, "%s saved %" PRIu64, n->dir, number);
}

void node_save(struct sim *sim, struct node *n, uint64_t number)
{
    char to[320];
    backup_path(n, number, to, sizeof(to));
    node_crash(sim, n); /* a copy of a running store would not be one state */
    copy_tree(n->dir, to);
    for (uint32_t i = 1; i < sim->node_count; i++) {
        sim->node[i].in_backup = sim->node[i].reached > 0;
    }
    sim_trace(sim, n, "operator: backup taken");
    node_start(sim, n);
}

void node_restore(struct sim *sim, struct node *n, uint64_t number)
{
    char from[320];
    backup_path(n, number, from, sizeof(from));
    node_crash(sim, n);
    copy_tree(from, n->dir);
    sim_trace(sim, n, "operator: backup restored");
    sim->rolled_back = true;
    node_start(sim, n);
}

void node_roll_back(struct sim *sim, struct node *core, bool with_mark)
{
    char from[340];
    char to[340];
    struct hf_core_status s = {.committed = 0};
    if (core->alive) {
        hf_core_status(core->core, &s);
    }
    backup_path(core, 0, from, sizeof(from));
    snprintf(to, sizeof(to), "%s", core->dir);
    if (!with_mark) { /* which is beside the stream's directory */
        strcat(from, "/main");
        strcat(to, "/main");
    }
    node_crash(sim, core);
    load_give_up(sim);
    copy_tree(from, to);
    sim_trace(sim, core, "operator: backup restored, mark=%d", with_mark);
    mark_hit(sim, MARK_RESTORED);
    sim->rolled_back = sim->restored = sim->may_stay_apart = true;
    if (node_start(sim, core) && !with_mark) {
        oracle_mark(sim, s.committed);
    }
}

/* ---- enrolment: the operator's part, outside the network ---- */

sim_us node_joins_at(uint32_t edge)
{
    return (edge - 1) / JOINS_PER_S * SIM_S;
}

static void on_invited(void *ctx, const struct hf_admin_result *r)
{
    struct node *edge = ctx;
    if (r->code == HF_OK) {
        snprintf(edge->token, sizeof(edge->token), "%s", r->text);
        edge->invited = true;
        sim_us wait = node_joins_at(edge->index);
        if (wait == 0) {
            node_start(edge->sim, edge);
            return;
        }
        struct event *ev = sim_at(edge->sim, edge->sim->now + wait, EV_FAULT, edge->index);
        ev->life = UINT32_MAX;
        ev->a = fault_end_of_crash(); /* it starts */
    }
}

void node_invite(struct sim *sim, struct node *edge)
{
    hf_core_edge_invite(sim->node[SIM_CORE].core, edge->name, on_invited, edge);
}

static void on_revoked(void *ctx, const struct hf_admin_result *r)
{
    struct node *edge = ctx;
    struct hf_core_status s;
    hf_core_status(edge->sim->node[SIM_CORE].core, &s);
    edge->revoked |= r->code == HF_OK;
    edge->revoked_head = s.head;
}

void node_revoke(struct sim *sim, struct node *edge)
{
    if (sim->node[SIM_CORE].alive && edge->invited && !edge->revoked) {
        sim_trace(sim, edge, "operator: revoke");
        edge->revoke_asked = true;
        hf_core_edge_revoke(sim->node[SIM_CORE].core, edge->name, on_revoked, edge);
    }
}
