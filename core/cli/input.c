/*
 * input.c - lines of a file or of standard input, with bounded memory and their numbers.
 *
 * Invariant: memory stays below HF_INPUT_LINE_MAX whatever comes in, so that an import of millions
 * of lines, or of a file that is no text at all, needs no more than one of ten lines. The buffer
 * grows only when a line does not fit.
 *
 * It must not interpret lines; only a byte order mark before the first one is left out, for some
 * editors put it there unasked. Next: parse.c.
 */
#include "core/cli/input.h"
#include "core/cli/text.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define INPUT_BUFFER_FIRST (64u << 10)

void hf_input_init(struct hf_input *in, int fd, const char *name)
{
    *in = (struct hf_input){.fd = fd, .name = name};
}

void hf_input_deinit(struct hf_input *in)
{
    free(in->buffer);
    if (in->fd > STDERR_FILENO) {
        close(in->fd);
    }
    *in = (struct hf_input){.fd = -1};
}

/* Makes room behind the unread bytes: by moving them to the front, then by doubling. */
static enum hf_input_result make_room(struct hf_input *in)
{
    size_t cap = in->cap == 0 ? INPUT_BUFFER_FIRST : 2 * in->cap;
    char *buffer;

    if (in->begin > 0) {
        memmove(in->buffer, in->buffer + in->begin, in->end - in->begin);
        in->end -= in->begin;
        in->begin = 0;
    }
    if (in->end < in->cap) {
        return HF_INPUT_LINE;
    }
    if (cap > HF_INPUT_LINE_MAX) {
        return HF_INPUT_LONG;
    }
    buffer = realloc(in->buffer, cap);
    if (buffer == NULL) {
        return HF_INPUT_FAILED;
    }
    in->buffer = buffer;
    in->cap = cap;
    return HF_INPUT_LINE;
}

static enum hf_input_result read_more(struct hf_input *in)
{
    enum hf_input_result r = make_room(in);
    ssize_t n;

    if (r != HF_INPUT_LINE) {
        return r;
    }
    do {
        n = read(in->fd, in->buffer + in->end, in->cap - in->end);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return HF_INPUT_FAILED;
    }
    in->end += (size_t)n;
    in->at_end = n == 0;
    return HF_INPUT_LINE;
}

enum hf_input_result hf_input_next(struct hf_input *in, char **text, size_t *len)
{
    size_t seen = 0; /* bytes already known to hold no newline */
    char *newline = NULL;

    for (;;) {
        size_t unread = in->end - in->begin;
        enum hf_input_result r;

        if (unread > seen) {
            newline = memchr(in->buffer + in->begin + seen, '\n', unread - seen);
        }
        if (newline != NULL || in->at_end) {
            break;
        }
        seen = unread;
        r = read_more(in);
        if (r != HF_INPUT_LINE) {
            in->line++;
            return r;
        }
    }
    if (in->end == in->begin) {
        return HF_INPUT_END;
    }
    *text = in->buffer + in->begin;
    *len = newline != NULL ? (size_t)(newline - *text) : in->end - in->begin;
    in->begin += *len + (newline != NULL);
    if (in->line == 0 && *len >= 3 && memcmp(*text, HF_TEXT_BOM, 3) == 0) {
        *text += 3;
        *len -= 3;
    }
    if (*len > 0 && (*text)[*len - 1] == '\r') {
        --*len;
    }
    in->line++;
    return HF_INPUT_LINE;
}
