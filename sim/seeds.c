/*
 * seeds.c - keeping and replaying runs that failed (seeds.h).
 */
#include "sim/seeds.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

bool seeds_is_commit(const char *text)
{
    size_t len = strcspn(text, " \t\r\n\v\f#");
    return len > 0 && len <= SEEDS_COMMIT_MAX && text[len] == '\0';
}

bool seeds_append(const char *path, const char *commit, const struct outcome *o)
{
    char text[SPEC_TEXT_MAX];
    char date[16];
    char rule[TRIAL_RULE_MAX];
    time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof(date), "%Y-%m-%d", gmtime_r(&now, &utc));
    spec_text(&o->spec, text);
    snprintf(rule, sizeof(rule), "%s", o->rule);
    for (char *c = rule; *c != '\0'; c++) {
        *c = *c == ' ' ? '-' : *c; /* one word */
    }
    FILE *f = fopen(path, "ae");
    if (f == NULL || fprintf(f, "%s %s %s %s\n", date, commit, rule, text) < 0 || fclose(f) != 0) {
        fprintf(stderr, "holdfast-sim: %s: cannot be written: %s\n", path, strerror(errno));
        return false;
    }
    return true;
}

/* The options behind the first three words; NULL when there are not as many. */
static char *after_three_words(char *line)
{
    for (int i = 0; i < 3; i++) {
        line += strspn(line, " \t");
        size_t len = strcspn(line, " \t\n");
        if (len == 0) {
            return NULL;
        }
        line += len;
    }
    return line;
}

static bool read_line(char *line, struct sim_spec *s, char problem[SPEC_PROBLEM_MAX])
{
    char *options = after_three_words(line);
    if (options == NULL) {
        snprintf(problem, SPEC_PROBLEM_MAX, "expected DATE COMMIT RULE and options of run");
        return false;
    }
    return spec_parse(s, options, problem);
}

int seeds_replay(const char *path, uint32_t limit_s)
{
    char *line = NULL;
    size_t cap = 0;
    char problem[SPEC_PROBLEM_MAX];
    char text[SPEC_TEXT_MAX];
    unsigned number = 0;
    unsigned count = 0;
    unsigned failed = 0;
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        fprintf(stderr, "holdfast-sim: %s: %s\n", path, strerror(errno));
        return 2;
    }
    while (getline(&line, &cap, f) > 0) {
        struct trial t = {.twice = false};
        struct outcome o;
        number++;
        line[strcspn(line, "#\n")] = '\0';
        if (line[strspn(line, " \t")] == '\0') {
            continue;
        }
        if (!read_line(line, &t.spec, problem)) {
            fprintf(stderr, "holdfast-sim: %s:%u: %s\n", path, number, problem);
            fclose(f);
            free(line);
            return 2;
        }
        trial_apart(&t, limit_s, &o);
        count++;
        if (!o.result.ok) {
            failed++;
            spec_text(&t.spec, text);
            printf("%s:%u: VIOLATION %s\nreplay: holdfast-sim run --trace %s\n", path, number,
                   o.result.violation, text);
        }
    }
    fclose(f);
    free(line);
    printf("%u runs of %s, %u violations\n", count, path, failed);
    return failed == 0 ? 0 : 1;
}
