/*
 * history.h - what the clients of a run asked and what they were answered, line by line, for
 * `holdfast-sim check` (sim/README.md, "Histories").
 *
 * Its processes are the slots of the writer, the reader of each edge, and whoever asks each node
 * how it is. A value is written as "v" and its number, which makes its bytes (sim/workload.h);
 * bytes that no number makes are written as they are not: "damaged". A line is written before a
 * question is sent and after its answer has come, so no time in it is tighter than the truth.
 *
 * All functions do nothing where h is NULL. One thread.
 */
#ifndef HF_SIM_REAL_HISTORY_H
#define HF_SIM_REAL_HISTORY_H

#include "sim/real/real.h"
#include "sim/workload.h"

/* Makes the file, or empties it; NULL with errno. */
struct real_history *real_history_new(const char *path);
/* Closes it. 0, or -1 with errno when something could not be written. */
int real_history_free(struct real_history *h);

void real_history_start(struct real_history *h, const struct real_node *n);

/* A write in slot 0 to 63. After the end, one that is sent again begins again. */
void real_history_write(struct real_history *h, uint32_t slot, const char *id,
                        const struct workload_change *change, uint32_t count);
void real_history_written(struct real_history *h, uint32_t slot, hf_seq seq, bool repeated);
/* No answer, or one after which nobody knows. */
void real_history_write_open(struct real_history *h, uint32_t slot);

/* One read at an edge, by HF.GET; the answer may be an error, or NULL when none came. */
void real_history_read(struct real_history *h, const struct real_node *n, uint32_t key);
void real_history_got(struct real_history *h, const struct real_node *n, const redisReply *reply);

/* HF.STATUS of a node; the answer as above. */
void real_history_ask(struct real_history *h, const struct real_node *n);
void real_history_state(struct real_history *h, const struct real_node *n, const redisReply *reply);

#endif
