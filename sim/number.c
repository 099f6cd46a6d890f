/*
 * number.c - digits to a number (number.h).
 */
#include "sim/number.h"

bool number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9'; c++) {
        uint64_t digit = (uint64_t)(*c - '0');
        if (n > (UINT64_MAX - digit) / 10) {
            return false;
        }
        n = n * 10 + digit;
    }
    if (c == text || *c != '\0' || n < min || n > max) {
        return false;
    }
    *out = n;
    return true;
}
