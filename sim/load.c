/*
 * load.c - the clients of a simulation, and the model of what the state must be at every seq.
 *
 * Every write carries a request id and is sent again after a core crash until it is answered, so
 * each one has exactly one seq in the end (G5), and the value of a key at seq n is known as soon as
 * no write to that key is open. What is written, and when, workload.h says.
 *
 * Random clients whose turn finds too many writes open go away; what a timeline orders (so many
 * writes, a release and its roll-back) waits instead, and is sent as the core answers.
 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>

#define WRITES_MAX 64u
#define CHANGES_MAX SCRIPT_CHANGES_MAX
/* When a client tries again what the core refused for now. */
#define REFUSED_AGAIN (200 * SIM_MS)

struct pending_write {
    struct hf_write w; /* first: done gets its address */
    struct sim *sim;
    bool open;
    bool sent;
    bool answered_before; /* it went out more than once */
    bool ordered;         /* by the timeline */
    bool refused;         /* once at least */
    char id[24];
    uint32_t count;
    struct hf_change change[CHANGES_MAX];
    struct workload_change drawn[CHANGES_MAX];
    char key_bytes[CHANGES_MAX][WORKLOAD_KEY_BYTES];
    uint8_t *value_bytes[CHANGES_MAX]; /* owned */
};

/* ---- model ---- */

static void model_add(struct sim *sim, uint32_t key, hf_seq seq, uint64_t value)
{
    if (oracle_forked(sim)) {
        return;
    }
    if (sim->version_count == sim->version_cap) {
        sim->version_cap = sim->version_cap == 0 ? 4096 : 2 * sim->version_cap;
        sim->versions = realloc(sim->versions, sim->version_cap * sizeof(*sim->versions));
        HF_ASSERT(sim->versions != NULL);
    }
    uint32_t at = ++sim->version_count; /* index + 1, so that 0 ends a list */
    uint32_t *link = &sim->latest[key];
    while (*link != 0 && sim->versions[*link - 1].seq > seq) {
        link = &sim->versions[*link - 1].next;
    }
    if (*link != 0 && sim->versions[*link - 1].seq == seq) {
        violate(sim, "G5: key-%06u was written twice in batch %" PRIu64, key, seq);
    }
    sim->versions[at - 1] = (struct version){.seq = seq, .value = value, .next = *link};
    *link = at;
}

bool load_expect(const struct sim *sim, uint32_t k, hf_seq n, uint64_t *value)
{
    if (sim->unsettled[k] > 0 || oracle_forked(sim)) {
        return false;
    }
    uint32_t at = sim->latest[k];
    while (at != 0 && sim->versions[at - 1].seq > n) {
        at = sim->versions[at - 1].next;
    }
    *value = at == 0 ? 0 : sim->versions[at - 1].value;
    return true;
}

/* ---- writing ---- */

static void schedule(struct sim *sim, sim_us at, enum load_event what)
{
    struct event *ev = sim_at(sim, at, EV_WRITE, SIM_CORE);
    ev->life = UINT32_MAX;
    ev->a = (uint64_t)what;
}

static void close_write(struct pending_write *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        p->sim->unsettled[p->drawn[i].key]--;
        free(p->value_bytes[i]);
    }
    p->open = false;
    p->sim->writes_open--;
    p->sim->ordered_open -= p->ordered;
    if (orders_wait(
            &p->sim->orders)) { /* there is room for one more; not now, in the core's call */
        schedule(p->sim, p->sim->now, LOAD_ORDERED);
    }
}

