/*
 * carry.c - `holdfast export --for EDGE FILE`: what an edge missed, as a file to carry to it.
 *
 * The core hands out records that only that edge can open; this side puts them into the file and
 * counts. The head, signed by the core, is written last: a file without it was not finished. The
 * file gets its name when all of it is on the disk.
 *
 * It must not understand records or tokens. Next: hf/carry.h, core/commands_carry.c.
 */
#include "core/cli/cli.h"
#include "core/cli/progress.h"

#include "hf/carry.h"

#include <hiredis/hiredis.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Other transfers have all the core's readers: it says so at once, and they are done soon. */
#define BUSY_TRIES 600
#define BUSY_MS 100

struct carry {
    struct hf_cli *cli;
    FILE *file; /* owned */
    char part[512];
    struct redisReply *reply; /* owned; the token of the next record is in it */
    struct hf_carry_head written;
    struct hf_progress progress;
};

static struct hf_slice token_of(const struct carry *x)
{
    const struct redisReply *t = x->reply->element[x->reply->elements - 1];

    return hf_slice_of(t->str, t->len);
}

/* Replaces x->reply by the answer, two strings (the first may be nil). False after a message. */
static bool ask(struct carry *x, const struct hf_slice *argv, size_t argc)
{
    const struct timespec pause = {0, BUSY_MS * 1000000L};
    struct redisReply *r = NULL;

    for (int i = 0; i < BUSY_TRIES; i++) {
        if (r != NULL) {
            freeReplyObject(r);
            nanosleep(&pause, NULL);
        }
        if (!hf_cli_send(x->cli, argv, argc) || !hf_cli_flush(x->cli)) {
            return false;
        }
        r = hf_cli_answer(x->cli);
        if (r == NULL || r->type != REDIS_REPLY_ERROR || strncmp(r->str, "BUSY", 4) != 0) {
            break;
        }
    }
    if (r == NULL) {
        return false;
    }
    if (hf_cli_refused(r)) {
        freeReplyObject(r);
        return false;
    }
    if (x->reply != NULL) {
        freeReplyObject(x->reply);
    }
    x->reply = r;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        r->element[1]->type != REDIS_REPLY_STRING) {
        hf_cli_fail("%s did not answer as a core does", x->cli->target);
        return false;
    }
    return true;
}

static bool begin(struct carry *x, const char *edge, const char *since)
{
    const struct hf_slice argv[] = {hf_slice_str("HF.CARRY"), hf_slice_str("BEGIN"),
                                    hf_slice_str(edge), hf_slice_str(since)};
    struct redisReply *token;

    if (!ask(x, argv, 4)) {
        return false;
    }
    fprintf(stderr, "exporting: %s\n", x->reply->element[1]->str);
    /* From here on the token is the last element, as in the answers to NEXT. */
    token = x->reply->element[0];
    x->reply->element[0] = x->reply->element[1];
    x->reply->element[1] = token;
    return true;
}

static bool write_record(struct carry *x, const struct redisReply *message)
{
    struct hf_slice bytes = hf_slice_of(message->str, message->len);
    uint8_t head[HF_CARRY_RECORD_HEAD];
    struct hf_carry_head *h = &x->written;

    if (bytes.len > HF_MESSAGE_MAX) {
        hf_cli_fail("%s did not answer as a core does", x->cli->target);
        return false;
    }
    h->chain = hf_carry_chain(&h->chain, bytes);
    hf_carry_record_head((uint32_t)bytes.len, &h->chain, head);
    if (fwrite(head, sizeof head, 1, x->file) != 1 ||
        fwrite(bytes.data, bytes.len, 1, x->file) != 1) {
        hf_cli_fail("cannot write %s: %s", x->part, strerror(errno));
        return false;
    }
    h->records++;
    h->bytes += sizeof head + bytes.len;
    return true;
}

static bool write_records(struct carry *x)
{
    for (;;) {
        const struct hf_slice argv[] = {hf_slice_str("HF.CARRY"), hf_slice_str("NEXT"),
                                        token_of(x)};

        if (!ask(x, argv, 3)) {
            return false;
        }
        if (x->reply->element[0]->type == REDIS_REPLY_NIL) {
            return true;
        }
        if (x->reply->element[0]->len > 0 && !write_record(x, x->reply->element[0])) {
            return false;
        }
        if (hf_progress_due(&x->progress)) {
            hf_progress_say(&x->progress, "%" PRIu64 " bytes, %.0f bytes/s", x->written.bytes,
                            (double)x->written.bytes / hf_progress_seconds(&x->progress));
        }
    }
}

