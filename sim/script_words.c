/*
 * script_words.c - the words of a scenario file: numbers with units, names of nodes, near misses.
 *
 * Every function looks at the next word only and says exactly what would be right there. Next:
 * script_parse.h for the contract.
 */
#include "sim/script_parse.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 40 /* of a wrong word, in messages */

/* ---- errors ---- */

bool parse_fail(struct parser *p, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (char *c = text; *c != '\0'; c++) {
        *c = isprint((unsigned char)*c) ? *c : '?'; /* a file may hold anything, a terminal not */
    }
    hf_error_set(p->e, HF_ARG, "%s:%" PRIu32 ": %s", p->s->path, p->line, text);
    return false;
}

/* Levenshtein's distance, cut off: words here are short. */
static size_t distance(const char *a, const char *b)
{
    size_t row[SHOWN_MAX + 1];
    size_t n = strlen(b);
    if (n > SHOWN_MAX || strlen(a) > SHOWN_MAX) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j <= n; j++) {
            size_t change = diagonal + (a[i] != b[j - 1]);
            size_t least = row[j - 1] < row[j] ? row[j - 1] + 1 : row[j] + 1;
            diagonal = row[j];
            row[j] = change < least ? change : least;
        }
    }
    return row[n];
}

static const char *nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    size_t least = strlen(word) / 3 + 2; /* one slip in short words, more in long ones */
    for (; names != NULL && *names != NULL; names++) {
        size_t d = distance(word, *names);
        if (d < least) {
            least = d;
            best = *names;
        }
    }
    return best;
}

bool parse_unknown(struct parser *p, const char *word, const char *what, const char *const *names)
{
    const char *near = word == NULL ? NULL : nearest(word, names);
    if (word == NULL) {
        return parse_fail(p, "expected %s at the end of this line", what);
    }
    if (near != NULL) {
        return parse_fail(p, "'%.*s': expected %s; did you mean '%s'?", SHOWN_MAX, word, what,
                          near);
    }
    return parse_fail(p, "'%.*s': expected %s", SHOWN_MAX, word, what);
}

/* ---- plain words ---- */

const char *parse_peek(const struct parser *p)
{
    return p->at < p->words ? p->word[p->at] : NULL;
}

bool parse_take(struct parser *p, const char *word)
{
    const char *next = parse_peek(p);
    bool same = next != NULL && strcmp(next, word) == 0;
    p->at += same;
    return same;
}

bool parse_want(struct parser *p, const char *word)
{
    char what[64];
    snprintf(what, sizeof(what), "'%s'", word);
    return parse_take(p, word) || parse_unknown(p, parse_peek(p), what, NULL);
}

bool parse_end(struct parser *p)
{
    const char *next = parse_peek(p);
    return next == NULL ||
           parse_fail(p, "'%.*s': the statement is complete before this word", SHOWN_MAX, next);
}

bool parse_choice(struct parser *p, const char *what, const char *const *names, uint32_t *index)
{
    const char *next = parse_peek(p);
    for (uint32_t i = 0; next != NULL && names[i] != NULL; i++) {
        if (strcmp(names[i], next) == 0) {
            *index = i;
            p->at++;
            return true;
        }
    }
    return parse_unknown(p, next, what, names);
}

/* ---- numbers ---- */

struct unit {
    const char *name;
    double factor;
};

/* Digits with at most one point: strtod would also take "inf", "0x1p3" and the locale's comma. */
static bool digits(const char **text, double *n)
{
    const char *c = *text;
    double scale = 1;
    bool point = false;
    *n = 0;
    for (; isdigit((unsigned char)*c) || (*c == '.' && !point); c++) {
        if (*c == '.') {
            point = true;
            continue;
        }
        scale = point ? scale * 10 : scale;
        *n = *n * 10 + (*c - '0');
    }
    bool any = c != *text && !(point && c == *text + 1) && c - *text <= 20;
    *n /= scale;
    *text = c;
    return any;
}

static bool unit_of(const char **text, const struct unit *units, double *factor)
{
    size_t len = strcspn(*text, "0123456789.");
    for (; units->name != NULL; units++) {
        if (strlen(units->name) == len && strncmp(*text, units->name, len) == 0) {
            *factor = units->factor;
            *text += len;
            return true;
        }
    }
    return false;
}

