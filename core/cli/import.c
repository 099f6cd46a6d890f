/*
 * import.c - `holdfast import FILE`: any number of keys, in requests of up to 500 changes.
 *
 * After it the keys have the values of the file, whatever they had before. A run that was cut off
 * is simply started again: what is there already changes nothing. With --once, nothing that an
 * earlier such run of the same file applied is applied again, which spares what was changed since:
 * the file is read twice, the first time for its hash, and request n has the id
 * "import-<hash>-<n>", which the core knows (G5). Standard input is kept in an unnamed temporary
 * file for that. Several requests are in flight, so the link and the core's disk work at the same
 * time.
 *
 * Invariant: requests are cut the same way at every run (limits below, nothing that depends on
 * time), or the same id would name other content. Memory is bounded by the window, not by the file.
 * It must not go on after a refusal: later lines may change the same keys. Next: request.c,
 * parse.c.
 */
#include "core/cli/cli.h"
#include "core/cli/input.h"
#include "core/cli/progress.h"
#include "core/cli/request.h"

#include "hf/digest.h"

#include <hiredis/hiredis.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A request: large enough that its fixed cost (id, frame, signature) is small beside its keys,
 * small enough that a batch leaves at once. Changing either changes the ids of imports under way.
 */
#define REQUEST_CHANGES_MAX 500u
#define REQUEST_BYTES_MAX (1u << 20)
/* Eight keep the core's group commit filled (each group is one sync) at a memory of 8 MiB or so. */
#define WINDOW 8u
/* What an import without a terminal leaves in a log. */
#define LOG_S 5.0

struct import {
    struct hf_cli *cli;
    struct hf_input in;
    struct hf_parser parser;
    struct hf_cli_request set;
    struct hf_cli_request_head head; /* id is that below */
    bool once;
    char id_base[48];
    char id[HF_REQUEST_ID_MAX + 1]; /* of the request under way; empty: it has none */
    uint64_t sent, answered;        /* requests */
    uint32_t size[WINDOW];          /* changes of the requests in flight, by number modulo WINDOW */
    uint64_t keys;                  /* applied */
    uint64_t repeated;              /* keys of requests that an earlier run had made */
    uint64_t first_seq, last_seq;
    struct hf_progress progress;
    bool bad_line; /* the file must be changed before it can go on */
    bool refused;
    bool later_applied; /* a request behind the refused one was applied */
};

/* ---- the first reading: the hash ---- */

static bool write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* Reads fd to its end and writes it to `copy` unless that is -1. The hash is chained over blocks,
 * since hf_hash_of takes its input at once. */
static bool hash_content(int fd, int copy, uint8_t *block, size_t block_bytes, struct hf_hash *hash)
{
    for (;;) {
        size_t len = 0;
        ssize_t n = 1;

        while (len < block_bytes && n != 0) {
            n = read(fd, block + len, block_bytes - len);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n < 0) {
                return false;
            }
            len += (size_t)n;
        }
        if (len == 0) {
            return true;
        }
        if (copy >= 0 && !write_all(copy, block, len)) {
            return false;
        }
        const struct hf_slice parts[] = {
            hf_slice_of(hash->b, sizeof hash->b),
            hf_slice_of(block, len),
        };
        *hash = hf_hash_of("holdfast/v1/import", parts, 2);
    }
}

static int temporary_file(void)
{
    const char *dir = getenv("TMPDIR");
    char path[300];
    int fd;

    snprintf(path, sizeof path, "%.250s/holdfast-import-XXXXXX",
             dir != NULL && dir[0] != '\0' ? dir : "/tmp");
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) {
        unlink(path);
    }
    return fd;
}

/* The id also names what else decides about the changes: format and prefix. */
static void make_id(struct import *m, const char *format, const struct hf_hash *content)
{
    const struct hf_slice parts[] = {
        hf_slice_of(content->b, sizeof content->b),
        hf_slice_of(format, strlen(format) + 1),
        hf_slice_str(m->parser.prefix),
    };
    struct hf_hash hash = hf_hash_of("holdfast/v1/import", parts, 3);
    size_t n = (size_t)snprintf(m->id_base, sizeof m->id_base, "import-");

    for (size_t i = 0; i < 16; i++) {
        n += (size_t)snprintf(m->id_base + n, sizeof m->id_base - n, "%02x", hash.b[i]);
    }
}

