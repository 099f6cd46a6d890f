/*
 * resp_parse.c - cutting a byte stream into RESP commands.
 *
 *   command = "*" count CRLF, then count times "$" length CRLF bytes CRLF
 *           | a line of words, ended by LF or CRLF (an inline command)
 *
 * A count of 0 or less and an empty line are commands without arguments, as in Redis. A word of an
 * inline command may be quoted: "..." knows \n \r \t \a \b \xHH and \ before any byte, '...' only
 * \'.
 *
 * Invariant: whatever the bytes are, and however they are cut into calls, the same commands come
 * out, the parser never looks past `len`, and the work is linear in the bytes (but for the few
 * bytes of an unfinished header line). Every announced number is checked against its limit before
 * it is used.
 *
 * Must not: do input or output, know a command, or keep a pointer into the bytes between calls.
 *
 * Read next: resp.c, which feeds it.
 */
#include "proto/node/resp_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* "-" and ten digits: everything longer is over every limit anyway. */
#define NUMBER_CHARS_MAX 11u
/* A table larger than this is given back when the client is idle. */
#define ARGS_KEPT 64u

void hf_resp_parser_init(struct hf_resp_parser *p, size_t bytes_max)
{
    memset(p, 0, sizeof(*p));
    p->bytes_max = bytes_max;
}

void hf_resp_parser_deinit(struct hf_resp_parser *p)
{
    free(p->arg);
    p->arg = NULL;
    p->arg_cap = 0;
}

void hf_resp_parser_shrink(struct hf_resp_parser *p)
{
    if (p->state == HF_RESP_BEGIN && p->arg_cap > ARGS_KEPT) {
        hf_resp_parser_deinit(p);
    }
}

static enum hf_resp_step bad(struct hf_resp_parser *p, const char *text)
{
    snprintf(p->error, sizeof(p->error), "%s", text);
    return HF_RESP_BAD;
}

static enum hf_resp_step arg_add(struct hf_resp_parser *p, size_t offset, size_t len)
{
    if (p->argc == p->arg_cap) {
        uint32_t cap = p->arg_cap == 0 ? 8 : p->arg_cap * 2;
        struct hf_resp_arg *more = realloc(p->arg, cap * sizeof(*more));
        if (more == NULL) {
            return bad(p, "out of memory");
        }
        p->arg = more;
        p->arg_cap = cap;
    }
    p->arg[p->argc++] = (struct hf_resp_arg){(uint32_t)offset, (uint32_t)len};
    return HF_RESP_COMMAND;
}

/* Reads `sign digits CRLF` at p->at + 1 (past the type byte) and moves past it. */
static enum hf_resp_step read_number(struct hf_resp_parser *p, const uint8_t *data, size_t len,
                                     int64_t *value)
{
    size_t i = p->at + 1;
    bool minus = i < len && data[i] == '-';
    if (minus) {
        i++;
    }
    size_t first = i;
    int64_t v = 0;
    while (i < len && data[i] >= '0' && data[i] <= '9' && i - first < NUMBER_CHARS_MAX) {
        v = v * 10 + (data[i] - '0');
        i++;
    }
    if (i == len || (i + 1 == len && data[i] == '\r' && i > first)) {
        return HF_RESP_MORE;
    }
    if (i == first || data[i] != '\r' || data[i + 1] != '\n') {
        return HF_RESP_BAD;
    }
    p->at = i + 2;
    *value = minus ? -v : v;
    return HF_RESP_COMMAND;
}

/* ---- inline commands ---- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f' || c == 0;
}

static uint8_t escaped(uint8_t c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* Reads one escape or plain byte of a quoted word at *i, and moves past it. */
static uint8_t quoted_byte(const uint8_t *data, size_t end, size_t *i, uint8_t quote)
{
    uint8_t c = data[(*i)++];
    if (c != '\\' || *i == end) {
        return c;
    }
    uint8_t next = data[*i];
    if (quote == '\'') {
        if (next != '\'') {
            return c;
        }
        (*i)++;
        return next;
    }
    if (next == 'x' && end - *i > 2 && hex_digit(data[*i + 1]) >= 0 &&
        hex_digit(data[*i + 2]) >= 0) {
        uint8_t value = (uint8_t)(hex_digit(data[*i + 1]) << 4 | hex_digit(data[*i + 2]));
        *i += 3;
        return value;
    }
    (*i)++;
    return escaped(next);
}

/* Unquotes the word at *i onto itself (unquoting never lengthens). False: a quote is not closed, or
 * something follows it at once. */
static bool read_word(uint8_t *data, size_t end, size_t *i, size_t *word_len)
{
    size_t out = *i;
    size_t first = out;
    uint8_t quote = 0;
    while (*i < end && (quote != 0 || !is_space(data[*i]))) {
        uint8_t c = data[*i];
        if (quote == 0 && (c == '"' || c == '\'')) {
            quote = c;
            (*i)++;
        } else if (quote != 0 && c == quote) {
            (*i)++;
            *word_len = out - first;
            return *i == end || is_space(data[*i]);
        } else if (quote != 0) {
            uint8_t b = quoted_byte(data, end, i, quote);
            data[out++] = b;
        } else {
            data[out++] = c;
            (*i)++;
        }
    }
    *word_len = out - first;
    return quote == 0;
}

