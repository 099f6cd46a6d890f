/*
 * report.c - writes RELIABILITY.md: a row for each campaign, from the result it printed itself.
 *
 *     rows on stdin, NAME|WHAT | report RESULTS-DIR CORES MACHINE FILE-SYSTEM > RELIABILITY.md
 *
 * A row without a result, or with one that says why it was skipped, says so in its place: nothing
 * is taken from anywhere else, and no figure is rounded away.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char intro[] =
    "# What was done to holdfast, and what came of it\n\n"
    "Written by `tests/reliability/run.sh` (`make reliability`) from the result lines of the "
    "campaigns; do not edit.\nEach row can be run by its command; a seed repeats what is random in "
    "it, though not the timing of real processes.\nThe programs in `tests/reliability/` say at "
    "their top what each one checks, and `sim/README.md` what C1 to C9 are.\n\n";

static const char *text_of(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));

    return text == NULL ? "?" : text;
}

/* These have places of their own in the table, or are in the command. */
static bool is_shown_elsewhere(const char *name)
{
    static const char *const names[] = {
        "campaign", "ok",           "seconds",  "count", "seed",   "node",
        "fault",    "lasting",      "new",      "step",  "what",   "control",
        "history",  "transactions", "pause-ms", "link",  "slow-ms"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* "recovery_p99_ms" reads "recovery p99 ms". */
static void print_name(const char *name)
{
    for (; *name != '\0'; name++) {
        putchar(*name == '_' ? ' ' : *name);
    }
}

static void print_figures(json_t *result)
{
    const char *name, *separator = "", *history = text_of(result, "history");
    json_t *value;

    json_object_foreach(result, name, value)
    {
        if (is_shown_elsewhere(name)) {
            continue;
        }
        fputs(separator, stdout);
        print_name(name);
        if (json_is_string(value)) {
            printf(": %s", json_string_value(value));
        } else if (json_is_real(value)) {
            printf(" %.1f", json_real_value(value));
        } else {
            printf(" %" JSON_INTEGER_FORMAT, json_integer_value(value));
        }
        separator = ", ";
    }
    if (strcmp(history, "?") != 0 && history[0] != '\0') {
        printf("%shistory %s", separator, history);
    }
}

static void print_row(const char *what, json_t *kept)
{
    json_t *result = json_object_get(kept, "result");
    const json_t *skipped = json_object_get(result, "skipped");

    printf("| %s | ", what);
    if (kept == NULL) {
        printf("- | **not run** | | | |\n");
        return;
    }
    if (skipped != NULL) {
        printf("- | **skipped**: %s | | | %s, %s |\n", json_string_value(skipped),
               text_of(kept, "date"), text_of(kept, "commit"));
        return;
    }
    printf("%" JSON_INTEGER_FORMAT " | %s | ", json_integer_value(json_object_get(result, "count")),
           json_is_true(json_object_get(result, "ok")) ? "held" : "**FAILED**");
    print_figures(result);
    printf(" | %.0f s | %s, %s", json_number_value(json_object_get(result, "seconds")),
           text_of(kept, "date"), text_of(kept, "commit"));
    if (json_object_get(result, "seed") != NULL) {
        printf(", seed %" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(result, "seed")));
    }
    printf(" |\n");
}

static json_t *kept_result(const char *dir, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s.json", dir, name);
    return json_load_file(path, 0, NULL);
}

int main(int argc, char **argv)
{
    static char line[64][512];
    size_t count = 0;

    if (argc != 5) {
        fputs("usage: report RESULTS-DIR CORES MACHINE FILE-SYSTEM\n", stderr);
        return 2;
    }
    while (count < 64 && fgets(line[count], sizeof(line[count]), stdin) != NULL) {
        line[count][strcspn(line[count], "\n")] = '\0';
        count++;
    }
    printf("%sMachine: %s cores, %s; temporary files on %s.\n\n", intro, argv[2], argv[3], argv[4]);
    printf("| what | count | | figures | took | when, commit, seed |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        char *what = strchr(line[i], '|');

        if (what == NULL) {
            return 2;
        }
        *what = '\0';
        json_t *kept = kept_result(argv[1], line[i]);
        print_row(what + 1, kept);
        json_decref(kept);
    }
    printf("\nThe commands of these runs:\n\n");
    for (size_t i = 0; i < count; i++) {
        json_t *kept = kept_result(argv[1], line[i]);

        if (kept != NULL) {
            printf("    %s\n", text_of(kept, "command"));
        }
        json_decref(kept);
    }
    return 0;
}
