/*
 * interrupt.h - a signal that ends a run, once the run has removed its directory.
 *
 * From begin to end SIGINT, SIGTERM and SIGHUP are noted, and the run looks at that between two
 * events. End puts the handlers of before back and raises the signal again, so whoever would have
 * died of it dies then. What is ignored, as under nohup and by the workers of a swarm, stays so.
 *
 * For one run at a time, in a process of one thread. Read run.c for its use.
 */
#ifndef HF_SIM_INTERRUPT_H
#define HF_SIM_INTERRUPT_H

#include <stdbool.h>

void interrupt_begin(void);
bool interrupt_seen(void);
/* Returns when nothing was seen, or when the owner of the process takes signals itself. */
void interrupt_end(void);

#endif
