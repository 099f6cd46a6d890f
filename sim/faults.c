/*
 * faults.c - which faults a seed gets, when they strike, and when they end.
 *
 * Each seed enables a random subset (swarm testing: Groce et al., 2012), so that some seeds are
 * rough in one way only. Every fault that lasts schedules its own end; the liveness phase ends them
 * all.
 */
#include "sim/sim.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum fault {
    FAULT_CUT = 0,
    FAULT_ONE_WAY,
    FAULT_EDGE_CRASH,
    FAULT_CORE_CRASH,
    FAULT_REVOKE,
    FAULT_SLOW_DISK,
    FAULT_RECONNECT,
    FAULT_FORGE,
    FAULT_DAMAGE,
    FAULT_KINDS,
    /* properties of links and options; they do not strike */
    FAULT_LOSS = 16,
    FAULT_DUPLICATE,
    FAULT_REORDER,
    FAULT_CORRUPT,
    FAULT_SMALL_LOG,
};

enum { ENDS = 100, SCENARIO = 1000 }; /* event.a: kind, kind + ENDS, or a scenario line in b */

uint64_t fault_end_of_crash(void)
{
    return ENDS + FAULT_EDGE_CRASH;
}

uint64_t scenario_event(void)
{
    return SCENARIO;
}

const char *mark_name(enum mark m)
{
    static const char *const names[MARK_COUNT] = {
        "edge-crash",
        "core-crash",
        "cut",
        "one-way-cut",
        "hole-filled",
        "delta-planned",
        "snapshot-planned",
        "stage-switched",
        "stage-resumed",
        "redialled",
        "request-id-repeated",
        "message-corrupted",
        "edge-revoked",
        "dictionary",
        "content-key-missing",
        "inbox-restored",
        "core-fenced",
        "torn-tail",
        "damaged",
        "repaired",
    };
    return names[m];
}

void mark_hit(struct sim *sim, enum mark m)
{
    sim->marks[m]++;
}

static bool has(const struct sim *sim, int fault)
{
    return (sim->opt.faults >> fault & 1u) != 0;
}

static struct node *random_edge(struct sim *sim)
{
    return &sim->node[1 + rng_below(&sim->rng_fault, sim->node_count - 1)];
}

static void schedule(struct sim *sim, sim_us at, uint64_t what, uint32_t node)
{
    struct event *ev = sim_at(sim, at, EV_FAULT, node);
    ev->life = UINT32_MAX; /* faults strike whichever life the node is in */
    ev->a = what;
}

/* Mean time between strikes of each kind; a fault lasts a few seconds, some much longer. */
static const struct {
    sim_us every, lasts;
} tempo[FAULT_KINDS] = {
    [FAULT_CUT] = {20 * SIM_S, 6 * SIM_S},
    [FAULT_ONE_WAY] = {30 * SIM_S, 6 * SIM_S},
    [FAULT_EDGE_CRASH] = {20 * SIM_S, 1 * SIM_S},
    [FAULT_CORE_CRASH] = {30 * SIM_S, 1 * SIM_S},
    [FAULT_REVOKE] = {120 * SIM_S, 0},
    [FAULT_SLOW_DISK] = {30 * SIM_S, 5 * SIM_S},
    [FAULT_RECONNECT] = {10 * SIM_S, 0},
    [FAULT_FORGE] = {5 * SIM_S, 0},
    [FAULT_DAMAGE] = {20 * SIM_S, 0},
};

static void link_faults(struct sim *sim)
{
    struct link_profile *p = &sim->opt.profile;
    struct rng *r = &sim->rng_fault;
    p->delay = rng_between(r, 1 * SIM_MS, 150 * SIM_MS);
    p->jitter = rng_below(r, p->delay);
    p->loss = has(sim, FAULT_LOSS) ? (double)rng_between(r, 1, 20) / 100 : 0;
    p->duplicate = has(sim, FAULT_DUPLICATE) ? (double)rng_between(r, 1, 20) / 100 : 0;
    p->reorder = has(sim, FAULT_REORDER) ? (double)rng_between(r, 1, 20) / 100 : 0;
    p->corrupt = has(sim, FAULT_CORRUPT) ? (double)rng_between(r, 1, 50) / 1000 : 0;
}

