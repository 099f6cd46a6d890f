/*
 * export.c - `holdfast export`: all live keys, in a form that import reads.
 *
 * Pages of SCAN name the keys, MGET brings their values. SCAN walks in order of the keys, so each
 * key that is there from beginning to end comes once, with the value of the moment its page was
 * asked for: what is written meanwhile is in the output or not, key by key.
 *
 * Invariant: import of the output gives these keys with these values, byte for byte; what a format
 * cannot hold is an error, not a loss. It must not hold more than a page in memory. Next: text.c,
 * parse.c.
 */
#include "core/cli/cli.h"
#include "core/cli/parse.h"
#include "core/cli/progress.h"
#include "core/cli/text.h"

#include <hiredis/hiredis.h>
#include <jansson.h>

#include <stdlib.h>
#include <unistd.h>

/* Values may have 1 MiB each, and the daemon bounds one answer to 32 MiB and what a client leaves
 * unread to 64 MiB: 16 keys always fit, and one MGET ahead keeps the daemon busy while this side
 * writes. */
#define MGET_KEYS 16u
#define MGETS_AHEAD 2u
#define SCAN_COUNT "512"

struct export
{
    struct hf_cli *cli;
    enum hf_format format;
    const char *prefix;
    uint64_t keys;
    struct hf_progress progress;
};

/* ---- writing ---- */

