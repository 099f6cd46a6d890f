/*
 * scenario.c - the line language of scenario files. One statement a line, '#' begins a comment.
 *
 *   edges NAME...                       duration 60s               keys N
 *   write every 1s                      value max N  log 64KiB         converge no
 *   link NAME|all delay 25ms jitter 5ms rate 20Mbit queue 100ms loss 0.5% burst 3 trace FILE
 *                 packet-reorder 1% packet-duplicate 1% drop 2% duplicate 1% reorder 1% corrupt
 * 0.1% hub rate 50Mbit queue 100ms         the line of the core to all edges at 10s cut NAME
 * [down|up]           at 30s heal NAME        at 10s half-open NAME at 10s crash NAME at 12s start
 * NAME at 10s lose NAME N                  the next N stream messages do not arrive at 10s write N
 * N writes at once at 10s revoke NAME                  at 10s forge NAME       at 10s replay NAME
 *   at 10s backup core                  at 40s restore core
 *   at 10s slow NAME 200ms              what a write to its disk takes
 *   expect NAME STATE                   at the end: live, diverged, revoked, ...
 *   expect core refusing                expect mark NAME
 *
 * An error names file:line and what was expected. sim/README.md has examples.
 */
#include "sim/sim.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define WORDS_MAX 32
#define LINES_MAX 512

struct line {
    char text[256];
    char *word[WORDS_MAX];
    int words;
    int number;
};

struct scenario {
    char path[256];
    struct line line[LINES_MAX];
    int count;
};

static bool bad(struct sim *sim, const struct line *l, const char *expected)
{
    violate(sim, "%s:%d: expected %s", sim->script->path, l->number, expected);
    return false;
}

/* ---- words ---- */

static bool is(const struct line *l, int i, const char *word)
{
    return i < l->words && strcmp(l->word[i], word) == 0;
}

static bool time_of(const char *text, sim_us *out)
{
    static const struct {
        const char *unit;
        sim_us us;
    } units[] = {{"us", 1},         {"ms", SIM_MS},      {"s", SIM_S},
                 {"m", 60 * SIM_S}, {"h", 3600 * SIM_S}, {"d", 86400 * SIM_S}};
    char *end;
    double n = strtod(text, &end);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (end != text && n >= 0 && strcmp(end, units[i].unit) == 0) {
            *out = (sim_us)(n * (double)units[i].us);
            return true;
        }
    }
    return false;
}

static bool size_of(const char *text, uint64_t *out)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = strcmp(end, "KiB") == 0 ? 10 : strcmp(end, "MiB") == 0 ? 20 : 0;
    *out = (uint64_t)n << shift;
    return end != text && (shift > 0 || *end == '\0');
}

static bool percent_of(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end) / 100;
    return end != text && strcmp(end, "%") == 0 && *out >= 0 && *out <= 1;
}

static bool rate_of(const char *text, uint64_t *out)
{
    char *end;
    double n = strtod(text, &end);
    double unit = strcmp(end, "kbit") == 0 ? 1e3 : strcmp(end, "Mbit") == 0 ? 1e6 : 0;
    bool good = end != text && unit > 0 && n >= 0 && n <= 1e5;
    *out = good ? (uint64_t)(n * unit) : 0;
    return good;
}

static bool count_of(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= 1 && *out <= 1e5;
}

/* ---- statements that hold from the start ---- */

static bool trace_statement(struct sim *sim, const struct line *l, const char *path,
                            struct link_profile *p)
{
    struct hf_error e = {.code = HF_OK};
    struct hop_trace *t = &sim->trace_of[sim->trace_count];
    if (sim->trace_count == SIM_TRACES_MAX) {
        return bad(sim, l, "fewer recordings");
    }
    if (hop_trace_load(t, path, &e) != HF_OK) {
        return bad(sim, l, e.text);
    }
    sim->trace_count++;
    p->trace = t;
    return true;
}

