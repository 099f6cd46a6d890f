/*
 * control.c - parses a line, changes shapers between two turns of the forwarder, answers.
 *
 * Invariant: a line is carried out wholly or not at all; a setting that is refused leaves every
 * link as it was. Clients are few and their lines short: a longer line is closed, and a client too
 * many waits in the listener's queue.
 *
 * It must not block: the forwarder's packets are late by what is done here. Next: ask.c, the
 * client.
 */
#include "sim/wan/control.h"

#include "hf/number.h"
#include "sim/wan/profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAX 8u
#define LINE_MAX_BYTES 512u
#define WORDS_MAX 24u

struct client {
    int fd; /* -1 = free */
    size_t len;
    char line[LINE_MAX_BYTES];
};

struct hf_wan_control {
    struct hf_wan *wan;
    int listener;
    bool full; /* the next one waits in the listener's queue */
    struct client client[CLIENTS_MAX];
    struct sockaddr_un at;
};

/* A line in words, and what it is about. */
struct request {
    struct hf_wan *wan;
    char *word[WORDS_MAX];
    unsigned count, next;
    unsigned first, last; /* edges */
    unsigned from, to;    /* ways */
    FILE *out;
    int pass; /* descriptor to send along, -1 = none */
    struct hf_error error;
};

/* ---- stats ---- */

static void print_way(const struct hf_wan_shaper *s, unsigned edge, enum hf_wan_way way, FILE *out)
{
    fprintf(out, "%u\t%s", edge, way == HF_WAN_DOWN ? "down" : "up");
#define X(name, text) fprintf(out, "\t%" PRIu64, s->count.name);
    HF_WAN_COUNTERS(X)
#undef X
    fputc('\n', out);
}

void hf_wan_stats_print(struct hf_wan *w, unsigned first, unsigned last, FILE *out)
{
    fputs("edge\tway", out);
#define X(name, text) fputs("\t" #name, out);
    HF_WAN_COUNTERS(X)
#undef X
    fputc('\n', out);
    for (unsigned i = first; i <= last; i++) {
        print_way(hf_wan_link(w, i, HF_WAN_DOWN), i, HF_WAN_DOWN, out);
        print_way(hf_wan_link(w, i, HF_WAN_UP), i, HF_WAN_UP, out);
    }
    for (unsigned i = 0; i <= hf_wan_edges(w); i++) {
        uint64_t n = hf_wan_overrun(w, i);
        if (n > 0) {
            fprintf(out, "overrun\t%u\t%" PRIu64 "\n", i, n);
        }
    }
    if (hf_wan_stray(w) > 0) {
        fprintf(out, "stray\t%" PRIu64 "\n", hf_wan_stray(w));
    }
}

/* ---- words ---- */

static enum hf_err refuse(struct request *r, const char *why, const char *word)
{
    return hf_error_set(&r->error, HF_ARG, "%s%s%s%s", why, word == NULL ? "" : " '",
                        word == NULL ? "" : word, word == NULL ? "" : "'");
}

static bool parse_number(const char *word, unsigned min, unsigned max, unsigned *out)
{
    uint64_t n;
    if (!hf_number_parse(hf_slice_str(word), min, max, &n)) {
        return false;
    }
    *out = (unsigned)n;
    return true;
}

/* WHICH [up|down] */
static enum hf_err parse_which(struct request *r)
{
    unsigned edges = hf_wan_edges(r->wan);
    const char *word = r->next < r->count ? r->word[r->next++] : NULL;
    r->first = 1;
    r->last = edges;
    r->from = HF_WAN_DOWN;
    r->to = HF_WAN_UP;
    if (word == NULL) {
        return refuse(r, "which edge? a number or all", NULL);
    }
    if (strcmp(word, "all") != 0) {
        if (!parse_number(word, 1, edges, &r->first)) {
            return refuse(r, "no such edge:", word);
        }
        r->last = r->first;
    }
    word = r->next < r->count ? r->word[r->next] : "";
    if (strcmp(word, "up") == 0 || strcmp(word, "down") == 0) {
        r->from = r->to = *word == 'u' ? HF_WAN_UP : HF_WAN_DOWN;
        r->next++;
    }
    return HF_OK;
}

static enum hf_err end_of_line(struct request *r)
{
    return r->next == r->count ? HF_OK : refuse(r, "too much:", r->word[r->next]);
}

/* ---- commands ---- */

static enum hf_err set_cut(struct request *r, bool cut)
{
    enum hf_err rc = parse_which(r);
    if (rc == HF_OK) {
        rc = end_of_line(r);
    }
    for (unsigned i = r->first; rc == HF_OK && i <= r->last; i++) {
        for (unsigned way = r->from; way <= r->to; way++) {
            hf_wan_link(r->wan, i, (enum hf_wan_way)way)->cut = cut;
        }
    }
    return rc;
}

