/*
 * parts.c - the parts of a transfer's range: how it is cut, how far each got, and what each holds
 * of a value that has not wholly come.
 *
 * Invariant: the parts of a range lie in order and side by side. Each begins behind the `until` of
 * the one before it, the last ends where the range does, and nothing is staged for a part that lies
 * outside of it. So the range is complete exactly when all of its parts are done, in whatever order
 * that happens (G10). A part that is done keeps its place until then.
 *
 * A cursor and a fragment say the same thing: bytes of a value are held for a part only while its
 * cursor has an offset inside of that value.
 *
 * Nothing here touches a table. stage.c stages the records, staging.c makes all of this durable.
 */
#include "state_impl.h"

#include <stdlib.h>

/* A range that no plan has cut: batches are about alike, and fewer than that are one request. */
#define EVEN_SEQS_LEAST 32u
#define EVEN_PARTS_MAX 16u

static struct hf_bound bound_after(hf_seq seq, size_t key_len)
{
    return (struct hf_bound){seq, UINT32_MAX, HF_OFFSET_END, {NULL, key_len}};
}

static struct hf_slice cursor_key(const struct hf_staging *st, uint32_t part)
{
    return hf_slice_of(st->cursor[part], st->stage.part[part].cursor.key.len);
}

static struct hf_slice until_key(const struct hf_staging *st, uint32_t part)
{
    return hf_slice_of(st->until[part], st->stage.part[part].until.key.len);
}

/* ---- cutting ---- */

static void part_add(struct hf_staging *st, hf_seq until, struct hf_slice key)
{
    struct hf_stage *g = &st->stage;
    uint32_t i = g->part_count++;
    struct hf_stage_part *p = &g->part[i];
    HF_ASSERT(i < HF_STAGE_PARTS_MAX && key.len <= HF_STORE_KEY_MAX);
    p->done = false;
    p->until = bound_after(until, key.len);
    memcpy(st->until[i], key.data, key.len);
    if (i > 0) {
        p->cursor = g->part[i - 1].until;
        memcpy(st->cursor[i], st->until[i - 1], p->cursor.key.len);
    } else {
        p->cursor = bound_after(hf_stage_in_keys(g) ? 0 : g->covered, 0);
    }
}

/* A split that does not lie behind the one before it, or not inside of the range, cuts nothing. */
static bool cuts(const struct hf_staging *st, const struct hf_bound *at)
{
    const struct hf_stage *g = &st->stage;
    uint32_t last = g->part_count - 1;
    if (hf_stage_in_keys(g)) {
        return at->key.len > 0 && at->key.len <= HF_STORE_KEY_MAX &&
               (g->part_count == 0 || hf_slice_cmp(at->key, until_key(st, last)) > 0);
    }
    return at->seq > (g->part_count == 0 ? g->covered : g->part[last].until.seq) &&
           at->seq < g->target;
}

void hf_parts_cut(struct hf_staging *st, const struct hf_stage_splits *splits)
{
    static const uint8_t no_key[1];
    struct hf_stage *g = &st->stage;
    bool keys = hf_stage_in_keys(g);
    g->part_count = 0;
    if (!keys && g->covered >= g->target) {
        return;
    }
    for (uint32_t i = 0; splits != NULL && i < splits->count && i < HF_STAGE_PARTS_MAX - 1; i++) {
        const struct hf_bound *at = &splits->at[i];
        if (cuts(st, at)) {
            part_add(st, keys ? 0 : at->seq, keys ? at->key : hf_slice_of(no_key, 0));
        }
    }
    part_add(st, keys ? 0 : g->target, hf_slice_of(no_key, 0));
}

void hf_parts_cut_evenly(struct hf_staging *st)
{
    static const uint8_t no_key[1];
    struct hf_stage *g = &st->stage;
    hf_seq step = EVEN_SEQS_LEAST;
    while ((g->target - g->covered) / step >= EVEN_PARTS_MAX) {
        step *= 2;
    }
    g->part_count = 0;
    for (hf_seq at = (g->covered / step + 1) * step; at < g->target; at += step) {
        part_add(st, at, hf_slice_of(no_key, 0));
    }
    if (g->covered < g->target) {
        part_add(st, g->target, hf_slice_of(no_key, 0));
    }
}

void hf_parts_take(struct hf_state *s)
{
    struct hf_staging *st = &s->staging;
    struct hf_stage *g = &st->stage;
    g->part_count = 0;
    while (g->ranges_done < s->range_count && g->part_count < HF_STAGE_PARTS_MAX) {
        const struct hf_repair_range *r = &s->range[g->ranges_done++];
        uint32_t i = g->part_count++;
        g->part[i] = (struct hf_stage_part){.cursor = bound_after(0, r->after_len),
                                            .until = bound_after(0, r->until_len)};
        memcpy(st->cursor[i], r->after, r->after_len);
        memcpy(st->until[i], r->until, r->until_len);
    }
}

bool hf_parts_done(const struct hf_stage *g)
{
    for (uint32_t i = 0; i < g->part_count; i++) {
        if (!g->part[i].done) {
            return false;
        }
    }
    return true;
}

/* ---- one part ---- */

