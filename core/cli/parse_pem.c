/*
 * parse_pem.c - a bundle of CA certificates, split into one key each.
 *
 * The value is the PEM block as it stands, from BEGIN to END and a last newline. The key is the
 * text of a "# Label: ..." comment above the block, else of the first comment there, else the
 * certificate's number in the file ("0007"). Labels stay the same when a bundle gains a certificate
 * in the middle; numbers do not. A label that was used before gets the number behind it, so none is
 * lost.
 *
 * It must not look inside a certificate: whether one is valid is for those who use it. Next:
 * parse.c.
 */
#include "core/cli/parse.h"

#include <stdio.h>
#include <stdlib.h>

static const char begin_mark[] = "-----BEGIN CERTIFICATE-----";
static const char end_mark[] = "-----END CERTIFICATE-----";

static bool is_line(const char *line, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(line, text, len) == 0;
}

static enum hf_parsed append_line(struct hf_parser *p, const char *line, size_t len)
{
    size_t need = p->bytes_len + len + 1;

    if (need > HF_STORE_VALUE_MAX) {
        return hf_parser_bad(p, "a certificate of more than %u bytes", HF_STORE_VALUE_MAX);
    }
    if (need > p->bytes_cap && !hf_parser_reserve(p, 2 * need)) {
        return hf_parser_bad(p, "out of memory");
    }
    memcpy(p->bytes + p->bytes_len, line, len);
    p->bytes[need - 1] = '\n';
    p->bytes_len = need;
    return HF_PARSED_NOTHING;
}

static void take_label(struct hf_parser *p, const char *line, size_t len)
{
    static const char mark[] = "Label:";
    bool marked;

    while (len > 0 && (line[0] == '#' || line[0] == ' ')) {
        line++;
        len--;
    }
    marked = len >= sizeof mark - 1 && memcmp(line, mark, sizeof mark - 1) == 0;
    if (!marked && p->label[0] != '\0') {
        return;
    }
    if (marked) {
        line += sizeof mark - 1;
        len -= sizeof mark - 1;
    }
    while (len > 0 && (line[0] == ' ' || line[0] == '"')) {
        line++;
        len--;
    }
    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '"')) {
        len--;
    }
    /* Cut so that prefix, label and a number stay far below the longest key. */
    snprintf(p->label, sizeof p->label, "%.*s", (int)(len < 200 ? len : 200), line);
}

/* Remembers a label; false when it was there before or memory is short. */
static bool claim_label(struct hf_parser *p, const char *label)
{
    char **labels;

    for (size_t i = 0; i < p->label_count; i++) {
        if (strcmp(p->labels[i], label) == 0) {
            return false;
        }
    }
    labels = realloc(p->labels, (p->label_count + 1) * sizeof *labels);
    if (labels == NULL) {
        return false;
    }
    p->labels = labels;
    labels[p->label_count] = strdup(label);
    if (labels[p->label_count] == NULL) {
        return false;
    }
    p->label_count++;
    return true;
}

static enum hf_parsed end_certificate(struct hf_parser *p, struct hf_line_change *out)
{
    size_t len = strlen(p->label);
    enum hf_parsed r;

    p->in_certificate = false;
    p->certificates++;
    if (len == 0) {
        snprintf(p->label, sizeof p->label, "%04u", p->certificates);
    } else if (!claim_label(p, p->label)) {
        snprintf(p->label + len, sizeof p->label - len, "-%04u", p->certificates);
    }
    out->value = hf_slice_of(p->bytes, p->bytes_len);
    r = hf_parser_change(p, hf_slice_str(p->label), out);
    p->label[0] = '\0';
    return r;
}

enum hf_parsed hf_parser_pem(struct hf_parser *p, const char *line, size_t len,
                             struct hf_line_change *out)
{
    enum hf_parsed r;

    if (!p->in_certificate && is_line(line, len, begin_mark)) {
        p->in_certificate = true;
        p->bytes_len = 0;
        return append_line(p, line, len);
    }
    if (!p->in_certificate) {
        if (len > 0 && line[0] == '#') {
            take_label(p, line, len);
        }
        return HF_PARSED_NOTHING;
    }
    if (is_line(line, len, begin_mark)) {
        return hf_parser_bad(p, "a certificate begins inside another one");
    }
    r = append_line(p, line, len);
    if (r != HF_PARSED_NOTHING || !is_line(line, len, end_mark)) {
        return r;
    }
    return end_certificate(p, out);
}
