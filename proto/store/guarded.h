/*
 * guarded.h - reads of a mapped store that come back, whatever they meet.
 *
 * Two things end a process that reads a mapped store whose pages are damaged or lost: an assertion
 * of LMDB, which answers some contradictions by MDB_CORRUPTED and others so (a cursor that moves on
 * to a page that is no leaf, for one), and SIGBUS, when the disk does not give a page. Inside a
 * guarded read both are left by a jump. A read changes nothing, so nothing is half done then, and
 * what was lost is asked for again by the next read.
 *
 * Writes are not guarded: LMDB is in the midst of something there, and ends the process before any
 * of it is committed.
 *
 * A page that leads LMDB out of the map is beyond this; pages.c looks for such before a store is
 * opened. Threads: any; each is in reads of its own. Next: lost_pages.c for SIGBUS.
 */
#ifndef HF_STORE_GUARDED_H
#define HF_STORE_GUARDED_H

#include <lmdb.h>
#include <stdbool.h>

/* Runs read(ctx), which must hold nothing that has to be given back: no lock, no memory of its own,
 * nothing half changed. False: it was left somewhere on the way. Reads may be inside of others. */
bool hf_guarded(void (*read)(void *ctx), void *ctx);
/* Leaves the innermost guarded read of this thread. Returns only when it is in none. */
void hf_guarded_leave(void);

/* As mdb_get and mdb_cursor_get, guarded: MDB_CORRUPTED when they were left. A cursor that answered
 * so is only good for being closed or renewed. All reads of the store go through these. */
int hf_lmdb_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *data);
int hf_lmdb_cursor_get(MDB_cursor *c, MDB_val *key, MDB_val *data, MDB_cursor_op op);
/* For mdb_env_set_assert. */
void hf_lmdb_assert(MDB_env *env, const char *message);

#endif
