/*
 * lookup.c - reads of LMDB that come back, whatever they read.
 *
 * LMDB 0.9 answers some contradictions of its pages by MDB_CORRUPTED and others by an assertion: a
 * cursor that moves on to a page which is no leaf, for one. A read changes nothing, so it is left
 * by a jump at the failed assertion and answers MDB_CORRUPTED like the others. In a write the
 * assertion still ends the process, before any of it is committed.
 *
 * A page that leads LMDB out of the map is beyond this; pages.c looks for such before a store is
 * opened.
 */
#include "state_impl.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

/* Where the read that this thread is in goes on; NULL: it is in none. */
static _Thread_local jmp_buf *way_out;

void hf_lmdb_assert(MDB_env *env, const char *message)
{
    const char *path = NULL;
    jmp_buf *out = way_out;
    if (out != NULL) {
        way_out = NULL;
        longjmp(*out, 1);
    }
    if (mdb_env_get_path(env, &path) != 0 || path == NULL) {
        path = "?";
    }
    fprintf(stderr, "error store: LMDB found its own structure damaged path=%s at=\"%s\"\n", path,
            message);
    abort();
}

int hf_lmdb_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *data)
{
    jmp_buf here;
    if (_setjmp(here) != 0) {
        return MDB_CORRUPTED;
    }
    way_out = &here;
    int rc = mdb_get(txn, table, key, data);
    way_out = NULL;
    return rc;
}

int hf_lmdb_cursor_get(MDB_cursor *c, MDB_val *key, MDB_val *data, MDB_cursor_op op)
{
    jmp_buf here;
    if (_setjmp(here) != 0) {
        /* It stands on that page. In a write transaction it cannot be moved off, but there nothing
         * is read any more after damage. */
        (void)mdb_cursor_renew(mdb_cursor_txn(c), c);
        return MDB_CORRUPTED;
    }
    way_out = &here;
    int rc = mdb_cursor_get(c, key, data, op);
    way_out = NULL;
    return rc;
}
