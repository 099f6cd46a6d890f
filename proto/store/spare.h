/*
 * spare.h - the next segment file of a changelog, made before it is needed.
 *
 * Internal to proto/store. Writing 16 MiB of zeros takes 20 ms, which must not be a part of
 * some unlucky group's sync. So a thread makes the file while the segment before it is still
 * filling, or trimming hands over a file that is no longer needed, which costs nothing.
 *
 * Invariant: at most one spare. It has the name HF_SPARE_NAME until the changelog gives it its own;
 * a file of that name that is found at open is rubbish. Only the writer of the log calls these, but
 * for hf_spare_bytes, which any thread may.
 */
#ifndef HF_STORE_SPARE_H
#define HF_STORE_SPARE_H

#include "hf/err.h"
#include "hf/types.h"

struct hf_spare;

#define HF_SPARE_NAME "spare"
#define HF_FRESH_NAME "fresh" /* one that is made on the spot */

/* dirfd is borrowed. Without a thread, nothing is made before it is taken. NULL: no memory, or no
 * thread. */
struct hf_spare *hf_spare_new(int dirfd, uint64_t bytes, bool thread);
/* Waits for the thread and unlinks what it made; NULL is fine. */
void hf_spare_free(struct hf_spare *s);

/* Begins to make one unless there is one; a failure shows when it is taken. */
void hf_spare_want(struct hf_spare *s);
bool hf_spare_empty(const struct hf_spare *s);
/* Hands over fd as the spare, which must be empty; the file has the spare's size and name already.
 */
void hf_spare_give(struct hf_spare *s, int fd);
/* A file of at least `bytes`, its size and its temporary name; it is the caller's then. It is made
 * on the spot when there is no spare, or that is too small or could not be made. */
enum hf_err hf_spare_take(struct hf_spare *s, uint64_t bytes, int *fd, uint64_t *size,
                          const char **name);
uint64_t hf_spare_bytes(const struct hf_spare *s);

#endif
