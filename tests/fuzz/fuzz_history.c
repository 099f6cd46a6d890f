/*
 * fuzz_history.c - what `holdfast-sim check` reads, fed anything, and histories that are right.
 *
 * An even first byte: the rest is a file. What is refused has a sentence that names the line; what
 * is accepted can be checked, and a violation names two lines of the file. An odd one: the rest
 * drives a core, two edges and some clients that keep every promise, and what the clients saw is
 * written down. Such a history MUST be found right: a checker that cries wolf is soon not heard.
 *
 * Read next: sim/history.c.
 */
#include "sim/history.h"

#include "hf/err.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum {
    KEYS = 3,
    NODES = 3,
    CLIENTS = 4,
    WRITES_MAX = 128,
    TEXT_MAX = 1 << 15,
    LINE_BYTES_MAX = 512
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static FILE *file_of(const void *bytes, size_t len)
{
    FILE *f = fmemopen((void *)(uintptr_t)bytes, len, "r");

    HF_ASSERT(f != NULL);
    return f;
}

/* ---- anything ---- */

static void check_violation(const struct history *h, const struct history_violation *v)
{
    if (v->rule == NULL) {
        return;
    }
    HF_ASSERT(v->rule[0] == 'C' && v->rule[1] >= '1' && v->rule[1] <= '9' && v->rule[2] == '\0');
    HF_ASSERT(v->against_line >= 1 && v->against_line <= v->line && v->line <= h->lines);
    HF_ASSERT(v->text[0] != '\0');
}

static void as_it_came(const uint8_t *data, size_t size)
{
    struct history h;
    struct history_counts n;
    struct history_violation v;
    char error[256] = "";
    FILE *f = file_of(data, size);

    if (history_read(f, &h, error, sizeof(error))) {
        HF_ASSERT(memchr(data, 0, size) == NULL); /* which JSON never has */
        HF_ASSERT(history_check(&h, &n, &v));
        check_violation(&h, &v);
        history_free(&h);
    } else {
        HF_ASSERT(strncmp(error, "line ", 5) == 0 && error[5] >= '1' && error[5] <= '9');
        HF_ASSERT(h.op == NULL && h.count == 0);
    }
    fclose(f);
}

/* ---- a world that keeps its promises ---- */

struct write {
    uint8_t keys; /* bit i: key i is changed */
    bool deletes;
    bool under_way; /* an attempt is */
    bool in_doubt;  /* an attempt may have an effect yet */
    uint32_t seq;   /* 0 = it has had none so far */
};

struct client {
    enum { IDLE = 0, WRITES, READS, ASKS } does;
    uint32_t write, node;
    uint8_t keys;
    bool repeated;
};

struct world {
    const uint8_t *at, *end;
    int64_t now_us;
    uint32_t position[NODES];       /* [0] is the core, whose position is the head */
    uint32_t batch[WRITES_MAX + 1]; /* the write that became this one */
    int64_t batch_us[WRITES_MAX + 1];
    struct write write[WRITES_MAX];
    uint32_t write_count;
    struct client client[CLIENTS];
    size_t len;
    char text[TEXT_MAX];
};

static uint8_t draw(struct world *w)
{
    return w->at < w->end ? *w->at++ : 0;
}

__attribute__((format(printf, 2, 3))) static void put(struct world *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    w->len += (size_t)vsnprintf(w->text + w->len, sizeof(w->text) - w->len, format, args);
    va_end(args);
    HF_ASSERT(w->len < sizeof(w->text));
}

static void begin_line(struct world *w, const char *type)
{
    put(w, "{\"time_us\":%" PRId64 ",\"type\":\"%s\"", w->now_us, type);
}

/* The core gives the write its number, unless it has one. */
static void apply(struct world *w, uint32_t n)
{
    struct write *x = &w->write[n];

    if (x->seq == 0) {
        x->seq = ++w->position[0];
        w->batch[x->seq] = n;
        w->batch_us[x->seq] = w->now_us;
    }
}

/* A new write, or one again that is not under way. False when there is no room for it. */
static bool write_choose(struct world *w, uint8_t how, uint32_t *n)
{
    if ((how & 1u) != 0 && w->write_count > 0) {
        *n = draw(w) % w->write_count;
        return !w->write[*n].under_way;
    }
    *n = w->write_count;
    if (*n == WRITES_MAX) {
        return false;
    }
    w->write[w->write_count++] = (struct write){.keys = (uint8_t)(1 + draw(w) % ((1u << KEYS) - 1)),
                                                .deletes = (how & 2u) != 0};
    return true;
}

static void write_begins(struct world *w, uint32_t p, uint8_t how)
{
    const char *comma = "";
    uint32_t n;

    if (!write_choose(w, how, &n)) {
        return;
    }
    begin_line(w, "invoke");
    put(w, ",\"process\":%u,\"op\":\"write\",\"node\":\"n0\",\"id\":\"w%u\",\"changes\":[", p, n);
    for (unsigned k = 0; k < KEYS; k++) {
        if ((w->write[n].keys >> k & 1u) != 0) {
            put(w, w->write[n].deletes ? "%s[\"k%u\",null]" : "%s[\"k%u\",\"v%u\"]", comma, k, n);
            comma = ",";
        }
    }
    put(w, "]}\n");
    w->client[p] = (struct client){.does = WRITES, .write = n, .repeated = w->write[n].seq != 0};
    w->write[n].under_way = true;
    if ((how & 4u) != 0) {
        apply(w, n);
    }
}