/* One or, if `many`, several numbers with units. False without an error. */
static bool measured(const char *text, const struct unit *units, bool many, double *sum)
{
    *sum = 0;
    do {
        double n;
        double factor;
        if (!digits(&text, &n) || !unit_of(&text, units, &factor)) {
            return false;
        }
        *sum += n * factor;
    } while (many && *text != '\0');
    return *text == '\0';
}

bool script_time(const char *text, uint64_t *us)
{
    static const struct unit units[] = {{"us", 1},   {"ms", 1e3},  {"s", 1e6}, {"m", 60e6},
                                        {"h", 36e8}, {"d", 864e8}, {NULL, 0}};
    double sum;
    if (text == NULL || !measured(text, units, true, &sum) || sum > (double)US_TIME_MAX) {
        return false;
    }
    *us = (uint64_t)(sum + 0.5);
    return true;
}

bool parse_time(struct parser *p, uint64_t *us)
{
    if (!script_time(parse_peek(p), us)) {
        return parse_unknown(p, parse_peek(p), "a time such as 500ms, 10s, 5m, 1h30m or 30d", NULL);
    }
    p->at++;
    return true;
}

bool parse_span(struct parser *p, uint64_t *us)
{
    return parse_time(p, us) && (*us > 0 || parse_fail(p, "expected a time above 0"));
}

bool parse_step(struct parser *p, int64_t *us)
{
    const char *text = parse_peek(p);
    uint64_t size;
    if (text == NULL || (*text != '+' && *text != '-') || !script_time(text + 1, &size)) {
        return parse_unknown(p, text, "a step of the clock such as +1h or -30s", NULL);
    }
    *us = *text == '-' ? -(int64_t)size : (int64_t)size;
    p->at++;
    return true;
}

static bool with_unit(struct parser *p, const struct unit *units, const char *what, double max,
                      double *n)
{
    const char *text = parse_peek(p);
    if (text == NULL || !measured(text, units, false, n) || *n > max) {
        return parse_unknown(p, text, what, NULL);
    }
    p->at++;
    return true;
}

bool parse_size(struct parser *p, uint64_t *bytes)
{
    static const struct unit units[] = {{"", 1},          {"B", 1},         {"kB", 1e3},
                                        {"MB", 1e6},      {"GB", 1e9},      {"KiB", 1024},
                                        {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL, 0}};
    double n;
    if (!with_unit(p, units, "a size such as 4096, 256KiB or 20MB", 1e15, &n)) {
        return false;
    }
    *bytes = (uint64_t)n;
    return true;
}

