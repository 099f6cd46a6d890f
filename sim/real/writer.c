/*
 * writer.c - the open writes, what was ordered (sim/orders.h), and the model of what the core
 * acknowledged.
 *
 * Invariant: an open write is under way on the connection, or waits for one (`sent` says which);
 * its changes are forgotten only when it was acknowledged or refused. Next: sim/workload.h for what
 * is drawn.
 */
#include "sim/real/writer.h"
#include "sim/real/history.h"

#include "hf/err.h"
#include "sim/orders.h"
#include "sim/workload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_MAX 64u
#define BUSY_RETRY_MS 50
#define HEAD_WORDS 6u
#define ID_BYTES 24u

struct write {
    struct real_writer *owner;
    bool open, sent, ordered;
    char id[ID_BYTES];
    uint32_t count;
    struct workload_change change[SCRIPT_CHANGES_MAX];
};

/* What the core is known to have for a key. */
struct known {
    hf_seq seq;
    uint64_t value; /* 0 = none */
};

struct real_writer {
    struct real *run;
    struct workload load;
    struct real_client client;
    uv_timer_t turn, burst, retry;
    bool on;          /* the load has turns */
    uint64_t turn_us; /* when the next is due: a late one does not delay all that follow */
    struct write write[OPEN_MAX];
    struct orders orders;
    struct known *known; /* owned; by key */
    uint32_t open, ordered_open;
    struct real_writer_status count;
};

static void send_ordered(struct real_writer *w);

/* ---- a write on its way ---- */

static uint32_t slot_of(const struct write *p)
{
    return (uint32_t)(p - p->owner->write);
}

static void close_write(struct write *p)
{
    struct real_writer *w = p->owner;
    p->open = false;
    w->open--;
    w->ordered_open -= p->ordered;
    send_ordered(w);
}

static void acknowledged(struct write *p, const redisReply *reply)
{
    struct real_writer *w = p->owner;
    hf_seq seq = (hf_seq)reply->element[0]->integer;
    bool repeated = strcmp(reply->element[1]->str, "repeated") == 0;
    real_history_written(w->run->history, slot_of(p), seq, repeated);
    for (uint32_t i = 0; i < p->count; i++) {
        struct known *k = &w->known[p->change[i].key];
        if (seq >= k->seq) {
            *k = (struct known){seq, p->change[i].value};
        }
    }
    w->count.acked++;
    w->count.repeated += repeated;
    w->count.acked_seq = seq > w->count.acked_seq ? seq : w->count.acked_seq;
    close_write(p);
}

static void send_all(struct real_writer *w);

static void on_retry(uv_timer_t *timer)
{
    send_all(timer->data);
}

static void on_answer(void *ctx, const redisReply *reply)
{
    struct write *p = ctx;
    struct real_writer *w = p->owner;
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
        acknowledged(p, reply);
        return;
    }
    /* One that was refused over an I/O error may come back with the next start. */
    real_history_write_open(w->run->history, slot_of(p));
    if (reply == NULL) { /* the connection broke: nobody knows, so the same id goes again */
        p->sent = false;
        return;
    }
    const char *text = reply->str == NULL ? "no answer that is known" : reply->str;
    if (strncmp(text, "BUSY", 4) == 0) {
        p->sent = false;
        if (!uv_is_active((uv_handle_t *)&w->retry)) {
            (void)uv_timer_start(&w->retry, on_retry, BUSY_RETRY_MS, 0);
        }
        return;
    }
    if (w->count.refused++ == 0) {
        snprintf(w->count.refusal, sizeof(w->count.refusal), "%s", text);
    }
    close_write(p);
}

/* HF.APPLY id AUTHOR sim REASON load, then SET key value or DEL key for each change. */
static void send_write(struct write *p)
{
    static const char *const head[HEAD_WORDS] = {"HF.APPLY", NULL,     "AUTHOR",
                                                 "sim",      "REASON", "load"};
    const char *word[HEAD_WORDS + 3 * SCRIPT_CHANGES_MAX];
    size_t len[HEAD_WORDS + 3 * SCRIPT_CHANGES_MAX];
    char key[SCRIPT_CHANGES_MAX][WORKLOAD_KEY_BYTES];
    uint8_t *value[SCRIPT_CHANGES_MAX] = {NULL};
    struct real_writer *w = p->owner;
    size_t count = 0;
    for (; count < HEAD_WORDS; count++) {
        word[count] = head[count] == NULL ? p->id : head[count];
        len[count] = strlen(word[count]);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        const struct workload_change *c = &p->change[i];
        workload_key(c->key, key[i]);
        word[count] = c->value == 0 ? "DEL" : "SET";
        len[count++] = 3;
        word[count] = key[i];
        len[count++] = strlen(key[i]);
        if (c->value != 0) {
            len[count] = workload_value_len(w->load.load, c->value);
            value[i] = malloc(len[count]);
            HF_ASSERT(value[i] != NULL);
            workload_value_fill(c->value, value[i], len[count]);
            word[count++] = (const char *)value[i];
        }
    }
    real_history_write(w->run->history, slot_of(p), p->id, p->change, p->count);
    p->sent = real_client_ask(&w->client, on_answer, p, (int)count, word, len);
    if (!p->sent) {
        real_history_write_open(w->run->history, slot_of(p));
    }
    for (uint32_t i = 0; i < p->count; i++) {
        free(value[i]);
    }
}

static void send_all(struct real_writer *w)
{
    for (uint32_t i = 0; i < OPEN_MAX; i++) {
        if (w->write[i].open && !w->write[i].sent) {
            send_write(&w->write[i]);
        }
    }
}

static void on_change(void *owner, bool up)
{
    if (up) {
        send_all(owner);
    }
}