static bool link_word(struct sim *sim, const struct line *l, int i, struct link_profile *p)
{
    const char *v = l->word[i + 1];
    return is(l, i, "delay")              ? time_of(v, &p->delay)
           : is(l, i, "jitter")           ? time_of(v, &p->jitter)
           : is(l, i, "rate")             ? rate_of(v, &p->rate_bps)
           : is(l, i, "queue")            ? time_of(v, &p->queue)
           : is(l, i, "loss")             ? percent_of(v, &p->loss)
           : is(l, i, "burst")            ? count_of(v, &p->burst)
           : is(l, i, "trace")            ? trace_statement(sim, l, v, p)
           : is(l, i, "packet-reorder")   ? percent_of(v, &p->packet_reorder)
           : is(l, i, "packet-duplicate") ? percent_of(v, &p->packet_duplicate)
           : is(l, i, "drop")             ? percent_of(v, &p->drop)
           : is(l, i, "duplicate")        ? percent_of(v, &p->duplicate)
           : is(l, i, "reorder")          ? percent_of(v, &p->reorder)
           : is(l, i, "corrupt")          ? percent_of(v, &p->corrupt)
                                          : false;
}

static bool hub_statement(struct sim *sim, const struct line *l)
{
    struct link_profile *p = &sim->opt.hub;
    for (int i = 1; i + 1 < l->words; i += 2) {
        const char *v = l->word[i + 1];
        bool good = is(l, i, "rate")    ? rate_of(v, &p->rate_bps)
                    : is(l, i, "queue") ? time_of(v, &p->queue)
                                        : false;
        if (!good) {
            return bad(sim, l, "hub rate R queue T");
        }
    }
    return true;
}

static bool link_statement(struct sim *sim, const struct line *l)
{
    struct link_profile p = sim->opt.profile;
    for (int i = 2; i + 1 < l->words; i += 2) {
        if (!link_word(sim, l, i, &p)) {
            return bad(sim, l, "link NAME|all and settings of sim/README.md");
        }
    }
    if (is(l, 1, "all")) {
        for (uint32_t i = 1; i < sim->node_count; i++) {
            sim->node[i].link.profile = p;
        }
        return true;
    }
    struct node *n = l->words > 1 ? node_named(sim, l->word[1]) : NULL;
    if (n == NULL || n->index == SIM_CORE) {
        return bad(sim, l, "the name of an edge, after `edges`");
    }
    n->link.profile = p;
    return true;
}

static bool edges_statement(struct sim *sim, const struct line *l)
{
    if (sim->node_count > 1 || l->words < 2) {
        return bad(sim, l, "one `edges NAME...`");
    }
    for (int i = 1; i < l->words; i++) {
        if (!hf_name_valid(hf_slice_str(l->word[i])) || node_named(sim, l->word[i]) != NULL) {
            return bad(sim, l, "names of [a-z0-9._-], each once, not `core`");
        }
        node_init(sim, sim->node_count, l->word[i]);
        sim->node_count++;
    }
    return true;
}

static bool setting(struct sim *sim, const struct line *l)
{
    struct sim_options *o = &sim->opt;
    uint64_t n = 0;
    if (is(l, 0, "edges")) {
        return edges_statement(sim, l);
    }
    if (is(l, 0, "link")) {
        return link_statement(sim, l);
    }
    if (is(l, 0, "hub")) {
        return hub_statement(sim, l);
    }
    if (is(l, 0, "duration") && l->words == 2 && time_of(l->word[1], &o->duration)) {
        return true;
    }
    if (is(l, 0, "keys") && l->words == 2 && size_of(l->word[1], &n) && n > 0 &&
        n <= SIM_KEYS_MAX) {
        o->keys = (uint32_t)n;
        return true;
    }
    if (is(l, 0, "write") && is(l, 1, "every") && l->words == 3 &&
        time_of(l->word[2], &o->write_every)) {
        return true;
    }
    if (is(l, 0, "value") && is(l, 1, "max") && l->words == 3 && size_of(l->word[2], &n) &&
        n <= HF_STORE_VALUE_MAX - 8) {
        o->value_max = (uint32_t)n;
        return true;
    }
    if (is(l, 0, "log") && l->words == 2 && size_of(l->word[1], &o->log_bytes)) {
        return true;
    }
    if (is(l, 0, "converge") && is(l, 1, "no")) {
        sim->may_stay_apart = true;
        return true;
    }
    return is(l, 0, "expect") || is(l, 0, "at") || bad(sim, l, "a statement (see sim/README.md)");
}