static enum hf_err run_cut(struct request *r)
{
    return set_cut(r, true);
}

static enum hf_err run_heal(struct request *r)
{
    return set_cut(r, false);
}

static enum hf_err run_half_open(struct request *r)
{
    enum hf_err rc = parse_which(r);
    if (rc == HF_OK && r->from == r->to) {
        return refuse(r, "a connection is half-open both ways, not only", r->word[r->next - 1]);
    }
    if (rc == HF_OK) {
        rc = end_of_line(r);
    }
    for (unsigned i = r->first; rc == HF_OK && i <= r->last; i++) {
        hf_wan_half_open(r->wan, i);
    }
    return rc;
}

static enum hf_err apply_words(struct request *r, struct hf_wan_profile *p)
{
    for (unsigned i = r->next; i < r->count; i++) {
        char name[32];
        const char *value = strchr(r->word[i], '=');
        size_t len = value == NULL ? 0 : (size_t)(value - r->word[i]);
        if (len == 0 || len >= sizeof(name)) {
            return refuse(r, "expected NAME=VALUE, not", r->word[i]);
        }
        memcpy(name, r->word[i], len);
        name[len] = '\0';
        enum hf_err rc = hf_wan_profile_set(p, name, value + 1, &r->error);
        if (rc != HF_OK) {
            return rc;
        }
    }
    return HF_OK;
}

/* Whether a value is taken depends on no link, so one trial on a copy speaks for all. */
static enum hf_err run_set(struct request *r)
{
    struct hf_wan_profile trial;
    enum hf_err rc = parse_which(r);
    hf_wan_profile_default(&trial);
    if (rc == HF_OK && r->next == r->count) {
        rc = refuse(r, "set what? NAME=VALUE", NULL);
    }
    if (rc == HF_OK) {
        rc = apply_words(r, &trial);
    }
    for (unsigned i = r->first; rc == HF_OK && i <= r->last; i++) {
        for (unsigned way = r->from; way <= r->to; way++) {
            (void)apply_words(r, &hf_wan_link(r->wan, i, (enum hf_wan_way)way)->profile);
        }
    }
    return rc;
}

static enum hf_err run_hub(struct request *r)
{
    struct hf_wan_shaper *hub = hf_wan_hub(r->wan);
    struct hf_wan_profile p = hub->profile;
    enum hf_err rc = r->next == r->count ? refuse(r, "set what? NAME=VALUE", NULL) : HF_OK;
    if (rc == HF_OK) {
        rc = apply_words(r, &p);
    }
    if (rc == HF_OK &&
        (p.delay_ns > 0 || p.jitter_ns > 0 || p.loss > 0 || p.reorder > 0 || p.duplicate > 0)) {
        rc = refuse(r, "the hub has only rate and queue", NULL);
    }
    if (rc == HF_OK) {
        hub->profile = p;
    }
    return rc;
}

static enum hf_err run_stats(struct request *r)
{
    enum hf_err rc = HF_OK;
    r->first = 1;
    r->last = hf_wan_edges(r->wan);
    if (r->next < r->count) {
        rc = parse_which(r);
    }
    if (rc == HF_OK) {
        rc = end_of_line(r);
    }
    if (rc == HF_OK) {
        hf_wan_stats_print(r->wan, r->first, r->last, r->out);
    }
    return rc;
}

static enum hf_err run_nodes(struct request *r)
{
    for (unsigned i = 0; i <= hf_wan_edges(r->wan); i++) {
        char address[HF_WAN_ADDRESS_BYTES];
        hf_wan_address(i, address);
        fprintf(r->out, "%u\t%s\n", i, address);
    }
    return end_of_line(r);
}

static enum hf_err run_netns(struct request *r)
{
    unsigned node;
    if (r->next == r->count || !parse_number(r->word[r->next], 0, hf_wan_edges(r->wan), &node)) {
        return refuse(r, "no such node:", r->next == r->count ? "" : r->word[r->next]);
    }
    r->next++;
    r->pass = hf_wan_netns(r->wan, node);
    return end_of_line(r);
}

static enum hf_err run_line(struct request *r, char *line)
{
    static const struct {
        const char *name;
        enum hf_err (*run)(struct request *r);
    } commands[] = {{"set", run_set},     {"cut", run_cut},
                    {"heal", run_heal},   {"hub", run_hub},
                    {"stats", run_stats}, {"nodes", run_nodes},
                    {"netns", run_netns}, {"half-open", run_half_open}};
    char *rest = NULL;
    for (char *w = strtok_r(line, " \t\r\n", &rest); w != NULL;
         w = strtok_r(NULL, " \t\r\n", &rest)) {
        if (r->count == WORDS_MAX) {
            return refuse(r, "too many words", NULL);
        }
        r->word[r->count++] = w;
    }
    const char *name = r->count > 0 ? r->word[r->next++] : "";
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return commands[i].run(r);
        }
    }
    return refuse(r, "no such command:", name);
}

