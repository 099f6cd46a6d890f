/*
 * keyfile.h - identities on disk.
 *
 * A key file is one line, "holdfast-key-v1 " and 64 hex digits (the Ed25519 seed), mode 0600, owned
 * by the user who runs. It is opened with O_NOFOLLOW and refused when others may read it.
 */
#ifndef HF_KEYFILE_H
#define HF_KEYFILE_H

#include "hf/err.h"
#include "hf/seal.h"

enum hf_err hf_keyfile_load(const char *path, struct hf_identity *id, struct hf_error *e);
/* Makes a new key and writes it durably (temporary file, fsync, rename); HF_EXISTS if path exists.
 */
enum hf_err hf_keyfile_create(const char *path, struct hf_identity *id, struct hf_error *e);
/* Loads it, or creates it when there is none. *created may be NULL. */
enum hf_err hf_keyfile_ensure(const char *path, struct hf_identity *id, bool *created,
                              struct hf_error *e);

/* The folder that path lies in: a file that was given its name keeps it over a power cut. False
 * with errno. */
bool hf_sync_folder_of(const char *path);

#endif