static void on_done(struct hf_write *w, const struct hf_write_result *r)
{
    struct pending_write *p = (struct pending_write *)w;
    struct sim *sim = p->sim;
    HF_ASSERT(p->open && p->sent);
    if (r->code == HF_BUSY || r->code == HF_FULL || r->code == HF_IO) {
        mark_hit(sim, MARK_WRITE_REFUSED);
        if (r->code != HF_BUSY) {
            sim->writes_refused += !p->refused;
            p->refused = true;
            oracle_refused(sim, r->code);
        }
        p->sent = false;
        if (!sim->resending) {
            sim->resending = true;
            schedule(sim, sim->now + REFUSED_AGAIN, LOAD_REFUSED);
        }
        return;
    }
    if (r->code != HF_OK) {
        sim_trace(sim, NULL, "client: %s refused %s", p->id, hf_err_name(r->code));
        sim->writes_refused += !p->refused;
        close_write(p);
        return;
    }
    if (r->repeated) {
        mark_hit(sim, MARK_REPEATED_ID);
        if (!p->answered_before) {
            violate(sim, "G5: first answer to %s says repeated", p->id);
        }
    }
    sim->writes_acked++;
    sim->acked = r->seq > sim->acked ? r->seq : sim->acked;
    for (uint32_t i = 0; i < p->count; i++) {
        model_add(sim, p->drawn[i].key, r->seq, p->drawn[i].value);
    }
    close_write(p);
}

static void send_write(struct sim *sim, struct pending_write *p)
{
    p->answered_before |= p->w.done != NULL;
    p->w = (struct hf_write){.change = p->change,
                             .change_count = p->count,
                             .request_id = hf_slice_str(p->id),
                             .author = hf_slice_str("sim"),
                             .reason = hf_slice_str("load"),
                             .done = on_done};
    p->sent = true;
    hf_core_write(sim->node[SIM_CORE].core, &p->w);
}

/* Makes bytes of what was drawn. */
static void fill_change(struct pending_write *p, uint32_t i)
{
    const struct workload_change *drawn = &p->drawn[i];
    struct hf_change *change = &p->change[i];
    workload_key(drawn->key, p->key_bytes[i]);
    *change = (struct hf_change){.op = HF_OP_DEL, .key = hf_slice_str(p->key_bytes[i])};
    if (drawn->value != 0) {
        size_t len = workload_value_len(&p->sim->opt.load, drawn->value);
        p->value_bytes[i] = malloc(len);
        HF_ASSERT(p->value_bytes[i] != NULL);
        workload_value_fill(drawn->value, p->value_bytes[i], len);
        change->op = HF_OP_PUT;
        change->value = hf_slice_of(p->value_bytes[i], len);
    }
    p->sim->unsettled[drawn->key]++;
}

/* NULL when too many writes are open: the core has been down or slow for long. */
static struct pending_write *open_write(struct sim *sim, bool ordered)
{
    struct pending_write *p = sim->writes;
    while (p < sim->writes + WRITES_MAX && p->open) {
        p++;
    }
    if (p == sim->writes + WRITES_MAX) {
        return NULL;
    }
    memset(p, 0, sizeof(*p));
    p->sim = sim;
    p->open = true;
    p->ordered = ordered;
    sim->writes_open++;
    sim->ordered_open += ordered;
    snprintf(p->id, sizeof(p->id), "w%" PRIu64, ++sim->writes_sent);
    return p;
}

static void send_drawn(struct sim *sim, struct pending_write *p)
{
    const struct node *core = &sim->node[SIM_CORE];
    for (uint32_t i = 0; i < p->count; i++) {
        fill_change(p, i);
    }
    if (core->alive && !core->paused) { /* else load_resend or its turn takes it */
        send_write(sim, p);
    }
}

static void new_write(struct sim *sim)
{
    struct pending_write *p = open_write(sim, false);
    if (p != NULL) {
        p->count = workload_write(&sim->workload, p->drawn);
        send_drawn(sim, p);
    }
}

void load_send_waiting(struct sim *sim)
{
    for (uint32_t i = 0; i < WRITES_MAX && sim->writes != NULL; i++) {
        if (sim->writes[i].open && !sim->writes[i].sent) {
            send_write(sim, &sim->writes[i]);
        }
    }
    hf_core_flush(sim->node[SIM_CORE].core);
}

static void flush(struct sim *sim)
{
    if (sim->node[SIM_CORE].alive && !sim->node[SIM_CORE].paused) {
        hf_core_flush(sim->node[SIM_CORE].core);
    }
}

void load_resend(struct sim *sim)
{
    for (uint32_t i = 0; i < WRITES_MAX && sim->writes != NULL; i++) {
        if (sim->writes[i].open) {
            send_write(sim, &sim->writes[i]);
        }
    }
    hf_core_flush(sim->node[SIM_CORE].core);
}