/* A web page may make a browser POST anywhere, also to a loopback port, with commands in the body:
 * a stream that looks like HTTP ends at its first line. */
static bool is_http(const uint8_t *word, size_t len)
{
    return (len == 4 && strncasecmp((const char *)word, "POST", 4) == 0) ||
           (len == 5 && strncasecmp((const char *)word, "Host:", 5) == 0);
}

static enum hf_resp_step split_line(struct hf_resp_parser *p, uint8_t *data, size_t end)
{
    size_t i = 0;
    for (;;) {
        while (i < end && is_space(data[i])) {
            i++;
        }
        if (i == end) {
            return HF_RESP_COMMAND;
        }
        size_t first = i;
        size_t len = 0;
        if (!read_word(data, end, &i, &len)) {
            return bad(p, "unbalanced quotes in request");
        }
        if (p->argc == 0 && is_http(data + first, len)) {
            return bad(p, "this is not an HTTP port");
        }
        enum hf_resp_step step = arg_add(p, first, len);
        if (step != HF_RESP_COMMAND) {
            return step;
        }
    }
}

static enum hf_resp_step read_line(struct hf_resp_parser *p, uint8_t *data, size_t len)
{
    size_t limit = len < HF_RESP_INLINE_MAX ? len : HF_RESP_INLINE_MAX;
    uint8_t *newline = p->at < limit ? memchr(data + p->at, '\n', limit - p->at) : NULL;
    if (newline == NULL) {
        p->at = limit;
        return limit == HF_RESP_INLINE_MAX ? bad(p, "too big inline request") : HF_RESP_MORE;
    }
    p->at = (size_t)(newline - data) + 1;
    return split_line(p, data, (size_t)(newline - data));
}

/* ---- arrays of bulk strings ---- */

static enum hf_resp_step read_count(struct hf_resp_parser *p, const uint8_t *data, size_t len)
{
    int64_t count = 0;
    enum hf_resp_step step = read_number(p, data, len, &count);
    if (step == HF_RESP_BAD || count > (int64_t)HF_RESP_ARGS_MAX) {
        return bad(p, "invalid multibulk length");
    }
    if (step == HF_RESP_MORE) {
        return step;
    }
    p->want = count > 0 ? (uint32_t)count : 0;
    p->state = HF_RESP_HEAD;
    return HF_RESP_COMMAND;
}

static enum hf_resp_step read_head(struct hf_resp_parser *p, const uint8_t *data, size_t len)
{
    if (p->at == len) {
        return HF_RESP_MORE;
    }
    uint8_t c = data[p->at];
    if (c != '$') {
        snprintf(p->error, sizeof(p->error), "expected '$', got '%c'",
                 c > ' ' && c < 0x7f ? c : '?');
        return HF_RESP_BAD;
    }
    int64_t bulk = 0;
    enum hf_resp_step step = read_number(p, data, len, &bulk);
    if (step == HF_RESP_BAD || bulk < 0) {
        return bad(p, "invalid bulk length");
    }
    if (step == HF_RESP_MORE) {
        return step;
    }
    if ((uint64_t)bulk > p->bytes_max - p->total) {
        return bad(p, "invalid bulk length, the command is too large");
    }
    p->bulk = (uint32_t)bulk;
    p->total += p->bulk;
    p->state = HF_RESP_BODY;
    return HF_RESP_COMMAND;
}

static enum hf_resp_step read_body(struct hf_resp_parser *p, const uint8_t *data, size_t len)
{
    if (len - p->at < (size_t)p->bulk + 2) {
        return HF_RESP_MORE;
    }
    size_t end = p->at + p->bulk;
    if (data[end] != '\r' || data[end + 1] != '\n') {
        return bad(p, "expected CRLF after a bulk string");
    }
    enum hf_resp_step step = arg_add(p, p->at, p->bulk);
    if (step != HF_RESP_COMMAND) {
        return step;
    }
    p->at = end + 2;
    p->want--;
    p->state = HF_RESP_HEAD;
    return HF_RESP_COMMAND;
}

static void begin(struct hf_resp_parser *p)
{
    p->at = 0;
    p->argc = 0;
    p->total = 0;
}

enum hf_resp_step hf_resp_parse(struct hf_resp_parser *p, uint8_t *data, size_t len, size_t *used)
{
    enum hf_resp_step step = HF_RESP_COMMAND;
    if (p->state == HF_RESP_BEGIN) {
        begin(p);
        if (len == 0) {
            return HF_RESP_MORE;
        }
        if (data[0] == '*') {
            step = read_count(p, data, len);
        } else {
            p->state = HF_RESP_LINE;
        }
    }
    if (p->state == HF_RESP_LINE) {
        step = read_line(p, data, len);
    }
    while (step == HF_RESP_COMMAND &&
           ((p->state == HF_RESP_HEAD && p->want > 0) || p->state == HF_RESP_BODY)) {
        step = p->state == HF_RESP_HEAD ? read_head(p, data, len) : read_body(p, data, len);
    }
    if (step == HF_RESP_COMMAND) {
        *used = p->at;
        p->state = HF_RESP_BEGIN;
    }
    return step;
}
