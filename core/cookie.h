/*
 * cookie.h - what the core gives an edge to come back with: proof that a request is not a
 * recording.
 *
 * A keyed hash of the edge's key and a slot of the core's own clock under a secret of this start.
 * The core keeps nothing per edge, and what was recorded before a restart is worth nothing.
 * PROTOCOL.md section 6.3. Owner's thread.
 */
#ifndef CORE_COOKIE_H
#define CORE_COOKIE_H

#include "hf/seal.h"
#include "hf/world.h"

struct hf_cookies;

/* NULL: no guarded memory. The world must outlive it. */
struct hf_cookies *hf_cookies_new(const struct hf_world *world);
void hf_cookies_free(struct hf_cookies *c); /* wipes */

/* The one of this moment. */
struct hf_id hf_cookies_give(const struct hf_cookies *c, const struct hf_key *edge);
/* True for the one of this slot and of the slot before. */
bool hf_cookies_current(const struct hf_cookies *c, const struct hf_key *edge,
                        const struct hf_id *cookie);

#endif
