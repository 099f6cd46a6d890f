/*
 * request.c - collects changes into one HF.APPLY request.
 *
 * The words of the command (SET k v, DEL k) are kept in one buffer that is used again, so an import
 * of millions of keys does not allocate per key. The head (id and options) is put before them at
 * sending.
 *
 * Invariant: what was added is what is sent, in that order. It must not decide how large a request
 * may be: apply.c and import.c do. Next: core/commands_write.c, which reads it.
 */
#include "core/cli/request.h"
#include "core/cli/cli.h"
#include "core/cli/text.h"
#include "hf/number.h"

#include <hiredis/hiredis.h>

#include <stdlib.h>

#define HEAD_WORDS_MAX 8u

void hf_cli_request_deinit(struct hf_cli_request *r)
{
    free(r->bytes);
    free(r->words);
    *r = (struct hf_cli_request){0};
}

void hf_cli_request_clear(struct hf_cli_request *r)
{
    r->len = 0;
    r->word_count = 0;
    r->changes = 0;
    r->change_bytes = 0;
}

static bool reserve(struct hf_cli_request *r, size_t bytes, size_t words)
{
    if (r->len + bytes > r->cap) {
        size_t cap = 2 * (r->len + bytes);
        uint8_t *grown = realloc(r->bytes, cap);

        if (grown == NULL) {
            return false;
        }
        r->bytes = grown;
        r->cap = cap;
    }
    if (r->word_count + words > r->word_cap) {
        size_t cap = 2 * (r->word_count + words);
        size_t *grown = realloc(r->words, cap * sizeof *grown);

        if (grown == NULL) {
            return false;
        }
        r->words = grown;
        r->word_cap = cap;
    }
    return true;
}

static void add_word(struct hf_cli_request *r, struct hf_slice word)
{
    if (word.len > 0) {
        memcpy(r->bytes + r->len, word.data, word.len);
    }
    r->len += word.len;
    r->words[r->word_count++] = word.len;
}

bool hf_cli_request_add(struct hf_cli_request *r, const struct hf_line_change *c)
{
    if (!reserve(r, 3 + c->key.len + c->value.len, 3)) {
        return false;
    }
    add_word(r, hf_slice_str(c->del ? "DEL" : "SET"));
    add_word(r, c->key);
    if (!c->del) {
        add_word(r, c->value);
    }
    r->changes++;
    r->change_bytes += c->key.len + c->value.len;
    return true;
}

static size_t put_head(const struct hf_cli_request_head *head, struct hf_slice *argv)
{
    const struct {
        const char *word, *value;
    } option[] = {{"AUTHOR", head->author}, {"REASON", head->reason}, {"IFSEQ", head->ifseq}};
    size_t n = 0;

    argv[n++] = hf_slice_str("HF.APPLY");
    argv[n++] = hf_slice_str(head->id);
    for (size_t i = 0; i < sizeof option / sizeof option[0]; i++) {
        if (option[i].value == NULL) {
            continue;
        }
        argv[n++] = hf_slice_str(option[i].word);
        argv[n++] = hf_slice_str(option[i].value);
    }
    return n;
}

bool hf_cli_request_send(const struct hf_cli_request *r, const struct hf_cli_request_head *head,
                         struct hf_cli *cli)
{
    struct hf_slice *argv = malloc((HEAD_WORDS_MAX + r->word_count) * sizeof *argv);
    const uint8_t *at = r->bytes;
    bool sent;
    size_t n;

    if (argv == NULL) {
        hf_cli_fail("out of memory");
        return false;
    }
    n = put_head(head, argv);
    for (size_t i = 0; i < r->word_count; i++) {
        argv[n++] = hf_slice_of(at, r->words[i]);
        at += r->words[i];
    }
    sent = hf_cli_send(cli, argv, n);
    free(argv);
    return sent;
}

bool hf_cli_request_read(const struct redisReply *reply, uint64_t *seq, bool *repeated)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_INTEGER || reply->element[1]->str == NULL) {
        return false;
    }
    *seq = (uint64_t)reply->element[0]->integer;
    *repeated = strcmp(reply->element[1]->str, "repeated") == 0;
    return true;
}

bool hf_cli_request_head_check(const struct hf_cli_request_head *head)
{
    uint64_t ifseq;

    if (head->author != NULL && strlen(head->author) > HF_AUTHOR_MAX) {
        hf_cli_fail("--author is longer than %u bytes", HF_AUTHOR_MAX);
    } else if (head->reason != NULL && strlen(head->reason) > HF_REASON_MAX) {
        hf_cli_fail("--reason is longer than %u bytes", HF_REASON_MAX);
    } else if (head->ifseq != NULL &&
               !hf_number_parse(hf_slice_str(head->ifseq), 0, UINT64_MAX, &ifseq)) {
        hf_cli_fail("--ifseq %.30s is not a sequence number", head->ifseq);
    } else {
        return true;
    }
    return false;
}