/* ---- actions ---- */

typedef void action(struct sim *sim, struct node *n, const struct line *l);

static void do_cut(struct sim *sim, struct node *n, const struct line *l)
{
    net_cut(sim, n, !is(l, 4, "up"), !is(l, 4, "down"));
}

static void do_heal(struct sim *sim, struct node *n, const struct line *l)
{
    (void)l;
    net_heal(sim, n);
}

static void do_half_open(struct sim *sim, struct node *n, const struct line *l)
{
    (void)l;
    net_half_open(sim, n);
}

static void do_crash(struct sim *sim, struct node *n, const struct line *l)
{
    (void)l;
    node_crash(sim, n);
}

static void do_start(struct sim *sim, struct node *n, const struct line *l)
{
    (void)l;
    node_start(sim, n);
}

static void do_lose(struct sim *sim, struct node *n, const struct line *l)
{
    uint64_t count = 1;
    (void)(l->words > 4 && size_of(l->word[4], &count));
    n->link.lose_next = (uint32_t)count;
    sim_trace(sim, n, "net: loses the next %" PRIu64, count);
}

static void do_damage(struct sim *sim, struct node *n, const struct line *l)
{
    uint64_t count = 1;
    (void)(l->words > 4 && size_of(l->word[4], &count));
    fault_damage(sim, n, count);
}

static void do_read(struct sim *sim, struct node *n, const struct line *l)
{
    (void)l;
    oracle_read_all(sim, n);
}

static void do_revoke(struct sim *sim, struct node *n, const struct line *l)
{
    (void)l;
    node_revoke(sim, n);
}

static void do_forge(struct sim *sim, struct node *n, const struct line *l)
{
    (void)l;
    sim_trace(sim, n, "net: a forged frame arrives");
    fault_forge(sim, n);
}

static void do_replay(struct sim *sim, struct node *n, const struct line *l)
{
    (void)l;
    sim_trace(sim, n, "net: the newest frame arrives again");
    if (n->alive && sim->last_frame != NULL) {
        hf_edge_on_message(n->edge, hf_slice_of(sim->last_frame, sim->last_frame_len));
    }
}

static void do_backup(struct sim *sim, struct node *n, const struct line *l)
{
    (void)l;
    node_save(sim, n);
}

static void do_restore(struct sim *sim, struct node *n, const struct line *l)
{
    (void)l;
    node_restore(sim, n);
}

static void do_slow(struct sim *sim, struct node *n, const struct line *l)
{
    if (l->words > 4 && time_of(l->word[4], &n->disk)) {
        sim_trace(sim, n, "disk: a write takes %s", l->word[4]);
    }
}

static const struct {
    const char *word;
    action *run;
    bool core_only;
} actions[] = {
    {"cut", do_cut, false},        {"heal", do_heal, false},           {"crash", do_crash, false},
    {"start", do_start, false},    {"lose", do_lose, false},           {"revoke", do_revoke, false},
    {"forge", do_forge, false},    {"replay", do_replay, false},       {"backup", do_backup, true},
    {"restore", do_restore, true}, {"slow", do_slow, false},           {"damage", do_damage, false},
    {"read", do_read, false},      {"half-open", do_half_open, false},
};

static action *action_of(const struct line *l)
{
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (is(l, 2, actions[i].word)) {
            return actions[i].run;
        }
    }
    return NULL;
}

static bool schedule_line(struct sim *sim, int index)
{
    const struct line *l = &sim->script->line[index];
    sim_us at;
    uint64_t n;
    if (l->words < 4 || !time_of(l->word[1], &at)) {
        return bad(sim, l, "at TIME ACTION NAME");
    }
    bool write = is(l, 2, "write") && size_of(l->word[3], &n);
    if (!write && (action_of(l) == NULL || node_named(sim, l->word[3]) == NULL)) {
        return bad(sim, l, "an action and the name of a node");
    }
    struct event *ev = sim_at(sim, at, EV_FAULT, SIM_CORE);
    ev->life = UINT32_MAX;
    ev->a = scenario_event();
    ev->b = (uint64_t)index;
    return true;
}

