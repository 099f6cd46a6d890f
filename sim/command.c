/*
 * command.c - what the commands of holdfast-sim share (command.h).
 */
#include "sim/command.h"

#include "hf/number.h"
#include "hf/version.h"
#include "sim/report.h"

#include <inttypes.h>
#include <stdlib.h>

_Noreturn void command_usage(const char *command, const char *problem)
{
    fprintf(stderr, "holdfast-sim %s: %s (see holdfast-sim %s --help)\n", command, problem,
            command);
    exit(2);
}

uint64_t command_number(const char *command, const char *text, uint64_t min, uint64_t max)
{
    char problem[120];
    uint64_t n = 0;
    if (!hf_number_parse(hf_slice_str(text), min, max, &n)) {
        snprintf(problem, sizeof(problem),
                 "'%.20s': expected a number from %" PRIu64 " to %" PRIu64, text, min, max);
        command_usage(command, problem);
    }
    return n;
}

char *command_quoted(const char *word)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/+-";
    bool quote = *word == '\0' || word[strspn(word, plain)] != '\0';
    char *text = malloc(4 * strlen(word) + 3);
    HF_ASSERT(text != NULL);
    char *end = stpcpy(text, quote ? "'" : "");
    for (; *word != '\0'; word++) {
        end = stpcpy(end, *word == '\'' ? "'\\''" : (char[]){*word, '\0'});
    }
    stpcpy(end, quote ? "'" : "");
    return text;
}

bool report_option(struct report_choice *c, int option, const char *value)
{
    switch (option) {
    case REPORT_TRACE:
        c->trace = true;
        return true;
    case REPORT_ALL:
        c->all = true;
        return true;
    case REPORT_JSON:
        c->json = value;
        return true;
    case REPORT_HTML:
        c->html = value;
        return true;
    default:
        return false;
    }
}

static bool is_stdout(const char *path)
{
    return path != NULL && strcmp(path, "-") == 0;
}

enum hf_err command_try(const struct report_choice *c, struct hf_error *e)
{
    if (is_stdout(c->json) && is_stdout(c->html)) {
        return hf_error_set(e, HF_ARG, "--json and --html cannot both go to standard output");
    }
    enum hf_err err = report_try(c->json, e);
    return err == HF_OK ? report_try(c->html, e) : err;
}

FILE *command_out(const struct report_choice *c)
{
    return is_stdout(c->json) || is_stdout(c->html) ? stderr : stdout;
}

struct record *command_record(const char *title)
{
    struct record *record = record_new();
    record->title = title;
    record->world = "virtual";
    record->version = HF_VERSION;
    return record;
}

int command_report(const char *command, const struct report_choice *c, const struct sim_result *r,
                   struct record *record, const char *replay)
{
    struct hf_error e = {.code = HF_OK};
    FILE *out = command_out(c);
    int status = r->ok ? 0 : 1;
    if (c->trace) {
        report_expectations(record, out);
    } else {
        report_text(record, c->all, out);
    }
    if (!r->ok) {
        fprintf(out, "VIOLATION %s\nreplay: %s\n", r->violation, replay);
    }
    if (report_write(record, c->json, c->html, &e) != HF_OK) {
        fprintf(stderr, "holdfast-sim %s: %s\n", command, e.text);
        status = 2;
    }
    record_free(record);
    return status;
}