/* ---- connections ---- */

static void send_answer(int to, const char *text, size_t len, int pass)
{
    union {
        struct cmsghdr align;
        char byte[CMSG_SPACE(sizeof(int))];
    } buffer;
    struct iovec part = {(void *)(uintptr_t)text, len};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (pass >= 0) {
        memset(&buffer, 0, sizeof(buffer));
        m.msg_control = buffer.byte;
        m.msg_controllen = sizeof(buffer.byte);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass, sizeof(int));
    }
    (void)sendmsg(to, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_connection(void *ctx, int listener);

static void client_close(struct hf_wan_control *control, struct client *c)
{
    hf_wan_unwatch(control->wan, c->fd);
    close(c->fd);
    c->fd = -1;
    if (control->full) {
        control->full = !hf_wan_watch(control->wan, control->listener, on_connection, control);
    }
}

static void answer(struct hf_wan_control *control, struct client *c)
{
    struct request r = {.wan = control->wan, .pass = -1};
    char *text = NULL;
    size_t len = 0;
    r.out = open_memstream(&text, &len);
    if (r.out == NULL) {
        return;
    }
    c->line[c->len] = '\0';
    if (run_line(&r, c->line) == HF_OK) {
        fputs("ok\n", r.out);
    } else {
        fprintf(r.out, "error: %s\n", r.error.text);
        r.pass = -1;
    }
    if (fclose(r.out) == 0) {
        send_answer(c->fd, text, len, r.pass);
    }
    free(text);
}

static void on_client(void *ctx, int fd)
{
    struct hf_wan_control *control = ctx;
    struct client *c = control->client;
    while (c->fd != fd) {
        c++;
    }
    ssize_t n = recv(fd, c->line + c->len, sizeof(c->line) - 1 - c->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    c->len += n > 0 ? (size_t)n : 0;
    if (n > 0 && memchr(c->line, '\n', c->len) == NULL && c->len < sizeof(c->line) - 1) {
        return;
    }
    if (n >= 0 && c->len > 0 && c->len < sizeof(c->line) - 1) {
        answer(control, c); /* the end of the stream ends a line too */
    }
    client_close(control, c);
}

static void on_connection(void *ctx, int listener)
{
    struct hf_wan_control *control = ctx;
    unsigned i = 0;
    while (i < CLIENTS_MAX && control->client[i].fd >= 0) {
        i++;
    }
    if (i == CLIENTS_MAX) {
        hf_wan_unwatch(control->wan, listener);
        control->full = true;
        return;
    }
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 && hf_wan_watch(control->wan, fd, on_client, control)) {
        control->client[i].fd = fd;
        control->client[i].len = 0;
    } else if (fd >= 0) {
        close(fd);
    }
}

enum hf_err hf_wan_control_new(struct hf_wan *w, const char *path, struct hf_wan_control **out,
                               struct hf_error *e)
{
    struct hf_wan_control *c = calloc(1, sizeof(*c));
    *out = NULL;
    if (c == NULL) {
        return hf_error_set(e, HF_NOMEM, "no memory");
    }
    c->wan = w;
    c->at.sun_family = AF_UNIX;
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        c->client[i].fd = -1;
    }
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    size_t len = strlen(path);
    if (len >= sizeof(c->at.sun_path)) {
        errno = ENAMETOOLONG;
    } else {
        memcpy(c->at.sun_path, path, len + 1);
        if (c->listener >= 0 && bind(c->listener, (struct sockaddr *)&c->at, sizeof(c->at)) == 0 &&
            listen(c->listener, CLIENTS_MAX) == 0 &&
            hf_wan_watch(w, c->listener, on_connection, c)) {
            *out = c;
            return HF_OK;
        }
    }
    (void)hf_error_set(e, HF_IO, "%s: %s", path, strerror(errno));
    if (c->listener >= 0) {
        close(c->listener);
    }
    free(c);
    return HF_IO;
}

void hf_wan_control_free(struct hf_wan_control *c)
{
    if (c == NULL) {
        return;
    }
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        if (c->client[i].fd >= 0) {
            client_close(c, &c->client[i]);
        }
    }
    hf_wan_unwatch(c->wan, c->listener);
    close(c->listener);
    (void)unlink(c->at.sun_path);
    free(c);
}
