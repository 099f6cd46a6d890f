/*
 * repair.c - `holdfast repair`: an edge compares all it has with the core and heals what differs.
 *
 * It is for a damage that somebody suspects; an edge begins by itself on one that it sees. Asked of
 * a sound edge it moves some bytes for each thousand keys and no records. Exit status 0: sound, or
 * healed; 1: it could not be done now, or is being fetched anew; the message says which.
 *
 * It must not heal anything itself: the edge does, and goes on when this tool is stopped. Next:
 * edge/repair.c.
 */
#include "core/cli/cli.h"
#include "core/cli/status.h"

#include <hiredis/hiredis.h>

#include <time.h>
#include <unistd.h>

#define POLL_MS 200
/* Without a step: while it waits and the edge does not hear the core; and once it has begun, for
 * the thinnest link takes a minute for an answer. */
#define DEAF_MS_MAX 10000
#define STUCK_MS_MAX 90000

/* How the newest repair of an edge stands, as HF.REPAIR says it. */
struct standing {
    char result[16];
    long long ended, compared, ranges, records, bytes;
};

/* It, as this tool sees it. */
struct following {
    bool terminal;
    bool told; /* that the core cannot be reached */
    int idle_ms;
};

static bool ask(struct hf_cli *cli, bool begin, struct standing *s)
{
    const struct hf_slice command[2] = {hf_slice_str("HF.REPAIR"), hf_slice_str("STATUS")};
    struct redisReply *r = hf_cli_call(cli, command, begin ? 1 : 2);
    long long *number[] = {&s->ended, &s->compared, &s->ranges, &s->records, &s->bytes};
    bool good;

    if (r == NULL) {
        return false;
    }
    good = r->type == REDIS_REPLY_ARRAY && r->elements >= 6 &&
           r->element[0]->type == REDIS_REPLY_STRING;
    if (good) {
        snprintf(s->result, sizeof s->result, "%s", r->element[0]->str);
    }
    for (size_t i = 0; good && i < sizeof number / sizeof number[0]; i++) {
        good = r->element[i + 1]->type == REDIS_REPLY_INTEGER;
        *number[i] = r->element[i + 1]->integer;
    }
    freeReplyObject(r);
    if (!good) {
        hf_cli_fail("%s gave an answer that this tool does not know", cli->target);
    }
    return good;
}

static void show_progress(const struct standing *s, bool terminal)
{
    if (terminal) {
        fprintf(stderr, "\r%s: compared %lld keys, %lld ranges differ, %lld records fetched   ",
                s->result, s->compared, s->ranges, s->records);
    }
}

static int show_end(const struct standing *s)
{
    if (strcmp(s->result, "sound") == 0 || strcmp(s->result, "repaired") == 0) {
        printf("compared %lld keys, %lld ranges differed, %lld records fetched, %lld bytes, "
               "digest ok\n",
               s->compared, s->ranges, s->records, s->bytes);
        return HF_CLI_OK;
    }
    if (strcmp(s->result, "snapshot") == 0) {
        return hf_cli_fail("compared %lld keys; it cannot be healed in place, so the edge fetches "
                           "all keys anew; `holdfast status` shows how far it is",
                           s->compared);
    }
    return hf_cli_fail("the comparison with the core failed; the edge's log says why, and "
                       "`holdfast status` whether the core can be reached");
}

/* Then it knows nothing of its lag; why, or its state, is put into `why`. One that hears may wait
 * for a transfer to end, which takes as long as it takes. */
static bool is_deaf(struct hf_cli *cli, char *why, size_t cap)
{
    const struct hf_slice command = hf_slice_str("HF.STATUS");
    struct redisReply *r = hf_cli_call(cli, &command, 1);
    struct hf_status s = {0};
    bool deaf =
        r != NULL && hf_status_read(r, &s) && s.is_edge && s.edge[0].lag_batches == HF_UNKNOWN;

    if (deaf) {
        snprintf(why, cap, "%s", s.reason[0] != '\0' ? s.reason : s.edge[0].state);
    }
    hf_status_deinit(&s);
    freeReplyObject(r);
    return deaf;
}

/* What the user waits for is said as soon as it is known, and once. */
static void tell_deaf(struct following *f, const char *why)
{
    if (f->told || f->idle_ms >= DEAF_MS_MAX) {
        return;
    }
    f->told = true;
    fprintf(stderr, "%sthe core cannot be reached (%s); waiting for it up to %d s\n",
            f->terminal ? "\r\033[K" : "", why, (DEAF_MS_MAX - f->idle_ms + 999) / 1000);
}

static bool is_stuck(struct hf_cli *cli, const struct standing *s, struct following *f)
{
    char why[400];

    if (strcmp(s->result, "waiting") != 0) {
        return f->idle_ms >= STUCK_MS_MAX;
    }
    if (!is_deaf(cli, why, sizeof why)) {
        return false;
    }
    tell_deaf(f, why);
    return f->idle_ms >= DEAF_MS_MAX;
}

/* Until it has ended, or takes no further step. */
static int follow(struct hf_cli *cli, long long ended, struct standing *s)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    struct following f = {.terminal = isatty(STDERR_FILENO) != 0};
    bool gave_up = false;

    while (s->ended == ended && !gave_up) {
        struct standing last = *s;

        show_progress(s, f.terminal);
        nanosleep(&pause, NULL);
        if (!ask(cli, false, s)) {
            return HF_CLI_NO;
        }
        f.idle_ms = memcmp(&last, s, sizeof last) == 0 ? f.idle_ms + POLL_MS : 0;
        gave_up = is_stuck(cli, s, &f);
    }
    if (f.terminal) {
        fputc('\n', stderr);
    }
    if (gave_up) {
        return hf_cli_fail("no step in %d s: it is %s; it goes on by itself when the edge reaches "
                           "the core (`holdfast status`)",
                           f.idle_ms / 1000, s->result);
    }
    return show_end(s);
}

int hf_cli_repair(struct hf_cli *cli, int argc, char **argv)
{
    struct standing before = {.ended = 0}, s = before;

    if (!hf_cli_options(cli, NULL, 0, argc, argv)) {
        return cli->status;
    }
    if (argc != cli->first) {
        return hf_cli_usage(cli, "repair takes no operands");
    }
    if (!hf_cli_connect(cli) || !ask(cli, false, &before) || !ask(cli, true, &s)) {
        return HF_CLI_NO;
    }
    return follow(cli, before.ended, &s);
}
