/*
 * fence.c - what a core does once it is shown that its own data were rolled back or copied.
 *
 * Edges have seen batches of it that it does not know, so the numbers that it would give next are
 * taken. It refuses writes from that moment on, those that wait included, and for good: the proof
 * is a fact, so a restart finds it again. Readers and edges are served on, and the mark is left as
 * it is (G9, G13).
 *
 * Who notices: lineage.c when an edge greets, open.c by the high-water mark and kept evidence.
 */
#include "core/driver_impl.h"

#include <stdio.h>
#include <stdlib.h>

struct fence {
    struct hf_fact_order order; /* first: the driver frees it at a crash */
    struct hf_fact fact;
    uint8_t header[];
};

static void on_recorded(struct hf_fact_order *order)
{
    if (order->code != HF_OK) {
        hf_core_note(order->owner, HF_LEVEL_ERROR, "core: evidence not stored: %s", order->text);
    }
    free(order);
}

void hf_core_fence(struct hf_core *core, const char *why, const struct hf_evidence_fact *evidence)
{
    if (core->fenced[0] != '\0') {
        return; /* the first evidence is kept */
    }
    snprintf(core->fenced, sizeof(core->fenced), "%s: this data was rolled back or copied", why);
    hf_core_note(core, HF_LEVEL_ERROR, "core: writes are refused from now on: %s", core->fenced);
    struct fence *f = calloc(1, sizeof(*f) + evidence->header.len);
    if (f == NULL) {
        return;
    }
    memcpy(f->header, evidence->header.data, evidence->header.len);
    f->fact = (struct hf_fact){.type = HF_FACT_EVIDENCE, .evidence = *evidence};
    f->fact.evidence.header = hf_slice_of(f->header, evidence->header.len);
    f->order.fact = &f->fact;
    f->order.count = 1;
    f->order.recorded = on_recorded;
    hf_core_record(core, &f->order);
}

bool hf_core_fence_group(const struct hf_core *core, struct hf_group *g)
{
    if (core->fenced[0] == '\0') {
        return false;
    }
    g->change_count = 0;
    for (struct hf_write *w = g->first; w != NULL; w = w->next) {
        w->result = (struct hf_write_result){.code = HF_FORK, .text = core->fenced};
    }
    return true;
}