static bool starts(struct hf_slice s, const char *with)
{
    size_t n = strlen(with);

    return s.len >= n && memcmp(s.data, with, n) == 0;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool write_line(struct hf_slice key)
{
    char shown[80];

    if (memchr(key.data, '\n', key.len) != NULL || key.data[0] == '#' || starts(key, "//") ||
        starts(key, HF_TEXT_BOM) || is_blank(key.data[0]) || is_blank(key.data[key.len - 1])) {
        hf_text_plain(shown, sizeof shown, (const char *)key.data, key.len);
        hf_cli_fail("the key %s cannot be written as a line; use --format tsv or jsonl", shown);
        return false;
    }
    fwrite(key.data, 1, key.len, stdout);
    putchar('\n');
    return true;
}

static void write_tsv(struct hf_slice key, struct hf_slice value)
{
    if (key.data[0] == '#' || starts(key, HF_TEXT_BOM)) {
        printf("\\x%02x", key.data[0]);
        key = hf_slice_of(key.data + 1, key.len - 1);
    }
    hf_text_escape(key, stdout);
    putchar('\t');
    hf_text_escape(value, stdout);
    putchar('\n');
}

static bool write_json(struct hf_slice key, struct hf_slice value)
{
    json_t *object = json_object();
    bool ok = object != NULL && hf_text_json_set(object, "key", key) &&
              hf_text_json_set(object, "value", value) &&
              json_dumpf(object, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;

    json_decref(object);
    if (!ok && !ferror(stdout)) { /* main says what went wrong with the output */
        hf_cli_fail("out of memory");
    }
    return ok;
}

static void show_progress(struct export *x)
{
    if (hf_progress_due(&x->progress)) {
        hf_progress_say(&x->progress, "%llu keys, %.0f keys/s", (unsigned long long)x->keys,
                        (double)x->keys / hf_progress_seconds(&x->progress));
    }
}

static bool write_key(struct export *x, struct hf_slice key, struct hf_slice value)
{
    x->keys++;
    switch (x->format) {
    case HF_FORMAT_LINES:
        return write_line(key);
    case HF_FORMAT_TSV:
        write_tsv(key, value);
        return true;
    case HF_FORMAT_JSONL:
        return write_json(key, value);
    case HF_FORMAT_APPLY:
    case HF_FORMAT_PEM:
        break;
    }
    return false;
}

/* ---- reading ---- */

static struct hf_slice reply_bytes(const struct redisReply *r)
{
    return hf_slice_of(r->str, r->len);
}

/* Asks for the values of up to MGET_KEYS keys from `at` on. */
static bool send_mget(struct export *x, const struct redisReply *keys, size_t at)
{
    struct hf_slice command[MGET_KEYS + 1] = {hf_slice_str("MGET")};
    size_t n = 0;

    for (; n < MGET_KEYS && at + n < keys->elements; n++) {
        command[n + 1] = reply_bytes(keys->element[at + n]);
    }
    return hf_cli_send(x->cli, command, n + 1) && hf_cli_flush(x->cli);
}

/* Writes the keys that one MGET answered; a key that is gone by now is left out. */
static bool write_answer(struct export *x, const struct redisReply *keys, size_t at,
                         const struct redisReply *values)
{
    if (hf_cli_refused(values)) {
        return false;
    }
    for (size_t i = 0; i < values->elements; i++) {
        if (hf_cli_refused(values->element[i])) {
            return false;
        }
        if (values->element[i]->type != REDIS_REPLY_STRING) {
            continue;
        }
        if (!write_key(x, reply_bytes(keys->element[at + i]), reply_bytes(values->element[i]))) {
            return false;
        }
    }
    return true;
}

static bool export_page(struct export *x, const struct redisReply *keys)
{
    if (x->format == HF_FORMAT_LINES) {
        for (size_t i = 0; i < keys->elements; i++) {
            if (!write_key(x, reply_bytes(keys->element[i]), hf_slice_str(""))) {
                return false;
            }
        }
        show_progress(x);
        return true;
    }
    for (size_t i = 0, asked = 0; i < keys->elements; i += MGET_KEYS) {
        struct redisReply *values;
        bool ok;

        for (; asked < keys->elements && asked < i + MGETS_AHEAD * MGET_KEYS; asked += MGET_KEYS) {
            if (!send_mget(x, keys, asked)) {
                return false;
            }
        }
        values = hf_cli_answer(x->cli);
        ok = values != NULL && write_answer(x, keys, i, values);
        if (values != NULL) {
            freeReplyObject(values);
        }
        if (!ok) {
            return false;
        }
        show_progress(x);
    }
    return !ferror(stdout);
}

/* The prefix as a glob pattern that matches it literally. Needs room for 2 * strlen + 2. */
static void make_pattern(const char *prefix, char *pattern)
{
    for (; *prefix != '\0'; prefix++) {
        if (strchr("*?[]\\", *prefix) != NULL) {
            *pattern++ = '\\';
        }
        *pattern++ = *prefix;
    }
    *pattern++ = '*';
    *pattern = '\0';
}

static int export_all(struct export *x)
{
    char pattern[2 * HF_STORE_KEY_MAX + 2];
    char cursor[32] = "0";
    struct hf_slice command[6] = {hf_slice_str("SCAN"),
                                  {0},
                                  hf_slice_str("COUNT"),
                                  hf_slice_str(SCAN_COUNT),
                                  hf_slice_str("MATCH")};
    size_t words = x->prefix[0] == '\0' ? 4 : 6;

    make_pattern(x->prefix, pattern);
    command[5] = hf_slice_str(pattern);
    do {
        struct redisReply *page;
        bool ok;

        command[1] = hf_slice_str(cursor);
        page = hf_cli_call(x->cli, command, words);
        if (page == NULL) {
            return HF_CLI_NO;
        }
        ok = page->elements == 2 && page->element[0]->str != NULL &&
             page->element[0]->len < sizeof cursor && export_page(x, page->element[1]);
        if (ok) {
            snprintf(cursor, sizeof cursor, "%s", page->element[0]->str);
        }
        freeReplyObject(page);
        if (!ok) {
            return HF_CLI_NO;
        }
    } while (strcmp(cursor, "0") != 0);
    return HF_CLI_OK;
}

int hf_cli_export(struct hf_cli *cli, int argc, char **argv)
{
    const char *format = NULL, *prefix = NULL, *edge = NULL, *since = NULL;
    struct export x = {.cli = cli};
    const struct hf_cli_option options[] = {
        {"prefix", "P", &prefix, NULL, "only keys that begin with P"},
        {"format", "F", &format, NULL, "lines (keys only), tsv (the default) or jsonl"},
        {"for", "EDGE", &edge, NULL, "write FILE for this edge alone, to be carried to it"},
        {"since", "EPOCH:SEQ", &since, NULL,
         "with --for: only what this batch does not have; without it, or 0: everything"},
    };
    int status;

    if (!hf_cli_options(cli, options, sizeof options / sizeof options[0], argc, argv)) {
        return cli->status;
    }
    if (edge != NULL && (format != NULL || prefix != NULL)) {
        return hf_cli_usage(cli, "--for EDGE takes whole batches, so --format and --prefix have no "
                                 "place");
    }
    if (edge != NULL) {
        return argc != cli->first + 1 ? hf_cli_usage(cli, "export --for EDGE needs one FILE")
                                      : hf_cli_carry(cli, edge, since, argv[cli->first]);
    }
    if (since != NULL) {
        return hf_cli_usage(cli, "--since goes with --for EDGE");
    }
    if (argc != cli->first) {
        return hf_cli_usage(cli, "export takes no operand without --for EDGE");
    }
    x.prefix = prefix != NULL ? prefix : "";
    format = format != NULL ? format : "tsv";
    if (!hf_format_parse(format, &x.format) || x.format == HF_FORMAT_PEM) {
        return hf_cli_usage(cli, "--format is lines, tsv or jsonl");
    }
    if (strlen(x.prefix) > HF_STORE_KEY_MAX) {
        return hf_cli_usage(cli, "--prefix is longer than a key may be");
    }
    hf_progress_begin(&x.progress, 0);
    /* Among the keys themselves it would only be in the way. */
    x.progress.terminal = x.progress.terminal && isatty(STDOUT_FILENO) == 0;
    if (!hf_cli_connect(cli) || !hf_cli_catch_up(cli)) {
        return HF_CLI_NO;
    }
    status = export_all(&x);
    hf_progress_end(&x.progress);
    return status;
}
