/*
 * spec.c - the options of a random run, from words and to words.
 */
#include "sim/spec.h"

#include "hf/number.h"

#include <inttypes.h>
#include <stdlib.h>

#define EDGES_MAX 200u
#define DURATION_S_MAX 100000000u
#define CANARY_SEED 1u

void spec_usual(struct sim_spec *s, uint64_t seed)
{
    *s = (struct sim_spec){.seed = seed, .edges = 4, .duration_ms = 60000, .every_ms = 1000};
}

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *out,
                   char problem[SPEC_PROBLEM_MAX])
{
    if (!hf_number_parse(hf_slice_str(text), min, max, out)) {
        snprintf(problem, SPEC_PROBLEM_MAX,
                 "'%.40s': expected a number from %" PRIu64 " to %" PRIu64, text, min, max);
        return false;
    }
    return true;
}

static bool seconds(const char *text, uint64_t *ms, char problem[SPEC_PROBLEM_MAX])
{
    char *end;
    double s = strtod(text, &end);
    if (*text < '0' || *text > '9' || *end != '\0' || s < 0.001 || s > DURATION_S_MAX) {
        snprintf(problem, SPEC_PROBLEM_MAX, "'%.40s': expected seconds from 0.001 to %u", text,
                 DURATION_S_MAX);
        return false;
    }
    *ms = (uint64_t)(s * 1000 + 0.5);
    return true;
}

static bool set_faults(struct sim_spec *s, const char *value, char problem[SPEC_PROBLEM_MAX])
{
    char bad[32];
    if (!faults_parse(value, &s->faults, bad)) {
        snprintf(problem, SPEC_PROBLEM_MAX,
                 "'%s' is no kind of fault: expected none, all, or some of those that "
                 "`holdfast-sim run --help` lists, with commas",
                 bad);
        return false;
    }
    s->faults_given = true;
    return true;
}

/* "canary" is the canary of seed 1, "canary:7" that of another. */
static bool set_seed(struct sim_spec *s, const char *value, char problem[SPEC_PROBLEM_MAX])
{
    bool usual = strcmp(value, "canary") == 0;
    bool named = strncmp(value, "canary:", 7) == 0;
    s->canary = usual || named;
    s->seed = CANARY_SEED;
    return usual || number(named ? value + 7 : value, 0, UINT64_MAX, &s->seed, problem);
}

bool spec_set(struct sim_spec *s, const char *name, const char *value,
              char problem[SPEC_PROBLEM_MAX])
{
    uint64_t n = 0;
    if (strcmp(name, "no-faults") == 0) {
        s->calm = true;
        return true;
    }
    if (value == NULL) {
        snprintf(problem, SPEC_PROBLEM_MAX, "--%.40s: expected a value", name);
        return false;
    }
    if (strcmp(name, "seed") == 0) {
        return set_seed(s, value, problem);
    }
    if (strcmp(name, "duration") == 0) {
        return seconds(value, &s->duration_ms, problem);
    }
    if (strcmp(name, "every") == 0) {
        return number(value, 1, DURATION_S_MAX, &s->every_ms, problem);
    }
    if (strcmp(name, "faults") == 0) {
        return set_faults(s, value, problem);
    }
    if (strcmp(name, "edges") == 0) {
        bool good = number(value, 1, EDGES_MAX, &n, problem);
        s->edges = good ? (uint32_t)n : s->edges;
        return good;
    }
    snprintf(problem, SPEC_PROBLEM_MAX, "--%.40s is no option of a run", name);
    return false;
}

bool spec_parse(struct sim_spec *s, char *text, char problem[SPEC_PROBLEM_MAX])
{
    char *save = NULL;
    spec_usual(s, 1);
    for (char *w = strtok_r(text, " \t\r\n", &save); w != NULL;
         w = strtok_r(NULL, " \t\r\n", &save)) {
        bool option = strncmp(w, "--", 2) == 0;
        bool alone = strcmp(w, "--no-faults") == 0;
        char *value = option && !alone ? strtok_r(NULL, " \t\r\n", &save) : NULL;
        if (!option) {
            snprintf(problem, SPEC_PROBLEM_MAX, "'%.40s': expected an option of run", w);
            return false;
        }
        if (!spec_set(s, w + 2, value, problem)) {
            return false;
        }
    }
    return true;
}

void spec_text(const struct sim_spec *s, char out[SPEC_TEXT_MAX])
{
    char seed[32];
    char faults[FAULTS_TEXT_MAX];
    snprintf(seed, sizeof(seed), "%s%" PRIu64, s->canary ? "canary:" : "", s->seed);
    if (s->canary && s->seed == CANARY_SEED) {
        snprintf(seed, sizeof(seed), "canary");
    }
    faults_text(s->faults, faults);
    snprintf(out, SPEC_TEXT_MAX, "--seed %s --edges %u --duration %.12g --every %" PRIu64 "%s%s%s",
             seed, s->edges, (double)s->duration_ms / 1000, s->every_ms,
             s->calm ? " --no-faults" : "", s->faults_given ? " --faults " : "",
             s->faults_given ? faults : "");
}

void spec_options(const struct sim_spec *s, struct sim_options *o)
{
    sim_defaults(o, s->seed);
    o->edges = s->edges;
    o->duration = s->duration_ms * SIM_MS;
    o->load.write_every_us = s->every_ms * SIM_MS;
    o->calm = s->calm;
    o->faults = s->faults;
    o->faults_given = s->faults_given;
    o->canary = s->canary;
}

void spec_name_faults(struct sim_spec *s)
{
    if (!s->faults_given && !s->calm) {
        s->faults = faults_drawn(s->seed);
        s->faults_given = true;
    }
}
