/*
 * guarded.c - where a read that cannot go on goes; see guarded.h.
 */
#include "guarded.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

struct way_out {
    jmp_buf to;
    struct way_out *outer;
};

static _Thread_local struct way_out *volatile innermost;

bool hf_guarded(void (*read)(void *ctx), void *ctx)
{
    struct way_out here = {.outer = innermost};
    if (_setjmp(here.to) != 0) {
        innermost = here.outer;
        return false;
    }
    innermost = &here;
    read(ctx);
    innermost = here.outer;
    return true;
}

void hf_guarded_leave(void)
{
    if (innermost != NULL) {
        longjmp(innermost->to, 1);
    }
}

/* ---- LMDB's ---- */

void hf_lmdb_assert(MDB_env *env, const char *message)
{
    const char *path = NULL;
    hf_guarded_leave();
    if (mdb_env_get_path(env, &path) != 0 || path == NULL) {
        path = "?";
    }
    fprintf(stderr, "error store: LMDB found its own structure damaged path=%s at=\"%s\"\n", path,
            message);
    abort();
}

struct lookup {
    MDB_txn *txn;
    MDB_dbi table;
    MDB_cursor *cursor; /* of a step; NULL for a get */
    MDB_cursor_op op;
    MDB_val *key, *data;
    int rc;
};

static void look_up(void *ctx)
{
    struct lookup *l = ctx;
    l->rc = l->cursor != NULL ? mdb_cursor_get(l->cursor, l->key, l->data, l->op)
                              : mdb_get(l->txn, l->table, l->key, l->data);
}

int hf_lmdb_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *data)
{
    struct lookup l = {.txn = txn, .table = table, .key = key, .data = data};
    return hf_guarded(look_up, &l) ? l.rc : MDB_CORRUPTED;
}

int hf_lmdb_cursor_get(MDB_cursor *c, MDB_val *key, MDB_val *data, MDB_cursor_op op)
{
    struct lookup l = {.cursor = c, .op = op, .key = key, .data = data};
    if (hf_guarded(look_up, &l)) {
        return l.rc;
    }
    /* It stands on that page. In a write transaction it cannot be moved off, but there nothing is
     * read any more after damage. */
    (void)mdb_cursor_renew(mdb_cursor_txn(c), c);
    return MDB_CORRUPTED;
}
