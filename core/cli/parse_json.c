/*
 * parse_json.c - one JSON object a line: {"key":"K","value":V}, and "op" for apply.
 *
 * Members: key or key_b64, value or value_b64, op ("put" or "del", apply only, put when absent). A
 * value that is no string is stored as the JSON text it was written as, byte for byte: 0.1 stays
 * "0.1". Bytes that are not UTF-8 come as base64 in the _b64 members.
 *
 * Invariant: jansson has accepted the line (whole, no member twice, valid UTF-8) before the scanner
 * of raw text below looks at it, so the scanner need not check anything. An unknown member is an
 * error: it is a misspelt one. It must not allocate per line beyond what jansson does. Next:
 * parse.c.
 */
#include "core/cli/parse.h"
#include "core/cli/text.h"

#include <jansson.h>

#include <stdlib.h>

/* ---- the raw text of a member's value, in a line known to be a valid object ---- */

static const char *skip_space(const char *s)
{
    while (*s == ' ' || *s == '\t' || *s == '\r' || *s == '\n') {
        s++;
    }
    return s;
}

/* From an opening quote to behind the closing one. */
static const char *skip_string(const char *s)
{
    for (s++; *s != '"'; s++) {
        if (*s == '\\') {
            s++;
        }
    }
    return s + 1;
}

static const char *skip_value(const char *s)
{
    int depth = 0;

    do {
        if (*s == '"') {
            s = skip_string(s);
            continue;
        }
        if (*s == '{' || *s == '[') {
            depth++;
        } else if (*s == '}' || *s == ']') {
            depth--;
        }
        s++;
    } while (depth > 0 || (*s != ',' && *s != '}'));
    return s;
}

/* The text of member `name`; false when the name is written with escapes. */
static bool find_raw(const char *line, const char *name, struct hf_slice *raw)
{
    const char *s = skip_space(line) + 1;
    size_t len = strlen(name);

    for (;;) {
        const char *member = skip_space(s);
        const char *end = skip_string(member);
        const char *value = skip_space(skip_space(end) + 1);
        const char *next = skip_value(value);
        const char *last = next;

        while (last[-1] == ' ' || last[-1] == '\t' || last[-1] == '\r') {
            last--;
        }
        if ((size_t)(end - member) == len + 2 && memcmp(member + 1, name, len) == 0) {
            *raw = hf_slice_of(value, (size_t)(last - value));
            return true;
        }
        if (*next != ',') {
            return false;
        }
        s = next + 1;
    }
}

/* ---- members ---- */

struct members {
    json_t *op;
    json_t *key, *key_b64;
    json_t *value, *value_b64;
};

static enum hf_parsed read_members(struct hf_parser *p, json_t *object, struct members *m)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (strcmp(name, "key") == 0) {
            m->key = value;
        } else if (strcmp(name, "key_b64") == 0) {
            m->key_b64 = value;
        } else if (strcmp(name, "value") == 0) {
            m->value = value;
        } else if (strcmp(name, "value_b64") == 0) {
            m->value_b64 = value;
        } else if (strcmp(name, "op") == 0 && p->format == HF_FORMAT_APPLY) {
            m->op = value;
        } else {
            return hf_parser_bad(p, "unknown member \"%.60s\"", name);
        }
    }
    if ((m->key == NULL) == (m->key_b64 == NULL)) {
        return hf_parser_bad(p, "one of \"key\" and \"key_b64\" is needed");
    }
    if (m->value != NULL && m->value_b64 != NULL) {
        return hf_parser_bad(p, "\"value\" and \"value_b64\" exclude each other");
    }
    return HF_PARSED_CHANGE;
}

/* Decodes a base64 member behind the `at` bytes of p->bytes that are in use. */
static enum hf_parsed decode_member(struct hf_parser *p, json_t *member, size_t at,
                                    struct hf_slice *out)
{
    size_t len = 0;

    if (!json_is_string(member)) {
        return hf_parser_bad(p, "a member that ends in _b64 is a string");
    }
    if (!hf_base64_decode(hf_slice_of(json_string_value(member), json_string_length(member)),
                          p->bytes + at, &len)) {
        return hf_parser_bad(p, "a member that ends in _b64 is not base64 with padding");
    }
    *out = hf_slice_of(p->bytes + at, len);
    return HF_PARSED_CHANGE;
}

static enum hf_parsed read_key(struct hf_parser *p, const struct members *m, struct hf_slice *name)
{
    if (m->key_b64 != NULL) {
        return decode_member(p, m->key_b64, 0, name);
    }
    if (!json_is_string(m->key)) {
        return hf_parser_bad(p, "\"key\" is a string");
    }
    *name = hf_slice_of(json_string_value(m->key), json_string_length(m->key));
    return HF_PARSED_CHANGE;
}

static enum hf_parsed read_value(struct hf_parser *p, const struct members *m, const char *line,
                                 size_t bytes_used, struct hf_line_change *out)
{
    if (m->value_b64 != NULL) {
        return decode_member(p, m->value_b64, bytes_used, &out->value);
    }
    if (m->value == NULL) {
        return hf_parser_bad(p, "\"value\" or \"value_b64\" is needed");
    }
    if (json_is_string(m->value)) {
        out->value = hf_slice_of(json_string_value(m->value), json_string_length(m->value));
        return HF_PARSED_CHANGE;
    }
    if (!find_raw(line, "value", &out->value)) {
        return hf_parser_bad(p, "write the name \"value\" without escapes");
    }
    return HF_PARSED_CHANGE;
}

static enum hf_parsed read_op(struct hf_parser *p, const struct members *m,
                              struct hf_line_change *out)
{
    const char *op = m->op == NULL ? "put" : json_string_value(m->op);

    if (op == NULL || (strcmp(op, "put") != 0 && strcmp(op, "del") != 0)) {
        return hf_parser_bad(p, "\"op\" is \"put\" or \"del\"");
    }
    out->del = strcmp(op, "del") == 0;
    if (out->del && (m->value != NULL || m->value_b64 != NULL)) {
        return hf_parser_bad(p, "a del has no value");
    }
    return HF_PARSED_CHANGE;
}

enum hf_parsed hf_parser_json(struct hf_parser *p, const char *line, size_t len,
                              struct hf_line_change *out)
{
    struct members m = {0};
    struct hf_slice name;
    json_error_t e;
    enum hf_parsed r;

    json_decref(p->json);
    p->json = NULL;
    if (memchr(line, 0, len) != NULL) { /* the library passes over one that follows a number */
        return hf_parser_bad(p, "not JSON: it has a zero byte");
    }
    /* Numbers become reals so that a large integer is not an error; their text is taken raw anyway.
     */
    p->json = json_loadb(line, len,
                         JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &e);
    if (p->json == NULL) {
        return hf_parser_bad(p, "not JSON: %.120s (column %d)", e.text, e.column);
    }
    if (!json_is_object(p->json)) {
        return hf_parser_bad(p, "a JSON object is expected");
    }
    if (!hf_parser_reserve(p, len)) {
        return hf_parser_bad(p, "out of memory");
    }
    r = read_members(p, p->json, &m);
    if (r == HF_PARSED_CHANGE) {
        r = read_op(p, &m, out);
    }
    if (r == HF_PARSED_CHANGE) {
        r = read_key(p, &m, &name);
    }
    if (r == HF_PARSED_CHANGE && !out->del) {
        r = read_value(p, &m, line, m.key_b64 != NULL ? name.len : 0, out);
    }
    return r == HF_PARSED_CHANGE ? hf_parser_change(p, name, out) : r;
}
