/*
 * err.c - the text of errors, and the end of a process that has met its own bug.
 *
 * Invariant: every value of enum hf_err has a name and a sentence, because both are made from the
 * one list HF_ERRORS; a value that is not in the list still yields text, so a number read from an
 * old log or a peer can always be printed. struct hf_error always holds a terminated text, cut at
 * its size rather than failing: an error path must not have an error path.
 *
 * Must not: allocate, log, or look at errno. The one write to stderr is hf_assert_failed, which is
 * for programmer errors only and never for anything that came from outside.
 *
 * Read next: include/hf/err.h.
 */
#include "hf/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *hf_err_text(enum hf_err e)
{
    switch (e) {
#define X(name, value, text)                                                                       \
    case HF_##name:                                                                                \
        return text;
        HF_ERRORS(X)
#undef X
    }
    return "unknown error";
}

const char *hf_err_name(enum hf_err e)
{
    switch (e) {
#define X(name, value, text)                                                                       \
    case HF_##name:                                                                                \
        return #name;
        HF_ERRORS(X)
#undef X
    }
    return "UNKNOWN";
}

enum hf_err hf_error_set(struct hf_error *e, enum hf_err code, const char *format, ...)
{
    va_list args;

    if (e == NULL) {
        return code;
    }
    e->code = code;
    va_start(args, format);
    if (vsnprintf(e->text, sizeof(e->text), format, args) < 0) {
        e->text[0] = '\0';
    }
    va_end(args);
    return code;
}

enum hf_err hf_error_wrap(struct hf_error *e, const char *format, ...)
{
    char inner[sizeof(e->text)];
    size_t used;
    va_list args;

    /* Without the struct there is no code to hand on, and HF_OK would turn a failure into success.
     */
    HF_ASSERT(e != NULL);
    memcpy(inner, e->text, sizeof(inner));
    inner[sizeof(inner) - 1] = '\0';
    va_start(args, format);
    if (vsnprintf(e->text, sizeof(e->text), format, args) < 0) {
        e->text[0] = '\0';
    }
    va_end(args);
    used = strlen(e->text);
    (void)snprintf(e->text + used, sizeof(e->text) - used, ": %s", inner);
    return e->code;
}

_Noreturn void hf_assert_failed(const char *expression, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
    abort();
}
