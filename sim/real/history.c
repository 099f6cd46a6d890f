/*
 * history.c - one JSON object a line (history.h). Places of fields in answers are those of
 * PROTOCOL.md section 10.
 *
 * It must not judge an answer: holdfast-sim check does.
 */
#include "sim/real/history.h"

#include "hf/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of processes: the writer's slots, then the readers, then who asks for states. */
#define FIRST_READER 64u
#define FIRST_STATUS (FIRST_READER + SCRIPT_EDGES_MAX + 1)

struct real_history {
    FILE *file;
};

static uint32_t reader(const struct real_node *n)
{
    return FIRST_READER + n->index;
}

static uint32_t watcher(const struct real_node *n)
{
    return FIRST_STATUS + n->index;
}

struct real_history *real_history_new(const char *path)
{
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return NULL;
    }
    struct real_history *h = malloc(sizeof(*h));
    HF_ASSERT(h != NULL);
    h->file = file;
    return h;
}

int real_history_free(struct real_history *h)
{
    if (h == NULL) {
        return 0;
    }
    bool bad = ferror(h->file) != 0;
    bad = fclose(h->file) != 0 || bad;
    free(h);
    return bad ? -1 : 0;
}

/* ---- lines ---- */

/* The time, and what all lines begin with. */
__attribute__((format(printf, 2, 3))) static void begin(struct real_history *h, const char *format,
                                                        ...)
{
    va_list args;
    fprintf(h->file, "{\"time_us\":%" PRIu64 ",", uv_hrtime() / 1000);
    va_start(args, format);
    vfprintf(h->file, format, args);
    va_end(args);
}

static void end(struct real_history *h)
{
    fputs("}\n", h->file);
}

static void ended(struct real_history *h, uint32_t process, const char *type)
{
    begin(h, "\"type\":\"%s\",\"process\":%" PRIu32, type, process);
    end(h);
}

void real_history_start(struct real_history *h, const struct real_node *n)
{
    if (h != NULL) {
        begin(h, "\"type\":\"start\",\"node\":\"%s\"", n->name);
        end(h);
    }
}

/* ---- writes ---- */

void real_history_write(struct real_history *h, uint32_t slot, const char *id,
                        const struct workload_change *change, uint32_t count)
{
    if (h == NULL) {
        return;
    }
    begin(h,
          "\"type\":\"invoke\",\"process\":%" PRIu32
          ",\"op\":\"write\",\"node\":\"core\",\"id\":\"%s\",\"changes\":[",
          slot, id);
    for (uint32_t i = 0; i < count; i++) {
        char key[WORKLOAD_KEY_BYTES];
        workload_key(change[i].key, key);
        fprintf(h->file, "%s[\"%s\",", i == 0 ? "" : ",", key);
        if (change[i].value == 0) {
            fputs("null]", h->file);
        } else {
            fprintf(h->file, "\"v%" PRIu64 "\"]", change[i].value);
        }
    }
    fputc(']', h->file);
    end(h);
}

void real_history_written(struct real_history *h, uint32_t slot, hf_seq seq, bool repeated)
{
    if (h != NULL) {
        begin(h, "\"type\":\"ok\",\"process\":%" PRIu32 ",\"seq\":%" PRIu64 ",\"repeated\":%s",
              slot, seq, repeated ? "true" : "false");
        end(h);
    }
}

void real_history_write_open(struct real_history *h, uint32_t slot)
{
    if (h != NULL) {
        ended(h, slot, "info");
    }
}

/* ---- reads ---- */

void real_history_read(struct real_history *h, const struct real_node *n, uint32_t key)
{
    char name[WORKLOAD_KEY_BYTES];
    if (h != NULL) {
        workload_key(key, name);
        begin(h,
              "\"type\":\"invoke\",\"process\":%" PRIu32
              ",\"op\":\"read\",\"node\":\"%s\",\"keys\":[\"%s\"]",
              reader(n), n->name, name);
        end(h);
    }
}

/* Absent, by its number, or bytes that are no value of this run. */
static void put_value(struct real_history *h, const struct script_load *load, const redisReply *r)
{
    uint64_t number = 0;
    if (r->type != REDIS_REPLY_STRING) {
        fputs("null", h->file);
        return;
    }
    memcpy(&number, r->str, r->len < sizeof(number) ? r->len : sizeof(number));
    if (r->len == workload_value_len(load, number) &&
        workload_value_ok(hf_slice_of((const uint8_t *)r->str, r->len), number)) {
        fprintf(h->file, "\"v%" PRIu64 "\"", number);
    } else {
        fputs("\"damaged\"", h->file);
    }
}

void real_history_got(struct real_history *h, const struct real_node *n, const redisReply *reply)
{
    if (h == NULL) {
        return;
    }
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 4) {
        ended(h, reader(n), "fail");
        return;
    }
    begin(h, "\"type\":\"ok\",\"process\":%" PRIu32 ",\"values\":[", reader(n));
    put_value(h, &n->run->script->load, reply->element[0]);
    fprintf(h->file, "],\"seq\":%lld", reply->element[1]->integer);
    if (reply->element[2]->type == REDIS_REPLY_INTEGER) {
        fprintf(h->file, ",\"staleness_ms\":%lld", reply->element[2]->integer);
    }
    end(h);
}

/* ---- states ---- */

void real_history_ask(struct real_history *h, const struct real_node *n)
{
    if (h != NULL) {
        begin(h, "\"type\":\"invoke\",\"process\":%" PRIu32 ",\"op\":\"status\",\"node\":\"%s\"",
              watcher(n), n->name);
        end(h);
    }
}

/* What each edge has reported to the core. */
static void put_reports(struct real_history *h, const redisReply *edges)
{
    for (size_t i = 0; i < edges->elements; i++) {
        const redisReply *row = edges->element[i];
        if (row->elements > 5 && row->element[5]->type == REDIS_REPLY_INTEGER) {
            begin(h, "\"type\":\"ack\",\"node\":\"%s\",\"seq\":%lld", row->element[0]->str,
                  row->element[5]->integer);
            end(h);
        }
    }
}

void real_history_state(struct real_history *h, const struct real_node *n, const redisReply *reply)
{
    bool core = n->index == SCRIPT_CORE;
    if (h == NULL) {
        return;
    }
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements < (core ? 12u : 17u)) {
        ended(h, watcher(n), "fail");
        return;
    }
    /* A core's digest is that of its head, an edge's that of what it has applied. */
    begin(h,
          "\"type\":\"ok\",\"process\":%" PRIu32 ",\"epoch\":%lld,\"seq\":%lld,\"digest\":\"%s\"",
          watcher(n), reply->element[2]->integer, reply->element[core ? 4 : 5]->integer,
          reply->element[core ? 6 : 7]->str);
    end(h);
    if (core) {
        put_reports(h, reply->element[11]);
    }
}