/* The core signs what was written; its answer is the head. */
static bool write_head(struct carry *x)
{
    char records[24], bytes[24];
    const struct hf_slice argv[] = {
        hf_slice_str("HF.CARRY"),
        hf_slice_str("END"),
        token_of(x),
        hf_slice_of(records,
                    (size_t)snprintf(records, sizeof records, "%" PRIu64, x->written.records)),
        hf_slice_of(bytes, (size_t)snprintf(bytes, sizeof bytes, "%" PRIu64, x->written.bytes)),
        hf_slice_of(x->written.chain.b, HF_HASH_BYTES)};
    struct redisReply *r = hf_cli_call(x->cli, argv, 6);
    bool ok = r != NULL && r->type == REDIS_REPLY_STRING && r->len == HF_CARRY_HEAD_BYTES &&
              hf_carry_head_open((const uint8_t *)r->str, &x->written) == HF_OK;

    if (r != NULL && !ok) {
        hf_cli_fail("%s did not answer as a core does", x->cli->target);
    }
    if (ok && (fseek(x->file, 0, SEEK_SET) != 0 || fwrite(r->str, r->len, 1, x->file) != 1 ||
               fflush(x->file) != 0 || fsync(fileno(x->file)) != 0)) {
        hf_cli_fail("cannot write %s: %s", x->part, strerror(errno));
        ok = false;
    }
    if (r != NULL) {
        freeReplyObject(r);
    }
    return ok;
}

/* The file takes its name when it is whole: that of a device would be taken away from it. */
static bool may_replace(const char *path)
{
    struct stat s;

    if (strcmp(path, "-") == 0) {
        hf_cli_fail("a carry file is written to a FILE, not to standard output");
        return false;
    }
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode)) {
        hf_cli_fail("%s is no regular file; give the name of one, which may be new", path);
        return false;
    }
    return true;
}

static bool write_file(struct carry *x, const char *path)
{
    static const uint8_t none[HF_CARRY_HEAD_BYTES];

    x->file = fopen(x->part, "we");
    if (x->file == NULL || fwrite(none, sizeof none, 1, x->file) != 1) {
        hf_cli_fail("cannot write %s: %s", x->part, strerror(errno));
        return false;
    }
    x->written.bytes = sizeof none;
    if (!write_records(x) || !write_head(x)) {
        return false;
    }
    if (rename(x->part, path) != 0) {
        hf_cli_fail("cannot write %s: %s", path, strerror(errno));
        return false;
    }
    return true;
}

static void print_result(const struct carry *x, const char *path)
{
    const struct hf_carry_head *h = &x->written;

    if (h->kind == HF_PLAN_SNAPSHOT) {
        printf("%s: all of batch %" PRIu64, path, h->last);
    } else {
        printf("%s: batches %" PRIu64 "..%" PRIu64 "%s", path, h->first + 1, h->last,
               h->kind == HF_PLAN_DELTA ? " as what changed" : "");
    }
    printf(", epoch %" PRIu64 ", for %s, %" PRIu64 " bytes\n", h->epoch, h->name, h->bytes);
    fputs("on the edge, with its daemon stopped: holdfast-edge --data DIR --import FILE\n", stderr);
}

int hf_cli_carry(struct hf_cli *cli, const char *edge, const char *since, const char *path)
{
    struct carry x = {.cli = cli};
    bool ok = false;

    if (snprintf(x.part, sizeof x.part, "%s.part", path) >= (int)sizeof x.part) {
        return hf_cli_usage(cli, "the name of the file is too long");
    }
    hf_progress_begin(&x.progress, 0);
    if (!may_replace(path) || !hf_cli_connect(cli) || !hf_cli_catch_up(cli)) {
        return HF_CLI_NO;
    }
    ok = begin(&x, edge, since != NULL ? since : "0") && write_file(&x, path);
    hf_progress_end(&x.progress);
    if (x.file != NULL) {
        fclose(x.file);
    }
    if (x.file != NULL && !ok) {
        unlink(x.part);
    }
    if (ok) {
        print_result(&x, path);
    }
    if (x.reply != NULL) {
        freeReplyObject(x.reply);
    }
    return ok ? HF_CLI_OK : HF_CLI_NO;
}
