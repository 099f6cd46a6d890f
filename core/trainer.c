/*
 * trainer.c - samples, the dictionary made of them, and the judgement.
 *
 * One in eight samples is kept from the training and packed with the result: a dictionary always
 * packs well what it was made of. It must save GAIN_PERCENT_MIN of their bytes as they were packed
 * before, an older dictionary included. After each try the trainer waits for as many bytes again,
 * and for twice as many each time that it gained nothing: training costs 0.2 s of a processor.
 *
 * `state` hands the memory from the lane to the pool and back; nothing else is shared.
 */
#include "core/trainer.h"

#include "hf/compress.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <zdict.h>
#include <zstd.h>

#define SAMPLES_MAX 4096u
#define SAMPLES_MIN 16u
#define HELD_OUT 8u
#define GAIN_PERCENT_MIN 10u
#define WAIT_BYTES_MAX (256u << 20)
#define LEVEL 1

enum trainer_state { COLLECTING, READY, TRAINED, FAILED };

struct hf_trainer {
    _Atomic int state;
    uint8_t *sample; /* owned; one behind the other */
    size_t sample_cap, sample_len;
    size_t size[SAMPLES_MAX];
    size_t now[SAMPLES_MAX]; /* what they pack to as it is */
    uint32_t count;
    uint64_t wait, wait_next; /* bytes to let pass before collecting */
    uint8_t dictionary[HF_DICTIONARY_BYTES_MAX];
    size_t dictionary_len;
    uint32_t gain_percent;
};

struct hf_trainer *hf_trainer_new(size_t sample_bytes)
{
    struct hf_trainer *t = calloc(1, sizeof(*t));
    size_t cap = sample_bytes != 0 ? sample_bytes : HF_TRAINER_BYTES;
    if (t == NULL || (t->sample = malloc(cap)) == NULL) {
        free(t);
        return NULL;
    }
    t->sample_cap = t->wait_next = cap;
    return t;
}

void hf_trainer_free(struct hf_trainer *t)
{
    if (t != NULL) {
        free(t->sample);
        free(t);
    }
}

/* ---- samples ---- */

static void begin_again(struct hf_trainer *t, uint64_t wait)
{
    t->wait = wait;
    t->count = 0;
    t->sample_len = 0;
    atomic_store(&t->state, COLLECTING);
}

void hf_trainer_show(struct hf_trainer *t, struct hf_slice raw, size_t packed)
{
    int state = atomic_load(&t->state);
    if (state == FAILED) {
        t->wait_next = t->wait_next < WAIT_BYTES_MAX ? 2 * t->wait_next : t->wait_next;
        begin_again(t, t->wait_next);
    } else if (state != COLLECTING || raw.len > HF_SMALL_BODY_MAX) {
        return;
    }
    if (t->wait > 0) {
        t->wait -= t->wait < raw.len ? t->wait : raw.len;
        return;
    }
    if (t->count == SAMPLES_MAX || raw.len > t->sample_cap - t->sample_len) {
        atomic_store(&t->state, READY);
        return;
    }
    memcpy(t->sample + t->sample_len, raw.data, raw.len);
    t->sample_len += raw.len;
    t->size[t->count] = raw.len;
    t->now[t->count++] = packed;
}

bool hf_trainer_ready(const struct hf_trainer *t)
{
    return atomic_load(&t->state) == READY;
}

/* ---- training ---- */

/* What the samples from `first` on are now, and would be. False when it cannot be said. */
static bool weigh(const struct hf_trainer *t, uint32_t first, size_t at, uint64_t *now,
                  uint64_t *then)
{
    static const size_t room = ZSTD_COMPRESSBOUND(HF_SMALL_BODY_MAX);
    ZSTD_CDict *pack = ZSTD_createCDict(t->dictionary, t->dictionary_len, LEVEL);
    ZSTD_CCtx *cctx = ZSTD_createCCtx();
    uint8_t *out = malloc(room);
    bool made = pack != NULL && cctx != NULL && out != NULL;
    *now = *then = 0;
    for (uint32_t i = first; made && i < t->count; i++) {
        size_t n = ZSTD_compress_usingCDict(cctx, out, room, t->sample + at, t->size[i], pack);
        *now += t->now[i];
        *then += ZSTD_isError(n) || n > t->size[i] ? t->size[i] : n;
        at += t->size[i];
    }
    ZSTD_freeCDict(pack);
    ZSTD_freeCCtx(cctx);
    free(out);
    return made;
}

static bool train(struct hf_trainer *t)
{
    uint32_t first = t->count - t->count / HELD_OUT;
    size_t at = 0;
    uint64_t now;
    uint64_t then;
    if (t->count < SAMPLES_MIN) {
        return false;
    }
    for (uint32_t i = 0; i < first; i++) {
        at += t->size[i];
    }
    size_t n =
        ZDICT_trainFromBuffer(t->dictionary, sizeof(t->dictionary), t->sample, t->size, first);
    if (ZDICT_isError(n)) {
        return false; /* nothing that repeats */
    }
    t->dictionary_len = n;
    if (!weigh(t, first, at, &now, &then) || now == 0) {
        return false;
    }
    t->gain_percent = then < now ? (uint32_t)((now - then) * 100 / now) : 0;
    return t->gain_percent >= GAIN_PERCENT_MIN;
}

void hf_trainer_train(struct hf_trainer *t)
{
    HF_ASSERT(hf_trainer_ready(t));
    atomic_store(&t->state, train(t) ? TRAINED : FAILED);
}

bool hf_trainer_take(struct hf_trainer *t, struct hf_slice *bytes, uint32_t *gain_percent)
{
    if (atomic_load(&t->state) != TRAINED) {
        return false;
    }
    *bytes = hf_slice_of(t->dictionary, t->dictionary_len);
    *gain_percent = t->gain_percent;
    /* What comes next is to be seen packed with this one before another is thought of. */
    begin_again(t, 16 * (uint64_t)t->sample_cap);
    return true;
}
