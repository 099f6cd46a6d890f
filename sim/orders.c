/*
 * orders.c - a list of orders, and one of what was released. Read orders.h.
 */
#include "sim/orders.h"

#include "hf/err.h"

#include <stdlib.h>

/* What a release replaced: the values of keys 0 to count - 1. */
struct release {
    struct release *older;
    uint32_t count;
    uint64_t value[];
};

struct order {
    struct order *next;
    uint64_t writes;       /* still to be drawn; 0 = it is about keys */
    uint32_t key, key_end; /* still to be released or rolled back */
    struct release *back;  /* owned; rolled back to these, or NULL: new values */
};

static void add(struct orders *o, struct order what)
{
    struct order *last = malloc(sizeof(*last));
    HF_ASSERT(last != NULL);
    *last = what;
    *(o->last == NULL ? &o->first : &o->last->next) = last;
    o->last = last;
}

static void drop_first(struct orders *o)
{
    struct order *first = o->first;
    o->first = first->next;
    o->last = o->first == NULL ? NULL : o->last;
    free(first->back);
    free(first);
}

void orders_deinit(struct orders *o)
{
    while (o->first != NULL) {
        drop_first(o);
    }
    while (o->releases != NULL) {
        struct release *r = o->releases;
        o->releases = r->older;
        free(r);
    }
}

void orders_writes(struct orders *o, uint64_t count)
{
    if (count > 0 && o->last != NULL && o->last->writes > 0) {
        o->last->writes += count;
    } else if (count > 0) {
        add(o, (struct order){.writes = count});
    }
}

uint64_t *orders_release(struct orders *o, uint32_t keys)
{
    struct release *r = malloc(sizeof(*r) + keys * sizeof(r->value[0]));
    HF_ASSERT(r != NULL && keys > 0);
    r->older = o->releases;
    r->count = keys;
    o->releases = r;
    add(o, (struct order){.key_end = keys});
    return r->value;
}

void orders_rollback(struct orders *o)
{
    struct release *r = o->releases;
    HF_ASSERT(r != NULL);
    o->releases = r->older;
    add(o, (struct order){.key_end = r->count, .back = r});
}

bool orders_wait(const struct orders *o)
{
    return o->first != NULL;
}

/* As many keys as one request takes. */
static uint32_t take_keys(struct order *first, struct workload *w, struct workload_change *out)
{
    uint32_t most = workload_release_keys(w->load);
    uint32_t count = 0;
    for (; count < most && first->key < first->key_end; first->key++) {
        uint64_t value = first->back == NULL ? workload_value(w) : first->back->value[first->key];
        out[count++] = (struct workload_change){first->key, value};
    }
    return count;
}

uint32_t orders_take(struct orders *o, struct workload *w, struct workload_change *out)
{
    struct order *first = o->first;
    HF_ASSERT(first != NULL);
    uint32_t count = 0;
    if (first->key < first->key_end) {
        count = take_keys(first, w, out);
    } else {
        count = workload_write(w, out);
        first->writes--;
    }
    if (first->writes == 0 && first->key == first->key_end) {
        drop_first(o);
    }
    return count;
}
