/*
 * resp_reply.c - replies of the RESP server: their bytes, their order, and sending them.
 *
 * A reply goes to the first of these that applies: the slot between begin and end; `out`, when no
 * slot is waiting before it; the text piece at the end of the queue. flush moves what is ready at
 * the head of the queue to `out` and sends `out` with one write(2). Only what the kernel did not
 * take is handed to uv_write, in a second buffer, and while it is there `out` gathers what comes
 * next.
 *
 * Invariant: replies leave in the order of the commands, whatever order slots end in. A client over
 * its limit takes no more bytes and is closed at the next turn, never in the middle of a callback.
 *
 * Must not: allocate for a reply that fits a piece (they come from the server's freelist), write to
 * the socket outside a turn, or touch a client through a slot after the client has closed.
 *
 * Read next: resp_impl.h for the structures, resp.c for turns.
 */
#include "proto/node/resp_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BYTES_MIN 256u
/* Above this, a piece's memory becomes the output buffer instead of being copied into it. */
#define STEAL_BYTES 4096u
/* 1 MiB of pieces kept for the next window, enough for 80 clients with windows of 100. */
#define FREE_SLOTS_MAX 8192u
#define ERROR_TEXT_MAX 512u

/* ---- memory ---- */

bool hf_resp_bytes_room(struct hf_resp_bytes *b, const uint8_t *small, size_t extra)
{
    if (b->cap - b->len >= extra) {
        return true;
    }
    size_t cap = b->cap < BYTES_MIN ? BYTES_MIN : b->cap;
    while (cap - b->len < extra) {
        cap *= 2;
    }
    bool is_small = small != NULL && b->data == small;
    uint8_t *data = realloc(is_small ? NULL : b->data, cap);
    if (data == NULL) {
        return false;
    }
    if (is_small) {
        memcpy(data, small, b->len);
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void hf_resp_bytes_free(struct hf_resp_bytes *b)
{
    free(b->data);
    *b = (struct hf_resp_bytes){0};
}

static struct hf_resp_slot *piece_new(struct hf_resp_client *c, bool deferred)
{
    struct hf_resp_server *s = c->server;
    struct hf_resp_slot *p = s->free_slots;
    if (p != NULL) {
        s->free_slots = p->next;
        s->free_slot_count--;
    } else {
        p = malloc(sizeof(*p));
        if (p == NULL) {
            return NULL;
        }
    }
    p->server = s;
    p->client = c;
    p->next = NULL;
    p->deferred = deferred;
    p->ready = !deferred;
    p->bytes = (struct hf_resp_bytes){p->small, 0, sizeof(p->small)};
    return p;
}

static void piece_free(struct hf_resp_server *s, struct hf_resp_slot *p)
{
    if (p->bytes.data != p->small) {
        free(p->bytes.data);
    }
    if (s->free_slot_count >= FREE_SLOTS_MAX) {
        free(p);
        return;
    }
    p->client = NULL;
    p->next = s->free_slots;
    s->free_slots = p;
    s->free_slot_count++;
}

bool hf_resp_reserve(struct hf_resp_server *s)
{
    while (s->free_slot_count < 2) {
        struct hf_resp_slot *p = calloc(1, sizeof(*p));
        if (p == NULL) {
            return false;
        }
        p->bytes = (struct hf_resp_bytes){p->small, 0, sizeof(p->small)};
        piece_free(s, p);
    }
    return true;
}

static void piece_append(struct hf_resp_client *c, struct hf_resp_slot *p)
{
    if (c->tail != NULL) {
        c->tail->next = p;
    } else {
        c->head = p;
    }
    c->tail = p;
}

void hf_resp_fail(struct hf_resp_client *c)
{
    if (!c->closed) {
        c->failed = true;
        hf_resp_client_dirty(c);
    }
}

/* ---- where a reply goes ---- */

/* Sets *small for hf_resp_bytes_room; NULL without memory. */
static struct hf_resp_bytes *destination(struct hf_resp_client *c, const uint8_t **small)
{
    struct hf_resp_slot *p = c->target;
    if (p == NULL && c->tail == NULL) {
        hf_resp_client_dirty(c);
        *small = NULL;
        return &c->out;
    }
    if (p == NULL && !c->tail->deferred) {
        p = c->tail;
    }
    if (p == NULL) {
        p = piece_new(c, false);
        if (p == NULL) {
            return NULL;
        }
        piece_append(c, p);
    }
    *small = p->small;
    return &p->bytes;
}

static size_t beyond_free(size_t bytes)
{
    return bytes > HF_RESP_OUTPUT_FREE ? bytes - HF_RESP_OUTPUT_FREE : 0;
}

/* The one place in which queued_bytes changes. */
static void queue_is(struct hf_resp_client *c, size_t bytes)
{
    struct hf_resp_server *s = c->server;
    s->output_bytes = s->output_bytes - beyond_free(c->queued_bytes) + beyond_free(bytes);
    c->queued_bytes = bytes;
}

/* How many bytes more this client may hold. */
static size_t room(const struct hf_resp_client *c)
{
    const struct hf_resp_server *s = c->server;
    size_t held = c->queued_bytes;
    size_t own = s->config.output_bytes_max - held;
    size_t shared = s->config.output_total_max - s->output_bytes;
    shared += held < HF_RESP_OUTPUT_FREE ? HF_RESP_OUTPUT_FREE - held : 0;
    return own < shared ? own : shared;
}

size_t hf_resp_reply_max(const struct hf_resp_client *c)
{
    return c->server->config.output_bytes_max;
}

bool hf_resp_fits(struct hf_resp_client *c, size_t bytes)
{
    size_t most = hf_resp_reply_max(c);
    if (bytes <= room(c)) {
        return true;
    }
    if (bytes > most) {
        hf_resp_error(c, "TOOBIG a reply of %zu bytes; output_max is %zu: ask for less at once",
                      bytes, most);
    } else {
        hf_resp_error(c, "BUSY clients have not read %zu bytes of replies",
                      c->server->output_bytes);
    }
    return false;
}

/* Where to write n bytes, counted as written; NULL when this client gets no more. */
static uint8_t *take(struct hf_resp_client *c, size_t n)
{
    if (c->closed || c->failed) {
        return NULL;
    }
    if (n > room(c)) {
        hf_resp_fail(c);
        return NULL;
    }
    const uint8_t *small = NULL;
    struct hf_resp_bytes *b = destination(c, &small);
    if (b == NULL || !hf_resp_bytes_room(b, small, n)) {
        hf_resp_fail(c);
        return NULL;
    }
    uint8_t *at = b->data + b->len;
    b->len += n;
    queue_is(c, c->queued_bytes + n);
    return at;
}

/* ---- encoding ---- */

#define HEADER_MAX 24u /* type byte, sign, 19 digits, CRLF */

/* Writes type, decimal number and CRLF so that they end where the buffer ends; gives the start. */
static uint8_t *format_number(uint8_t *end, char type, int64_t value)
{
    uint8_t *at = end;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    *--at = '\n';
    *--at = '\r';
    do {
        *--at = (uint8_t)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0) {
        *--at = '-';
    }
    *--at = (uint8_t)type;
    return at;
}

static void put_number(struct hf_resp_client *c, char type, int64_t value)
{
    uint8_t buffer[HEADER_MAX];
    uint8_t *text = format_number(buffer + HEADER_MAX, type, value);
    size_t len = (size_t)(buffer + HEADER_MAX - text);
    uint8_t *at = take(c, len);
    if (at != NULL) {
        memcpy(at, text, len);
    }
}

static void put_line(struct hf_resp_client *c, char type, const char *text, size_t len)
{
    uint8_t *at = take(c, len + 3);
    if (at == NULL) {
        return;
    }
    at[0] = (uint8_t)type;
    memcpy(at + 1, text, len);
    at[len + 1] = '\r';
    at[len + 2] = '\n';
}

void hf_resp_simple(struct hf_resp_client *c, const char *text)
{
    put_line(c, '+', text, strlen(text));
}

void hf_resp_error(struct hf_resp_client *c, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len >= sizeof(text)) {
        len = sizeof(text) - 1;
    }
    /* The text may quote what the client sent: a line end in it would forge a reply. */
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r' || text[i] == '\n') {
            text[i] = ' ';
        }
    }
    put_line(c, '-', text, len);
}

