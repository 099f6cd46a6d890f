/*
 * script.c - the parser of scenario files: lines, and the statements that hold from the start.
 *
 * One statement a line, '#' begins a comment; the comment in the first line is the title. The first
 * wrong line ends it with FILE:LINE and what would be right there. Nothing here knows what a world
 * does with a script. Next: script_parse.h, script_action.c for `at`, script_expect.c for `expect`.
 */
#include "sim/script_parse.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hf/seal.h"

#define FILE_BYTES_MAX (1u << 20)
#define KEYS_MAX 1000000u

const char script_help[] =
    "A scenario file has one statement a line; '#' begins a comment, the first line is the title.\n"
    "\n"
    "  edges NAME... | edges shop 1..40              the edges, first of all\n"
    "  duration 1h | seed 7                          of the timeline; of all that is random\n"
    "  converge within 2m | converge no              how it ends\n"
    "  log 256KiB | log age 7d | tombstones 30d | beacon 1s\n"
    "  write every 1s [steady] | write never         the load\n"
    "  burst 200 every 10m | idle 8h of every 24h | changes 4 | deletes 15%\n"
    "  keys 200 [zipf 1.1] | value max 4000 | value 100..2000 | read every 50ms\n"
    "  link NODES delay 100ms jitter 5ms rate 20Mbit queue 100ms loss 2% burst 5 trace FILE\n"
    "             packet-reorder 1% packet-duplicate 1%\n"
    "             drop 1% duplicate 1% reorder 1% corrupt 0.1%\n"
    "  hub rate 50Mbit [queue 100ms]                 the core's line to all edges\n"
    "  at TIME cut NODES [down|up] [for TIME]        heal NODES, half-open NODES\n"
    "  at TIME flap NODES every TIME down TIME for TIME\n"
    "  at TIME link NODES loss 30% [for TIME]        any of link's settings\n"
    "  at TIME crash NODES [for TIME]                start NODES, restart NODES\n"
    "  at TIME pause NODES [for TIME]                resume NODES\n"
    "  at TIME disk full|failing|slow 200ms|well at NODES [for TIME]\n"
    "  at TIME clock step NODES +1h                  clock drift NODES 100ppm [for TIME]\n"
    "  at TIME write 100 | release [bad] 100 keys [for TIME] | rollback\n"
    "  at TIME backup core | restore core [from backup of TIME] | revoke NODES\n"
    "  at TIME damage NODES 3 | drop NODES 3 | read NODES | forge NODES | replay NODES\n"
    "  expect NODES STATE|converged [within TIME of ACTION]\n"
    "  expect staleness of NODES <=|>= TIME [while linked]\n"
    "  expect bytes to|from NODES <= SIZE            expect plan of NODES log|delta|snapshot\n"
    "  expect reads at NODES never fail              expect writes never refused|refused\n"
    "  expect core refusing | expect mark NAME\n"
    "\n"
    "NODES is a name, a group (shop-*), `all`, these joined by commas, or `40 of` these.\n"
    "TIME is 500ms, 10s, 5m, 1h30m, 30d; SIZE 4096, 256KiB, 20MB.\n";

/* ---- edges ---- */

