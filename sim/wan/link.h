/*
 * link.h - the subcommands of holdfast-sim for emulated networks: link, link-exec, link-do.
 *
 * Exit status: that of the command that was run, as env(1) and timeout(1) do it: 125 when the
 * network itself failed, 126 and 127 when the command could not be run. link-do: 0 done, 1 refused,
 * 2 usage.
 *
 * Other subcommands that want a network for as long as a command of theirs runs call
 * hf_wan_link_run.
 */
#ifndef HF_WAN_LINK_H
#define HF_WAN_LINK_H

#include "sim/wan/wan.h"

bool hf_wan_is_command(const char *name);
/* `name` must be one; argv[0] is what its complaints begin with. Returns the exit status. */
int hf_wan_command(const char *name, int argc, char **argv);

/* Sets up the network, runs argv (NULL-terminated) with HF_WAN_* in its environment, and takes all
 * of it down when that ends. Returns its exit status, or 125 when the network failed, and has said
 * why in the name of subcommand `who`. Once in a process: it may enter a user namespace. */
int hf_wan_link_run(const struct hf_wan_config *config, char **argv, const char *who);

#endif
