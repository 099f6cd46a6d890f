/*
 * doctor.h - whether a store may be opened after unclean ends, and where a damaged one goes.
 *
 * LMDB has no checksums: a damaged page can kill the process that touches it, at each start anew.
 * So a daemon keeps a marker while it runs. One unclean end is nothing (a commit is crash-safe);
 * after two in a row the state is examined in a child process, which may die of it in the daemon's
 * place. The core refuses to start with a damaged one. An edge goes on with one of which only
 * records are damaged, and repairs it; one that is worse is set aside under another name, and the
 * edge begins anew and fetches a snapshot.
 *
 * Nothing here logs or decides: hf/life.h does, and the daemons. Next: proto/store/doctor.c,
 * pages.c.
 */
#ifndef HF_DOCTOR_H
#define HF_DOCTOR_H

#include "hf/err.h"
#include "hf/types.h"

/* ---- the examination ---- */

/* Forks, and in the child opens the state in dir as a daemon would, reads all of it and checks all
 * that can be checked; waits for that, at most `limit` ms. The caller must not have the state open
 * and must not have any thread yet. It changes nothing that opening would not change.
 * HF_OK: sound, or there is none. HF_DIGEST: records are damaged that a repair mends, and nothing
 * dies of them. HF_CORRUPT: worse, or the child died of it. The reason is in e.
 * Anything else (HF_TIMEOUT, HF_LOCKED, HF_MISMATCH, HF_NOMEM, HF_IO): nothing is known, e says
 * why; that is no reason to give up a state. e must not be NULL. */
enum hf_err hf_state_examine(const char *dir, hf_ms limit, struct hf_error *e);

struct hf_state;

/* The part of it that can be done in a running daemon, which does not die of what it finds: checks
 * the pages of an open state, so that LMDB can go on reading and writing it. On the writer's lane
 * only, so that nobody commits meanwhile; one look at each page (0.1 s for 1,000,000 keys). `keys`:
 * also that each is in its place; where one is not, records are not found, but nothing breaks.
 * HF_CORRUPT: damaged; anything else as above. e must not be NULL. */
enum hf_err hf_state_check_pages(const struct hf_state *s, bool keys, struct hf_error *e);

/* ---- setting aside ---- */

/* Renames dir, whose state nobody has open, to DIR.damaged-<unix time> and makes that durable; then
 * removes what an earlier call set aside, so that there is one at most. `to` gets the new name. */
enum hf_err hf_state_set_aside(const char *dir, uint64_t unix_time, char *to, size_t cap,
                               struct hf_error *e);

/* ---- the marker of a running daemon ---- */

#define HF_RUNNING_PATH_MAX 512u

struct hf_running {
    char path[HF_RUNNING_PATH_MAX];
    uint32_t
        unclean; /* runs in a row that ended uncleanly, up to this start; 0 = the last was clean */
};

/* Reads the marker; writes nothing. HF_ARG when the path is too long. */
enum hf_err hf_running_find(struct hf_running *r, const char *path);
/* Writes it, synced, with r->unclean. A failure costs the count and is no reason not to run. */
enum hf_err hf_running_begin(const struct hf_running *r);
/* The daemon has lived long enough: the count begins anew. Any thread. */
void hf_running_lived(const struct hf_running *r);
/* A clean end. */
void hf_running_end(const struct hf_running *r);
/* The start was given up for a reason that is no crash: as if it had not been. */
void hf_running_undo(const struct hf_running *r);

#endif
