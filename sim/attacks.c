/*
 * attacks.c - what somebody without a key does to an edge, and what a bad disk does to its records.
 *
 * None of it may change what the edge shows: a forged frame has no valid signature (G12), a
 * replayed message was true once (G6), and a damaged record has a checksum (G15).
 */
#include "sim/sim.h"

#include "hf/doctor.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The newest frame again, for the next seq, signed by a key that nobody trusts. */
static bool hears_stream(const struct node *edge)
{
    return edge->alive && !edge->paused && edge->link.conn[HF_CHANNEL_STREAM].up;
}

void fault_forge(struct sim *sim, struct node *edge)
{
    struct hf_frame f;
    struct hf_id stream;
    struct hf_signature sig;
    uint8_t header[HF_HEADER_MAX];
    uint8_t message[HF_MESSAGE_MAX + HF_FRAME_OVERHEAD];
    struct hf_writer h;
    struct hf_writer w;
    if (!hears_stream(edge) || sim->last_frame == NULL ||
        hf_frame_decode(hf_slice_of(sim->last_frame, sim->last_frame_len), &stream, &f) != HF_OK) {
        return;
    }
    f.h.prev = hf_chain_hash(f.header);
    f.h.seq++;
    hf_writer_init(&h, header, sizeof(header));
    hf_header_encode(&f.h, &h);
    hf_header_sign(hf_writer_bytes(&h), sim->forger.secret, &sig);
    hf_writer_init(&w, message, sizeof(message));
    hf_frame_encode(&stream, hf_writer_bytes(&h), &sig, f.body, &w);
    if (!w.failed) {
        mark_hit(sim, MARK_FORGED);
        hf_edge_on_message(edge->edge, hf_writer_bytes(&w));
    }
}

/* ---- messages that were true once ---- */

/* For so long before an edge was cut off all beacons may have been lost on the way to it. */
#define NEWS_SLACK (5 * SIM_S)

void fault_capture(struct sim *sim, struct hf_slice message)
{
    struct captured *c = &sim->captured[sim->published++ % SIM_CAPTURED];
    if (sim->published > SIM_CAPTURED && sim->published % 16 != 0) {
        return; /* mostly old ones are kept */
    }
    c->bytes = realloc(c->bytes, message.len + 1);
    HF_ASSERT(c->bytes != NULL);
    memcpy(c->bytes, message.data, message.len);
    c->len = message.len;
    c->at = sim->now;
}

/* Whether the edge may not have had it, nor anything newer. Who holds back what the core said, and
 * plays it later in its order, passes for a slow link as long as an answer of the core was heard
 * not long ago (PROTOCOL.md 6.6); what the edge had already is no sign of life to it. */
static bool may_be_news(const struct node *edge, const struct captured *c)
{
    return edge->deaf_since > 0 && c->at + NEWS_SLACK >= edge->deaf_since;
}

void fault_replay(struct sim *sim, struct node *edge, struct rng *r)
{
    const struct captured *c = &sim->captured[rng_below(r, SIM_CAPTURED)];
    if (hears_stream(edge) && c->bytes != NULL) {
        mark_hit(sim, MARK_REPLAYED);
        edge->told_at = may_be_news(edge, c) ? sim->now : edge->told_at;
        hf_edge_on_message(edge->edge, hf_slice_of(c->bytes, c->len));
    }
}

/* ---- a disk that changes what it was given ---- */

/* The bytes in front of a stored value: seq, ordinal, flags, checksum (proto/store/state.c). */
#define RECORD_HEAD 24u

/* Flips a bit of the checksum or of the value behind it, wherever the whole record stands. A copy
 * of which something is left in the room between the entries of a page is not one: what follows it
 * is the structure of the page, and LMDB writes outside of a page whose entries have wrong lengths.
 */
