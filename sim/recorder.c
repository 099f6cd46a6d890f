/*
 * recorder.c - feeds a recording from the virtual world: samples on virtual time and whenever a
 * line of the trace says that something happened.
 *
 * It only reads: with and without a recording a seed gives the same events and the same trace hash.
 * Without one (the swarm) all that is paid is the question whether there is one. Next: record.h.
 */
#include "sim/sim.h"

#include "sim/record.h"

/* So many samples a point: what comes and goes within it is seen. */
#define SAMPLES_A_POINT 4

static hf_ms elapsed(const struct sim *sim)
{
    return (hf_ms)(sim->now / SIM_MS);
}

void recorder_begin(struct sim *sim)
{
    struct record *r = sim->opt.record;
    for (uint32_t i = 1; r != NULL && i < sim->node_count; i++) {
        uint32_t track = record_add(r, sim->node[i].name);
        HF_ASSERT(track == i);
    }
    sim->recorder.any_due = r != NULL;
}

static hf_seq core_head(const struct sim *sim)
{
    struct hf_core_status s;
    if (!sim->node[SIM_CORE].alive) {
        return sim->opt.record->track[RECORD_CORE].last.head;
    }
    hf_core_status(sim->node[SIM_CORE].core, &s);
    return s.head;
}

static void sample(struct sim *sim, uint32_t index, hf_seq head)
{
    const struct node *n = &sim->node[index];
    struct record_sample s = {.head = head,
                              .applied = n->reached,
                              .staleness_ms = RECORD_UNKNOWN,
                              .bytes_down = n->link.down.bytes,
                              .bytes_up = n->link.up.bytes,
                              .state = n->alive ? HF_REPLICA_LIVE : RECORD_NOT_RUNNING,
                              .cut_down = n->link.down.cut,
                              .cut_up = n->link.up.cut};
    if (index == SIM_CORE) {
        s.applied = head;
    } else if (n->alive) {
        struct hf_replica_status status;
        hf_edge_status(n->edge, n->world.now(sim->node + index), &status);
        s.state = (uint8_t)status.state;
        s.staleness_ms = status.staleness_ms == UINT64_MAX ? RECORD_UNKNOWN : status.staleness_ms;
    }
    record_sample(sim->opt.record, index, elapsed(sim), &s);
    sim->recorder.due[index] = false;
}

static void sample_all(struct sim *sim)
{
    hf_seq head = core_head(sim);
    for (uint32_t i = 0; i < sim->node_count; i++) {
        sample(sim, i, head);
    }
    sim_us every = (sim_us)sim->opt.record->interval_ms * SIM_MS / SAMPLES_A_POINT;
    sim->recorder.next = sim->now + every;
    sim->recorder.any_due = false;
}

void recorder_step(struct sim *sim, const struct node *n)
{
    struct recorder *to = &sim->recorder;
    if (sim->opt.record == NULL) {
        return;
    }
    if (sim->now >= to->next) {
        sample_all(sim);
        return;
    }
    bool recovering = record_is_recovering(sim->opt.record, n->index);
    if (!to->any_due && !recovering) {
        return;
    }
    hf_seq head = core_head(sim);
    for (uint32_t i = 0; i < sim->node_count; i++) {
        if (to->due[i] || (recovering && i == n->index)) {
            sample(sim, i, head);
        }
    }
    to->any_due = false;
}

void recorder_line(struct sim *sim, const struct node *n, const char *text)
{
    uint32_t index = n == NULL ? SIM_CORE : n->index;
    if (sim->opt.record == NULL || index >= sim->opt.record->track_count) {
        return; /* edges are added when all are known, and nothing happens before */
    }
    record_line(sim->opt.record, index, elapsed(sim), text);
    sim->recorder.due[index] = sim->recorder.any_due = true;
}

void recorder_end(struct sim *sim, const struct sim_result *result)
{
    struct record *r = sim->opt.record;
    if (r == NULL) {
        return;
    }
    if (r->track_count == sim->node_count && sim->now > 0) {
        sample_all(sim);
    }
    record_end(r, elapsed(sim));
    for (uint32_t i = 0; i < result->expectation_count; i++) {
        const struct sim_expectation *x = &result->expectation[i];
        record_expect(r, x->text, x->held, x->measured);
    }
    r->seed = sim->opt.seed;
    r->batches = sim->head;
    memcpy(r->violation, sim->violation, sizeof(r->violation));
    sim->opt.record = NULL; /* what tear_down does is no part of the run */
}
