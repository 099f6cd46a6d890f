/*
 * queue.c - a ring of lines, and the requests in each.
 *
 * Invariant: a line is in the ring if and only if somebody waits in it, so there are never more
 * lines than requests. `turn` is the line that is asked first.
 *
 * It must not decide what is ready, nor how many one edge may have at most: transfer.c does. Read
 * queue.h.
 */
#include "core/queue.h"

#include <stdlib.h>

/* One edge's part of what is free. */
#define FREE_PER_PLACE 8u

struct line {
    uint32_t row;
    uint32_t count;
    struct hf_waiting *first;
    struct hf_waiting **end;
    struct line *after; /* ring; of a free line, the next free one */
    struct line *before;
};

struct hf_queue {
    uint32_t count;
    struct line *turn; /* NULL when nobody waits */
    struct line *line_free;
    struct hf_waiting *place_free;
    struct line line[HF_WAITING_MAX];
    struct hf_waiting place[HF_WAITING_MAX];
};

struct hf_queue *hf_queue_new(void)
{
    struct hf_queue *q = calloc(1, sizeof(*q));
    for (uint32_t i = 0; q != NULL && i < HF_WAITING_MAX; i++) {
        q->line[i].after = q->line_free;
        q->line_free = &q->line[i];
        q->place[i].next = q->place_free;
        q->place_free = &q->place[i];
    }
    return q;
}

void hf_queue_free(struct hf_queue *q)
{
    free(q);
}

uint32_t hf_queue_count(const struct hf_queue *q)
{
    return q->count;
}

static struct line *line_of(const struct hf_queue *q, uint32_t row)
{
    struct line *l = q->turn;
    if (l == NULL || l->row == row) {
        return l;
    }
    for (l = l->after; l != q->turn; l = l->after) {
        if (l->row == row) {
            return l;
        }
    }
    return NULL;
}

uint32_t hf_queue_count_of(const struct hf_queue *q, uint32_t row)
{
    const struct line *l = line_of(q, row);
    return l != NULL ? l->count : 0;
}

/* A new line comes last: before the one whose turn it is. */
static struct line *line_open(struct hf_queue *q, uint32_t row)
{
    struct line *l = q->line_free;
    q->line_free = l->after;
    *l = (struct line){.row = row, .after = l, .before = l};
    l->end = &l->first;
    if (q->turn != NULL) {
        l->after = q->turn;
        l->before = q->turn->before;
        l->before->after = l;
        l->after->before = l;
    } else {
        q->turn = l;
    }
    return l;
}

static void line_close(struct hf_queue *q, struct line *l)
{
    if (q->turn == l) {
        q->turn = l->after != l ? l->after : NULL;
    }
    l->before->after = l->after;
    l->after->before = l->before;
    l->after = q->line_free;
    q->line_free = l;
}

struct hf_waiting *hf_queue_put(struct hf_queue *q, uint32_t row)
{
    struct hf_waiting *w = q->place_free;
    struct line *l = line_of(q, row);
    if (w == NULL || (l != NULL && l->count >= (HF_WAITING_MAX - q->count) / FREE_PER_PLACE)) {
        return NULL;
    }
    q->place_free = w->next;
    if (l == NULL) {
        l = line_open(q, row);
    }
    w->row = row;
    w->coalesced = false;
    w->next = NULL;
    *l->end = w;
    l->end = &w->next;
    l->count++;
    q->count++;
    return w;
}

/* The first of the line that is ready, taken out. */
static struct hf_waiting *line_take(struct line *l, bool (*ready)(void *ctx, struct hf_waiting *w),
                                    void *ctx)
{
    for (struct hf_waiting **at = &l->first; *at != NULL; at = &(*at)->next) {
        struct hf_waiting *w = *at;
        if (ready(ctx, w)) {
            *at = w->next;
            l->end = w->next == NULL ? at : l->end;
            l->count--;
            return w;
        }
    }
    return NULL;
}

struct hf_waiting *hf_queue_take(struct hf_queue *q, bool (*ready)(void *ctx, struct hf_waiting *w),
                                 void *ctx)
{
    struct line *l = q->turn;
    if (l == NULL) {
        return NULL;
    }
    do {
        struct hf_waiting *w = line_take(l, ready, ctx);
        if (w != NULL) {
            q->count--;
            q->turn = l->after;
            if (l->count == 0) {
                line_close(q, l);
            }
            return w;
        }
        l = l->after;
    } while (l != q->turn);
    return NULL;
}

void hf_queue_give_back(struct hf_queue *q, struct hf_waiting *w)
{
    w->next = q->place_free;
    q->place_free = w;
}
