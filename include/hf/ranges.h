/*
 * ranges.h - a bounded, sorted set of sequence numbers kept as disjoint inclusive ranges.
 *
 * Ranges that touch are merged. The caller gives the memory; nothing is allocated. When the table
 * is full, adding a range that cannot be merged fails and changes nothing: the caller then drops
 * what it wanted to remember (an edge drops the highest frame, which it can ask for again).
 */
#ifndef HF_RANGES_H
#define HF_RANGES_H

#include "hf/err.h"
#include "hf/types.h"

struct hf_range {
    hf_seq first;
    hf_seq last; /* inclusive */
};

struct hf_ranges {
    struct hf_range *at;
    size_t count;
    size_t cap;
};

void hf_ranges_init(struct hf_ranges *s, struct hf_range *memory, size_t cap);
void hf_ranges_clear(struct hf_ranges *s);
bool hf_ranges_has(const struct hf_ranges *s, hf_seq seq);
/* HF_ARG when first > last or first is 0 (there is no member 0). HF_FULL when the set would need
 * more than cap ranges. */
enum hf_err hf_ranges_add(struct hf_ranges *s, hf_seq first, hf_seq last);
/* Removes first..last; 0 as first is fine. HF_ARG when first > last. HF_FULL when cutting a range
 * in two would need more than cap. */
enum hf_err hf_ranges_remove(struct hf_ranges *s, hf_seq first, hf_seq last);
/* The first gap of the set inside [from, to]; false when there is none. */
bool hf_ranges_gap(const struct hf_ranges *s, hf_seq from, hf_seq to, struct hf_range *gap);
/* How many sequence numbers the set holds. */
uint64_t hf_ranges_total(const struct hf_ranges *s);
/* The highest member, 0 when empty. */
hf_seq hf_ranges_last(const struct hf_ranges *s);

#endif
