/*
 * commands_session.c - one connection's memory: commands that are held, and who is to run them.
 *
 * A session is counted: by its client, by each write and each wait of its own at the core, and by
 * the list of those to be run. So an answer that comes after the client has gone still finds it.
 *
 * Invariant: a held command's slot is completed exactly once, when it runs or when it is given up.
 * It must not decide whether a command may run: commands.c does. Next: commands.c.
 */
#include "core/commands_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- errors ---- */

struct hf_shown hf_show_bytes(const void *bytes, size_t len)
{
    const uint8_t *b = bytes;
    struct hf_shown s;
    size_t n = 0;

    for (size_t i = 0; i < len && i < 40; i++) {
        if (b[i] >= 0x20 && b[i] < 0x7f && b[i] != '\\') {
            s.text[n++] = (char)b[i];
        } else {
            n += (size_t)snprintf(s.text + n, sizeof s.text - n, "\\x%02x", b[i]);
        }
    }
    snprintf(s.text + n, sizeof s.text - n, "%s", len > 40 ? "..." : "");
    return s;
}

void hf_call_fail(const struct hf_call *call, const char *format, ...)
{
    struct hf_resp_client *c = call->client;
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    call->owner->refused_count++;
    if (call->slot != NULL) {
        c = hf_resp_slot_begin(call->slot);
    }
    if (c != NULL) {
        hf_resp_error(c, "%s", text);
    }
    if (call->slot != NULL) {
        hf_resp_slot_end(call->slot);
    }
}

/* ---- held commands ---- */

struct hf_held *hf_held_new(const struct hf_call *call, const struct hf_held_list *list)
{
    const struct hf_slice *argv = call->argv;
    size_t argc = call->argc;
    size_t bytes = sizeof(struct hf_held) + argc * sizeof *argv;
    struct hf_held *h;
    uint8_t *to;

    for (size_t i = 0; i < argc; i++) {
        bytes += argv[i].len;
    }
    if (bytes > HF_HELD_BYTES_ALL - *list->all) {
        return NULL;
    }
    h = malloc(bytes);
    if (h == NULL) {
        return NULL;
    }
    *h = (struct hf_held){.command = call->command, .bytes = bytes, .argc = argc};
    to = (uint8_t *)(h->argv + argc);
    for (size_t i = 0; i < argc; i++) {
        if (argv[i].len > 0) {
            memcpy(to, argv[i].data, argv[i].len);
        }
        h->argv[i] = hf_slice_of(to, argv[i].len);
        to += argv[i].len;
    }
    return h;
}

void hf_held_append(struct hf_held_list *list, struct hf_held *h)
{
    if (list->last != NULL) {
        list->last->next = h;
    } else {
        list->first = h;
    }
    list->last = h;
    list->count++;
    list->bytes += h->bytes;
    *list->all += h->bytes;
}

struct hf_held *hf_held_take(struct hf_held_list *list)
{
    struct hf_held *h = list->first;

    list->first = h->next;
    if (list->first == NULL) {
        list->last = NULL;
    }
    list->count--;
    list->bytes -= h->bytes;
    *list->all -= h->bytes;
    return h;
}

/* Gives up the commands; their slots, if they have any, are completed without a reply. */
void hf_held_clear(struct hf_held_list *list)
{
    while (list->first != NULL) {
        struct hf_held *h = hf_held_take(list);

        if (h->slot != NULL) {
            hf_resp_slot_end(h->slot); /* not begun: QUIT comes here from inside its own */
        }
        free(h);
    }
}

/* ---- sessions ---- */

void hf_session_ref(struct hf_session *s)
{
    s->refs++;
}

void hf_session_unref(struct hf_session *s)
{
    HF_ASSERT(s->refs > 0);
    if (--s->refs > 0) {
        return;
    }
    HF_ASSERT(s->client == NULL && s->held.first == NULL);
    if (s->prev != NULL) {
        s->prev->next = s->next;
    } else {
        s->owner->sessions = s->next;
    }
    if (s->next != NULL) {
        s->next->prev = s->prev;
    }
    hf_held_clear(&s->multi);
    free(s);
}

struct hf_session *hf_session_of(struct hf_commands *o, struct hf_resp_client *c)
{
    struct hf_session **place = hf_resp_user(c);
    struct hf_session *s = *place;

    if (s != NULL) {
        return s;
    }
    s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->owner = o;
    s->held.all = &o->held_bytes;
    s->multi.all = &o->multi_bytes;
    s->client = c;
    s->refs = 1;
    s->next = o->sessions;
    if (s->next != NULL) {
        s->next->prev = s;
    }
    o->sessions = s;
    o->session_count++;
    *place = s;
    return s;
}

void hf_session_runnable(struct hf_session *s)
{
    if (s->runnable) {
        return;
    }
    s->runnable = true;
    hf_session_ref(s);
    s->next_runnable = s->owner->runnable;
    s->owner->runnable = s;
}

void hf_session_wake(struct hf_session *s)
{
    hf_session_runnable(s);
    s->owner->config.wake(s->owner->config.ctx);
}