/* NULL when as many are open as may be. */
static struct write *open_write(struct real_writer *w, bool ordered)
{
    struct write *p = w->write;
    while (p < w->write + OPEN_MAX && p->open) {
        p++;
    }
    if (p == w->write + OPEN_MAX) {
        return NULL;
    }
    *p = (struct write){.owner = w, .open = true, .ordered = ordered};
    w->open++;
    w->ordered_open += ordered;
    snprintf(p->id, sizeof(p->id), "w%" PRIu64, ++w->count.sent);
    return p;
}

static bool draw_write(struct real_writer *w)
{
    struct write *p = open_write(w, false);
    if (p == NULL) {
        return false;
    }
    p->count = workload_write(&w->load, p->change);
    send_write(p);
    return true;
}

/* ---- turns of the load ---- */

static void call_at(const struct real_writer *w, uv_timer_t *timer, uv_timer_cb call,
                    uint64_t at_us)
{
    uint64_t now = real_now_us(w->run);
    (void)uv_timer_start(timer, call, at_us > now ? (at_us - now + 500) / 1000 : 0, 0);
}

static void on_turn(uv_timer_t *timer)
{
    struct real_writer *w = timer->data;
    uint64_t now = real_now_us(w->run);
    uint64_t idle = workload_idle_until(w->load.load, now);
    if (!w->on) {
        return;
    }
    if (idle > 0) {
        w->turn_us = idle;
    } else {
        for (uint32_t n = workload_turn(&w->load); n > 0; n--) {
            w->count.left_out += !draw_write(w);
        }
        w->turn_us += workload_wait(&w->load);
    }
    call_at(w, timer, on_turn, w->turn_us);
}

static void on_burst(uv_timer_t *timer)
{
    struct real_writer *w = timer->data;
    uint64_t now = real_now_us(w->run);
    uint64_t idle = workload_idle_until(w->load.load, now);
    if (!w->on) {
        return;
    }
    if (idle == 0) {
        real_writer_order(w, w->load.load->burst_writes);
    }
    call_at(w, timer, on_burst, idle > 0 ? idle : now + w->load.load->burst_every_us);
}

void real_writer_begin(struct real_writer *w)
{
    const struct script_load *load = w->load.load;
    w->on = true;
    if (load->write_every_us > 0) {
        call_at(w, &w->turn, on_turn, 0);
    }
    if (load->burst_writes > 0) {
        call_at(w, &w->burst, on_burst, load->burst_every_us);
    }
}

void real_writer_end(struct real_writer *w)
{
    w->on = false;
}

/* ---- orders of the timeline ---- */

static void send_ordered(struct real_writer *w)
{
    while (orders_wait(&w->orders)) {
        struct write *p = open_write(w, true);
        if (p == NULL) {
            return;
        }
        p->count = orders_take(&w->orders, &w->load, p->change);
        send_write(p);
    }
}

void real_writer_order(struct real_writer *w, uint64_t writes)
{
    orders_writes(&w->orders, writes);
    send_ordered(w);
}

void real_writer_release(struct real_writer *w, uint32_t keys)
{
    HF_ASSERT(keys <= w->load.load->keys);
    uint64_t *before = orders_release(&w->orders, keys);
    for (uint32_t k = 0; k < keys; k++) {
        before[k] = w->known[k].value;
    }
    send_ordered(w);
}

void real_writer_rollback(struct real_writer *w)
{
    orders_rollback(&w->orders);
    send_ordered(w);
}

/* ---- what is known ---- */

void real_writer_status(const struct real_writer *w, struct real_writer_status *s)
{
    *s = w->count;
    s->ordered_done = !orders_wait(&w->orders) && w->ordered_open == 0;
    s->open = w->open > 0 || orders_wait(&w->orders);
}

bool real_writer_is_last(const struct real_writer *w, uint32_t key, const redisReply *value)
{
    uint64_t number = w->known[key].value;
    if (value == NULL || value->type != REDIS_REPLY_STRING) {
        return number == 0;
    }
    size_t len = workload_value_len(w->load.load, number);
    if (number == 0 || value->len != len) {
        return false;
    }
    uint8_t *bytes = malloc(len);
    HF_ASSERT(bytes != NULL);
    workload_value_fill(number, bytes, len);
    bool same = memcmp(bytes, value->str, len) == 0;
    free(bytes);
    return same;
}

/* ---- begin and end ---- */

struct real_writer *real_writer_new(struct real *r)
{
    struct real_writer *w = calloc(1, sizeof(*w));
    char path[REAL_DIR_MAX + 16];
    HF_ASSERT(w != NULL);
    w->run = r;
    w->known = calloc(r->script->load.keys, sizeof(*w->known));
    HF_ASSERT(w->known != NULL);
    HF_ASSERT(workload_init(&w->load, &r->script->load, r->options.seed) == HF_OK);
    uv_timer_t *const timers[] = {&w->turn, &w->burst, &w->retry};
    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        (void)uv_timer_init(&r->loop, timers[i]);
        timers[i]->data = w;
    }
    snprintf(path, sizeof(path), "%s/holdfast.sock", r->node[SCRIPT_CORE].dir);
    real_client_open(&w->client, &r->loop, path, on_change, w);
    return w;
}

void real_writer_close(struct real_writer *w)
{
    real_writer_end(w);
    real_client_close(&w->client);
    uv_close((uv_handle_t *)&w->turn, NULL);
    uv_close((uv_handle_t *)&w->burst, NULL);
    uv_close((uv_handle_t *)&w->retry, NULL);
}

void real_writer_free(struct real_writer *w)
{
    orders_deinit(&w->orders);
    workload_deinit(&w->load);
    free(w->known);
    free(w);
}
