/*
 * faults.h - the kinds of faults that a random run can have, and their names.
 *
 * A seed enables a random subset (swarm testing: Groce et al., 2012), so that some seeds are rough
 * in one way only. Every kind draws from a stream of its own: with one of them switched off all
 * others strike as before, which is what lets a failing seed be shrunk (shrink.h).
 */
#ifndef HF_SIM_FAULTS_H
#define HF_SIM_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(id, name, mean time between two strikes in s, mean time that it lasts in s) */
#define SIM_STRIKES(X)                                                                             \
    X(CUT, "cut", 20, 6)                                                                           \
    X(ONE_WAY, "one-way", 30, 6)                                                                   \
    X(SWIZZLE, "swizzle", 60, 8) /* all links, one after the other, healed in another order */     \
    X(EDGE_CRASH, "edge-crash", 20, 1)                                                             \
    X(CORE_CRASH, "core-crash", 30, 1)                                                             \
    X(POWER_CUT, "power-cut", 20, 2) /* a crash that loses what was not synced */                  \
    X(PAUSE, "pause", 30, 3)         /* SIGSTOP, SIGCONT */                                        \
    X(CLOCK, "clock", 20, 0)         /* a wall clock steps */                                      \
    X(SLOW_DISK, "slow-disk", 30, 5)                                                               \
    X(DISK_FULL, "disk-full", 30, 5)                                                               \
    X(DISK_ERROR, "disk-error", 30, 2)                                                             \
    X(DAMAGE, "damage", 20, 0) /* records change on an edge's disk */                              \
    X(RECONNECT, "reconnect", 10, 0)                                                               \
    X(FORGE, "forge", 5, 0)                                                                        \
    X(REPLAY, "replay", 5, 0)                                                                      \
    X(REVOKE, "revoke", 120, 0)                                                                    \
    X(RESTORE, "restore", 120, 0) /* the core goes back to an old copy of its directory */

/* X(id, name): what holds for the whole run. */
#define SIM_PROPERTIES(X)                                                                          \
    X(DROP, "drop") /* messages; packets are lost by PACKET_LOSS */                                \
    X(DUPLICATE, "duplicate")                                                                      \
    X(REORDER, "reorder")                                                                          \
    X(CORRUPT, "corrupt")                                                                          \
    X(SMALL_LOG, "small-log")                                                                      \
    X(LIMITS, "limits") /* windows of one, tiny tables, a commit per change, slow edges */         \
    X(PACKET_LOSS, "packet-loss")                                                                  \
    X(THIN, "thin")             /* 0.2 to 20 Mbit/s */                                             \
    X(LATE_EDGES, "late-edges") /* some are invited while the run is under way */

enum fault {
#define X(id, name, every, lasts) FAULT_##id,
    SIM_STRIKES(X)
#undef X
        FAULT_STRIKES,
    FAULT_PROPERTIES_FOLLOW = FAULT_STRIKES - 1,
#define X(id, name) FAULT_##id,
    SIM_PROPERTIES(X)
#undef X
        FAULT_KINDS,
};

#define FAULTS_ALL ((UINT64_C(1) << FAULT_KINDS) - 1)
#define FAULTS_TEXT_MAX 300u

const char *fault_name(enum fault f);
/* "cut,drop", "none" or "all". False with the first unknown name in bad (which may be NULL). */
bool faults_parse(const char *text, uint64_t *mask, char bad[32]);
/* The text that faults_parse reads. */
void faults_text(uint64_t mask, char out[FAULTS_TEXT_MAX]);

/* Those that a seed draws by itself. */
uint64_t faults_drawn(uint64_t seed);

#endif
