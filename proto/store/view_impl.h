/*
 * view_impl.h - a view from inside, for view.c and for verify.c, which reads with the same cursors.
 *
 * A view keeps its transaction and its cursors over reset and renew, because beginning and opening
 * them anew costs as much as a read does. `fresh` tells that a cursor belongs to the transaction as
 * it is now; the others are renewed at their first use. Nobody else includes this file.
 */
#ifndef HF_STORE_VIEW_IMPL_H
#define HF_STORE_VIEW_IMPL_H

#include "state_impl.h"

enum view_cursor {
    VIEW_BY_KEY = 0,
    VIEW_BY_SEQ = 1,
};
#define VIEW_CURSORS 2

struct hf_view {
    struct hf_state *s;
    struct hf_view *next; /* in the state's list */
    MDB_txn *txn;         /* NULL after a reopen, until the next renew */
    bool live;
    bool borrows; /* txn is the held one, and its mutex is locked */
    struct hf_head head;
    MDB_dbi table[VIEW_CURSORS]; /* of the visible generation */
    MDB_cursor *cursor[VIEW_CURSORS];
    bool fresh[VIEW_CURSORS];
};

enum hf_err hf_view_cursor(struct hf_view *v, enum view_cursor which, MDB_cursor **out);
/* Moves to the first entry behind *k (of no length: to the first of all). When the cursor stands on
 * *k already, as in a scan, that is one step. Returns an LMDB code. */
int hf_view_seek_after(MDB_cursor *c, MDB_val *k, MDB_val *data);

#endif
