/*
 * audit.h - the audit trail: a batch of the log, opened for people.
 *
 * What a batch changed, and of each request that had an id, an author or a reason, what it said
 * (PROTOCOL.md section 4). The log is bounded, so the trail reaches back as far as it does. Whoever
 * may write to this core may read it. Owner's thread.
 */
#ifndef CORE_AUDIT_H
#define CORE_AUDIT_H

#include "hf/batch.h"
#include "hf/core.h"

struct hf_audit {
    enum hf_err code; /* HF_NOTFOUND: the log has no such batch; HF_SEALED: its key is gone;
                         HF_BUSY: too many wait */
    struct hf_header h;
    struct hf_body body; /* its iterators may be used once; they borrow until done returns */
};
/* Once, perhaps before the call returns. */
typedef void hf_audit_done(void *ctx, struct hf_audit *a);

/* One batch is opened at a time, for it takes some MiB while it is; others wait, HF_AUDIT_WAITING
 * of them. */
#define HF_AUDIT_WAITING 1024u
void hf_core_audit(struct hf_core *core, hf_seq seq, hf_audit_done *done, void *ctx);

#endif
