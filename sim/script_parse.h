/*
 * script_parse.h - what the parts of the parser of scenario files share; script.h is for all
 * others.
 *
 * A statement is a line of words, read from left to right by the functions below. Each either takes
 * what it wants and returns true, or sets the error "FILE:LINE: ..." and returns false, so that a
 * statement is a chain of && and the first thing wrong is the one reported. Numbers are checked
 * against their bounds where they are read: nothing behind the parser checks them again.
 *
 * script.c (lines, settings, edges, links), script_action.c (`at`), script_expect.c (`expect`),
 * script_words.c (words, numbers, nearest names).
 */
#ifndef HF_SIM_SCRIPT_PARSE_H
#define HF_SIM_SCRIPT_PARSE_H

#include "sim/script.h"

#define PARSE_WORDS_MAX 300 /* `edges` may name all of them in one line */
#define PARSE_LINE_MAX 4096

#define US_MS UINT64_C(1000)
#define US_S UINT64_C(1000000)
#define US_TIME_MAX (UINT64_C(10) * 366 * 86400 * US_S) /* ten years */

struct parser {
    struct script *s;
    struct hf_error *e;
    uint32_t line;
    char text[PARSE_LINE_MAX];
    const char *word[PARSE_WORDS_MAX];
    uint32_t words, at; /* `at` is the next to be taken */
    uint32_t action_cap;
};

/* Returns false, for `return parse_fail(...)`. */
__attribute__((format(printf, 2, 3))) bool parse_fail(struct parser *p, const char *format, ...);
/* "'word' is not ...; expected WHAT (did you mean 'nearest'?)". names ends with NULL; may be NULL.
 */
bool parse_unknown(struct parser *p, const char *word, const char *what, const char *const *names);

/* ---- script_words.c ---- */
/* The next word, or NULL at the end of the line; it is not taken. */
const char *parse_peek(const struct parser *p);
bool parse_take(struct parser *p, const char *word);  /* takes it if it is this one; never fails */
bool parse_want(struct parser *p, const char *word);  /* it must be this one */
bool parse_end(struct parser *p);                     /* nothing more may stand in the line */
bool parse_time(struct parser *p, uint64_t *us);      /* 90s, 1h30m */
bool parse_span(struct parser *p, uint64_t *us);      /* a time above 0 */
bool parse_step(struct parser *p, int64_t *us);       /* +1h, -30s */
bool parse_size(struct parser *p, uint64_t *bytes);   /* 4096, 256KiB, 20MB */
bool parse_rate(struct parser *p, uint64_t *bps);     /* 20Mbit */
bool parse_percent(struct parser *p, double *chance); /* 2% */
bool parse_ppm(struct parser *p, double *ppm);        /* 100ppm, -20ppm */
bool parse_decimal(struct parser *p, double *n, double min, double max);
bool parse_count(struct parser *p, uint64_t *n, uint64_t min, uint64_t max);
/* The index in names (ends with NULL) of the next word, which is one of WHAT. */
bool parse_choice(struct parser *p, const char *what, const char *const *names, uint32_t *index);
/* NAME, GROUP-*, all, any of these joined by commas, or `N of` these. core: the core may be meant.
 */
bool parse_nodes(struct parser *p, bool core, struct script_nodes *nodes);
void nodes_add(struct script_nodes *s, uint32_t node);
struct script_nodes nodes_all_edges(const struct script *s);

/* ---- script.c ---- */
/* Pairs of setting and value, up to the end of the line or the word `for`. */
bool parse_link(struct parser *p, struct script_link *link, uint32_t *set);
/* Those settings of one are the other's, too. */
void link_overlay(struct script_link *to, const struct script_link *from, uint32_t set);

/* ---- script_action.c ---- */
bool parse_at(struct parser *p);
/* Sorts the timeline and checks what only the whole of it shows. */
bool parse_timeline_end(struct parser *p);

/* ---- script_expect.c ---- */
bool parse_expect(struct parser *p);

#endif