bool hf_part_begins(const struct hf_staging *st, uint32_t part, const struct hf_bound *from)
{
    const struct hf_stage *g = &st->stage;
    if (part >= g->part_count || g->part[part].done) {
        return false;
    }
    const struct hf_bound *at = &g->part[part].cursor;
    if (from->offset != at->offset) {
        return false;
    }
    if (hf_stage_in_keys(g)) {
        return hf_slice_eq(from->key, cursor_key(st, part));
    }
    return from->seq == at->seq && from->ordinal == at->ordinal;
}

bool hf_part_untouched(const struct hf_staging *st, uint32_t part)
{
    return part > 0 && st->stage.part[part].cursor.offset == HF_OFFSET_END &&
           hf_slice_eq(cursor_key(st, part), until_key(st, part - 1));
}

/* Records come in the order of their range. The first may be the one that the cursor is inside of,
 * all others lie behind the one before them. */
bool hf_part_holds(const struct hf_staging *st, uint32_t part, const struct hf_bound *at,
                   const struct hf_record *r)
{
    const struct hf_stage_part *p = &st->stage.part[part];
    int behind;
    if (hf_stage_in_keys(&st->stage)) {
        behind = hf_slice_cmp(r->key, at->key);
        if (p->until.key.len > 0 && hf_slice_cmp(r->key, until_key(st, part)) > 0) {
            return false;
        }
    } else {
        behind = hf_point_cmp((struct hf_point){r->seq, r->ordinal},
                              (struct hf_point){at->seq, at->ordinal});
        if (r->seq > p->until.seq) {
            return false;
        }
    }
    return behind > 0 || (behind == 0 && at->offset != HF_OFFSET_END);
}

/* The last record that belongs to it was staged: nobody needs to ask for an empty rest. */
static bool reached(const struct hf_staging *st, uint32_t part)
{
    const struct hf_stage_part *p = &st->stage.part[part];
    if (p->cursor.offset != HF_OFFSET_END) {
        return false;
    }
    if (hf_stage_in_keys(&st->stage)) {
        return p->until.key.len > 0 && hf_slice_cmp(cursor_key(st, part), until_key(st, part)) >= 0;
    }
    return p->cursor.seq > p->until.seq ||
           (p->cursor.seq == p->until.seq && p->cursor.ordinal == UINT32_MAX);
}

void hf_part_advance(struct hf_state *s, uint32_t part, const struct hf_chunk *c)
{
    struct hf_staging *st = &s->staging;
    struct hf_stage_part *p = &st->stage.part[part];
    bool keys = hf_stage_in_keys(&st->stage);
    p->cursor = c->to;
    p->cursor.key = hf_slice_of(NULL, keys ? c->to.key.len : 0);
    if (p->cursor.key.len > 0) { /* `to` may be the cursor that the engine was given */
        memmove(st->cursor[part], c->to.key.data, c->to.key.len);
    }
    p->done = (keys && c->end) || reached(st, part);
    if (p->done) {
        hf_part_forget(s, part); /* a value that was not finished moved away; the tail covers it */
    }
}

void hf_part_skip(struct hf_state *s, uint32_t part)
{
    struct hf_stage_part *p = &s->staging.stage.part[part];
    p->cursor.offset = HF_OFFSET_END;
    p->done = reached(&s->staging, part);
    hf_part_forget(s, part);
}

/* ---- fragments ---- */

void hf_part_forget(struct hf_state *s, uint32_t part)
{
    struct hf_fragment *f = &s->staging.fragment[part];
    if (f->active) {
        f->active = false;
        s->fragments_dirty |= 1u << part;
    }
}

static enum hf_err fragment_begin(struct hf_state *s, uint32_t part, const struct hf_record *r)
{
    struct hf_fragment *f = &s->staging.fragment[part];
    if (s->fragment[part] == NULL && (s->fragment[part] = malloc(HF_STORE_VALUE_MAX)) == NULL) {
        return HF_NOMEM;
    }
    f->active = true;
    f->at = (struct hf_point){r->seq, r->ordinal};
    f->total = r->total;
    f->have = 0;
    f->key_len = (uint32_t)r->key.len;
    memcpy(f->key, r->key.data, r->key.len);
    return HF_OK;
}

static bool fragment_goes_on(const struct hf_fragment *f, const struct hf_record *r)
{
    return f->active && f->have == r->offset && f->total == r->total && f->at.seq == r->seq &&
           f->at.ordinal == r->ordinal && hf_slice_eq(hf_slice_of(f->key, f->key_len), r->key);
}

/* A piece of another version of the key than the one under way means that the key changed since:
 * the new version has a seq behind this range, and a later range or the tail brings it. */
enum hf_err hf_part_join(struct hf_state *s, uint32_t part, const struct hf_record *r,
                         struct hf_stored *whole)
{
    struct hf_fragment *f = &s->staging.fragment[part];
    enum hf_err e = HF_OK;
    whole->seq = 0;
    if (r->offset == 0) {
        e = fragment_begin(s, part, r);
    } else if (!fragment_goes_on(f, r)) {
        hf_part_forget(s, part);
    }
    if (e != HF_OK || !f->active) {
        return e;
    }
    s->fragments_dirty |= 1u << part;
    memcpy(s->fragment[part] + f->have, r->value.data, r->value.len);
    f->have += (uint32_t)r->value.len;
    if (f->have == f->total) {
        *whole = (struct hf_stored){r->key, hf_slice_of(s->fragment[part], f->total), r->seq,
                                    r->ordinal, false};
        hf_part_forget(s, part);
    }
    return HF_OK;
}
