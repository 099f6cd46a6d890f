/*
 * number.h - a whole number on a command line.
 *
 * Digits and nothing else, as many as fit: strtoull would take a sign, and make the largest number
 * of one that is too large. Pure.
 */
#ifndef HF_SIM_NUMBER_H
#define HF_SIM_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* False, with *out untouched, for what is no number from min to max. */
bool number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *out);

#endif
