/*
 * orders.h - what a timeline ordered of the clients and has not been sent yet: writes, releases and
 * roll-backs.
 *
 * Orders are carried out in full and one after the other, however long the core takes: whoever
 * sends asks for the next write whenever one more may be open. A release gives new values to the
 * first keys and keeps those that they had; rolling back publishes these again. The virtual world
 * (load.c) and the real one (real/writer.c) send the same writes for the same orders.
 *
 * A struct begins as zeros. Memory is bounded by the timeline. One owner; no clock, no I/O.
 */
#ifndef HF_SIM_ORDERS_H
#define HF_SIM_ORDERS_H

#include "sim/workload.h"

struct orders {
    struct order *first, *last; /* owned list */
    struct release *releases;   /* owned list, the newest first: what rolling back publishes */
};

void orders_deinit(struct orders *o);

/* So many writes, drawn as those of random clients; 0 is none. */
void orders_writes(struct orders *o, uint64_t count);
/* New values for keys 0 to keys - 1. The caller puts the numbers of the values that they have now
 * (0 = none) into what is returned, before the next call. */
uint64_t *orders_release(struct orders *o, uint32_t keys);
/* Of the newest release that was not rolled back. There is one: the parser has seen to it. */
void orders_rollback(struct orders *o);

bool orders_wait(const struct orders *o);
/* Takes the next write away and draws its changes from w, up to SCRIPT_CHANGES_MAX; returns how
 * many. Only while orders_wait. */
uint32_t orders_take(struct orders *o, struct workload *w, struct workload_change *out);

#endif
