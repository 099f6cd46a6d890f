/*
 * main.c - holdfast-sim: finds the command that was asked for (command.h, real/command.h,
 * wan/link.h).
 */
#include "sim/command.h"

#include "hf/stdio.h"
#include "hf/version.h"
#include "sim/real/command.h"
#include "sim/wan/link.h"

#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"scenario", command_scenario,
     "FILE|NAME    play a scenario in the virtual world, with a report"},
    {"run", command_run, "[--seed N]   one random world: the seed decides everything in it"},
    {"swarm", command_swarm, "--seeds N    many random worlds, each with its own faults"},
    {"check", command_check,
     "FILE.jsonl   what clients of real daemons recorded, against C1 to C9"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(void)
{
    puts("holdfast-sim - partitions to write down, watch and trust: the engines, the drivers and\n"
         "the store in a virtual world, and the daemons over an emulated WAN\n\n"
         "usage: holdfast-sim COMMAND ...        (COMMAND --help tells more)\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        printf("  %-9s %s\n", commands[i].name, commands[i].what);
    }
    puts(
        "  wan       FILE|NAME    play a scenario in real time, with daemons over an emulated WAN\n"
        "  link      -- COMMAND   real processes over an emulated WAN; link-exec and link-do act "
        "on it\n"
        "  --help, --version\n\n"
        "exit status: 0 all held, 1 something was violated, 2 wrong use");
}

static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        help();
        return 0;
    }
    if (strcmp(name, "--version") == 0) {
        puts("holdfast-sim " HF_VERSION);
        return 0;
    }
    static char called[64]; /* what getopt puts in front of a complaint */
    snprintf(called, sizeof(called), "holdfast-sim %s", name);
    if (argc > 1) {
        argv[1] = called;
    }
    if (hf_wan_is_command(name)) {
        return hf_wan_command(name, argc - 1, argv + 1);
    }
    if (real_is_command(name)) {
        return real_command(name, argc - 1, argv + 1);
    }
    if (hf_crypto_init() != HF_OK) {
        fputs("holdfast-sim: libsodium does not start\n", stderr);
        return 1;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "holdfast-sim: %s%s%s (see --help)\n",
            *name == '\0' ? "expected a command" : "'", name,
            *name == '\0' ? "" : "' is no command");
    return 2;
}

int main(int argc, char **argv)
{
    hf_stdio_open();
    int status = run(argc, argv);
    /* A timeline that did not arrive must not look like one that held. */
    return hf_stdio_finish("holdfast-sim") || status != 0 ? status : 2;
}