void faults_plan(struct sim *sim)
{
    if (sim->opt.calm) {
        return;
    }
    sim->opt.faults = (uint32_t)rng_next(&sim->rng_fault);
    link_faults(sim);
    sim->opt.write_every = rng_between(&sim->rng_fault, 50 * SIM_MS, sim->opt.write_every + 1);
    /* Many keys written fast make transfers of several chunks, which can be cut in between. */
    sim->opt.keys = rng_chance(&sim->rng_fault, 0.3) ? SIM_KEYS_MAX : sim->opt.keys;
    if (sim->opt.keys == SIM_KEYS_MAX) {
        sim->opt.write_every /= 4;
    }
    if (has(sim, FAULT_SMALL_LOG)) {
        sim->opt.log_bytes = 300 << 10;
        sim->opt.delta_batches = rng_chance(&sim->rng_fault, 0.5) ? 100 : 0;
    }
    for (uint32_t f = 0; f < FAULT_KINDS; f++) {
        if (has(sim, (int)f)) {
            schedule(sim, sim->now + rng_exponential(&sim->rng_fault, tempo[f].every), f, SIM_CORE);
        }
    }
}

static void begin(struct sim *sim, uint32_t f, struct node *edge)
{
    struct node *core = &sim->node[SIM_CORE];
    sim_us end = sim->now + rng_exponential(&sim->rng_fault, tempo[f].lasts) + 1;
    if (rng_chance(&sim->rng_fault, 0.1)) {
        end += 20 * SIM_S;
    }
    switch ((enum fault)f) {
    case FAULT_CUT:
        net_cut(sim, edge, true, true);
        break;
    case FAULT_ONE_WAY:
        net_cut(sim, edge, rng_chance(&sim->rng_fault, 0.5), false);
        if (!edge->link.cut_down) {
            net_cut(sim, edge, false, true);
        }
        break;
    case FAULT_EDGE_CRASH:
    case FAULT_CORE_CRASH:
        edge = f == FAULT_CORE_CRASH ? core : edge;
        if (edge->alive && rng_chance(&sim->rng_fault, 0.5)) {
            edge->crash_at_job = true;
            return;
        }
        node_crash(sim, edge);
        break;
    case FAULT_REVOKE:
        if (edge->index > 1) { /* somebody must be left to converge */
            node_revoke(sim, edge);
        }
        return;
    case FAULT_SLOW_DISK:
        edge = rng_chance(&sim->rng_fault, 0.3) ? core : edge;
        edge->disk = 50 * SIM_MS;
        sim_trace(sim, edge, "disk: slow");
        break;
    case FAULT_RECONNECT:
        if (edge->alive) {
            net_redial(sim, edge, HF_CHANNEL_CONTROL);
        }
        return;
    case FAULT_FORGE:
        fault_forge(sim, edge);
        return;
    case FAULT_DAMAGE:
        fault_damage(sim, edge, rng_between(&sim->rng_fault, 1, 20));
        return;
    case FAULT_KINDS:
    case FAULT_LOSS:
    case FAULT_DUPLICATE:
    case FAULT_REORDER:
    case FAULT_CORRUPT:
    case FAULT_SMALL_LOG:
        HF_UNREACHABLE();
    }
    schedule(sim, end, f + ENDS, edge->index);
}

static void end(struct sim *sim, uint32_t f, struct node *n)
{
    if (f == FAULT_CUT || f == FAULT_ONE_WAY) {
        net_heal(sim, n);
    } else if (f == FAULT_SLOW_DISK) {
        n->disk = 150;
    } else if (n->index == SIM_CORE || n->invited) {
        node_start(sim, n);
    }
}

void fault_strike(struct sim *sim, struct event *ev)
{
    if (ev->a == SCENARIO) {
        scenario_strike(sim, ev->b);
        return;
    }
    if (ev->a >= ENDS) {
        end(sim, (uint32_t)ev->a - ENDS, &sim->node[ev->node]);
        return;
    }
    if (sim->quiet) {
        return;
    }
    uint32_t f = (uint32_t)ev->a;
    begin(sim, f, random_edge(sim));
    schedule(sim, sim->now + rng_exponential(&sim->rng_fault, tempo[f].every), f, SIM_CORE);
}

