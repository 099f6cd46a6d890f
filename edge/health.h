/*
 * health.h - a damaged store does not end an edge: it is noticed, kept aside, and fetched anew.
 *
 * The order of a life: _examine before any thread, _begin before the store is opened, _watch once
 * it is open, then _note and _on_tick, _end at a stop that is no crash. Threads: the loop's, from
 * _begin on. The struct is the caller's and outlives the loop. Next: health.c, hf/doctor.h.
 */
#ifndef HF_EDGE_HEALTH_H
#define HF_EDGE_HEALTH_H

#include "hf/edge.h"
#include "hf/life.h"

struct edge_health {
    struct hf_job look; /* first, so that the job finds its way back */

    /* Set by the caller before _examine. */
    const char *dir; /* of the stream; borrowed for good */
    void *ctx;
    void (*on_damaged)(void *ctx); /* start this process anew; need not return */

    /* ---- its own from here on ---- */
    struct hf_life life;
    bool records_damaged; /* the examination saw that, and a repair is enough */
    struct hf_loop *loop;
    struct hf_edge *edge;

    bool looking;
    enum hf_err found; /* by the look; the loop reads it when the job is done */
    struct hf_error why;
    bool alarmed; /* an error was noted since the last look */
    hf_ms check_at, moved_at;
    hf_ms not_before, pause;
    hf_seq applied;
    uint64_t done;
};

/* After too many unclean ends in a row, reads the store in a child process and sets one aside that
 * no repair can mend. Fails only when it cannot be set aside. */
enum hf_err edge_health_examine(struct edge_health *h, struct hf_error *e);
/* Marks this run as begun, so that an unclean end of it is found by the next. */
void edge_health_begin(struct edge_health *h);
/* Gives up a store that nobody has open, for the reason `why`, but not its bytes. */
enum hf_err edge_health_set_aside(const struct edge_health *h, const char *why, struct hf_error *e);
/* Begins to look for damage that does not kill, and to mend what the examination saw. */
void edge_health_watch(struct edge_health *h, struct hf_loop *loop, struct hf_edge *edge);
/* What the edge noted, at this level. */
void edge_health_note(struct edge_health *h, enum hf_level level);
/* Looks when it is due. It asks for no tick of its own: a link that is up has several a second. */
void edge_health_on_tick(struct edge_health *h, hf_ms now);
/* A clean end, or one that the store has no part in: vouches for the store, unless an error that
 * was not looked into may be about it. */
void edge_health_end(const struct edge_health *h);
/* The start failed for a reason that is no crash: it does not count. */
void edge_health_undo(const struct edge_health *h);

#endif
