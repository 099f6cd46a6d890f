/*
 * command.h - the commands of holdfast-sim: one file each, and what they share.
 *
 * A command gets its own arguments, argv[0] being its name, and returns the exit status: 0 all
 * held, 1 something was violated, 2 wrong use or a file that cannot be read. Each has a --help.
 * main.c knows their names. Next: the command_*.c files.
 */
#ifndef HF_SIM_COMMAND_H
#define HF_SIM_COMMAND_H

#include <stdint.h>
#include <stdio.h>

#include "sim/sim.h"

int command_run(int argc, char **argv);      /* one seed */
int command_swarm(int argc, char **argv);    /* many seeds */
int command_scenario(int argc, char **argv); /* a scenario file */
int command_check(int argc, char **argv);    /* a history that clients recorded */

/* Says what is wrong with the arguments, and ends the program with status 2. */
_Noreturn void command_usage(const char *command, const char *problem);
/* A number from min to max, or command_usage. */
uint64_t command_number(const char *command, const char *text, uint64_t min, uint64_t max);

/* As a shell takes it for one word; the caller frees it. */
char *command_quoted(const char *word);

/* What to do with the recording of a run: --trace, --all, --json FILE, --html FILE. */
struct report_choice {
    bool trace; /* the timeline was printed, and stands alone */
    bool all;
    const char *json, *html; /* NULL = not wanted */
};

/* These options among the command's own, for getopt_long: the rows of the table, the values that it
 * then returns, and what one of them sets. False: the option is not one of them. */
enum { REPORT_TRACE = 1000, REPORT_ALL, REPORT_JSON, REPORT_HTML };
#define REPORT_OPTIONS                                                                             \
    {"trace", 0, NULL, REPORT_TRACE}, {"all", 0, NULL, REPORT_ALL},                                \
        {"json", 1, NULL, REPORT_JSON},                                                            \
    {                                                                                              \
        "html", 1, NULL, REPORT_HTML                                                               \
    }
bool report_option(struct report_choice *c, int option, const char *value);

/* Before the run: whether the files of the report can be written. */
enum hf_err command_try(const struct report_choice *c, struct hf_error *e);
/* For any text of the command: what --json - or --html - writes must stand alone. */
FILE *command_out(const struct report_choice *c);
/* A recording of the virtual world; title is borrowed. */
struct record *command_record(const char *title);
/* Ends a command: the table, the files, what was violated and how to replay it. Frees the
 * recording and returns the exit status. */
int command_report(const char *command, const struct report_choice *c, const struct sim_result *r,
                   struct record *record, const char *replay);

#endif