static void write_ends(struct world *w, uint32_t p, uint8_t how)
{
    struct write *x = &w->write[w->client[p].write];

    x->under_way = false;
    if (how % 3 == 0) {
        x->in_doubt = true;
        begin_line(w, "info");
        put(w, ",\"process\":%u}\n", p);
    } else if (how % 3 == 1 && x->seq == 0) {
        begin_line(w, "fail");
        put(w, ",\"process\":%u}\n", p);
    } else {
        apply(w, w->client[p].write);
        begin_line(w, "ok");
        put(w, ",\"process\":%u,\"seq\":%u,\"repeated\":%s}\n", p, x->seq,
            w->client[p].repeated ? "true" : "false");
    }
}

static void read_begins(struct world *w, uint32_t p, uint8_t how)
{
    struct client *c = &w->client[p];
    const char *comma = "";

    *c = (struct client){.does = READS, .node = how % NODES};
    c->keys = (uint8_t)(1 + draw(w) % ((1u << KEYS) - 1));
    begin_line(w, "invoke");
    put(w, ",\"process\":%u,\"op\":\"read\",\"node\":\"n%u\",\"keys\":[", p, c->node);
    for (unsigned k = 0; k < KEYS; k++) {
        if ((c->keys >> k & 1u) != 0) {
            put(w, "%s\"k%u\"", comma, k);
            comma = ",";
        }
    }
    put(w, "],\"min_seq\":%u}\n", (how & 64u) != 0 ? w->position[c->node] : 0);
}

/* What the batches up to a position made of a key. */
static void put_value(struct world *w, unsigned key, uint32_t position)
{
    uint32_t seq = position;

    while (seq > 0 && (w->write[w->batch[seq]].keys >> key & 1u) == 0) {
        seq--;
    }
    if (seq == 0 || w->write[w->batch[seq]].deletes) {
        put(w, "null");
    } else {
        put(w, "\"v%u\"", w->batch[seq]);
    }
}

static void read_ends(struct world *w, uint32_t p, uint8_t how)
{
    const struct client *c = &w->client[p];
    uint32_t at = w->position[c->node];
    bool newest = at == w->position[0];
    const char *comma = "";

    begin_line(w, "ok");
    put(w, ",\"process\":%u,\"values\":[", p);
    for (unsigned k = 0; k < KEYS; k++) {
        if ((c->keys >> k & 1u) != 0) {
            put(w, "%s", comma);
            put_value(w, k, at);
            comma = ",";
        }
    }
    put(w, "]");
    if ((how & 1u) != 0) {
        put(w, ",\"seq\":%u", at);
    }
    if ((how & 2u) != 0) { /* as tight as it may be */
        put(w, ",\"staleness_ms\":%" PRId64,
            newest ? 0 : (w->now_us - w->batch_us[at + 1]) / 1000 + 1);
    }
    put(w, "}\n");
}

static void client_acts(struct world *w, uint8_t how)
{
    uint32_t p = how % CLIENTS;
    struct client *c = &w->client[p];
    uint8_t more = draw(w);

    if (c->does == IDLE && how < 100) {
        write_begins(w, p, more);
    } else if (c->does == IDLE && how < 200) {
        read_begins(w, p, more);
    } else if (c->does == IDLE) {
        *c = (struct client){.does = ASKS, .node = more % NODES};
        begin_line(w, "invoke");
        put(w, ",\"process\":%u,\"op\":\"status\",\"node\":\"n%u\"}\n", p, c->node);
    } else {
        if (c->does == WRITES) {
            write_ends(w, p, more);
        } else if (c->does == READS) {
            read_ends(w, p, more);
        } else {
            begin_line(w, "ok");
            put(w, ",\"process\":%u,\"seq\":%u,\"epoch\":1,\"digest\":\"d%u\"}\n", p,
                w->position[c->node], w->position[c->node]);
        }
        c->does = IDLE;
    }
}

static void node_acts(struct world *w, uint8_t how)
{
    uint32_t edge = 1 + how % (NODES - 1);
    uint32_t behind = w->position[0] - w->position[edge];

    if (how < 128) {
        w->position[edge] += behind > 0 ? 1 + how % behind : 0;
    } else if (how < 160) {
        begin_line(w, "start");
        put(w, ",\"node\":\"n%u\"}\n", how % NODES);
    } else if (how < 220) {
        begin_line(w, "ack");
        put(w, ",\"node\":\"n%u\",\"seq\":%u}\n", edge, w->position[edge]);
    } else if (w->write_count > 0) { /* a write that was in doubt has its effect after all */
        uint32_t n = draw(w) % w->write_count;
        if (w->write[n].in_doubt && !w->write[n].under_way) {
            apply(w, n);
        }
    }
}

static void as_it_should_be(const uint8_t *data, size_t size)
{
    static struct world w;
    struct history h;
    struct history_counts n;
    struct history_violation v;
    char error[256] = "";

    memset(&w, 0, offsetof(struct world, text));
    w.at = data;
    w.end = data + size;
    while (w.at < w.end && w.len + LINE_BYTES_MAX < TEXT_MAX) {
        uint8_t what = draw(&w);
        w.now_us += (what >> 2) * 100; /* some lines have the same time */
        if (what % 4 < 3) {
            client_acts(&w, draw(&w));
        } else {
            node_acts(&w, draw(&w));
        }
    }
    FILE *f = file_of(w.text, w.len);
    HF_ASSERT(history_read(f, &h, error, sizeof(error)));
    HF_ASSERT(history_check(&h, &n, &v));
    if (v.rule != NULL) {
        fprintf(stderr, "%.*s%s: lines %" PRIu64 " and %" PRIu64 ": %s\n", (int)w.len, w.text,
                v.rule, v.against_line, v.line, v.text);
    }
    HF_ASSERT(v.rule == NULL);
    history_free(&h);
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        as_it_came(data + 1, size - 1);
    } else {
        as_it_should_be(data + 1, size - 1);
    }
    return 0;
}
