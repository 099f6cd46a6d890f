/*
 * apply.c - `holdfast apply FILE`: a file of changes as one atomic request.
 *
 * Every line is read and checked before anything is sent; the core then makes all of it visible in
 * one batch or refuses all of it (G4). The request id is what makes a retry safe (G5): it is
 * printed before the request goes out, so that after a broken connection the same command with
 * --request-id asks again without applying twice.
 *
 * It must not split the file: a file over the limits of one batch is refused, import is for those.
 * Next: parse.c for the lines, request.c for the command.
 */
#include "core/cli/cli.h"
#include "core/cli/input.h"
#include "core/cli/request.h"

#include <hiredis/hiredis.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

/* What the encoding of a change adds to key and value in a batch, at most (hf_change_bytes_max). */
#define CHANGE_OVERHEAD 16u

struct apply {
    struct hf_input in;
    struct hf_parser parser;
    struct hf_cli_request set;
};

static bool add_change(struct apply *a, const struct hf_line_change *c)
{
    size_t raw;

    if (!hf_cli_request_add(&a->set, c)) {
        hf_cli_fail("out of memory");
        return false;
    }
    raw = a->set.change_bytes + (size_t)a->set.changes * CHANGE_OVERHEAD + HF_REASON_MAX + 1024;
    if (a->set.changes <= HF_BATCH_CHANGES_MAX && raw <= HF_BATCH_RAW_MAX) {
        return true;
    }
    hf_cli_fail("%s:%llu: more than one atomic request may hold (%u changes, %u bytes); "
                "holdfast import takes any number, not atomically",
                a->in.name, (unsigned long long)a->in.line, HF_BATCH_CHANGES_MAX, HF_BATCH_RAW_MAX);
    return false;
}

/* Reads the whole file into a->set. False after a message. */
static bool read_changes(struct apply *a)
{
    struct hf_line_change change;
    char *line;
    size_t len;

    for (;;) {
        enum hf_input_result r = hf_input_next(&a->in, &line, &len);
        enum hf_parsed parsed;

        if (r == HF_INPUT_END) {
            break;
        }
        if (r != HF_INPUT_LINE) {
            hf_cli_fail("%s:%llu: %s", a->in.name, (unsigned long long)a->in.line,
                        r == HF_INPUT_LONG ? "the line is too long" : strerror(errno));
            return false;
        }
        parsed = hf_parser_line(&a->parser, line, len, &change);
        if (parsed == HF_PARSED_BAD) {
            hf_cli_fail("%s:%llu: %s", a->in.name, (unsigned long long)a->in.line, a->parser.error);
            return false;
        }
        if (parsed == HF_PARSED_CHANGE && !add_change(a, &change)) {
            return false;
        }
    }
    if (a->set.changes == 0) {
        hf_cli_fail("%s: there is no change in it", a->in.name);
    }
    return a->set.changes > 0;
}

static bool random_id(char *out, size_t cap)
{
    uint8_t bytes[16];
    size_t n = 0;

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        hf_cli_fail("no randomness for a request id: %s", strerror(errno));
        return false;
    }
    for (size_t i = 0; i < sizeof bytes && n + 3 <= cap; i++) {
        n += (size_t)snprintf(out + n, cap - n, "%02x", bytes[i]);
    }
    return true;
}

static int send_changes(struct apply *a, const struct hf_cli_request_head *head, struct hf_cli *cli)
{
    struct redisReply *reply;
    uint64_t seq;
    bool repeated;
    int status = HF_CLI_NO;

    if (!hf_cli_connect(cli)) {
        return HF_CLI_NO;
    }
    fprintf(stderr, "request id %s\n", head->id);
    if (!hf_cli_request_send(&a->set, head, cli)) {
        return HF_CLI_NO;
    }
    reply = hf_cli_answer(cli);
    if (reply == NULL) {
        return hf_cli_fail("whether it was applied is not known; to ask again safely, run the same "
                           "with --request-id %s",
                           head->id);
    }
    if (!hf_cli_refused(reply)) {
        if (hf_cli_request_read(reply, &seq, &repeated)) {
            printf("seq %llu %s\n", (unsigned long long)seq, repeated ? "repeated" : "applied");
            status = HF_CLI_OK;
        } else {
            hf_cli_fail("%s did not answer as a core does", cli->target);
        }
    }
    freeReplyObject(reply);
    return status;
}

static int run_file(struct hf_cli *cli, const char *file, struct hf_cli_request_head *head)
{
    bool standard = strcmp(file, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    struct apply a = {0};
    char id[40];
    int status = HF_CLI_NO;

    if (fd < 0) {
        return hf_cli_fail("%s: %s", file, strerror(errno));
    }
    hf_input_init(&a.in, fd, standard ? "standard input" : file);
    hf_parser_init(&a.parser, HF_FORMAT_APPLY, NULL);
    if (head->id == NULL) {
        if (!random_id(id, sizeof id)) {
            goto out;
        }
        head->id = id;
    }
    if (read_changes(&a)) {
        status = send_changes(&a, head, cli);
    }
out:
    hf_cli_request_deinit(&a.set);
    hf_parser_deinit(&a.parser);
    hf_input_deinit(&a.in);
    return status;
}

int hf_cli_apply(struct hf_cli *cli, int argc, char **argv)
{
    struct hf_cli_request_head head = {0};
    const struct hf_cli_option options[] = {
        {"request-id", "ID", &head.id, NULL, "name of the request (default: a random one)"},
        {"author", "TEXT", &head.author, NULL, "who asks, for the audit trail"},
        {"reason", "TEXT", &head.reason, NULL, "and why"},
        {"ifseq", "N", &head.ifseq, NULL,
         "only if none of the keys changed after batch N (the head of `status` before the reads)"},
    };

    if (!hf_cli_options(cli, options, sizeof options / sizeof options[0], argc, argv)) {
        return cli->status;
    }
    if (argc - cli->first != 1) {
        return hf_cli_usage(cli, "apply takes one file, or - for standard input");
    }
    if (head.id != NULL && (head.id[0] == '\0' || strlen(head.id) > HF_REQUEST_ID_MAX)) {
        return hf_cli_usage(cli, "--request-id has 1 to %u bytes", HF_REQUEST_ID_MAX);
    }
    if (!hf_cli_request_head_check(&head)) {
        return HF_CLI_USAGE;
    }
    return run_file(cli, argv[cli->first], &head);
}