/* ---- when ---- */

static void next_write(struct sim *sim)
{
    for (uint32_t n = workload_turn(&sim->workload); n > 0; n--) {
        new_write(sim);
    }
    flush(sim);
    schedule(sim, sim->now + workload_wait(&sim->workload), LOAD_NEXT);
}

static void next_burst(struct sim *sim)
{
    load_order_writes(sim, sim->opt.load.burst_writes);
    schedule(sim, sim->now + sim->opt.load.burst_every_us, LOAD_BURST);
}

/* Sends as much of what was ordered as may be open at a time. */
static void send_ordered(struct sim *sim)
{
    while (orders_wait(&sim->orders)) {
        struct pending_write *p = open_write(sim, true);
        if (p == NULL) {
            return;
        }
        p->count = orders_take(&sim->orders, &sim->workload, p->drawn);
        send_drawn(sim, p);
        flush(sim);
    }
}

void load_event(struct sim *sim, enum load_event what)
{
    sim_us idle = workload_idle_until(&sim->opt.load, sim->now);
    if (what == LOAD_ORDERED) {
        send_ordered(sim);
    } else if (what == LOAD_REFUSED) {
        sim->resending = false;
        if (sim->node[SIM_CORE].alive && !sim->node[SIM_CORE].paused) {
            load_send_waiting(sim); /* else it is sent when the core is back */
        }
    } else if (sim->load_on && idle > 0) {
        schedule(sim, idle, what);
    } else if (sim->load_on && what == LOAD_NEXT) {
        next_write(sim);
    } else if (sim->load_on) {
        next_burst(sim);
    }
}

/* ---- what a timeline orders ---- */

void load_order_writes(struct sim *sim, uint64_t count)
{
    orders_writes(&sim->orders, count);
    send_ordered(sim);
}

void load_order_release(struct sim *sim, uint32_t keys)
{
    HF_ASSERT(keys <= sim->opt.load.keys);
    uint64_t *before = orders_release(&sim->orders, keys);
    for (uint32_t k = 0; k < keys; k++) {
        uint32_t at = sim->latest[k];
        before[k] = at == 0 ? 0 : sim->versions[at - 1].value;
    }
    send_ordered(sim);
}

void load_order_rollback(struct sim *sim)
{
    orders_rollback(&sim->orders);
    send_ordered(sim);
}

bool load_order_done(const struct sim *sim)
{
    return !orders_wait(&sim->orders) && sim->ordered_open == 0;
}

void load_give_up(struct sim *sim)
{
    sim->load_on = false;
    for (uint32_t i = 0; i < WRITES_MAX; i++) {
        struct pending_write *p = &sim->writes[i];
        if (p->open) { /* its keys stay unsettled: nobody knows whether it was done */
            p->open = false;
            sim->writes_open--;
            sim->ordered_open -= p->ordered;
            for (uint32_t c = 0; c < p->count; c++) {
                free(p->value_bytes[c]);
            }
        }
    }
}

/* ---- begin and end ---- */

void load_init(struct sim *sim)
{
    HF_ASSERT(sim->opt.load.keys <= SIM_KEYS_MAX);
    HF_ASSERT(workload_init(&sim->workload, &sim->opt.load, sim->opt.seed) == HF_OK);
    sim->writes = calloc(WRITES_MAX, sizeof(*sim->writes));
    HF_ASSERT(sim->writes != NULL);
    sim->load_on = true;
    if (sim->opt.load.write_every_us > 0) {
        schedule(sim, sim->now, LOAD_NEXT);
    }
    if (sim->opt.load.burst_writes > 0) {
        schedule(sim, sim->now + sim->opt.load.burst_every_us, LOAD_BURST);
    }
}

void load_free(struct sim *sim)
{
    orders_deinit(&sim->orders); /* first: what is closed now makes no room for them */
    for (uint32_t i = 0; i < WRITES_MAX && sim->writes != NULL; i++) {
        if (sim->writes[i].open) {
            close_write(&sim->writes[i]);
        }
    }
    free(sim->writes);
    free(sim->versions);
    workload_deinit(&sim->workload);
}
