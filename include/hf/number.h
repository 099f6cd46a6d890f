/*
 * number.h - a whole number as people write it: decimal digits and nothing else, 20 at most.
 *
 * strtoull would take a sign and blanks, and make the largest number of one that is too large.
 * Any thread. Pure.
 */
#ifndef HF_NUMBER_H
#define HF_NUMBER_H

#include "hf/types.h"

/* False, with *out untouched, for what is no number from min to max. */
bool hf_number_parse(struct hf_slice text, uint64_t min, uint64_t max, uint64_t *out);

#endif