/* Words that mean something else where a name may stand. */
static bool is_reserved(const char *name)
{
    static const char *const words[] = {"all",       "mark",  "writes", "reads",
                                        "staleness", "bytes", "plan"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(words[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool add_edge(struct parser *p, const char *name)
{
    struct script *s = p->s;
    for (uint32_t i = 0; i <= s->edge_count; i++) {
        if (strcmp(s->edge[i].name, name) == 0) {
            return parse_fail(p, "there is a node called %s already", name);
        }
    }
    if (!hf_name_valid(hf_slice_str(name)) || is_reserved(name)) {
        return parse_fail(p,
                          "'%.63s' cannot be a name: expected [a-z0-9._-], beginning with a "
                          "letter or digit, and none of `all` and the words after `expect`",
                          name);
    }
    if (s->edge_count == SCRIPT_EDGES_MAX) {
        return parse_fail(p, "there can be %u edges at most", SCRIPT_EDGES_MAX);
    }
    s->edge[++s->edge_count].link = s->edge[SCRIPT_CORE].link;
    snprintf(s->edge[s->edge_count].name, sizeof(s->edge[0].name), "%s", name);
    return true;
}

/* `shop 1..40`: shop-1 to shop-40. */
static bool add_group(struct parser *p, const char *stem, unsigned first, unsigned last)
{
    char name[HF_NAME_MAX + 1];
    for (unsigned i = first; i <= last; i++) {
        int len = snprintf(name, sizeof(name), "%s-%u", stem, i);
        if (len >= (int)sizeof(name)) {
            return parse_fail(p, "a name has %u characters at most", HF_NAME_MAX);
        }
        if (!add_edge(p, name)) {
            return false;
        }
    }
    return true;
}

static bool is_range(const char *word, unsigned *first, unsigned *last)
{
    int used = 0;
    const char *dots = word != NULL ? strstr(word, "..") : NULL;
    /* sscanf takes signs and blanks for part of a number. */
    return dots != NULL && isdigit((unsigned char)word[0]) && isdigit((unsigned char)dots[2]) &&
           sscanf(word, "%5u..%5u%n", first, last, &used) == 2 && word[used] == '\0' &&
           *first <= *last;
}

static bool edges_statement(struct parser *p)
{
    unsigned first;
    unsigned last;
    if (parse_peek(p) == NULL) {
        return parse_unknown(p, NULL, "names", NULL);
    }
    while (parse_peek(p) != NULL) {
        const char *name = p->word[p->at++];
        if (is_range(name, &first, &last)) {
            return parse_fail(p, "'%s': a group needs a name: `edges shop %s`", name, name);
        }
        if (isdigit((unsigned char)name[0]) && strstr(name, "..") != NULL) {
            return parse_fail(p, "'%s': expected a range as 1..40, the lower number first", name);
        }
        bool good = is_range(parse_peek(p), &first, &last) ? add_group(p, name, first, last)
                                                           : add_edge(p, name);
        p->at += good && is_range(parse_peek(p), &first, &last);
        if (!good) {
            return false;
        }
    }
    return true;
}

/* ---- links ---- */

/* The script's own copy of the path, one for all links that replay it. */
static bool keep_trace(struct parser *p, const char *path, const char **kept)
{
    struct script *s = p->s;
    uint32_t i = 0;
    while (i < s->trace_count && strcmp(s->trace[i], path) != 0) {
        i++;
    }
    if (i == SCRIPT_TRACES_MAX) {
        return parse_fail(p, "more than %u traces", SCRIPT_TRACES_MAX);
    }
    if (i == s->trace_count) {
        s->trace[i] = strdup(path);
        s->trace_count += s->trace[i] != NULL;
    }
    *kept = s->trace[i];
    return *kept != NULL || parse_fail(p, "out of memory");
}

/* Relative to the scenario's own directory, so that it can be run from anywhere. */
static bool trace_setting(struct parser *p, struct script_link *link)
{
    char path[512];
    struct script *s = p->s;
    const char *name = parse_peek(p);
    const char *slash = strrchr(s->path, '/');
    if (name == NULL) {
        return parse_unknown(p, NULL, "the name of a file with lines `SECONDS RTT_MS LOSS_PERCENT`",
                             NULL);
    }
    int dir = slash == NULL || name[0] == '/' ? 0 : (int)(slash - s->path) + 1;
    if (snprintf(path, sizeof(path), "%.*s%s", dir, s->path, name) >= (int)sizeof(path)) {
        return parse_fail(p, "the name of the trace is too long");
    }
    if (access(path, R_OK) != 0) {
        return parse_fail(p, "cannot read the trace %s: %s", path, strerror(errno));
    }
    p->at++;
    return keep_trace(p, path, &link->trace);
}

/* The settings of a link, each 8 bytes of struct script_link. */
static const struct setting {
    const char *name;
    enum { TIME, SPAN, RATE, PERCENT, BURST, TRACE } kind;
    size_t offset;
} settings[] = {
    {"delay", TIME, offsetof(struct script_link, delay_us)},
    {"jitter", TIME, offsetof(struct script_link, jitter_us)},
    {"rate", RATE, offsetof(struct script_link, rate_bps)},
    {"queue", SPAN, offsetof(struct script_link, queue_us)},
    {"loss", PERCENT, offsetof(struct script_link, loss)},
    {"burst", BURST, offsetof(struct script_link, burst)},
    {"drop", PERCENT, offsetof(struct script_link, drop)},
    {"duplicate", PERCENT, offsetof(struct script_link, duplicate)},
    {"reorder", PERCENT, offsetof(struct script_link, reorder)},
    {"corrupt", PERCENT, offsetof(struct script_link, corrupt)},
    {"packet-reorder", PERCENT, offsetof(struct script_link, packet_reorder)},
    {"packet-duplicate", PERCENT, offsetof(struct script_link, packet_duplicate)},
    {"trace", TRACE, offsetof(struct script_link, trace)},
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))
_Static_assert(sizeof(uint64_t) == 8 && sizeof(double) == 8 && sizeof(char *) == 8,
               "settings are copied by size");

static bool parse_setting(struct parser *p, const struct setting *s, struct script_link *link)
{
    void *at = (uint8_t *)link + s->offset;
    switch (s->kind) {
    case TIME:
        return parse_time(p, at);
    case SPAN:
        return parse_span(p, at);
    case RATE:
        return parse_rate(p, at);
    case PERCENT:
        return parse_percent(p, at);
    case BURST:
        return parse_decimal(p, at, 1, 1000);
    case TRACE:
        return trace_setting(p, link);
    }
    HF_UNREACHABLE();
}

bool parse_link(struct parser *p, struct script_link *link, uint32_t *set)
{
    const char *names[SETTINGS + 1] = {NULL};
    for (size_t i = 0; i < SETTINGS; i++) {
        names[i] = settings[i].name;
    }
    *set = 0;
    do {
        uint32_t i;
        if (!parse_choice(p, "a setting of links", names, &i) ||
            !parse_setting(p, &settings[i], link)) {
            return false;
        }
        *set |= 1u << i;
    } while (parse_peek(p) != NULL && strcmp(parse_peek(p), "for") != 0);
    return true;
}

void link_overlay(struct script_link *to, const struct script_link *from, uint32_t set)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        if ((set >> i & 1u) != 0) {
            memcpy((uint8_t *)to + settings[i].offset, (const uint8_t *)from + settings[i].offset,
                   8);
        }
    }
}

static bool link_statement(struct parser *p)
{
    struct script_nodes nodes;
    struct script_link link;
    uint32_t set;
    if (!parse_nodes(p, false, &nodes) || !parse_link(p, &link, &set)) {
        return false;
    }
    for (uint32_t i = 1; i <= p->s->edge_count; i++) {
        if (script_has(&nodes, i)) {
            link_overlay(&p->s->edge[i].link, &link, set);
        }
    }
    return true;
}

static bool hub_statement(struct parser *p)
{
    struct script *s = p->s;
    return parse_want(p, "rate") && parse_rate(p, &s->hub_rate_bps) &&
           (!parse_take(p, "queue") || parse_span(p, &s->hub_queue_us));
}

/* ---- the run and its load ---- */

static bool duration_statement(struct parser *p)
{
    return parse_span(p, &p->s->duration_us);
}

static bool seed_statement(struct parser *p)
{
    p->s->has_seed = true;
    return parse_count(p, &p->s->seed, 0, UINT64_C(999999999999999999));
}

static bool converge_statement(struct parser *p)
{
    if (parse_take(p, "no")) {
        p->s->converge_us = 0;
        return true;
    }
    return parse_take(p, "within") ? parse_span(p, &p->s->converge_us)
                                   : parse_unknown(p, parse_peek(p), "`within TIME` or `no`", NULL);
}

/* As the daemons take them. */
static bool parse_age(struct parser *p, uint64_t *us)
{
    return parse_span(p, us) && (*us >= US_S || parse_fail(p, "an age is at least 1s"));
}

static bool log_statement(struct parser *p)
{
    return parse_take(p, "age") ? parse_age(p, &p->s->log_age_us)
                                : parse_size(p, &p->s->log_bytes) &&
                                      (p->s->log_bytes > 0 || parse_fail(p, "a log has bytes"));
}

static bool tombstones_statement(struct parser *p)
{
    return parse_age(p, &p->s->tombstone_us);
}

static bool beacon_statement(struct parser *p)
{
    uint64_t *us = &p->s->beacon_us;
    return parse_span(p, us) && ((*us >= 100 * US_MS && *us <= 60 * US_S) ||
                                 parse_fail(p, "a beacon interval is from 100ms to 60s"));
}

static bool write_statement(struct parser *p)
{
    struct script_load *l = &p->s->load;
    if (parse_take(p, "never")) {
        l->write_every_us = 0;
        return true;
    }
    if (!parse_want(p, "every") || !parse_span(p, &l->write_every_us)) {
        return false;
    }
    l->steady = parse_take(p, "steady");
    return true;
}

static bool read_statement(struct parser *p)
{
    return parse_want(p, "every") && parse_span(p, &p->s->load.read_every_us);
}

static bool burst_statement(struct parser *p)
{
    return parse_count(p, &p->s->load.burst_writes, 1, 1000000) && parse_want(p, "every") &&
           parse_span(p, &p->s->load.burst_every_us);
}

static bool idle_statement(struct parser *p)
{
    struct script_load *l = &p->s->load;
    return parse_span(p, &l->idle_us) && parse_want(p, "of") && parse_want(p, "every") &&
           parse_span(p, &l->idle_every_us) &&
           (l->idle_us < l->idle_every_us ||
            parse_fail(p, "the idle time must be shorter than the period that it is part of"));
}

static bool keys_statement(struct parser *p)
{
    uint64_t keys;
    if (!parse_count(p, &keys, 1, KEYS_MAX)) {
        return false;
    }
    p->s->load.keys = (uint32_t)keys;
    if (parse_take(p, "uniform")) {
        p->s->load.zipf = 0;
        return true;
    }
    return !parse_take(p, "zipf") || parse_decimal(p, &p->s->load.zipf, 0.01, 4);
}

static bool changes_statement(struct parser *p)
{
    uint64_t n;
    if (!parse_count(p, &n, 1, SCRIPT_CHANGES_MAX)) {
        return false;
    }
    p->s->load.changes_max = (uint32_t)n;
    return true;
}

static bool deletes_statement(struct parser *p)
{
    return parse_percent(p, &p->s->load.deletes);
}

static bool value_statement(struct parser *p)
{
    struct script_load *l = &p->s->load;
    const char *word = parse_peek(p);
    unsigned min;
    unsigned max;
    uint64_t bytes;
    if (is_range(word, &min, &max) && min >= SCRIPT_VALUE_MIN) {
        l->value_min = min;
        l->value_max = max;
        p->at++;
        return true;
    }
    if (!parse_take(p, "max")) {
        return parse_unknown(p, word,
                             "`max SIZE`, or the smallest and the largest in bytes, such "
                             "as 100..2000 (8 to 99999)",
                             NULL);
    }
    if (!parse_size(p, &bytes)) {
        return false;
    }
    if (bytes > SCRIPT_VALUE_MAX) {
        return parse_fail(p, "a value has %u bytes at most", SCRIPT_VALUE_MAX);
    }
    l->value_min = 0;
    l->value_max = (uint32_t)bytes;
    return true;
}

/* ---- lines ---- */

static const struct statement {
    const char *word;
    bool (*parse)(struct parser *p);
} statements[] = {
    {"edges", edges_statement},     {"duration", duration_statement},
    {"seed", seed_statement},       {"converge", converge_statement},
    {"log", log_statement},         {"tombstones", tombstones_statement},
    {"beacon", beacon_statement},   {"write", write_statement},
    {"read", read_statement},       {"burst", burst_statement},
    {"idle", idle_statement},       {"keys", keys_statement},
    {"changes", changes_statement}, {"deletes", deletes_statement},
    {"value", value_statement},     {"link", link_statement},
    {"hub", hub_statement},         {"at", parse_at},
    {"expect", parse_expect},
};
#define STATEMENTS (sizeof(statements) / sizeof(statements[0]))

static bool parse_statement(struct parser *p)
{
    const char *names[STATEMENTS + 1] = {NULL};
    uint32_t which;
    for (size_t i = 0; i < STATEMENTS; i++) {
        names[i] = statements[i].word;
    }
    return parse_choice(p, "a statement (`holdfast-sim scenario --help` lists them)", names,
                        &which) &&
           statements[which].parse(p) && parse_end(p);
}

/* What does not fit is left out, by whole characters of UTF-8. */
static void keep_title(struct script *s, const char *text, size_t len)
{
    size_t n = len < sizeof(s->title) ? len : sizeof(s->title) - 1;
    while (n < len && n > 0 && ((uint8_t)text[n] & 0xc0) == 0x80) {
        n--;
    }
    memcpy(s->title, text, n);
    s->title[n] = '\0';
}

static bool parse_line(struct parser *p, const char *text, size_t len)
{
    char *save = NULL;
    if (memchr(text, '\0', len) != NULL) {
        return parse_fail(p, "there is a NUL byte in this line; expected text");
    }
    const char *comment = memchr(text, '#', len);
    if (p->line == 1 && len > 1 && text[0] == '#') {
        size_t from = text[1] == ' ' ? 2 : 1;
        keep_title(p->s, text + from, len - from);
    }
    len = comment != NULL ? (size_t)(comment - text) : len;
    if (len >= sizeof(p->text)) {
        return parse_fail(p, "this line is longer than %zu bytes", sizeof(p->text) - 1);
    }
    memcpy(p->text, text, len);
    p->text[len] = '\0';
    p->words = p->at = 0;
    for (char *w = strtok_r(p->text, " \t\r", &save); w != NULL;
         w = strtok_r(NULL, " \t\r", &save)) {
        if (p->words == PARSE_WORDS_MAX) {
            return parse_fail(p, "there are more than %d words in this line", PARSE_WORDS_MAX);
        }
        p->word[p->words++] = w;
    }
    return p->words == 0 || parse_statement(p);
}

static bool parse_lines(struct parser *p, struct hf_slice text)
{
    const char *at = (const char *)text.data;
    const char *end = at + text.len;
    if (text.len >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) {
        at += 3; /* what some editors call UTF-8 with */
    }
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline == NULL ? end : newline;
        p->line++;
        if (!parse_line(p, at, (size_t)(stop - at))) {
            return false;
        }
        at = stop + 1;
    }
    return true;
}

