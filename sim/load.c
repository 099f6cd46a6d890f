/*
 * load.c - the clients of a simulation, and the model of what the state must be at every seq.
 *
 * Every write carries a request id and is sent again after a core crash until it is answered, so
 * each one has exactly one seq in the end (G5), and the value of a key at seq n is known as soon as
 * no write to that key is open. Values are derived from a number, so that a reader can tell what it
 * got.
 *
 * Random clients whose turn finds too many writes open go away; what a timeline orders (so many
 * writes, a release and its roll-back) waits instead, and is sent as the core answers.
 */
#include "sim/sim.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define WRITES_MAX 64u
#define CHANGES_MAX SCRIPT_CHANGES_MAX
/* Below the 4 MiB of an atomic request, with room for keys and framing. */
#define REQUEST_BYTES (4032u << 10)
/* When a client tries again what the core refused for now. */
#define REFUSED_AGAIN (200 * SIM_MS)

struct pending_write {
    struct hf_write w; /* first: done gets its address */
    struct sim *sim;
    bool open;
    bool sent;
    bool answered_before; /* it went out more than once */
    bool ordered;         /* by the timeline */
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

/* What a release replaced: the newest value of keys 0 to count-1. */
struct release {
    struct release *older;
    uint32_t count;
    uint64_t value[];
};

struct load_order {
    struct load_order *next;
    uint64_t writes;       /* of random clients, still to be sent; 0 = it is about keys */
    uint32_t key, key_end; /* still to be released or rolled back */
    struct release *back;  /* owned; rolled back to these, or NULL: new values */
};

static size_t value_len(uint64_t value, uint32_t min, uint32_t max)
{
    uint64_t h = value * UINT64_C(0x9e3779b97f4a7c15);
    if (min > 0) {
        return min + (size_t)((h >> 16) % (max - min + 1));
    }
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

static void schedule(struct sim *sim, sim_us at, enum load_event what)
{
    struct event *ev = sim_at(sim, at, EV_WRITE, SIM_CORE);
    ev->life = UINT32_MAX;
    ev->a = (uint64_t)what;
}

static void close_write(struct pending_write *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        p->sim->unsettled[p->key[i]]--;
        free(p->value_bytes[i]);
    }
    p->open = false;
    p->sim->writes_open--;
    p->sim->ordered_open -= p->ordered;
    if (p->sim->orders != NULL) { /* there is room for one more; not now, in the core's call */
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
            sim->writes_refused++;
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
        sim->writes_refused++;
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

/* value 0: the key is deleted. */
static void fill_change(struct sim *sim, struct pending_write *p, uint32_t key, uint64_t value)
{
    uint32_t i = p->count++;
    p->key[i] = key;
    load_key(key, p->key_bytes[i]);
    p->change[i].key = hf_slice_str(p->key_bytes[i]);
    p->value_bytes[i] = NULL;
    p->value[i] = value;
    p->change[i].op = HF_OP_DEL;
    p->change[i].value = (struct hf_slice){0};
    if (value != 0) {
        size_t len = value_len(value, sim->opt.value_min, sim->opt.value_max);
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

/* Key 0 is the most popular. */
static uint32_t draw_key(struct sim *sim)
{
    if (sim->zipf == NULL) {
        return (uint32_t)rng_below(&sim->rng_load, sim->opt.keys);
    }
    double at = (double)rng_below(&sim->rng_load, UINT64_C(1) << 53) * 0x1.0p-53;
    uint32_t low = 0;
    uint32_t high = sim->opt.keys - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sim->zipf[middle] > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
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

static void send_now(struct sim *sim, struct pending_write *p)
{
    const struct node *core = &sim->node[SIM_CORE];
    if (core->alive && !core->paused) { /* else load_resend or its turn takes it */
        send_write(sim, p);
    }
}

static bool new_write(struct sim *sim, bool ordered)
{
    struct pending_write *p = open_write(sim, ordered);
    if (p == NULL) {
        return false;
    }
    uint32_t count = (uint32_t)rng_between(&sim->rng_load, 1, sim->opt.changes_max);
    /* Popular keys come up again and again: then the write gets fewer. */
    for (uint32_t misses = 0; p->count < count && misses < 100;) {
        uint32_t key = draw_key(sim);
        if (chosen(p, key)) {
            misses++;
            continue;
        }
        bool del = rng_chance(&sim->rng_load, sim->opt.deletes);
        fill_change(sim, p, key, del ? 0 : ++sim->next_value);
    }
    send_now(sim, p);
    return true;
}

/* The next keys of a release or of its roll-back, as many as one request takes. */
static bool release_write(struct sim *sim, struct load_order *o)
{
    struct pending_write *p = open_write(sim, true);
    if (p == NULL) {
        return false;
    }
    uint32_t most = REQUEST_BYTES / (sim->opt.value_max + 64);
    most = most < 1 ? 1 : most < CHANGES_MAX ? most : CHANGES_MAX;
    for (; p->count < most && o->key < o->key_end; o->key++) {
        fill_change(sim, p, o->key, o->back == NULL ? ++sim->next_value : o->back->value[o->key]);
    }
    send_now(sim, p);
    return true;
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

/* 0, or when the idle time ends that it is now. */
static sim_us idle_until(const struct sim *sim)
{
    const struct sim_options *o = &sim->opt;
    if (o->idle == 0) {
        return 0;
    }
    sim_us start = sim->now - sim->now % o->idle_every;
    return sim->now - start >= o->idle_every - o->idle ? start + o->idle_every : 0;
}

static void next_write(struct sim *sim)
{
    uint64_t count = !sim->opt.steady && rng_chance(&sim->rng_load, 0.05) ? 10 : 1;
    for (uint64_t i = 0; i < count; i++) {
        (void)new_write(sim, false);
    }
    flush(sim);
    sim_us wait = rng_exponential(&sim->rng_load, sim->opt.write_every);
    if (!sim->opt.steady && rng_chance(&sim->rng_load, 0.01)) {
        wait += rng_between(&sim->rng_load, 2 * SIM_S, 10 * SIM_S); /* the publisher is idle */
    }
    schedule(sim, sim->now + wait, LOAD_NEXT);
}

static void next_burst(struct sim *sim)
{
    load_order_writes(sim, sim->opt.burst_writes);
    schedule(sim, sim->now + sim->opt.burst_every, LOAD_BURST);
}

/* Sends as much of what was ordered as may be open at a time. */
static void send_ordered(struct sim *sim)
{
    while (sim->orders != NULL) {
        struct load_order *o = sim->orders;
        bool of_keys = o->key < o->key_end;
        if (!(of_keys ? release_write(sim, o) : new_write(sim, true))) {
            return;
        }
        o->writes -= !of_keys;
        if (o->writes == 0 && o->key == o->key_end) {
            sim->orders = o->next;
            free(o->back);
            free(o);
        }
        flush(sim);
    }
}

void load_event(struct sim *sim, enum load_event what)
{
    sim_us idle = idle_until(sim);
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

static void order(struct sim *sim, struct load_order what)
{
    struct load_order *o = malloc(sizeof(*o));
    struct load_order **at = &sim->orders;
    HF_ASSERT(o != NULL);
    *o = what;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = o;
    send_ordered(sim);
}

void load_order_writes(struct sim *sim, uint64_t count)
{
    order(sim, (struct load_order){.writes = count});
}

void load_order_release(struct sim *sim, uint32_t keys)
{
    struct release *r = malloc(sizeof(*r) + keys * sizeof(r->value[0]));
    HF_ASSERT(r != NULL && keys <= sim->opt.keys);
    r->older = sim->releases;
    r->count = keys;
    for (uint32_t k = 0; k < keys; k++) {
        uint32_t at = sim->latest[k];
        r->value[k] = at == 0 ? 0 : sim->versions[at - 1].value;
    }
    sim->releases = r;
    order(sim, (struct load_order){.key_end = keys});
}

void load_order_rollback(struct sim *sim)
{
    struct release *r = sim->releases;
    HF_ASSERT(r != NULL); /* the parser has seen to it */
    sim->releases = r->older;
    order(sim, (struct load_order){.key_end = r->count, .back = r});
}

bool load_order_done(const struct sim *sim)
{
    return sim->orders == NULL && sim->ordered_open == 0;
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

static void make_zipf(struct sim *sim)
{
    double sum = 0;
    sim->zipf = calloc(sim->opt.keys, sizeof(*sim->zipf));
    HF_ASSERT(sim->zipf != NULL);
    for (uint32_t k = 0; k < sim->opt.keys; k++) {
        sum += pow(k + 1, -sim->opt.zipf);
        sim->zipf[k] = sum;
    }
    for (uint32_t k = 0; k < sim->opt.keys; k++) {
        sim->zipf[k] /= sum;
    }
}

void load_init(struct sim *sim)
{
    uint32_t most = REQUEST_BYTES / (sim->opt.value_max + 16);
    sim->opt.changes_max = sim->opt.changes_max < most ? sim->opt.changes_max : most;
    sim->opt.changes_max =
        sim->opt.changes_max < sim->opt.keys ? sim->opt.changes_max : sim->opt.keys;
    sim->writes = calloc(WRITES_MAX, sizeof(*sim->writes));
    HF_ASSERT(sim->writes != NULL && sim->opt.keys <= SIM_KEYS_MAX);
    if (sim->opt.zipf > 0) {
        make_zipf(sim);
    }
    sim->load_on = true;
    if (sim->opt.write_every > 0) {
        schedule(sim, sim->now, LOAD_NEXT);
    }
    if (sim->opt.burst_writes > 0) {
        schedule(sim, sim->now + sim->opt.burst_every, LOAD_BURST);
    }
}

static void orders_free(struct sim *sim)
{
    while (sim->orders != NULL) {
        struct load_order *o = sim->orders;
        sim->orders = o->next;
        free(o->back);
        free(o);
    }
    while (sim->releases != NULL) {
        struct release *r = sim->releases;
        sim->releases = r->older;
        free(r);
    }
}

void load_free(struct sim *sim)
{
    orders_free(sim); /* first: what is closed now makes no room for them */
    for (uint32_t i = 0; i < WRITES_MAX && sim->writes != NULL; i++) {
        if (sim->writes[i].open) {
            close_write(&sim->writes[i]);
        }
    }
    free(sim->writes);
    free(sim->versions);
    free(sim->zipf);
}
