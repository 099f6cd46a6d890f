/*
 * load.c - the clients of a simulation, and the model of what the state must be at every seq.
 *
 * Every write carries a request id and is sent again after a core crash until it is answered, so
 * each one has exactly one seq in the end (G5), and the value of a key at seq n is known as soon as
 * no write to that key is open. Values are derived from a number, so that a reader can tell what it
 * got.
 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>

#define WRITES_MAX 64u
#define CHANGES_MAX 4u

struct pending_write {
    struct hf_write w; /* first: done gets its address */
    struct sim *sim;
    bool open;
    bool sent;
    bool answered_before; /* it went out more than once */
    char id[24];
    uint32_t count;
    struct hf_change change[CHANGES_MAX];
    uint32_t key[CHANGES_MAX];
    uint64_t value[CHANGES_MAX];
    char key_bytes[CHANGES_MAX][16];
    uint8_t *value_bytes[CHANGES_MAX]; /* owned */
};

void load_key(uint32_t k, char out[16])
{
    snprintf(out, 16, "key-%06u", k);
}

static size_t value_len(uint64_t value, uint32_t max)
{
    uint64_t h = value * UINT64_C(0x9e3779b97f4a7c15);
    /* Mostly small; one in 64 is up to the maximum, so that large frames and fragments happen. */
    uint64_t top = (h >> 8) % 64 == 0 ? max : max < 200 ? max : 200;
    return 8 + (size_t)((h >> 32) % (top + 1));
}

/* The next `len` bytes of a value, 8 at most. Three in four are text, which packs; bytes do not. */
static void value_next(struct rng *r, uint64_t value, uint8_t *out, size_t len)
{
    rng_fill(r, out, len);
    for (size_t i = 0; i < len && value % 4 != 0; i++) {
        out[i] = (uint8_t)('a' + out[i] % 16);
    }
}

static void value_fill(uint64_t value, uint8_t *out, size_t len)
{
    struct rng r;
    rng_seed(&r, value, 7);
    memcpy(out, &value, 8);
    for (size_t at = 8; at < len; at += 8) {
        value_next(&r, value, out + at, len - at < 8 ? len - at : 8);
    }
}

bool load_value_ok(struct hf_slice bytes, uint64_t value)
{
    uint64_t got = 0;
    struct rng r;
    if (bytes.len < 8) {
        return false;
    }
    memcpy(&got, bytes.data, 8);
    rng_seed(&r, value, 7);
    for (size_t at = 8; at < bytes.len && got == value; at += 8) {
        uint8_t want[8];
        size_t n = bytes.len - at < 8 ? bytes.len - at : 8;
        value_next(&r, value, want, n);
        if (memcmp(bytes.data + at, want, n) != 0) {
            return false;
        }
    }
    return got == value;
}

/* ---- model ---- */

static void model_add(struct sim *sim, uint32_t key, hf_seq seq, uint64_t value)
{
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
    if (sim->unsettled[k] > 0) {
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

static void close_write(struct pending_write *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        p->sim->unsettled[p->key[i]]--;
        free(p->value_bytes[i]);
    }
    p->open = false;
    p->sim->writes_open--;
}

static void on_done(struct hf_write *w, const struct hf_write_result *r)
{
    struct pending_write *p = (struct pending_write *)w;
    struct sim *sim = p->sim;
    HF_ASSERT(p->open && p->sent);
    if (r->code == HF_BUSY) {
        p->sent = false; /* load_resend or the next write's turn takes it */
        return;
    }
    if (r->code != HF_OK) {
        sim_trace(sim, NULL, "client: %s refused %s", p->id, hf_err_name(r->code));
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
        model_add(sim, p->key[i], r->seq, p->value[i]);
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

static void fill_change(struct sim *sim, struct pending_write *p, uint32_t i, uint32_t key)
{
    p->key[i] = key;
    load_key(key, p->key_bytes[i]);
    p->change[i].key = hf_slice_str(p->key_bytes[i]);
    p->value_bytes[i] = NULL;
    p->value[i] = 0;
    p->change[i].op = HF_OP_DEL;
    p->change[i].value = (struct hf_slice){0};
    if (!rng_chance(&sim->rng_load, 0.15)) {
        uint64_t value = ++sim->next_value;
        size_t len = value_len(value, sim->opt.value_max);
        p->value[i] = value;
        p->value_bytes[i] = malloc(len);
        HF_ASSERT(p->value_bytes[i] != NULL);
        value_fill(value, p->value_bytes[i], len);
        p->change[i].op = HF_OP_PUT;
        p->change[i].value = hf_slice_of(p->value_bytes[i], len);
    }
    sim->unsettled[key]++;
}

static bool chosen(const struct pending_write *p, uint32_t key)
{
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->key[i] == key) {
            return true;
        }
    }
    return false;
}

static void new_write(struct sim *sim)
{
    struct pending_write *p = sim->writes;
    while (p < sim->writes + WRITES_MAX && p->open) {
        p++;
    }
    if (p == sim->writes + WRITES_MAX) {
        return; /* the core has been down for long: the clients wait */
    }
    memset(p, 0, sizeof(*p));
    p->sim = sim;
    p->open = true;
    sim->writes_open++;
    snprintf(p->id, sizeof(p->id), "w%" PRIu64, ++sim->writes_sent);
    uint32_t count = (uint32_t)rng_between(&sim->rng_load, 1, CHANGES_MAX);
    while (p->count < count) {
        uint32_t key = (uint32_t)rng_below(&sim->rng_load, sim->opt.keys);
        if (!chosen(p, key)) {
            fill_change(sim, p, p->count, key);
            p->count++;
        }
    }
    if (sim->node[SIM_CORE].alive) {
        send_write(sim, p);
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

void load_write(struct sim *sim)
{
    if (!sim->load_on) {
        return;
    }
    uint64_t burst = rng_chance(&sim->rng_load, 0.05) ? 10 : 1;
    for (uint64_t i = 0; i < burst; i++) {
        new_write(sim);
    }
    if (sim->node[SIM_CORE].alive) {
        hf_core_flush(sim->node[SIM_CORE].core);
    }
    sim_us wait = rng_exponential(&sim->rng_load, sim->opt.write_every);
    if (rng_chance(&sim->rng_load, 0.01)) {
        wait += rng_between(&sim->rng_load, 2 * SIM_S, 10 * SIM_S); /* the publisher is idle */
    }
    sim_at(sim, sim->now + wait, EV_WRITE, SIM_CORE)->life = UINT32_MAX;
}

void load_burst(struct sim *sim, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        new_write(sim);
        if (sim->node[SIM_CORE].alive) {
            hf_core_flush(sim->node[SIM_CORE].core);
        }
    }
}

void load_init(struct sim *sim)
{
    sim->writes = calloc(WRITES_MAX, sizeof(*sim->writes));
    HF_ASSERT(sim->writes != NULL && sim->opt.keys <= SIM_KEYS_MAX);
    sim->load_on = true;
    sim_at(sim, sim->now, EV_WRITE, SIM_CORE)->life = UINT32_MAX;
}

void load_free(struct sim *sim)
{
    for (uint32_t i = 0; i < WRITES_MAX && sim->writes != NULL; i++) {
        if (sim->writes[i].open) {
            close_write(&sim->writes[i]);
        }
    }
    free(sim->writes);
    free(sim->versions);
}