/* The newest frame again, for the next seq, signed by a key that nobody trusts. */
void fault_forge(struct sim *sim, struct node *edge)
{
    struct hf_frame f;
    struct hf_id stream;
    struct hf_signature sig;
    uint8_t header[HF_HEADER_MAX];
    uint8_t message[HF_MESSAGE_MAX + HF_FRAME_OVERHEAD];
    struct hf_writer h;
    struct hf_writer w;
    if (!edge->alive || !edge->link.up[HF_CHANNEL_STREAM] || sim->last_frame == NULL ||
        hf_frame_decode(hf_slice_of(sim->last_frame, sim->last_frame_len), &stream, &f) != HF_OK) {
        return;
    }
    f.h.prev = hf_chain_hash(f.header);
    f.h.seq++;
    hf_writer_init(&h, header, sizeof(header));
    hf_header_encode(&f.h, &h);
    hf_header_sign(hf_writer_bytes(&h), sim->forger.secret, &sig);
    hf_writer_init(&w, message, sizeof(message));
    hf_frame_encode(&stream, hf_writer_bytes(&h), &sig, f.body, &w);
    if (!w.failed) {
        hf_edge_on_message(edge->edge, hf_writer_bytes(&w));
    }
}

/* ---- a disk that changes what it was given ---- */

/* The bytes in front of a stored value: seq, ordinal, flags, checksum (proto/store/state.c). */
#define RECORD_HEAD 24u

/* Flips a bit of the checksum wherever the head stands: older copies of it are of no use. */
static void damage_head(const char *path, const uint8_t head[RECORD_HEAD])
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    HF_ASSERT(fd >= 0 && fstat(fd, &st) == 0);
    size_t size = (size_t)st.st_size;
    uint8_t *file = malloc(size);
    HF_ASSERT(file != NULL && pread(fd, file, size, 0) == st.st_size);
    uint8_t *at = file;
    while ((at = memmem(at, size - (size_t)(at - file), head, RECORD_HEAD)) != NULL) {
        uint8_t flipped = at[RECORD_HEAD - 1] ^ 0x10;
        HF_ASSERT(pwrite(fd, &flipped, 1, at - file + RECORD_HEAD - 1) == 1);
        at += RECORD_HEAD;
    }
    free(file);
    close(fd);
}

/* Some records that readers see, under the running process, which does not notice by itself. */
void fault_damage(struct sim *sim, struct node *edge, uint64_t count)
{
    struct hf_view *v;
    struct hf_stored s;
    char path[300];
    char key[16];
    if (!edge->alive || hf_view_open(hf_edge_state(edge->edge), &v) != HF_OK) {
        return;
    }
    snprintf(path, sizeof(path), "%s/main/state/data.mdb", edge->dir);
    for (uint64_t i = 0; i < count; i++) {
        load_key((uint32_t)rng_below(&sim->rng_fault, sim->opt.keys), key);
        if (hf_view_get(v, hf_slice_str(key), false, &s) == HF_OK) {
            uint8_t head[RECORD_HEAD];
            memcpy(head, s.value.data - RECORD_HEAD, RECORD_HEAD);
            damage_head(path, head);
            edge->damaged = true;
        }
    }
    hf_view_close(v);
    if (edge->damaged) {
        sim_trace(sim, edge, "disk: damages records");
        mark_hit(sim, MARK_DAMAGED);
    }
}

void faults_heal_all(struct sim *sim)
{
    sim->quiet = true;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct node *n = &sim->node[i];
        n->disk = 150;
        n->link.profile.loss = n->link.profile.corrupt = 0;
        n->link.profile.duplicate = n->link.profile.reorder = 0;
        net_heal(sim, n);
        if (!n->alive && (i == SIM_CORE || n->invited)) {
            node_start(sim, n);
        }
    }
}
