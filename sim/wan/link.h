/*
 * link.h - the subcommands of holdfast-sim for emulated networks: link, link-exec, link-do.
 *
 * Exit status: that of the command that was run, as env(1) and timeout(1) do it: 125 when the
 * network itself failed, 126 and 127 when the command could not be run. link-do: 0 done, 1 refused,
 * 2 usage.
 */
#ifndef HF_WAN_LINK_H
#define HF_WAN_LINK_H

#include <stdbool.h>

bool hf_wan_is_command(const char *name);
/* argv[0] is the subcommand's name; it must be one. Returns the exit status. */
int hf_wan_command(int argc, char **argv);

#endif
