/*
 * err.h - one list of errors, and the three worlds of failure that are never mixed.
 *
 * Operating errors (disk, network, input from a person) are returned as enum hf_err. Programmer
 * errors hit HF_ASSERT, which is always on. Bad input from the network is neither: the caller drops
 * it and counts the reason. Config and open functions also fill a struct hf_error, whose text is
 * wrapped on the way up as "outer: inner" and printed once, by whoever decides.
 */
#ifndef HF_ERR_H
#define HF_ERR_H

#include <stdbool.h>
#include <stddef.h>

/* name, value (stable: printed and stored), sentence */
#define HF_ERRORS(X)                                                                               \
    X(OK, 0, "ok")                                                                                 \
    X(ARG, 1, "invalid argument")                                                                  \
    X(NOMEM, 2, "out of memory")                                                                   \
    X(IO, 3, "input/output error")                                                                 \
    X(FULL, 4, "no space left")                                                                    \
    X(CORRUPT, 5, "stored data is damaged")                                                        \
    X(NOTFOUND, 6, "not found")                                                                    \
    X(EXISTS, 7, "already exists")                                                                 \
    X(TOO_BIG, 8, "over the size limit")                                                           \
    X(MALFORMED, 9, "malformed message")                                                           \
    X(AUTH, 10, "authentication failed")                                                           \
    X(VERSION, 11, "unsupported version")                                                          \
    X(UPGRADE, 12, "upgrade needed: unknown critical flag")                                        \
    X(SEALED, 13, "content key not held")                                                          \
    X(FORK, 14, "two signed histories for one sequence number")                                    \
    X(DIGEST, 15, "state digest does not match the signed one")                                    \
    X(STALE, 16, "older than asked for")                                                           \
    X(NOT_YET, 17, "not there yet")                                                                \
    X(BELOW_FLOOR, 18, "no longer kept")                                                           \
    X(MOVED, 19, "the key changed since")                                                          \
    X(BUSY, 20, "busy, try again later")                                                           \
    X(TIMEOUT, 21, "timed out")                                                                    \
    X(REVOKED, 22, "revoked")                                                                      \
    X(LOCKED, 23, "in use by another process")                                                     \
    X(PERMISSION, 24, "permission refused")                                                        \
    X(CONFLICT, 25, "condition not met")                                                           \
    X(READONLY, 26, "read-only")                                                                   \
    X(UNKNOWN_EPOCH, 27, "another epoch")                                                          \
    X(AGAIN, 28, "retry with the given cookie")                                                    \
    X(MISMATCH, 29, "belongs to another stream, core or format")                                   \
    X(MAP_FULL, 30, "the store map is full: abort, grow, replay")

enum hf_err {
#define X(name, value, text) HF_##name = value,
    HF_ERRORS(X)
#undef X
};

/* How many there are; they are numbered from 0 on without a gap. */
#define X(name, value, text) +1
enum { HF_ERR_COUNT = 0 HF_ERRORS(X) };
#undef X
_Static_assert(HF_MAP_FULL == HF_ERR_COUNT - 1, "a gap");

/* What is stored reads back wrong: trying again makes nothing better, and a repair may. */
static inline bool hf_err_is_damage(enum hf_err e)
{
    return e == HF_CORRUPT || e == HF_DIGEST;
}

/* The sentence of an error, never NULL; static storage. */
const char *hf_err_text(enum hf_err e);
/* The short name ("BELOW_FLOOR"), never NULL; static storage. */
const char *hf_err_name(enum hf_err e);

struct hf_error {
    enum hf_err code;
    char text[400];
};

/* Sets code and text (NULL e is fine) and returns code, so that a caller can `return
 * hf_error_set(...)`. */
enum hf_err hf_error_set(struct hf_error *e, enum hf_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "prefix: " before the text and returns the code that e holds. e must not be NULL: without it
 * there is no code to return. */
enum hf_err hf_error_wrap(struct hf_error *e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

_Noreturn void hf_assert_failed(const char *expression, const char *file, int line);

#define HF_ASSERT(x) ((x) ? (void)0 : hf_assert_failed(#x, __FILE__, __LINE__))
#define HF_UNREACHABLE() hf_assert_failed("unreachable", __FILE__, __LINE__)

#endif
