/*
 * marks.h - rare states that a campaign must have reached ("sometimes" assertions).
 *
 * A simulation that never fails may also be one in which nothing ever happens. Every row is a state
 * that the faults are meant to bring about; a campaign counts how often each was reached and fails
 * when one never was (swarm.h). A row with words is hit by each line of a node's log that has them,
 * the others by mark_hit where the simulator itself does or sees it.
 */
#ifndef HF_SIM_MARKS_H
#define HF_SIM_MARKS_H

#include <stdint.h>

/* X(id, name, words of a log line or NULL) */
#define SIM_MARKS(X)                                                                               \
    /* what was done to the world */                                                               \
    X(EDGE_CRASH, "edge-crash", NULL)                                                              \
    X(CORE_CRASH, "core-crash", NULL)                                                              \
    X(POWER_CUT, "power-cut", NULL)                                                                \
    X(PAGE_LOST, "unsynced-page-lost", NULL)                                                       \
    X(TORN_TAIL, "torn-tail", NULL)                                                                \
    X(WORK_LOST, "crash-before-work", NULL)                                                        \
    X(WORK_UNTOLD, "crash-before-answer", NULL)                                                    \
    X(CUT, "cut", NULL)                                                                            \
    X(ONE_WAY, "one-way-cut", NULL)                                                                \
    X(SWIZZLE, "swizzle", NULL)                                                                    \
    X(PAUSE, "paused", NULL)                                                                       \
    X(CLOCK_BACK, "wall-clock-back", NULL)                                                         \
    X(CORRUPTED, "message-corrupted", NULL)                                                        \
    X(DUPLICATED, "message-duplicated", NULL)                                                      \
    X(REORDERED, "message-reordered", NULL)                                                        \
    X(FORGED, "frame-forged", NULL)                                                                \
    X(REPLAYED, "message-replayed", NULL)                                                          \
    X(DAMAGED, "damaged", NULL)                                                                    \
    X(SET_ASIDE, "store-set-aside", NULL)                                                          \
    X(DISK_FULL, "write-found-disk-full", NULL)                                                    \
    X(DISK_ERROR, "write-met-io-error", NULL)                                                      \
    X(SYNC_FAILED, "sync-failed", NULL)                                                            \
    X(LATE_EDGE, "edge-invited-late", NULL)                                                        \
    X(RESTORED, "core-restored", NULL)                                                             \
    /* what clients and the core saw */                                                            \
    X(REPEATED_ID, "request-id-repeated", NULL)                                                    \
    X(WRITE_REFUSED, "write-refused", NULL)                                                        \
    X(LOG_TRIMMED, "log-trimmed", NULL)                                                            \
    X(FENCED, "core-fenced", "writes are refused from now on")                                     \
    X(FENCED_OPEN, "core-fenced-at-open", "writes are refused: ")                                  \
    X(DAMAGE_SEEN, "reader-met-damage", NULL)                                                      \
    X(READ_CUT_OFF, "read-while-cut-off", NULL)                                                    \
    X(READ_STAGED, "read-during-transfer", NULL)                                                   \
    X(READ_TROUBLED, "read-during-store-trouble", NULL)                                            \
    X(READ_AHEAD, "read-before-commit", NULL)                                                      \
    X(READ_REVOKED, "read-after-revocation", NULL)                                                 \
    X(STALE_UNKNOWN, "staleness-unknown", NULL)                                                    \
    /* what edges went through, from their logs */                                                 \
    X(ENROLLED, "enrolled", "enrolled at the core")                                                \
    X(LINK_DOWN, "link-down", "link down")                                                         \
    X(REDIAL, "redialled", "dialling again")                                                       \
    X(CAUGHT_UP, "caught-up", "replica: caught up")                                                \
    X(HOLE, "hole-asked-for", "asking for missing batches")                                        \
    X(HOLE_FILLED, "hole-filled", "first repaired batch")                                          \
    X(HOLD_FULL, "held-frames-full", "held frames at their limit")                                 \
    X(INBOX, "inbox-restored", "took up held batches")                                             \
    X(BAD_FRAME, "frame-refused", "frame refused")                                                 \
    X(KEY_MISSING, "content-key-missing", "content key or dictionary missing")                     \
    X(DICTIONARY, "dictionary-made", "dictionary of their own")                                    \
    X(REVOKED, "edge-revoked", "edge is revoked")                                                  \
    X(REFUSED, "request-refused", "core refused a request")                                        \
    X(STALLED, "stalled", "nothing moves, asking again")                                           \
    X(PLAN_LOG, "log-planned", "kind=log")                                                         \
    X(DELTA, "delta-planned", "kind=delta")                                                        \
    X(SNAPSHOT, "snapshot-planned", "kind=snapshot")                                               \
    X(SWITCHED, "stage-switched", "transferred state is visible")                                  \
    X(STAGE_RESUMED, "stage-resumed", "goes on with a transfer")                                   \
    X(STORE_TROUBLE, "store-refused", "store refused, serving what is there")                      \
    X(STORE_WELL, "store-well-again", "store writes again")                                        \
    X(REPAIR, "repair-begun", "comparing own records with the core")                               \
    X(REPAIR_FOUND, "repair-found", "own records differ, fetching")                                \
    X(REPAIR_SOUND, "repair-sound", "own records are sound")                                       \
    X(REPAIRED, "repaired", "repaired, the digest is right")                                       \
    X(REPAIR_GIVEN_UP, "repair-given-up", "cannot be repaired in place")                           \
    X(ROLLBACK, "rollback-seen", "core is behind this edge")

enum mark {
#define X(id, name, words) MARK_##id,
    SIM_MARKS(X)
#undef X
        MARK_COUNT,
};

struct sim;

const char *mark_name(enum mark m);
void mark_hit(struct sim *sim, enum mark m);
/* Hits the marks that a line of a log stands for. */
void mark_note(struct sim *sim, const char *text);

#endif
