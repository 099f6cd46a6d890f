/*
 * parse.c - the formats of apply and import: a line in, a change out.
 *
 *   apply   put<TAB>KEY<TAB>VALUE  |  del<TAB>KEY  |  a JSON object; # comments, blank lines
 *   lines   KEY, blanks around it removed, value "1"; # and // comments, blank lines
 *   tsv     KEY<TAB>VALUE; # comments, blank lines
 *   jsonl   see parse_json.c          pem   see parse_pem.c
 * In apply and tsv, \t \n \r \\ and \xHH stand for bytes; a key that begins with # is written
 * \x23...
 *
 * Invariant: a line either gives exactly one change within the limits of types.h, nothing, or an
 * error that says what is wrong with it; nothing is cut or guessed. What export writes gives the
 * same state. It must not know of files or line numbers (input.c). Next: request.c, which collects
 * changes.
 */
#include "core/cli/parse.h"
#include "core/cli/text.h"

#include <jansson.h>

#include <stdarg.h>
#include <stdlib.h>

bool hf_format_parse(const char *name, enum hf_format *format)
{
    static const struct {
        const char *name;
        enum hf_format format;
    } known[] = {
        {"lines", HF_FORMAT_LINES},
        {"tsv", HF_FORMAT_TSV},
        {"jsonl", HF_FORMAT_JSONL},
        {"pem", HF_FORMAT_PEM},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) == 0) {
            *format = known[i].format;
            return true;
        }
    }
    return false;
}

void hf_parser_init(struct hf_parser *p, enum hf_format format, const char *prefix)
{
    *p = (struct hf_parser){.format = format, .prefix = prefix == NULL ? "" : prefix};
}

void hf_parser_deinit(struct hf_parser *p)
{
    json_decref(p->json);
    free(p->bytes);
    for (size_t i = 0; i < p->label_count; i++) {
        free(p->labels[i]);
    }
    free(p->labels);
    *p = (struct hf_parser){0};
}

enum hf_parsed hf_parser_bad(struct hf_parser *p, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(p->error, sizeof p->error, format, args);
    va_end(args);
    return HF_PARSED_BAD;
}

bool hf_parser_reserve(struct hf_parser *p, size_t cap)
{
    uint8_t *bytes;

    if (cap <= p->bytes_cap) {
        return true;
    }
    bytes = realloc(p->bytes, cap);
    if (bytes == NULL) {
        return false;
    }
    p->bytes = bytes;
    p->bytes_cap = cap;
    return true;
}

enum hf_parsed hf_parser_change(struct hf_parser *p, struct hf_slice name,
                                struct hf_line_change *out)
{
    size_t prefix = strlen(p->prefix);

    if (prefix + name.len == 0) {
        return hf_parser_bad(p, "the key is empty");
    }
    if (prefix + name.len > HF_STORE_KEY_MAX) {
        return hf_parser_bad(p, "the key has %zu bytes, the limit is %u", prefix + name.len,
                             HF_STORE_KEY_MAX);
    }
    if (out->value.len > HF_STORE_VALUE_MAX) {
        return hf_parser_bad(p, "the value has %zu bytes, the limit is %u", out->value.len,
                             HF_STORE_VALUE_MAX);
    }
    if (prefix > 0) {
        memcpy(p->key, p->prefix, prefix);
    }
    if (name.len > 0) {
        memcpy(p->key + prefix, name.data, name.len);
    }
    out->key = hf_slice_of(p->key, prefix + name.len);
    return HF_PARSED_CHANGE;
}

/* ---- tab-separated ---- */

/* Splits off the field up to the next tab and resolves its escapes. The last field has no tab. */
static bool take_field(struct hf_parser *p, char **at, size_t *left, struct hf_slice *field)
{
    char *tab = memchr(*at, '\t', *left);
    size_t raw = tab != NULL ? (size_t)(tab - *at) : *left;
    size_t len = raw;

    if (!hf_text_unescape(*at, &len)) {
        hf_parser_bad(p, "unknown escape in column %zu of a field (known: \\t \\n \\r \\\\ \\xHH)",
                      len + 1);
        return false;
    }
    *field = hf_slice_of(*at, len);
    *at += raw + (tab != NULL);
    *left -= raw + (tab != NULL);
    return true;
}

