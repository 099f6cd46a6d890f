/*
 * command.h - the subcommand of holdfast-sim that plays scenarios with real daemons: wan.
 *
 * Exit status: 0 all that was expected held, 1 something did not, 2 wrong use or a scenario that is
 * refused, 125 when the emulated network does not start.
 */
#ifndef HF_SIM_REAL_COMMAND_H
#define HF_SIM_REAL_COMMAND_H

#include <stdbool.h>

bool real_is_command(const char *name);
/* `name` must be one; argv[0] is what its complaints begin with. Returns the exit status. */
int real_command(const char *name, int argc, char **argv);

#endif
