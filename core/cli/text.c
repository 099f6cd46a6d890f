/*
 * text.c - bytes as text: escapes, base64, and what is safe to show on a terminal.
 *
 * Invariant: escape then unescape, and encode then decode, give back the same bytes; a test walks
 * all 256 of them. A text that has no meaning is refused, never guessed at, because a wrong value
 * would be signed and sent to every edge.
 *
 * It must not print messages, nor allocate but for JSON. Next: parse.c, which reads lines with
 * these; export.c, which writes them.
 */
#include "core/cli/text.h"

#include <jansson.h>

#include <stdlib.h>

/* ---- escapes ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

/* Reads the escape behind a backslash. Returns how many characters it takes, 0 when it is unknown.
 */
static size_t read_escape(const char *s, size_t len, char *out)
{
    int high, low;

    if (len == 0) {
        return 0;
    }
    switch (s[0]) {
    case 't':
        *out = '\t';
        return 1;
    case 'n':
        *out = '\n';
        return 1;
    case 'r':
        *out = '\r';
        return 1;
    case '\\':
        *out = '\\';
        return 1;
    case 'x':
        if (len < 3) {
            return 0;
        }
        high = hex_digit(s[1]);
        low = hex_digit(s[2]);
        if (high < 0 || low < 0) {
            return 0;
        }
        *out = (char)(unsigned char)(high * 16 + low);
        return 3;
    default:
        return 0;
    }
}

bool hf_text_unescape(char *s, size_t *len)
{
    char *first = memchr(s, '\\', *len);
    size_t in, out;

    if (first == NULL) {
        return true;
    }
    in = out = (size_t)(first - s);
    while (in < *len) {
        size_t taken;

        if (s[in] != '\\') {
            s[out++] = s[in++];
            continue;
        }
        taken = read_escape(s + in + 1, *len - in - 1, &s[out]);
        if (taken == 0) {
            *len = in;
            return false;
        }
        in += 1 + taken;
        out++;
    }
    *len = out;
    return true;
}

static void escape_byte(uint8_t b, FILE *out)
{
    switch (b) {
    case '\t':
        fputs("\\t", out);
        break;
    case '\n':
        fputs("\\n", out);
        break;
    case '\r':
        fputs("\\r", out);
        break;
    case '\\':
        fputs("\\\\", out);
        break;
    default:
        if (b < 0x20 || b == 0x7f) {
            fprintf(out, "\\x%02x", b);
        } else {
            putc_unlocked(b, out);
        }
        break;
    }
}

void hf_text_escape(struct hf_slice bytes, FILE *out)
{
    for (size_t i = 0; i < bytes.len; i++) {
        escape_byte(bytes.data[i], out);
    }
}

/* ---- UTF-8 ---- */

/* Length of the well-formed sequence at p (Unicode 15, table 3-7), 0 when there is none. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t len;

    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4) {
        return 0;
    }
    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (left < len) {
        return 0;
    }
    /* The second byte of four lead bytes is bounded further: no overlong forms, no surrogates. */
    if (p[0] == 0xe0) {
        low = 0xa0;
    } else if (p[0] == 0xed) {
        high = 0x9f;
    } else if (p[0] == 0xf0) {
        low = 0x90;
    } else if (p[0] == 0xf4) {
        high = 0x8f;
    }
    if (p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

bool hf_text_is_utf8(struct hf_slice bytes)
{
    size_t i = 0;

    while (i < bytes.len) {
        size_t n = utf8_sequence(bytes.data + i, bytes.len - i);

        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

/* ---- base64 (RFC 4648 section 4) ---- */

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t hf_base64_size(size_t len)
{
    return (len + 2) / 3 * 4 + 1;
}

void hf_base64_encode(struct hf_slice bytes, char *out)
{
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t v = (uint32_t)bytes.data[i] << 16;

        if (n > 1) {
            v |= (uint32_t)bytes.data[i + 1] << 8;
        }
        if (n > 2) {
            v |= bytes.data[i + 2];
        }
        *out++ = base64_digits[v >> 18 & 63];
        *out++ = base64_digits[v >> 12 & 63];
        *out++ = n > 1 ? base64_digits[v >> 6 & 63] : '=';
        *out++ = n > 2 ? base64_digits[v & 63] : '=';
    }
    *out = '\0';
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+') {
        return 62;
    }
    if (c == '/') {
        return 63;
    }
    return -1;
}

/* Decodes four characters of which `pad` (0..2) at the end are padding. */
static bool base64_quad(const uint8_t *in, size_t pad, uint8_t **out)
{
    uint32_t v = 0;

    for (size_t i = 0; i < 4; i++) {
        int digit = i < 4 - pad ? base64_value(in[i]) : 0;

        if (digit < 0) {
            return false;
        }
        v = v << 6 | (uint32_t)digit;
    }
    if ((v & ((1u << (8 * pad)) - 1)) != 0) {
        return false;
    }
    *(*out)++ = (uint8_t)(v >> 16);
    if (pad < 2) {
        *(*out)++ = (uint8_t)(v >> 8);
    }
    if (pad < 1) {
        *(*out)++ = (uint8_t)v;
    }
    return true;
}

bool hf_base64_decode(struct hf_slice text, uint8_t *out, size_t *len)
{
    uint8_t *to = out;

    if (text.len % 4 != 0) {
        return false;
    }
    for (size_t i = 0; i < text.len; i += 4) {
        bool last = i + 4 == text.len;
        size_t pad = 0;

        if (last && text.data[i + 3] == '=') {
            pad = text.data[i + 2] == '=' ? 2 : 1;
        }
        if (!base64_quad(text.data + i, pad, &to)) {
            return false;
        }
    }
    *len = (size_t)(to - out);
    return true;
}

/* ---- plain text and numbers ---- */

void hf_text_plain(char *out, size_t cap, const char *text, size_t len)
{
    size_t n = len < cap - 1 ? len : cap - 1;

    for (size_t i = 0; i < n; i++) {
        out[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    }
    out[n] = '\0';
}

/* ---- JSON ---- */

bool hf_text_json_set(struct json_t *object, const char *name, struct hf_slice bytes)
{
    char b64_name[24];
    char *base64;
    bool ok;

    if (hf_text_is_utf8(bytes)) {
        return json_object_set_new(object, name,
                                   json_stringn((const char *)bytes.data, bytes.len)) == 0;
    }
    base64 = malloc(hf_base64_size(bytes.len));
    if (base64 == NULL) {
        return false;
    }
    hf_base64_encode(bytes, base64);
    snprintf(b64_name, sizeof b64_name, "%.16s_b64", name);
    ok = json_object_set_new(object, b64_name, json_string(base64)) == 0;
    free(base64);
    return ok;
}
