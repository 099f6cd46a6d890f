/*
 * command_check.c - holdfast-sim check HISTORY.jsonl: the verb around history_read.c and history.c.
 */
#include "sim/command.h"
#include "sim/history.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char check_usage[] =
    "usage: holdfast-sim check HISTORY.jsonl     checks what clients recorded; - is stdin\n\n"
    "The rules C1 to C9 and the format are in sim/README.md, \"Histories\". Exit status: 0 all\n"
    "held, 1 one was violated (printed with the lines that contradict each other), 2 usage, or "
    "the\n"
    "file is not a history, or nothing was written and nothing was read in it.\n";

static int check_file(FILE *file, const char *path)
{
    struct history h;
    struct history_counts n;
    struct history_violation v;
    char error[256];

    if (!history_read(file, &h, error, sizeof(error))) {
        fprintf(stderr, "holdfast-sim: %s: %s\n", path, error);
        return 2;
    }
    bool checked = history_check(&h, &n, &v);
    uint64_t lines = h.lines;
    history_free(&h);
    if (!checked) {
        fprintf(stderr, "holdfast-sim: %s: out of memory\n", path);
        return 2;
    }
    if (v.rule != NULL) {
        printf("VIOLATION %s: lines %" PRIu64 " and %" PRIu64 ": %s\n", v.rule, v.against_line,
               v.line, v.text);
        return 1;
    }
    if (n.writes == 0 && n.reads == 0) {
        fprintf(stderr,
                "holdfast-sim: %s: no history: nothing was written and nothing was read in it\n",
                path);
        return 2;
    }
    printf("%s: ok, C1 to C9 hold: %" PRIu64 " writes, %" PRIu64 " reads, %" PRIu64
           " states, %" PRIu64 " starts in %" PRIu64 " lines\n",
           path, n.writes, n.reads, n.statuses, n.starts, lines);
    return 0;
}

int command_check(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(check_usage, stdout);
        return 0;
    }
    if (argc != 2) {
        fputs(check_usage, stderr);
        return 2;
    }
    if (strcmp(argv[1], "-") == 0) {
        return check_file(stdin, "stdin");
    }
    FILE *file = fopen(argv[1], "re");
    if (file == NULL) {
        fprintf(stderr, "holdfast-sim: %s: %s\n", argv[1], strerror(errno));
        return 2;
    }
    int status = check_file(file, argv[1]);
    fclose(file);
    return status;
}
