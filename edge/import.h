/*
 * import.h - `holdfast-edge --import FILE`: what a carry file brings, applied to a stopped edge.
 */
#ifndef HF_EDGE_IMPORT_H
#define HF_EDGE_IMPORT_H

#include "hf/edge.h"

struct edge_import {
    const char *dir;  /* DATA/<stream>; made when missing */
    const char *path; /* of the file */
    struct hf_key core_key;
    uint64_t map_bytes;
};

/* Prints progress to stderr and the result to stdout. HF_OK also when there was nothing to do. On
 * failure a sentence in e->text, and the state is as before, or, when LOG frames were being applied
 * and the disk failed, at a whole batch. */
enum hf_err edge_import_run(const struct edge_import *c, const struct hf_identity *id,
                            struct hf_error *e);

#endif