/* The hash of all that follows in *fd, which is then where it was: what a shell read of standard
 * input before is not ours. What cannot be read twice (a pipe, a terminal) is copied, and *fd
 * becomes that of the copy. */
static bool hash_input(int *fd, struct hf_hash *hash, const char **what)
{
    const size_t block_bytes = 1u << 20;
    off_t start = lseek(*fd, 0, SEEK_CUR);
    int copy = start < 0 ? temporary_file() : -1;

    if (start < 0 && copy < 0) {
        *what = "cannot keep a copy of the input; set TMPDIR to a directory with room for it";
        return false;
    }
    uint8_t *block = malloc(block_bytes);
    bool ok = block != NULL && hash_content(*fd, copy, block, block_bytes, hash);
    free(block);
    if (copy >= 0) {
        if (*fd != STDIN_FILENO) {
            close(*fd);
        }
        *fd = copy;
        start = 0;
    }
    return ok && lseek(*fd, start, SEEK_SET) == start;
}

static bool open_content(struct import *m, const char *file, const char *format)
{
    bool standard = strcmp(file, "-") == 0;
    const char *what = standard ? "standard input" : file;
    int fd = standard ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    struct hf_hash hash = {0};

    if (fd < 0 || (m->once && !hash_input(&fd, &hash, &what))) {
        hf_cli_fail("%s: %s", what, strerror(errno));
        return false;
    }
    if (m->once) {
        make_id(m, format, &hash);
    }
    hf_input_init(&m->in, fd, what);
    return true;
}

/* ---- requests and answers ---- */

static void show_progress(struct import *m)
{
    if (hf_progress_due(&m->progress)) {
        hf_progress_say(&m->progress, "%llu keys, line %llu, %.0f keys/s",
                        (unsigned long long)m->keys, (unsigned long long)m->in.line,
                        (double)m->keys / hf_progress_seconds(&m->progress));
    }
}

static void take_success(struct import *m, uint64_t seq, bool repeated)
{
    *(repeated ? &m->repeated : &m->keys) += m->size[m->answered % WINDOW];
    m->later_applied = m->later_applied || m->refused;
    if (m->first_seq == 0 || seq < m->first_seq) {
        m->first_seq = seq;
    }
    if (seq > m->last_seq) {
        m->last_seq = seq;
    }
}

/* Reads one answer. False when the connection broke. */
static bool take_answer(struct import *m)
{
    struct redisReply *reply = hf_cli_answer(m->cli);
    uint64_t seq;
    bool repeated;

    if (reply == NULL) {
        return false;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        if (!m->refused) {
            hf_cli_refused(reply);
        }
        m->refused = true;
    } else if (hf_cli_request_read(reply, &seq, &repeated)) {
        take_success(m, seq, repeated);
    } else {
        hf_cli_fail("%s did not answer as a core does", m->cli->target);
        m->refused = true;
    }
    m->answered++;
    freeReplyObject(reply);
    return true;
}

static bool send_request(struct import *m)
{
    if (m->set.changes == 0) {
        return true;
    }
    if (m->sent - m->answered == WINDOW && !take_answer(m)) {
        return false;
    }
    if (m->refused) {
        return false;
    }
    if (m->once) {
        snprintf(m->id, sizeof m->id, "%.40s-%llu", m->id_base, (unsigned long long)m->sent);
    }
    m->head.id = m->id;
    m->size[m->sent % WINDOW] = m->set.changes;
    if (!hf_cli_request_send(&m->set, &m->head, m->cli) || !hf_cli_flush(m->cli)) {
        return false;
    }
    m->sent++;
    hf_cli_request_clear(&m->set);
    show_progress(m);
    return true;
}

static bool add_change(struct import *m, const struct hf_line_change *c)
{
    bool full = m->set.changes == REQUEST_CHANGES_MAX ||
                m->set.change_bytes + c->key.len + c->value.len > REQUEST_BYTES_MAX;

    if (full && !send_request(m)) {
        return false;
    }
    if (!hf_cli_request_add(&m->set, c)) {
        hf_cli_fail("out of memory");
        return false;
    }
    return true;
}

/* ---- the second reading ---- */

