/*
 * parse.h - the file formats of apply, import and export: a line in, a change out.
 */
#ifndef HF_CLI_PARSE_H
#define HF_CLI_PARSE_H

#include "hf/types.h"

struct json_t;

enum hf_format {
    HF_FORMAT_APPLY = 0, /* put<TAB>key<TAB>value, del<TAB>key, or {"op":...} */
    HF_FORMAT_LINES,
    HF_FORMAT_TSV,
    HF_FORMAT_JSONL,
    HF_FORMAT_PEM,
};

enum hf_parsed {
    HF_PARSED_CHANGE = 0,
    HF_PARSED_NOTHING, /* blank, a comment, or the middle of a certificate */
    HF_PARSED_BAD,     /* parser->error says why */
};

struct hf_parser {
    enum hf_format format;
    const char *prefix; /* put before every key */
    char error[200];
    uint8_t key[HF_STORE_KEY_MAX];
    uint8_t *bytes; /* owned: decoded values, certificates */
    size_t bytes_len, bytes_cap;
    struct json_t *json; /* owned: what the last change borrows from */
    /* PEM only. */
    bool in_certificate;
    char label[256];
    uint32_t certificates;
    char **labels; /* owned: used so far */
    size_t label_count;
};

/* A change as text gives it; borrowed from the parser and the line until the next call. */
struct hf_line_change {
    bool del;
    struct hf_slice key;
    struct hf_slice value;
};

/* "lines", "tsv", "jsonl", "pem". */
bool hf_format_parse(const char *name, enum hf_format *format);

void hf_parser_init(struct hf_parser *p, enum hf_format format, const char *prefix);
void hf_parser_deinit(struct hf_parser *p);
/* May change the text of the line. */
enum hf_parsed hf_parser_line(struct hf_parser *p, char *line, size_t len,
                              struct hf_line_change *out);
/* After the last line: NOTHING, or BAD when the input ends inside a certificate or, being PEM, had
 * none. */
enum hf_parsed hf_parser_end(struct hf_parser *p);

/* ---- for the files of the parser only ---- */

enum hf_parsed hf_parser_bad(struct hf_parser *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Puts prefix and name together as the change's key and checks the limits. */
enum hf_parsed hf_parser_change(struct hf_parser *p, struct hf_slice name,
                                struct hf_line_change *out);
/* At least cap bytes in p->bytes, what is there kept. */
bool hf_parser_reserve(struct hf_parser *p, size_t cap);
enum hf_parsed hf_parser_json(struct hf_parser *p, const char *line, size_t len,
                              struct hf_line_change *out);
enum hf_parsed hf_parser_pem(struct hf_parser *p, const char *line, size_t len,
                             struct hf_line_change *out);

#endif
