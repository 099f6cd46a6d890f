/*
 * fuzz_carry.c - the reader of carry files: whole, undamaged and signed, or not at all.
 *
 * An even first byte: the rest is a file, which nobody has signed. An odd one: the rest makes a
 * good file, and perhaps damages it:
 *
 *     u8 what is done: 0 nothing, 1 a byte is changed, 2 it is cut short, 3 something is appended
 *     u24 where, u8 how
 *     records: u8 length, and as many bytes
 *
 * A good file gives back its records and nothing else; one that was touched is refused, wherever
 * it was, with a sentence that names it. Read next: edge/carried.c. What its records mean is
 * edge/import.c's business, and each of them is a reply, which fuzz_request.c reads.
 */
#include "edge/carried.h"
#include "tests/fuzz/memory_file.h"

#include <sodium.h>

enum { FILE_MAX = 1 << 16, RECORDS_MAX = 64 };
enum { UNTOUCHED = 0, CHANGED = 1, CUT = 2, APPENDED = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct hf_key core;
static uint8_t secret[HF_SECRET_BYTES];
static struct carried file;

struct made {
    uint8_t bytes[FILE_MAX + 1];
    size_t len;
    struct hf_slice record[RECORDS_MAX]; /* of the input */
    size_t count;
};

static void start(void)
{
    static const uint8_t seed[crypto_sign_SEEDBYTES] = {7};
    static bool started;

    if (!started) {
        HF_ASSERT(sodium_init() >= 0);
        (void)crypto_sign_seed_keypair(core.b, secret, seed);
        started = true;
    }
}

/* The file as a core would write it. False when there is no record, which no core would write. */
static bool make(struct made *m, const uint8_t *data, size_t size)
{
    struct hf_hash chain = {{0}};

    m->len = HF_CARRY_HEAD_BYTES;
    m->count = 0;
    while (size > 1 && m->count < RECORDS_MAX) {
        size_t len = data[0] == 0 ? 1 : data[0];
        len = len < size - 1 ? len : size - 1;
        struct hf_slice record = hf_slice_of(data + 1, len);
        chain = hf_carry_chain(&chain, record);
        hf_carry_record_head((uint32_t)len, &chain, m->bytes + m->len);
        memcpy(m->bytes + m->len + HF_CARRY_RECORD_HEAD, record.data, len);
        m->len += HF_CARRY_RECORD_HEAD + len;
        m->record[m->count++] = record;
        data += 1 + len;
        size -= 1 + len;
    }
    struct hf_carry_head h = {.core = core,
                              .name = "ship",
                              .kind = HF_PLAN_LOG,
                              .first = 3,
                              .last = 9,
                              .records = m->count,
                              .bytes = m->len,
                              .chain = chain};
    return hf_carry_head_sign(&h, secret, m->bytes) == HF_OK;
}

/* What is done to the file; UNTOUCHED when nothing was. */
static int damage(struct made *m, const uint8_t recipe[5])
{
    size_t at = ((size_t)recipe[1] << 16 | (size_t)recipe[2] << 8 | recipe[3]) % m->len;

    switch (recipe[0] % 4) {
    case CHANGED:
        m->bytes[at] ^= recipe[4];
        return recipe[4] == 0 ? UNTOUCHED : CHANGED;
    case CUT:
        m->len = at;
        return CUT;
    case APPENDED:
        m->bytes[m->len++] = recipe[4];
        return APPENDED;
    }
    return UNTOUCHED;
}

static void check_refusal(const char *path, const struct hf_error *e)
{
    HF_ASSERT(e->code != HF_OK && file.file == NULL);
    HF_ASSERT(strncmp(e->text, path, strlen(path)) == 0 && e->text[strlen(path)] == ':');
}

static void check_records(const struct made *m)
{
    struct hf_slice message;
    struct hf_error e = {0};

    HF_ASSERT(file.head.first == 3 && file.head.last == 9 && file.head.records == m->count);
    for (size_t i = 0; i < m->count; i++) {
        HF_ASSERT(carried_next(&file, &message, &e) == HF_OK);
        HF_ASSERT(hf_slice_eq(message, m->record[i]) && file.index == i + 1);
    }
    HF_ASSERT(carried_next(&file, &message, &e) == HF_NOTFOUND && file.at == m->len);
}

static void as_it_came(const uint8_t *data, size_t size)
{
    const char *path = memory_file(data, size);
    struct hf_error e = {0};

    HF_ASSERT(carried_open(&file, path, &core, &e) != HF_OK);
    check_refusal(path, &e);
}

static void as_a_core_made_it(const uint8_t *data, size_t size)
{
    static struct made m;
    struct hf_error e = {0};

    if (size < 5 || size > FILE_MAX / 16 || !make(&m, data + 5, size - 5)) {
        return;
    }
    int done = damage(&m, data);
    const char *path = memory_file(m.bytes, m.len);
    if (carried_open(&file, path, &core, &e) == HF_OK) {
        HF_ASSERT(done == UNTOUCHED);
        check_records(&m);
        carried_close(&file);
    } else {
        HF_ASSERT(done != UNTOUCHED);
        check_refusal(path, &e);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    start();
    if (size == 0) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        as_it_came(data + 1, size - 1);
    } else {
        as_a_core_made_it(data + 1, size - 1);
    }
    return 0;
}