const struct script_load script_load_usual = {.write_every_us = 1 * US_S,
                                              .keys = 200,
                                              .changes_max = 4,
                                              .deletes = 0.15,
                                              .value_max = 90000,
                                              .read_every_us = 50 * US_MS};

static void defaults(struct script *s)
{
    snprintf(s->edge[SCRIPT_CORE].name, sizeof(s->edge[0].name), "core");
    s->edge[SCRIPT_CORE].link = (struct script_link){
        .delay_us = 25 * US_MS, .jitter_us = 5 * US_MS, .queue_us = 100 * US_MS, .burst = 1};
    s->hub_queue_us = 100 * US_MS;
    s->converge_us = 120 * US_S;
    s->load = script_load_usual;
}

enum hf_err script_parse(const char *path, struct hf_slice text, struct script **out,
                         struct hf_error *e)
{
    struct parser *p = calloc(1, sizeof(*p));
    struct script *s = calloc(1, sizeof(*s));
    struct hf_error own = {.code = HF_OK};
    *out = NULL;
    if (p == NULL || s == NULL) {
        free(p);
        free(s);
        return hf_error_set(e, HF_NOMEM, "%s: out of memory", path);
    }
    p->s = s;
    p->e = &own;
    snprintf(s->path, sizeof(s->path), "%s", path);
    defaults(s);
    bool good = parse_lines(p, text);
    if (good && s->edge_count == 0) {
        good = parse_fail(p, "no edges; begin with `edges NAME...`");
    }
    good = good && parse_timeline_end(p);
    free(p);
    if (!good) {
        script_free(s);
        return hf_error_set(e, own.code, "%s", own.text);
    }
    *out = s;
    return HF_OK;
}

