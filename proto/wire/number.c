/*
 * number.c - digits to a number (number.h).
 */
#include "hf/number.h"

#define DIGITS_MAX 20u /* of 2^64 */

bool hf_number_parse(struct hf_slice text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;
    if (text.len == 0 || text.len > DIGITS_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint64_t digit = (uint64_t)text.data[i] - '0';
        if (text.data[i] < '0' || text.data[i] > '9' || n > (UINT64_MAX - digit) / 10) {
            return false;
        }
        n = 10 * n + digit;
    }
    if (n < min || n > max) {
        return false;
    }
    *out = n;
    return true;
}
