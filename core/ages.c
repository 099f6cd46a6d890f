/*
 * ages.c - the age clock and its marks; see the header for what it protects.
 *
 * The published_ms of a frame is no substitute: it is the wall clock of that moment, and one frame
 * from a wrong clock in the far future would keep everything behind it for ever, or, with the clock
 * still wrong, throw all before it away at once.
 *
 * It must not read a clock or decide what is thrown away. Next: core/retention.c.
 */
#include "core/ages.h"

#include "hf/cursor.h"

#define MS_MAX ((uint64_t)INT64_MAX)

void hf_ages_init(struct hf_ages *a)
{
    memset(a, 0, sizeof(*a));
    a->told_at = -1;
}

uint64_t hf_ages_tell(struct hf_ages *a, hf_ms now, uint64_t wall_ms)
{
    uint64_t wall = wall_ms < MS_MAX ? wall_ms : MS_MAX;
    uint64_t passed = a->told_at >= 0 && now > a->told_at ? (uint64_t)(now - a->told_at) : 0;
    a->told_at = now;
    if (a->clock_ms == 0) {
        a->clock_ms = wall;
    }
    if (wall <= a->clock_ms) {
        return 0;
    }
    uint64_t ahead = wall - a->clock_ms;
    uint64_t most = passed < MS_MAX / HF_AGES_GAIN ? passed * HF_AGES_GAIN : MS_MAX;
    uint64_t step = ahead < most ? ahead : most;
    a->clock_ms += step;
    return ahead - step;
}

/* Takes out the mark whose absence is felt least: the gap that it leaves, against its age. So the
 * places are spread evenly over the orders of magnitude, from seconds to months. */
static void thin(struct hf_ages *a)
{
    uint32_t least = 1;
    double least_gap = 0;
    for (uint32_t i = 1; i + 1 < a->count; i++) {
        double gap = (double)(a->mark[i + 1].ms - a->mark[i - 1].ms) /
                     ((double)(a->clock_ms - a->mark[i].ms) + 1);
        if (i == 1 || gap < least_gap) {
            least = i;
            least_gap = gap;
        }
    }
    a->count--;
    memmove(&a->mark[least], &a->mark[least + 1], (a->count - least) * sizeof(a->mark[0]));
}

bool hf_ages_mark(struct hf_ages *a, hf_seq seq, uint64_t every)
{
    const struct hf_age_mark *last = a->count > 0 ? &a->mark[a->count - 1] : NULL;
    if (seq == 0 || (last != NULL && (seq <= last->seq || a->clock_ms - last->ms < every))) {
        return false;
    }
    if (a->count == HF_AGES_MAX) {
        thin(a);
    }
    a->mark[a->count++] = (struct hf_age_mark){.seq = seq, .ms = a->clock_ms};
    return true;
}

hf_seq hf_ages_before(const struct hf_ages *a, uint64_t age)
{
    for (uint32_t i = a->count; i > 0; i--) {
        const struct hf_age_mark *m = &a->mark[i - 1];
        if (a->clock_ms - m->ms >= age) {
            return m->seq;
        }
    }
    return 0;
}

uint64_t hf_ages_of(const struct hf_ages *a, hf_seq seq)
{
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->mark[i].seq >= seq) {
            return a->clock_ms - a->mark[i].ms;
        }
    }
    return 0;
}

struct hf_slice hf_ages_encode(const struct hf_ages *a, uint8_t out[HF_AGES_BYTES_MAX])
{
    struct hf_writer w;
    hf_writer_init(&w, out, HF_AGES_BYTES_MAX);
    hf_write_array(&w, 1 + 2 * a->count);
    hf_write_uint(&w, a->clock_ms);
    for (uint32_t i = 0; i < a->count; i++) {
        hf_write_uint(&w, a->mark[i].seq);
        hf_write_uint(&w, a->mark[i].ms);
    }
    HF_ASSERT(!w.failed);
    return hf_writer_bytes(&w);
}

enum hf_err hf_ages_decode(struct hf_slice bytes, struct hf_ages *a)
{
    struct hf_reader r;
    hf_ages_init(a);
    hf_reader_init(&r, bytes);
    uint32_t n = hf_read_array(&r, 1, 1 + 2 * HF_AGES_MAX);
    bool sound = n % 2 == 1;
    a->clock_ms = hf_read_uint(&r, MS_MAX);
    for (uint32_t i = 0; sound && i < n / 2; i++) {
        struct hf_age_mark m = {.seq = hf_read_uint(&r, MS_MAX), .ms = hf_read_uint(&r, MS_MAX)};
        const struct hf_age_mark *last = i > 0 ? &a->mark[i - 1] : NULL;
        sound = m.seq > 0 && m.ms <= a->clock_ms &&
                (last == NULL || (m.seq > last->seq && m.ms >= last->ms));
        a->mark[a->count++] = m;
    }
    if (!sound || !hf_reader_done(&r)) {
        hf_ages_init(a);
        return HF_MALFORMED;
    }
    return HF_OK;
}
