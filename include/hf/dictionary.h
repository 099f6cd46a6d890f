/*
 * dictionary.h - dictionaries of zstd that a stream has for its small bodies, on both sides.
 *
 * A dictionary travels and is kept as the signed frame that brought it (PROTOCOL.md section 4.1):
 * its seq names it. A table has the few that frames of the log may use; whoever opens or packs with
 * one holds a reference, so a table may let go of it meanwhile.
 *
 * Invariant: a table has nothing that was not opened from a frame whose signature was verified, by
 * the caller, or made by this core.
 *
 * Threads: a table may be used by any; a dictionary never changes.
 */
#ifndef HF_DICTIONARY_H
#define HF_DICTIONARY_H

#include "hf/batch.h"

/* 16 KiB hold what small bodies have in common; twice as many gain 1 % more, for twice the bytes to
 * each edge. */
#define HF_DICTIONARY_BYTES_MAX (16u << 10)
#define HF_DICTIONARY_FRAME_MAX (HF_DICTIONARY_BYTES_MAX + 1024u)
/* In use by frames of one log; an edge keeps as many. */
#define HF_DICTIONARIES_MAX 4u
/* The first frame that may use a dictionary is so many behind its own: most edges have it then. */
#define HF_DICTIONARY_LEAD 16u

struct hf_dictionary;
struct hf_dictionaries;

/* What the frame at seq has for its raw body; and the id that zstd's frames name it by, which is in
 * the dictionary too. */
void hf_dictionary_encode(hf_seq seq, struct hf_slice bytes, struct hf_writer *raw);
uint32_t hf_dictionary_id(hf_seq seq);

/* From the raw body of `frame`, which is the whole message, and is copied. HF_MALFORMED, HF_NOMEM.
 */
enum hf_err hf_dictionary_new(hf_seq seq, struct hf_slice raw, struct hf_slice frame,
                              struct hf_dictionary **out);
void hf_dictionary_unuse(struct hf_dictionary *d); /* NULL is fine */
hf_seq hf_dictionary_seq(const struct hf_dictionary *d);
struct hf_slice hf_dictionary_frame(const struct hf_dictionary *d);

struct hf_dictionaries *hf_dictionaries_new(void);
void hf_dictionaries_free(struct hf_dictionaries *t);
/* Takes over the caller's reference. One that is known already is let go; when there are too many,
 * the oldest is. */
void hf_dictionaries_add(struct hf_dictionaries *t, struct hf_dictionary *d);
/* Forgets those above `last`; those that no frame from `first` on can use. */
void hf_dictionaries_cut(struct hf_dictionaries *t, hf_seq last);
void hf_dictionaries_trim(struct hf_dictionaries *t, hf_seq first);
/* Seqs, rising; returns how many. */
uint32_t hf_dictionaries_list(struct hf_dictionaries *t, hf_seq out[HF_DICTIONARIES_MAX]);
/* A reference for the caller; NULL when it is not there. */
struct hf_dictionary *hf_dictionaries_at(struct hf_dictionaries *t, hf_seq seq);
/* The one that the frame at seq is packed with; NULL when there is none. */
struct hf_dictionary *hf_dictionaries_for(struct hf_dictionaries *t, hf_seq seq);

/* As hf_compress, with it: bodies of any size, HF_COMPRESSION_DICTIONARY. */
struct hf_slice hf_dictionary_pack(const struct hf_dictionary *d, struct hf_slice raw, void *zctx,
                                   struct hf_writer *scratch, enum hf_compression *compression);
/* As hf_body_unseal, for bodies that may need one of the table: HF_SEALED when it is not there. */
enum hf_err hf_dictionaries_unseal(struct hf_dictionaries *t, const struct hf_header *h,
                                   struct hf_slice sealed, const struct hf_key *key, void *zctx,
                                   struct hf_writer *scratch, struct hf_writer *raw);

/* The object that keeps the frame in a store: "dictionary/" and the seq, big-endian. */
#define HF_DICTIONARY_PREFIX "dictionary/"
#define HF_DICTIONARY_NAME_BYTES 19u
struct hf_slice hf_dictionary_name(hf_seq seq, uint8_t out[HF_DICTIONARY_NAME_BYTES]);

#endif