static void damage_record(const char *path, struct hf_slice record)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    HF_ASSERT(fd >= 0 && fstat(fd, &st) == 0);
    size_t size = (size_t)st.st_size;
    uint8_t *file = malloc(size);
    uint8_t *sought = malloc(record.len); /* the record itself changes under the first write */
    HF_ASSERT(file != NULL && sought != NULL && pread(fd, file, size, 0) == st.st_size);
    memcpy(sought, record.data, record.len);
    uint8_t *at = file;
    size_t which =
        sought[0] % 2 == 0 ? RECORD_HEAD : RECORD_HEAD - 1; /* values have 8 bytes at least */
    while ((at = memmem(at, size - (size_t)(at - file), sought, record.len)) != NULL) {
        uint8_t flipped = at[which] ^ 0x10;
        HF_ASSERT(pwrite(fd, &flipped, 1, at - file + (off_t)which) == 1);
        at += record.len;
    }
    free(sought);
    free(file);
    close(fd);
}

/* Some records that readers see, under the running process, which does not notice by itself. */
void fault_damage(struct sim *sim, struct node *edge, uint64_t count)
{
    struct hf_view *v;
    struct hf_stored s;
    char path[300];
    char key[WORKLOAD_KEY_BYTES];
    if (!edge->alive || hf_view_open(hf_edge_state(edge->edge), &v) != HF_OK) {
        return;
    }
    snprintf(path, sizeof(path), "%s/main/state/data.mdb", edge->dir);
    for (uint64_t i = 0; i < count; i++) {
        workload_key((uint32_t)rng_below(&sim->rng_fault, sim->opt.load.keys), key);
        if (hf_view_get(v, hf_slice_str(key), false, &s) == HF_OK) {
            damage_record(path, hf_slice_of(s.value.data - RECORD_HEAD, RECORD_HEAD + s.value.len));
            edge->damaged = true;
        }
    }
    hf_view_close(v);
    struct hf_error e = {.code = HF_OK};
    HF_ASSERT(hf_state_check_pages(hf_edge_state(edge->edge), true, &e) != HF_CORRUPT);
    if (edge->damaged) {
        sim_trace(sim, edge, "disk: damages records");
        mark_hit(sim, MARK_DAMAGED);
    }
}

#define PAGE_BYTES 4096u
#define PAGE_HEAD 16u

/* Where a page begins that says its own number; the pages behind the first one of a long value have
 * no head. `from` is where to begin to look, and page 0 has one always. */
static off_t page_with_head(int fd, off_t from)
{
    uint64_t number;
    off_t page = from;
    while (page > 0 &&
           pread(fd, &number, sizeof(number), page * (off_t)PAGE_BYTES) == sizeof(number) &&
           number != (uint64_t)page) {
        page--;
    }
    return page * (off_t)PAGE_BYTES;
}

/* Flips a bit in the head of a page, which LMDB trusts. A process that has the store open may die
 * of that at once, and here that is the whole world: so it happens to an edge that is down, and its
 * next start has to notice. tests/reliability/flips.c does it to daemons. */
void fault_shatter(struct sim *sim, struct node *edge, struct rng *r)
{
    char path[300];
    struct stat st;
    uint8_t byte;
    snprintf(path, sizeof(path), "%s/main/state/data.mdb", edge->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return; /* it was never started */
    }
    HF_ASSERT(fstat(fd, &st) == 0 && st.st_size >= (off_t)PAGE_BYTES);
    off_t page = page_with_head(fd, (off_t)rng_below(r, (uint64_t)st.st_size / PAGE_BYTES));
    off_t at = page + (off_t)rng_below(r, PAGE_HEAD);
    HF_ASSERT(pread(fd, &byte, 1, at) == 1);
    byte = (uint8_t)(byte ^ 1u << rng_below(r, 8));
    HF_ASSERT(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
    edge->shattered = true;
    sim_trace(sim, edge, "disk: damages the head of a page at=%lld", (long long)at);
}