void hf_resp_integer(struct hf_resp_client *c, int64_t value)
{
    put_number(c, ':', value);
}

void hf_resp_number(struct hf_resp_client *c, uint64_t n)
{
    if (n == UINT64_MAX) {
        hf_resp_nil(c);
    } else {
        hf_resp_integer(c, (int64_t)n);
    }
}

void hf_resp_bulk(struct hf_resp_client *c, struct hf_slice bytes)
{
    uint8_t buffer[HEADER_MAX];
    uint8_t *text = format_number(buffer + HEADER_MAX, '$', (int64_t)bytes.len);
    size_t len = (size_t)(buffer + HEADER_MAX - text);
    uint8_t *at = take(c, len + bytes.len + 2);
    if (at == NULL) {
        return;
    }
    memcpy(at, text, len);
    if (bytes.len > 0) {
        memcpy(at + len, bytes.data, bytes.len);
    }
    at[len + bytes.len] = '\r';
    at[len + bytes.len + 1] = '\n';
}

void hf_resp_nil(struct hf_resp_client *c)
{
    if (c->version >= 3) {
        put_line(c, '_', "", 0);
    } else {
        put_number(c, '$', -1);
    }
}

void hf_resp_array(struct hf_resp_client *c, size_t count)
{
    put_number(c, '*', (int64_t)count);
}

void hf_resp_map(struct hf_resp_client *c, size_t pairs)
{
    if (c->version >= 3) {
        put_number(c, '%', (int64_t)pairs);
    } else {
        put_number(c, '*', (int64_t)pairs * 2);
    }
}

/* ---- slots ---- */

