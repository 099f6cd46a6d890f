/*
 * history.h - whether what a carry file brings is of the history that this edge has applied (G13).
 *
 * Over the control channel the core is shown the signed header of what is applied here and answers
 * for its own; a file was written without that. So its frames and records are held against the own
 * state where both know of the same batches: a core that was rolled back and went on has given
 * other frames to the same numbers, and other records to those batches.
 *
 * Both compare with edge->position, which is where the edge was before the file; the writer's
 * thread. HF_FORK with a sentence in e->text, HF_OK otherwise: also where nothing can be told.
 */
#ifndef HF_EDGE_HISTORY_H
#define HF_EDGE_HISTORY_H

#include "edge/driver_impl.h"

/* The frame at the applied seq or the next one, by the chain. One that the core signed and that is
 * of another history is kept as evidence. HF_AUTH when it is not signed. */
enum hf_err history_frame(struct hf_edge *edge, const struct hf_frame *f, struct hf_error *e);
/* Records of a chunk that were changed last at or below the applied seq must be here as they are
 * there. */
enum hf_err history_records(struct hf_edge *edge, const struct hf_chunk *c,
                            struct hf_records records, struct hf_error *e);

#endif
