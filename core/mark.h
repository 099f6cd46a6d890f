/*
 * mark.h - the core's high-water mark: the highest position it ever committed, kept outside its
 * data.
 *
 * One line of text, "epoch-id-hex seq chain-hex\n". It finds a data directory that was rolled back
 * to an older copy: the mark then names a seq that the recovered log does not have.
 */
#ifndef CORE_MARK_H
#define CORE_MARK_H

#include "hf/err.h"
#include "hf/seal.h"

/* Reads it; only epoch id, seq and chain of *at are set. HF_NOTFOUND when there is none,
 * HF_MALFORMED when it is not a mark (a torn one after a power cut), HF_IO. */
enum hf_err hf_mark_read(const char *path, struct hf_position *at);
/* Renames one that cannot be read to PATH.unreadable. HF_EXISTS when there is one, HF_IO, HF_ARG.
 */
enum hf_err hf_mark_set_aside(const char *path);
/* Replaces it by rename. Not synced: a mark that is somewhat old only finds somewhat less. */
enum hf_err hf_mark_write(const char *path, const struct hf_position *at);

#endif