struct hf_resp_slot *hf_resp_defer(struct hf_resp_client *c)
{
    HF_ASSERT(c->target == NULL);
    struct hf_resp_slot *p = piece_new(c, true);
    /* hf_resp_reserve has seen to it: there would be no way to answer "no memory" from here. */
    HF_ASSERT(p != NULL);
    c->server->live_slot_count++;
    if (c->closed) {
        p->client = NULL;
        return p;
    }
    piece_append(c, p);
    c->slot_count++;
    return p;
}

struct hf_resp_client *hf_resp_slot_begin(struct hf_resp_slot *slot)
{
    struct hf_resp_client *c = slot->client;
    HF_ASSERT(slot->deferred && !slot->ready);
    if (c != NULL) {
        HF_ASSERT(c->target == NULL);
        c->target = slot;
    }
    return c;
}

void hf_resp_slot_end(struct hf_resp_slot *slot)
{
    struct hf_resp_server *s = slot->server;
    struct hf_resp_client *c = slot->client;
    HF_ASSERT(slot->deferred && !slot->ready);
    s->live_slot_count--;
    slot->ready = true;
    if (c == NULL) {
        piece_free(s, slot);
        hf_resp_server_release(s);
        return;
    }
    if (c->target == slot) {
        c->target = NULL;
    }
    if (c->head == slot) {
        hf_resp_client_dirty(c);
    }
}

void hf_resp_drop_output(struct hf_resp_client *c)
{
    struct hf_resp_slot *p = c->head;
    while (p != NULL) {
        struct hf_resp_slot *next = p->next;
        if (p->ready) {
            piece_free(c->server, p);
        } else {
            p->client = NULL;
            p->next = NULL;
        }
        p = next;
    }
    c->head = c->tail = c->target = NULL;
    c->slot_count = 0;
    queue_is(c, 0);
}

/* ---- sending ---- */

/* Moves a piece's bytes to the end of `out`; false without memory. */
static bool move_to_out(struct hf_resp_client *c, struct hf_resp_slot *p)
{
    if (c->out.len == 0 && p->bytes.len > STEAL_BYTES) {
        free(c->out.data);
        c->out = p->bytes;
        p->bytes = (struct hf_resp_bytes){p->small, 0, sizeof(p->small)};
        return true;
    }
    if (!hf_resp_bytes_room(&c->out, NULL, p->bytes.len)) {
        return false;
    }
    memcpy(c->out.data + c->out.len, p->bytes.data, p->bytes.len);
    c->out.len += p->bytes.len;
    return true;
}

static void collect(struct hf_resp_client *c)
{
    while (c->head != NULL && c->head->ready && !c->failed) {
        struct hf_resp_slot *p = c->head;
        if (!move_to_out(c, p)) {
            hf_resp_fail(c);
            return;
        }
        c->head = p->next;
        if (c->head == NULL) {
            c->tail = NULL;
        }
        if (p->deferred) {
            c->slot_count--;
        }
        piece_free(c->server, p);
    }
}

static void on_written(uv_write_t *w, int status)
{
    struct hf_resp_client *c = w->data;
    if (c->closed) {
        return;
    }
    if (status != 0) {
        hf_resp_client_close(c);
        return;
    }
    queue_is(c, c->queued_bytes - c->sending.len);
    c->sending.len = 0;
    if (c->sending.cap > HF_RESP_READ_BYTES) {
        hf_resp_bytes_free(&c->sending);
    }
    hf_resp_client_dirty(c);
}

/* Hands the rest of `out`, from `done` on, to libuv. */
static bool send_rest(struct hf_resp_client *c, size_t done)
{
    struct hf_resp_bytes rest = c->out;
    c->out = c->sending;
    c->sending = rest;
    c->sending.len -= done;
    uv_buf_t buf = uv_buf_init((char *)rest.data + done, (unsigned)(rest.len - done));
    c->write.data = c;
    c->stuck_since = uv_now(c->server->loop);
    c->stuck_size = buf.len;
    return uv_write(&c->write, &c->handle.stream, &buf, 1, on_written) == 0;
}

void hf_resp_flush(struct hf_resp_client *c)
{
    collect(c);
    if (c->failed) {
        hf_resp_client_close(c);
        return;
    }
    if (c->sending.len > 0 || c->out.len == 0) {
        return;
    }
    uv_buf_t buf = uv_buf_init((char *)c->out.data, (unsigned)c->out.len);
    int n = uv_try_write(&c->handle.stream, &buf, 1);
    size_t done = n > 0 ? (size_t)n : 0;
    if (n < 0 && n != UV_EAGAIN) {
        hf_resp_client_close(c);
        return;
    }
    queue_is(c, c->queued_bytes - done);
    if (done < c->out.len) {
        if (!send_rest(c, done)) {
            hf_resp_client_close(c);
        }
        return;
    }
    c->out.len = 0;
    if (c->out.cap > HF_RESP_READ_BYTES) {
        hf_resp_bytes_free(&c->out);
    }
}
