/*
 * memo.c - tables of the last results, one place for each name. Read memo.h.
 */
#include "sim/memo.h"

#include "hf/err.h"

#include <stdlib.h>

#define XXH_STATIC_LINKING_ONLY /* a state on the stack */
#include <xxhash.h>

/* A second of a large world has some hundred different signatures, each asked for at once, and a
 * change asks for the element that it replaces, however old: so there is room for all keys. */
#define RESULTS 16384u
/* An edge that was cut off takes up the bodies of minutes in one go, and others do beside it. */
#define BODIES 1024u

struct result {
    struct memo_name name; /* {0, 0}: nothing is here */
    union {
        int code; /* of MEMO_SIGNATURE */
        struct hf_hash hash;
    };
};

struct body {
    struct memo_name name;
    uint8_t *bytes; /* owned; of the thread, until it ends with the process */
    size_t len;
};

static _Thread_local struct result results[RESULTS];
static _Thread_local struct body bodies[BODIES];

static bool same(struct memo_name a, struct memo_name b)
{
    return a.low == b.low && a.high == b.high;
}

struct memo_name memo_name(enum memo_question question, const struct hf_slice *parts, size_t count)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    (void)XXH3_128bits_reset(&state);
    (void)XXH3_128bits_update(&state, &question, sizeof(question));
    for (size_t i = 0; i < count; i++) {
        /* With its length, or bytes could wander from one part to the next. */
        (void)XXH3_128bits_update(&state, &parts[i].len, sizeof(parts[i].len));
        (void)XXH3_128bits_update(&state, parts[i].data, parts[i].len);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(&state);
    return (struct memo_name){.low = hash.low64, .high = hash.high64};
}

static struct result *result_of(struct memo_name name)
{
    return &results[name.low % RESULTS];
}

/* ---- signatures ---- */

static struct memo_name name_of(const unsigned char *sig, const unsigned char *message,
                                unsigned long long len, const unsigned char *key)
{
    struct hf_slice parts[] = {hf_slice_of(key, MEMO_KEY_BYTES),
                               hf_slice_of(sig, MEMO_SIGNATURE_BYTES),
                               hf_slice_of(message, (size_t)len)};
    return memo_name(MEMO_SIGNATURE, parts, 3);
}

int memo_verify(memo_verifier *real, const unsigned char *sig, const unsigned char *message,
                unsigned long long len, const unsigned char *key)
{
    struct memo_name name = name_of(sig, message, len, key);
    struct result *r = result_of(name);
    if (!same(r->name, name)) {
        *r = (struct result){.name = name, .code = real(sig, message, len, key)};
    }
    return r->code;
}

void memo_signed(const unsigned char *sig, const unsigned char *message, unsigned long long len,
                 const unsigned char *key)
{
    struct memo_name name = name_of(sig, message, len, key);
    *result_of(name) = (struct result){.name = name, .code = 0};
}

/* ---- hashes ---- */

bool memo_hash_get(struct memo_name name, struct hf_hash *out)
{
    const struct result *r = result_of(name);
    if (!same(r->name, name)) {
        return false;
    }
    *out = r->hash;
    return true;
}

void memo_hash_put(struct memo_name name, const struct hf_hash *hash)
{
    *result_of(name) = (struct result){.name = name, .hash = *hash};
}

/* ---- bodies ---- */

bool memo_body_get(struct memo_name name, struct hf_slice *out)
{
    const struct body *b = &bodies[name.low % BODIES];
    if (!same(b->name, name)) {
        return false;
    }
    *out = hf_slice_of(b->bytes, b->len);
    return true;
}

void memo_body_put(struct memo_name name, struct hf_slice raw)
{
    struct body *b = &bodies[name.low % BODIES];
    if (raw.len > MEMO_BODY_MAX) {
        return;
    }
    b->bytes = realloc(b->bytes, raw.len + 1);
    HF_ASSERT(b->bytes != NULL);
    memcpy(b->bytes, raw.data, raw.len);
    b->name = name;
    b->len = raw.len;
}
