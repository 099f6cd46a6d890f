/*
 * ranges.c - a sorted table of disjoint ranges in memory that the caller owns.
 *
 * Invariant, after every call: at[i].first <= at[i].last, and at[i].last + 1 < at[i+1].first, so
 * ranges neither overlap nor touch, and the same set has one representation. Everything else
 * follows: a lookup is a binary search, a gap is what lies between two neighbours.
 *
 * Both ends are legal up to UINT64_MAX, so no code here may compute last + 1 before it knows that
 * there is something above last. Member 0 does not exist: sequence numbers count from 1.
 *
 * Must not: allocate, or change the table in a call that then fails.
 *
 * Read next: include/hf/ranges.h.
 */
#include "hf/ranges.h"

#include <string.h>

void hf_ranges_init(struct hf_ranges *s, struct hf_range *memory, size_t cap)
{
    HF_ASSERT(memory != NULL || cap == 0);
    s->at = memory;
    s->count = 0;
    s->cap = cap;
}

void hf_ranges_clear(struct hf_ranges *s)
{
    s->count = 0;
}

/* Index of the first range that ends at seq or above; count when there is none. */
static size_t first_ending_from(const struct hf_ranges *s, hf_seq seq)
{
    size_t low = 0;
    size_t high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (s->at[middle].last < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Index of the first range that begins above seq; count when there is none. */
static size_t first_beginning_above(const struct hf_ranges *s, hf_seq seq)
{
    size_t low = 0;
    size_t high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (s->at[middle].first <= seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Moves the ranges from index `from` on so that they begin at index `to`. */
static void shift(struct hf_ranges *s, size_t from, size_t to)
{
    size_t moved = s->count - from;

    HF_ASSERT(to + moved <= s->cap);
    if (moved > 0) {
        memmove(&s->at[to], &s->at[from], moved * sizeof(s->at[0]));
    }
    s->count = to + moved;
}

bool hf_ranges_has(const struct hf_ranges *s, hf_seq seq)
{
    size_t i = first_ending_from(s, seq);

    return i < s->count && s->at[i].first <= seq;
}

enum hf_err hf_ranges_add(struct hf_ranges *s, hf_seq first, hf_seq last)
{
    size_t i;
    size_t end;

    if (first == 0 || first > last) {
        return HF_ARG;
    }
    /* at[i..end) are the ranges that overlap first..last or touch it. */
    i = first_ending_from(s, first - 1);
    end = first_beginning_above(s, last == UINT64_MAX ? last : last + 1);
    if (i == end) {
        if (s->count == s->cap) {
            return HF_FULL;
        }
        shift(s, i, i + 1);
        s->at[i] = (struct hf_range){first, last};
        return HF_OK;
    }
    if (s->at[i].first > first) {
        s->at[i].first = first;
    }
    s->at[i].last = s->at[end - 1].last > last ? s->at[end - 1].last : last;
    shift(s, end, i + 1);
    return HF_OK;
}

enum hf_err hf_ranges_remove(struct hf_ranges *s, hf_seq first, hf_seq last)
{
    size_t i;
    size_t end;

    if (first > last) {
        return HF_ARG;
    }
    /* at[i..end) are the ranges that overlap first..last. */
    i = first_ending_from(s, first);
    end = first_beginning_above(s, last);
    if (i == end) {
        return HF_OK;
    }
    if (end == i + 1 && s->at[i].first < first && s->at[i].last > last) {
        if (s->count == s->cap) {
            return HF_FULL;
        }
        shift(s, i, i + 1);
        s->at[i].last = first - 1;
        s->at[i + 1].first = last + 1;
        return HF_OK;
    }
    if (s->at[i].first < first) {
        s->at[i].last = first - 1;
        i++;
    }
    if (i < end && s->at[end - 1].last > last) {
        s->at[end - 1].first = last + 1;
        end--;
    }
    shift(s, end, i);
    return HF_OK;
}

bool hf_ranges_gap(const struct hf_ranges *s, hf_seq from, hf_seq to, struct hf_range *gap)
{
    hf_seq first = from > 0 ? from : 1;
    size_t i = first_ending_from(s, first);

    if (i < s->count && s->at[i].first <= first) {
        if (s->at[i].last >= to) {
            return false;
        }
        /* Neighbours never touch, so the number after this range is not in the next. */
        first = s->at[i].last + 1;
        i++;
    }
    if (first > to) {
        return false;
    }
    gap->first = first;
    gap->last = i < s->count && s->at[i].first <= to ? s->at[i].first - 1 : to;
    return true;
}

uint64_t hf_ranges_total(const struct hf_ranges *s)
{
    uint64_t total = 0;

    for (size_t i = 0; i < s->count; i++) {
        total += s->at[i].last - s->at[i].first + 1;
    }
    return total;
}

hf_seq hf_ranges_last(const struct hf_ranges *s)
{
    return s->count == 0 ? 0 : s->at[s->count - 1].last;
}