bool parse_rate(struct parser *p, uint64_t *bps)
{
    static const struct unit units[] = {
        {"bit", 1}, {"kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}, {NULL, 0}};
    double n;
    if (!with_unit(p, units, "a rate such as 512kbit or 20Mbit (a second)", 1e12, &n)) {
        return false;
    }
    *bps = (uint64_t)n;
    if (n > 0 && n < 1) {
        return parse_fail(p, "a rate is at least 1bit, or 0 for no limit");
    }
    return true;
}

bool parse_percent(struct parser *p, double *chance)
{
    static const struct unit units[] = {{"%", 0.01}, {NULL, 0}};
    return with_unit(p, units, "a percentage from 0% to 100%", 1, chance);
}

bool parse_ppm(struct parser *p, double *ppm)
{
    static const struct unit units[] = {{"ppm", 1}, {NULL, 0}};
    const char *text = parse_peek(p);
    bool minus = text != NULL && *text == '-';
    if (text == NULL || !measured(text + minus, units, false, ppm) || *ppm > 1e5) {
        return parse_unknown(p, text, "a drift such as 100ppm or -20ppm, up to 100000ppm", NULL);
    }
    *ppm = minus ? -*ppm : *ppm;
    p->at++;
    return true;
}

bool parse_decimal(struct parser *p, double *n, double min, double max)
{
    char what[80];
    const char *text = parse_peek(p);
    const char *rest = text;
    snprintf(what, sizeof(what), "a number from %g to %g", min, max);
    if (text == NULL || !digits(&rest, n) || *rest != '\0' || *n < min || *n > max) {
        return parse_unknown(p, text, what, NULL);
    }
    p->at++;
    return true;
}

bool parse_count(struct parser *p, uint64_t *n, uint64_t min, uint64_t max)
{
    char what[80];
    char *rest = NULL;
    const char *text = parse_peek(p);
    snprintf(what, sizeof(what), "a whole number from %" PRIu64 " to %" PRIu64, min, max);
    bool number = text != NULL && isdigit((unsigned char)*text) && strlen(text) < 20;
    uint64_t value = number ? strtoull(text, &rest, 10) : 0;
    if (!number || *rest != '\0' || value < min || value > max) {
        return parse_unknown(p, text, what, NULL);
    }
    *n = value;
    p->at++;
    return true;
}

/* ---- nodes ---- */

void nodes_add(struct script_nodes *s, uint32_t node)
{
    s->bits[node / 64] |= UINT64_C(1) << node % 64;
}

struct script_nodes nodes_all_edges(const struct script *s)
{
    struct script_nodes all = {0};
    for (uint32_t i = 1; i <= s->edge_count; i++) {
        nodes_add(&all, i);
    }
    return all;
}

static bool unknown_node(struct parser *p, const char *name, bool core)
{
    const char *names[SCRIPT_EDGES_MAX + 3];
    uint32_t n = 0;
    for (uint32_t i = core ? 0 : 1; i <= p->s->edge_count; i++) {
        names[n++] = p->s->edge[i].name;
    }
    names[n++] = "all";
    names[n] = NULL;
    if (p->s->edge_count == 0) {
        return parse_fail(p, "'%.*s': there are no edges yet; begin with `edges NAME...`",
                          SHOWN_MAX, name);
    }
    return parse_unknown(p, name,
                         core ? "`core`, an edge, a group such as shop-*, or `all`"
                              : "an edge, a group such as shop-*, or `all`",
                         names);
}

/* A name, or the beginning of names and a star. */
static bool matches(const char *pattern, const char *name)
{
    size_t len = strlen(pattern);
    if (len > 0 && pattern[len - 1] == '*') {
        return strncmp(pattern, name, len - 1) == 0;
    }
    return strcmp(pattern, name) == 0;
}

/* One of what the commas separate. */
static bool add_named(struct parser *p, const char *name, bool core, struct script_nodes *nodes)
{
    bool any = false;
    bool all = strcmp(name, "all") == 0; /* all edges: the core is always named */
    for (uint32_t i = 0; i <= p->s->edge_count; i++) {
        const char *own = p->s->edge[i].name;
        bool meant = i == SCRIPT_CORE ? core && strcmp(name, own) == 0 : all || matches(name, own);
        if (meant) {
            nodes_add(nodes, i);
            any = true;
        }
    }
    return any || unknown_node(p, name, core);
}

/* Of all when count is 0. */
static bool keep_first(struct parser *p, struct script_nodes *nodes, uint64_t count)
{
    struct script_nodes kept = {0};
    uint64_t left = count;
    for (uint32_t i = 0; i <= SCRIPT_EDGES_MAX && left > 0; i++) {
        if (script_has(nodes, i)) {
            nodes_add(&kept, i);
            left--;
        }
    }
    *nodes = count > 0 ? kept : *nodes;
    return left == 0 || parse_fail(p, "there are only %" PRIu64 " of these", count - left);
}

bool parse_nodes(struct parser *p, bool core, struct script_nodes *nodes)
{
    char list[PARSE_LINE_MAX];
    char *save = NULL;
    uint64_t count = 0;
    bool first = p->at + 1 < p->words && strcmp(p->word[p->at + 1], "of") == 0;
    if (first && !(parse_count(p, &count, 1, SCRIPT_EDGES_MAX) && parse_want(p, "of"))) {
        return false;
    }
    if (parse_peek(p) == NULL) {
        return parse_unknown(p, NULL, "the name of a node", NULL);
    }
    snprintf(list, sizeof(list), "%s", p->word[p->at]);
    memset(nodes, 0, sizeof(*nodes));
    char *name = strtok_r(list, ",", &save);
    if (name == NULL) {
        return parse_unknown(p, p->word[p->at], "the name of a node", NULL);
    }
    for (; name != NULL; name = strtok_r(NULL, ",", &save)) {
        if (!add_named(p, name, core, nodes)) {
            return false;
        }
    }
    p->at++;
    return keep_first(p, nodes, count);
}
