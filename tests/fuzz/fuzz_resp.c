/*
 * fuzz_resp.c - the RESP parser, fed the same bytes whole and in pieces.
 *
 * The first byte of the input says how large the pieces are; the rest is what a client sends. Both
 * ways must give the same commands and the same end, arguments must lie inside what has arrived,
 * and the table of arguments must stay within what the bytes can pay for. What has arrived always
 * ends where its memory ends, so that the sanitizer sees any look beyond it.
 */
#include "proto/node/resp_parse.h"

#include <stdlib.h>

#include "hf/err.h"

#define BYTES_MAX 2048u

struct outcome {
    uint64_t hash; /* of all arguments of all commands, FNV-1a */
    size_t commands;
    enum hf_resp_step last;
};

static void mix(struct outcome *o, const void *bytes, size_t len)
{
    const uint8_t *b = bytes;
    for (size_t i = 0; i < len; i++) {
        o->hash = (o->hash ^ b[i]) * UINT64_C(0x100000001b3);
    }
}

static void note_command(struct outcome *o, const struct hf_resp_parser *p, const uint8_t *data,
                         size_t used)
{
    size_t total = 0;
    o->commands++;
    HF_ASSERT(p->argc <= HF_RESP_ARGS_MAX);
    for (uint32_t i = 0; i < p->argc; i++) {
        HF_ASSERT((size_t)p->arg[i].offset + p->arg[i].len <= used);
        mix(o, &p->arg[i].len, sizeof(p->arg[i].len));
        mix(o, data + p->arg[i].offset, p->arg[i].len);
        total += p->arg[i].len;
    }
    HF_ASSERT(data[0] != '*' || total <= BYTES_MAX);
}

static enum hf_resp_step take_commands(struct outcome *o, struct hf_resp_parser *p, uint8_t *end,
                                       size_t *held)
{
    enum hf_resp_step step = HF_RESP_MORE;
    while (*held > 0) {
        size_t used = 0;
        step = hf_resp_parse(p, end - *held, *held, &used);
        if (step != HF_RESP_COMMAND) {
            return step;
        }
        HF_ASSERT(used > 0 && used <= *held);
        note_command(o, p, end - *held, used);
        *held -= used;
    }
    return step;
}

/* What a server does: bytes arrive, whole commands are taken from their front. */
static struct outcome feed(const uint8_t *bytes, size_t len, size_t piece)
{
    struct outcome o = {.hash = UINT64_C(0xcbf29ce484222325), .last = HF_RESP_MORE};
    struct hf_resp_parser p;
    uint8_t *memory = malloc(len);
    HF_ASSERT(memory != NULL);
    uint8_t *end = memory + len; /* what is held always ends here */
    size_t held = 0;
    hf_resp_parser_init(&p, BYTES_MAX);
    for (size_t at = 0; at < len && o.last != HF_RESP_BAD;) {
        size_t n = len - at < piece ? len - at : piece;
        memmove(end - held - n, end - held, held);
        memcpy(end - n, bytes + at, n);
        held += n;
        at += n;
        o.last = take_commands(&o, &p, end, &held);
        HF_ASSERT(p.arg_cap <= 8 || p.arg_cap <= 2 * len);
    }
    free(memory);
    hf_resp_parser_deinit(&p);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    size_t piece = (size_t)data[0] % 64 + 1;
    struct outcome whole = feed(data + 1, size - 1, size);
    struct outcome pieces = feed(data + 1, size - 1, piece);
    HF_ASSERT(whole.commands == pieces.commands);
    HF_ASSERT(whole.hash == pieces.hash);
    HF_ASSERT((whole.last == HF_RESP_BAD) == (pieces.last == HF_RESP_BAD));
    return 0;
}
