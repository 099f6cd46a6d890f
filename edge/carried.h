/*
 * carried.h - reading a carry file (hf/carry.h): whole, undamaged and signed, or not at all.
 *
 * carried_open reads the file through before anything of it is used, so that a file that was cut
 * short or damaged on its way changes nothing. Whether it suits an edge is not its business.
 */
#ifndef HF_EDGE_CARRIED_H
#define HF_EDGE_CARRIED_H

#include "hf/carry.h"

#include <stdio.h>

struct carried {
    FILE *file; /* owned */
    struct hf_carry_head head;
    uint64_t index; /* of the next record */
    uint64_t at;    /* bytes read */
    struct hf_hash chain;
    uint8_t message[HF_MESSAGE_MAX];
};

/* Opens, checks everything, and stands before the first record. `core` is the key to trust. On
 * failure a sentence in e->text, and the file is closed. */
enum hf_err carried_open(struct carried *c, const char *path, const struct hf_key *core,
                         struct hf_error *e);
/* The next record, borrowed until the next call; HF_NOTFOUND at the end. */
enum hf_err carried_next(struct carried *c, struct hf_slice *message, struct hf_error *e);
void carried_close(struct carried *c);

#endif