enum hf_err script_read(const char *path, struct script **out, struct hf_error *e)
{
    FILE *f = fopen(path, "re");
    char *text = malloc(FILE_BYTES_MAX + 1);
    enum hf_err rc;
    *out = NULL;
    if (f == NULL || text == NULL) {
        rc = f == NULL && errno == ENOENT ? HF_NOTFOUND : f == NULL ? HF_IO : HF_NOMEM;
        hf_error_set(e, rc, "%s: cannot be read: %s", path, strerror(errno));
        goto out;
    }
    size_t len = fread(text, 1, FILE_BYTES_MAX + 1, f);
    if (ferror(f)) {
        rc = hf_error_set(e, HF_IO, "%s: cannot be read: %s", path, strerror(errno));
    } else if (len > FILE_BYTES_MAX) {
        rc = hf_error_set(e, HF_ARG, "%s: is larger than a scenario can be, 1 MiB", path);
    } else {
        rc = script_parse(path, hf_slice_of(text, len), out, e);
    }
out:
    free(text);
    if (f != NULL) {
        fclose(f);
    }
    return rc;
}

void script_free(struct script *s)
{
    if (s != NULL) {
        for (uint32_t i = 0; i < s->trace_count; i++) {
            free(s->trace[i]);
        }
        free(s->action);
        free(s->expectation);
        free(s);
    }
}