/* Sends everything. False after a message; what is in flight is then still to be answered. */
static bool send_lines(struct import *m)
{
    struct hf_line_change change;
    const char *why;
    char *line;
    size_t len;

    for (;;) {
        enum hf_input_result r = hf_input_next(&m->in, &line, &len);
        enum hf_parsed parsed;

        why = r == HF_INPUT_LONG ? "the line is too long" : strerror(errno);
        m->bad_line = r == HF_INPUT_LONG;
        if (r == HF_INPUT_FAILED) {
            hf_cli_fail("%s: %s", m->in.name, why);
            return false;
        }
        if (r == HF_INPUT_LONG) {
            break;
        }
        parsed = r == HF_INPUT_END ? hf_parser_end(&m->parser)
                                   : hf_parser_line(&m->parser, line, len, &change);
        why = m->parser.error;
        m->bad_line = parsed == HF_PARSED_BAD;
        if (m->bad_line) {
            break;
        }
        if (r == HF_INPUT_END) {
            return send_request(m);
        }
        if (parsed == HF_PARSED_CHANGE && !add_change(m, &change)) {
            return false;
        }
    }
    hf_cli_fail("%s:%llu: %s", m->in.name, (unsigned long long)m->in.line, why);
    return false;
}

static void print_summary(struct import *m, bool whole)
{
    FILE *out = whole ? stdout : stderr;

    hf_progress_end(&m->progress);
    fprintf(out, "%s %llu keys (%llu requests) in %.1f s", whole ? "imported" : "stopped after",
            (unsigned long long)m->keys, (unsigned long long)m->answered,
            hf_progress_seconds(&m->progress));
    if (m->last_seq > 0) {
        fprintf(out, ", seq %llu..%llu", (unsigned long long)m->first_seq,
                (unsigned long long)m->last_seq);
    }
    fputc('\n', out);
    if (m->repeated > 0) {
        fprintf(out,
                "%llu keys more had been imported by an earlier run with --once, and were left as "
                "they are\n",
                (unsigned long long)m->repeated);
    }
    if (m->later_applied) {
        fputs("requests behind the refused one were applied; run it again, without --once\n",
              stderr);
    } else if (!whole && !m->bad_line) {
        fputs("run it again: what is there already changes nothing\n", stderr);
    }
}

static int import_content(struct import *m)
{
    bool whole;

    if (!hf_cli_connect(m->cli)) {
        return HF_CLI_NO;
    }
    hf_progress_begin(&m->progress, LOG_S);
    whole = send_lines(m);
    while (m->answered < m->sent) {
        if (!take_answer(m)) {
            whole = false;
            break;
        }
    }
    whole = whole && !m->refused;
    print_summary(m, whole);
    return whole ? HF_CLI_OK : HF_CLI_NO;
}

static int run_import(struct import *m, const char *file, const char *format)
{
    enum hf_format f;
    int status = HF_CLI_NO;

    if (!hf_format_parse(format, &f)) {
        return hf_cli_usage(m->cli, "--format is lines, tsv, jsonl or pem");
    }
    m->in.fd = -1;
    hf_parser_init(&m->parser, f, m->parser.prefix);
    if (open_content(m, file, format)) {
        status = import_content(m);
    }
    hf_cli_request_deinit(&m->set);
    hf_parser_deinit(&m->parser);
    hf_input_deinit(&m->in);
    return status;
}

int hf_cli_import(struct hf_cli *cli, int argc, char **argv)
{
    struct import m = {.cli = cli};
    const char *format = "tsv";
    const struct hf_cli_option options[] = {
        {"prefix", "P", &m.parser.prefix, NULL, "put P before every key"},
        {"format", "F", &format, NULL, "lines, tsv (the default), jsonl or pem"},
        {"author", "TEXT", &m.head.author, NULL, "who asks, for the audit trail"},
        {"reason", "TEXT", &m.head.reason, NULL, "and why"},
        {"once", NULL, NULL, &m.once, "not what an earlier run of this file with --once applied"},
    };

    if (!hf_cli_options(cli, options, sizeof options / sizeof options[0], argc, argv)) {
        return cli->status;
    }
    if (argc - cli->first != 1) {
        return hf_cli_usage(cli, "import takes one file, or - for standard input");
    }
    if (!hf_cli_request_head_check(&m.head)) {
        return HF_CLI_USAGE;
    }
    return run_import(&m, argv[cli->first], format);
}
