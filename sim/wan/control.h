/*
 * control.h - the unix socket by which scripts change the emulated network while it runs.
 *
 * A connection carries one line and gets one answer, then it is closed. The last line of an answer
 * is "ok" or "error: why":
 *
 *   set WHICH [up|down] NAME=VALUE...   settings of profile.h; all of them, or none and an error
 *   cut WHICH [up|down]                 nothing passes any more, and nobody is told
 *   heal WHICH [up|down]
 *   half-open WHICH                     open connections pass nothing any more; new ones work
 *   hub NAME=VALUE...                   rate and queue of what the core sends to all together
 *   stats [WHICH]                       a table of the counters, one line a direction (tabs)
 *   nodes                               NODE and ADDRESS of each
 *   netns NODE                          "ok" carries the namespace as a descriptor (SCM_RIGHTS)
 *
 * WHICH is an edge's number or "all"; down is from the core to the edge, without either word it is
 * both. Whoever can open the socket may do all this: it belongs in a directory of mode 700.
 *
 * It must not wait for a client: one that does not read its answer loses it. Next: control.c.
 */
#ifndef HF_WAN_CONTROL_H
#define HF_WAN_CONTROL_H

#include <stdio.h>

#include "sim/wan/wan.h"

struct hf_wan_control;

/* Listens on path, which must not exist, in the steps of w; w must outlive it. */
enum hf_err hf_wan_control_new(struct hf_wan *w, const char *path, struct hf_wan_control **out,
                               struct hf_error *e);
/* Closes all connections and removes the path. */
void hf_wan_control_free(struct hf_wan_control *c);

/* The table of "stats": header, one line for each direction of edges first to last, then, only when
 * there are any, "overrun NODE N" and "stray N" lines. */
void hf_wan_stats_print(struct hf_wan *w, unsigned first, unsigned last, FILE *out);

/* ---- the other side of the socket ---- */

/* Sends a line (without its end) and copies the answer to out (may be NULL) up to its last line.
 * *fd (may be NULL) gets the descriptor that came along, -1 without one. On HF_ARG the network
 * refused, and *e has its words. */
enum hf_err hf_wan_ask(const char *path, const char *line, FILE *out, int *fd, struct hf_error *e);

#endif