/* Exactly `count` fields. */
static enum hf_parsed take_fields(struct hf_parser *p, char *line, size_t len,
                                  struct hf_slice *field, size_t count)
{
    size_t tabs = 0;

    for (size_t i = 0; i < len; i++) {
        tabs += line[i] == '\t';
    }
    if (tabs + 1 != count) {
        return hf_parser_bad(p, "%zu fields where %zu are expected (a tab inside a field is \\t)",
                             tabs + 1, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (!take_field(p, &line, &len, &field[i])) {
            return HF_PARSED_BAD;
        }
    }
    return HF_PARSED_CHANGE;
}

static enum hf_parsed parse_tsv(struct hf_parser *p, char *line, size_t len,
                                struct hf_line_change *out)
{
    struct hf_slice field[2];
    enum hf_parsed r = take_fields(p, line, len, field, 2);

    if (r != HF_PARSED_CHANGE) {
        return r;
    }
    out->value = field[1];
    return hf_parser_change(p, field[0], out);
}

static enum hf_parsed parse_apply(struct hf_parser *p, char *line, size_t len,
                                  struct hf_line_change *out)
{
    struct hf_slice field[3];
    enum hf_parsed r;

    if (line[0] == '{') {
        return hf_parser_json(p, line, len, out);
    }
    out->del = len >= 4 && memcmp(line, "del\t", 4) == 0;
    if (!out->del && (len < 4 || memcmp(line, "put\t", 4) != 0)) {
        return hf_parser_bad(p, "a line begins with put<TAB>, del<TAB> or {");
    }
    r = take_fields(p, line, len, field, out->del ? 2 : 3);
    if (r != HF_PARSED_CHANGE) {
        return r;
    }
    if (!out->del) {
        out->value = field[2];
    }
    return hf_parser_change(p, field[1], out);
}

/* ---- lines ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static enum hf_parsed parse_lines(struct hf_parser *p, char *line, size_t len,
                                  struct hf_line_change *out)
{
    while (len > 0 && is_blank(line[0])) {
        line++;
        len--;
    }
    while (len > 0 && is_blank(line[len - 1])) {
        len--;
    }
    if (len == 0 || line[0] == '#' || (len >= 2 && line[0] == '/' && line[1] == '/')) {
        return HF_PARSED_NOTHING;
    }
    out->value = hf_slice_str("1");
    return hf_parser_change(p, hf_slice_of(line, len), out);
}

enum hf_parsed hf_parser_line(struct hf_parser *p, char *line, size_t len,
                              struct hf_line_change *out)
{
    *out = (struct hf_line_change){0};
    switch (p->format) {
    case HF_FORMAT_LINES:
        return parse_lines(p, line, len, out);
    case HF_FORMAT_PEM:
        return hf_parser_pem(p, line, len, out);
    case HF_FORMAT_APPLY:
    case HF_FORMAT_TSV:
    case HF_FORMAT_JSONL:
        break;
    }
    if (len == 0 || line[0] == '#') {
        return HF_PARSED_NOTHING;
    }
    if (p->format == HF_FORMAT_TSV) {
        return parse_tsv(p, line, len, out);
    }
    if (p->format == HF_FORMAT_JSONL) {
        return hf_parser_json(p, line, len, out);
    }
    return parse_apply(p, line, len, out);
}

enum hf_parsed hf_parser_end(struct hf_parser *p)
{
    if (p->in_certificate) {
        return hf_parser_bad(p, "the file ends inside a certificate");
    }
    if (p->format == HF_FORMAT_PEM && p->certificates == 0) {
        return hf_parser_bad(p, "there is no certificate in it");
    }
    return HF_PARSED_NOTHING;
}
