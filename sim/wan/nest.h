/*
 * nest.h - runs a command so that nothing of it can outlive the emulated network.
 *
 * The command gets a PID namespace with a small init of ours, which reaps what the command leaves.
 * When the init ends, the kernel kills all that is in the namespace; and it ends with the command,
 * or as soon as the process that called _start is gone, however that died.
 *
 * It must not know of networks: the command starts in the network namespace of its caller.
 * Next: link.c.
 */
#ifndef HF_WAN_NEST_H
#define HF_WAN_NEST_H

#include <sys/types.h>

#include "hf/err.h"

/* 128 + signal for what a signal ended, as shells say it. */
int hf_wan_nest_status(int wait_status);

/* Starts argv (NULL-terminated) and stores the pid of the init, whose exit status is that of the
 * command (126 and 127 when it cannot be run). SIGTERM to it is passed on to the command. The init
 * removes directory dir with the one file in it when the caller dies first. */
enum hf_err hf_wan_nest_start(char *const *argv, const char *dir, const char *file, pid_t *init,
                              struct hf_error *e);

#endif
