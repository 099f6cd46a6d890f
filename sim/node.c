/*
 * node.c - the life of a node: start on its directory, crash at any event, start again.
 *
 * A crash loses what was not durable: work of the writer lane that had not run, the core's open
 * LMDB transaction, everything in memory. The core may also find a torn write behind its last
 * synced byte.
 */
#include "sim/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void node_init(struct sim *sim, uint32_t index, const char *name)
{
    struct node *n = &sim->node[index];
    uint8_t seed[32];
    memset(n, 0, sizeof(*n));
    n->sim = sim;
    n->index = index;
    n->disk = 150;
    n->link.profile = sim->opt.profile;
    snprintf(n->name, sizeof(n->name), "%s", name);
    snprintf(n->dir, sizeof(n->dir), "%s/%.63s", sim->root, name);
    rng_seed(&n->rng, sim->opt.seed, 1000 + index);
    rng_fill(&n->rng, seed, sizeof(seed));
    HF_ASSERT(hf_identity_from_seed(&n->id, seed) == HF_OK);
    HF_ASSERT(mkdir(n->dir, 0700) == 0 || errno == EEXIST);
    world_init(n);
}

void node_free(struct node *n)
{
    hf_identity_free(&n->id);
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
                               .version = "sim",
                               .log_bytes_max = sim->opt.log_bytes,
                               .segment_bytes = 256 << 10,
                               .map_bytes = 64u << 20,
                               .single_thread = true,
                               .delta_batches = sim->opt.delta_batches,
                               .dictionary = true,
                               .dictionary_samples = 8 << 10,
                               .commit_changes = 500};
    if (hf_core_open(&c, &n->world, &n->id, &n->core, &e) != HF_OK) {
        violate(sim, "core does not open: %s", e.text);
        return false;
    }
    n->alive = true;
    oracle_core_opened(sim);
    world_init(n);
    n->world.wake_at(n, n->world.now(n));
    load_resend(sim);
    return true;
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
    c.replica.hold_frames_max = 128; /* small, so that it overflows */
    c.replica.collect_ms = 3000;     /* often, so that it meets everything else */
    n->alive = true;                 /* open subscribes */
    if (hf_edge_open(&c, &n->world, &n->id, &n->edge, &e) != HF_OK) {
        n->alive = false;
        violate(sim, "edge %s does not open: %s", n->name, e.text);
        return false;
    }
    net_dial(sim, n, HF_CHANNEL_STREAM, 2 * n->link.profile.delay + SIM_MS);
    net_dial(sim, n, HF_CHANNEL_CONTROL, 2 * n->link.profile.delay + SIM_MS);
    return true;
}

bool node_start(struct sim *sim, struct node *n)
{
    if (n->alive) {
        return true;
    }
    n->tick_at = 0;
    n->writer_free = 0;
    sim_trace(sim, n, "node: start");
    bool good = n->index == SIM_CORE ? start_core(sim, n) : start_edge(sim, n);
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

void node_crash(struct sim *sim, struct node *n)
{
    if (!n->alive) {
        return;
    }
    sim_trace(sim, n, "node: crash");
    mark_hit(sim, n->index == SIM_CORE ? MARK_CORE_CRASH : MARK_EDGE_CRASH);
    if (n->index == SIM_CORE) {
        char path[512] = "";
        uint64_t offset = 0;
        world_abandon(sim, n, false); /* hf_core_crash frees what its jobs own */
        hf_core_synced_at(n->core, path, &offset);
        hf_core_crash(n->core);
        n->core = NULL;
        if (rng_chance(&sim->rng_fault, 0.5)) {
            tear_tail(sim, path, offset);
        }
    } else {
        hf_edge_abandon(n->edge);
        world_abandon(sim, n, true);
        hf_edge_close(n->edge);
        n->edge = NULL;
    }
    n->alive = false;
    n->life++;
    net_node_gone(sim, n);
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

void node_save(struct sim *sim, struct node *n)
{
    char to[300];
    snprintf(to, sizeof(to), "%s.saved", n->dir);
    node_crash(sim, n); /* a copy of a running store would not be one state */
    copy_tree(n->dir, to);
    sim_trace(sim, n, "operator: backup taken");
    node_start(sim, n);
}

void node_restore(struct sim *sim, struct node *n)
{
    char from[300];
    snprintf(from, sizeof(from), "%s.saved", n->dir);
    node_crash(sim, n);
    copy_tree(from, n->dir);
    sim_trace(sim, n, "operator: backup restored");
    sim->rolled_back = true;
    node_start(sim, n);
}

/* ---- enrolment: the operator's part, outside the network ---- */

static void on_invited(void *ctx, const struct hf_admin_result *r)
{
    struct node *edge = ctx;
    if (r->code == HF_OK) {
        snprintf(edge->token, sizeof(edge->token), "%s", r->text);
        edge->invited = true;
        node_start(edge->sim, edge);
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
        hf_core_edge_revoke(sim->node[SIM_CORE].core, edge->name, on_revoked, edge);
    }
}