void scenario_strike(struct sim *sim, uint64_t index)
{
    const struct line *l = &sim->script->line[index];
    uint64_t count = 0;
    if (is(l, 2, "write") && size_of(l->word[3], &count)) {
        sim_trace(sim, NULL, "client: writes %" PRIu64, count);
        load_burst(sim, count);
        return;
    }
    action_of(l)(sim, node_named(sim, l->word[3]), l);
}

/* ---- expectations ---- */

static bool mark_was_hit(const struct sim *sim, const char *name)
{
    for (int m = 0; m < MARK_COUNT; m++) {
        if (strcmp(mark_name((enum mark)m), name) == 0) {
            return sim->marks[m] > 0;
        }
    }
    return false;
}

static bool expectation(struct sim *sim, const struct line *l)
{
    struct node *n = l->words > 2 ? node_named(sim, l->word[1]) : NULL;
    if (is(l, 1, "mark") && l->words == 3) {
        return mark_was_hit(sim, l->word[2]);
    }
    if (n == NULL || !n->alive) {
        return false;
    }
    if (n->index == SIM_CORE) {
        struct hf_core_status s;
        hf_core_status(n->core, &s);
        return is(l, 2, "refusing") && s.refusing != NULL;
    }
    struct hf_replica_status s;
    hf_edge_status(n->edge, n->world.now(n), &s);
    return strcmp(hf_replica_state_name(s.state), l->word[2]) == 0;
}

void scenario_expect(struct sim *sim)
{
    for (int i = 0; sim->script != NULL && i < sim->script->count; i++) {
        const struct line *l = &sim->script->line[i];
        if (is(l, 0, "expect") && !expectation(sim, l)) {
            violate(sim, "%s:%d: expectation not met", sim->script->path, l->number);
        }
    }
}

/* ---- reading ---- */

static void split(struct line *l, const char *text, int number)
{
    l->number = number;
    snprintf(l->text, sizeof(l->text), "%s", text);
    l->text[strcspn(l->text, "#\n")] = '\0';
    char *save = NULL;
    for (char *w = strtok_r(l->text, " \t\r", &save); w != NULL && l->words < WORDS_MAX;
         w = strtok_r(NULL, " \t\r", &save)) {
        l->word[l->words++] = w;
    }
}

static bool read_file(struct sim *sim, const char *path)
{
    char text[256];
    int number = 0;
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        violate(sim, "%s: %s", path, strerror(errno));
        return false;
    }
    struct scenario *s = sim->script;
    while (fgets(text, sizeof(text), f) != NULL && s->count < LINES_MAX) {
        memset(&s->line[s->count], 0, sizeof(s->line[0]));
        split(&s->line[s->count], text, ++number);
        s->count += s->line[s->count].words > 0;
    }
    fclose(f);
    return true;
}

bool scenario_load(struct sim *sim, const char *path)
{
    sim->script = calloc(1, sizeof(*sim->script));
    HF_ASSERT(sim->script != NULL);
    snprintf(sim->script->path, sizeof(sim->script->path), "%s", path);
    if (!read_file(sim, path)) {
        return false;
    }
    node_init(sim, SIM_CORE, "core");
    sim->node_count = 1;
    for (int i = 0; i < sim->script->count; i++) {
        if (!setting(sim, &sim->script->line[i])) {
            return false;
        }
    }
    if (sim->node_count < 2) {
        violate(sim, "%s: no edges; begin with `edges NAME...`", path);
        return false;
    }
    if (!node_start(sim, &sim->node[SIM_CORE])) {
        return false;
    }
    for (uint32_t i = 1; i < sim->node_count; i++) {
        node_invite(sim, &sim->node[i]);
    }
    load_init(sim);
    for (int i = 0; i < sim->script->count; i++) {
        if (is(&sim->script->line[i], 0, "at") && !schedule_line(sim, i)) {
            return false;
        }
    }
    return true;
}

void scenario_free(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->trace_count; i++) {
        hop_trace_free(&sim->trace_of[i]);
    }
    free(sim->script);
}
