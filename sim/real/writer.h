/*
 * writer.h - the clients of a run that write: the script's load, and what its timeline orders.
 *
 * Each write has a request id and is sent again until it is answered, whatever becomes of the core
 * meanwhile; so in the end every write that was not refused has one number, and the value of every
 * key is known. Up to 64 writes are open at a time. When more are, what the load draws is left out
 * (clients go away), while what the timeline orders waits.
 *
 * In the callbacks of the run's loop.
 */
#ifndef HF_SIM_REAL_WRITER_H
#define HF_SIM_REAL_WRITER_H

#include "sim/real/real.h"

struct real_writer;

struct real_writer_status {
    uint64_t sent, acked, repeated, refused, left_out;
    hf_seq acked_seq;  /* the highest number that was acknowledged */
    bool ordered_done; /* all that the timeline ordered was answered */
    bool open;         /* some write is still to be answered */
    char refusal[128]; /* the first; empty = none */
};

/* Writes through the core's socket; begins with _begin. */
struct real_writer *real_writer_new(struct real *r);
/* Closes connection and timers. The loop must run once more before _free. */
void real_writer_close(struct real_writer *w);
void real_writer_free(struct real_writer *w);

void real_writer_begin(struct real_writer *w); /* the load's first turn is now */
void real_writer_end(struct real_writer *w);   /* no more turns; what is open is still sent */

/* What a timeline orders; done in full and in order, as the core answers. */
void real_writer_order(struct real_writer *w, uint64_t writes);
void real_writer_release(struct real_writer *w, uint32_t keys);
void real_writer_rollback(struct real_writer *w);

void real_writer_status(const struct real_writer *w, struct real_writer_status *s);

/* Whether a daemon's answer for a key is what was acknowledged last; NULL or nil = no such key. */
bool real_writer_is_last(const struct real_writer *w, uint32_t key, const redisReply *value);

#endif
