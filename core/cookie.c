/*
 * cookie.c - cookies of requests; see the header.
 *
 * Invariant: a cookie is good for one slot at least and two at most, by the core's monotonic clock
 * alone. It must not be compared but in constant time: it is a secret between core and edge.
 */
#include "core/cookie.h"

#include "hf/bytes.h"

#include <stdlib.h>

#define SECRET_BYTES 32u
/* Long beside the second between two REPORTs, so that hardly any request is sent twice. */
#define SLOT_MS 120000

struct hf_cookies {
    const struct hf_world *world;
    uint8_t *secret; /* owned, guarded */
};

struct hf_cookies *hf_cookies_new(const struct hf_world *world)
{
    struct hf_cookies *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return NULL;
    }
    c->world = world;
    c->secret = hf_secret_new(SECRET_BYTES);
    if (c->secret == NULL) {
        free(c);
        return NULL;
    }
    world->random(world->ctx, c->secret, SECRET_BYTES);
    return c;
}

void hf_cookies_free(struct hf_cookies *c)
{
    if (c != NULL) {
        hf_secret_free(c->secret);
        free(c);
    }
}

static struct hf_id cookie_of(const struct hf_cookies *c, const struct hf_key *edge, uint64_t slot)
{
    uint8_t le[8];
    hf_store64(le, slot);
    struct hf_slice part[2] = {hf_slice_of(edge->b, HF_KEY_BYTES), hf_slice_of(le, sizeof(le))};
    struct hf_id cookie = {{0}};
    hf_keyed_hash("holdfast/v1/cookie", c->secret, SECRET_BYTES, part, 2, cookie.b,
                  HF_COOKIE_BYTES);
    return cookie;
}

static uint64_t slot_now(const struct hf_cookies *c)
{
    return (uint64_t)(c->world->now(c->world->ctx) / SLOT_MS);
}

struct hf_id hf_cookies_give(const struct hf_cookies *c, const struct hf_key *edge)
{
    return cookie_of(c, edge, slot_now(c));
}

bool hf_cookies_current(const struct hf_cookies *c, const struct hf_key *edge,
                        const struct hf_id *cookie)
{
    uint64_t slot = slot_now(c);
    struct hf_id now = cookie_of(c, edge, slot);
    struct hf_id before = cookie_of(c, edge, slot - 1);
    return hf_secret_eq(now.b, cookie->b, HF_COOKIE_BYTES) ||
           (slot > 0 && hf_secret_eq(before.b, cookie->b, HF_COOKIE_BYTES));
}
