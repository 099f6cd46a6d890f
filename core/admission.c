/*
 * admission.c - a table of edges: away, waiting in a line, with a place, or served without one.
 *
 * The table is looked through whole whenever somebody new asks: 4,096 rows are a few microseconds,
 * and who waits is told to ask once in a second to five.
 */
#include "core/admission.h"

#include "hf/err.h"

#include <stdlib.h>

/* Who was served and has not asked for so long begins anew: a reply takes as long on a thin link.
 */
#define FORGET_MS 60000
/* Who waits may come so much later than it was told: its back-off, a round trip, a lost reply. */
#define LATE_MS 6000
#define WAIT_MS_MOST 5000u

enum standing { AWAY = 0, WAITING, PLACED, SERVED };

struct guest {
    enum standing standing;
    uint64_t turn; /* WAITING: lower ones go first */
    hf_ms until;   /* what it is ends then, unless it asks */
    hf_seq head;   /* PLACED: what it has to catch up to */
};

struct hf_admission {
    uint32_t rows;
    uint64_t turns;
    struct guest guest[];
};

struct hf_admission *hf_admission_new(uint32_t rows)
{
    struct hf_admission *a = calloc(1, sizeof(*a) + rows * sizeof(a->guest[0]));
    if (a != NULL) {
        a->rows = rows;
    }
    return a;
}

void hf_admission_free(struct hf_admission *a)
{
    free(a);
}

static void expire(struct guest *g, hf_ms now)
{
    if (now < g->until) {
        return;
    }
    if (g->standing == PLACED) {
        g->standing = SERVED;
        g->until += FORGET_MS;
    }
    if (now >= g->until) {
        g->standing = AWAY;
    }
}

void hf_admission_counts(struct hf_admission *a, hf_ms now, uint32_t *placed, uint32_t *waiting)
{
    *placed = *waiting = 0;
    for (uint32_t i = 0; i < a->rows; i++) {
        expire(&a->guest[i], now);
        *placed += a->guest[i].standing == PLACED;
        *waiting += a->guest[i].standing == WAITING;
    }
}

/* Those with a place, and those whose turn comes before this one's. */
static uint32_t before(struct hf_admission *a, const struct guest *g, hf_ms now)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->rows; i++) {
        const struct guest *other = &a->guest[i];
        if (other != g) {
            expire(&a->guest[i], now);
            n += other->standing == PLACED || (other->standing == WAITING && other->turn < g->turn);
        }
    }
    return n;
}

bool hf_admission_ask(struct hf_admission *a, uint32_t row, hf_seq head, hf_ms now,
                      uint32_t *wait_ms)
{
    HF_ASSERT(row < a->rows);
    struct guest *g = &a->guest[row];
    expire(g, now);
    if (g->standing == SERVED) {
        g->until = now + FORGET_MS;
        return true;
    }
    if (g->standing == PLACED) {
        return true;
    }
    if (g->standing == AWAY) {
        *g = (struct guest){.standing = WAITING, .turn = a->turns++};
    }
    uint32_t ahead = before(a, g, now);
    if (ahead < HF_PLACES) {
        *g = (struct guest){.standing = PLACED, .until = now + HF_PLACE_MS, .head = head};
        return true;
    }
    *wait_ms = HF_PLACE_RETRY_MS * (ahead / HF_PLACES);
    *wait_ms = *wait_ms < WAIT_MS_MOST ? *wait_ms : WAIT_MS_MOST;
    g->until = now + 2 * (hf_ms)*wait_ms + LATE_MS;
    return false;
}

/* What is written meanwhile is no reason to keep a place: while there is much of it, nobody would
 * ever have all. */
void hf_admission_has(struct hf_admission *a, uint32_t row, hf_seq applied, hf_ms now)
{
    HF_ASSERT(row < a->rows);
    struct guest *g = &a->guest[row];
    if (g->standing == PLACED && applied >= g->head) {
        *g = (struct guest){.standing = SERVED, .until = now + FORGET_MS};
    }
}

void hf_admission_leave(struct hf_admission *a, uint32_t row)
{
    HF_ASSERT(row < a->rows);
    a->guest[row].standing = AWAY;
}
