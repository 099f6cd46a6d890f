/*
 * kv.c - the RESP commands that core and edge share.
 *
 * SCAN: Redis cursors are numbers and ours are keys, so the place of each iteration is kept under
 * the number that the client gets. An iteration has one slot for all of its steps, which the number
 * tells; a new one takes the slot that was not used for longest, so it takes a thousand that begin
 * between two steps of an iteration to push it out. A number that is not known is an error that
 * says to begin again. Numbers begin at random: one from before a restart must not be taken for
 * another's.
 *
 * It must not write, and must not keep the view over a wait.
 */
#include "hf/kv.h"

#include "hf/loop.h"
#include "hf/number.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#define REPLY_HEAD 32u /* bytes beside those of a value, at most; errors take more and are few */
#define CURSORS 1024u
#define PATTERN_MAX (2 * HF_STORE_KEY_MAX + 1) /* a key, each byte of it escaped, and a star */
#define SCAN_COUNT_MAX 100000u
#define SCAN_BYTES_MAX (1u << 20)
/* Of values: each record is checked whole. Milliseconds of the loop, unless the disk is slow. */
#define SCAN_READ_MAX (8u << 20)
/* Deleted keys that one SCAN steps over: a few milliseconds of the loop. */
#define SCAN_DEAD_MAX 10000u

struct place {
    uint64_t id; /* 0 = unused */
    uint32_t len;
    uint8_t key[HF_STORE_KEY_MAX];
};

/* How far one iteration got, and how far before: a client that missed the last answer asks again.
 */
struct cursor {
    uint64_t used; /* order of the last use, 0 = never */
    struct place now, before;
};

struct hf_kv {
    struct hf_kv_config cfg;
    uint64_t damaged;
    struct hf_view *view;
    bool live;
    uint64_t serial; /* of the newest number that was given to a client */
    uint64_t uses;
    struct cursor cursor[CURSORS];
};

struct call {
    struct hf_kv *kv;
    struct hf_resp_client *c;
    const struct hf_slice *argv;
    size_t argc;
};

struct command {
    const char *name;
    size_t argc_min, argc_max;
    void (*run)(const struct call *k);
};
#define ANY SIZE_MAX

/* ---- words ---- */

bool hf_kv_is(struct hf_slice arg, const char *word)
{
    if (arg.len != strlen(word)) {
        return false;
    }
    for (size_t i = 0; i < arg.len; i++) {
        if (toupper(arg.data[i]) != word[i]) {
            return false;
        }
    }
    return true;
}

/* ---- INFO ---- */

static const char *const info_titles[HF_INFO_SECTIONS] = {
    "Server", "Clients", "Memory", "Stats", "Replication", "Keyspace", "Holdfast"};

static bool info_asks(const struct hf_slice *argv, size_t argc, const char *title)
{
    for (size_t i = 1; i < argc; i++) {
        bool named = argv[i].len == strlen(title) &&
                     strncasecmp((const char *)argv[i].data, title, argv[i].len) == 0;
        if (named || hf_kv_is(argv[i], "ALL") || hf_kv_is(argv[i], "EVERYTHING") ||
            hf_kv_is(argv[i], "DEFAULT")) {
            return true;
        }
    }
    return argc == 1;
}

void hf_kv_info_memory(void *ctx, FILE *out)
{
    (void)ctx;
    FILE *statm = fopen("/proc/self/statm", "re");
    struct rusage usage;
    long long pages = 0;
    if (statm != NULL && fscanf(statm, "%*s %lld", &pages) == 1) {
        long long bytes = pages * sysconf(_SC_PAGESIZE);
        fprintf(out, "used_memory:%lld\r\nused_memory_rss:%lld\r\n", bytes, bytes);
    }
    if (statm != NULL) {
        fclose(statm);
    }
    getrusage(RUSAGE_SELF, &usage);
    fprintf(out, "used_memory_peak:%ld\r\n", usage.ru_maxrss * 1024);
}

void hf_kv_info(struct hf_resp_client *c, const struct hf_slice *argv, size_t argc,
                hf_kv_info_print *const print[HF_INFO_SECTIONS], void *ctx)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out == NULL) {
        hf_resp_error(c, "BUSY out of memory");
        return;
    }
    for (size_t i = 0; i < HF_INFO_SECTIONS; i++) {
        if (info_asks(argv, argc, info_titles[i])) {
            fprintf(out, "%s# %s\r\n", ftell(out) > 0 ? "\r\n" : "", info_titles[i]);
            print[i](ctx, out);
        }
    }
    fclose(out);
    hf_resp_bulk(c, hf_slice_of(text, len));
    free(text);
}

/* ---- replies ---- */

static int printable(struct hf_slice name)
{
    return name.len < 64 ? (int)name.len : 64;
}

void hf_kv_arity(struct hf_resp_client *c, struct hf_slice name)
{
    hf_resp_error(c, "ERR wrong number of arguments for '%.*s' command", printable(name),
                  (const char *)name.data);
}

void hf_kv_unknown(struct hf_resp_client *c, struct hf_slice name)
{
    hf_resp_error(c, "ERR unknown command '%.*s'", printable(name), (const char *)name.data);
}

static const struct command *command_named(struct hf_slice name, const struct command *table,
                                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (hf_kv_is(name, table[i].name)) {
            return &table[i];
        }
    }
    return NULL;
}

/* False when the command is NULL. */
static bool command_run(const struct command *command, const struct call *k)
{
    if (command == NULL) {
        return false;
    }
    if (k->argc < command->argc_min || k->argc > command->argc_max) {
        hf_kv_arity(k->c, k->argv[0]);
    } else {
        command->run(k);
    }
    return true;
}

/* ---- the connection's own ---- */

static void run_ping(const struct call *k)
{
    if (k->argc == 2) {
        hf_resp_bulk(k->c, k->argv[1]);
    } else {
        hf_resp_simple(k->c, "PONG");
    }
}

static void run_echo(const struct call *k)
{
    hf_resp_bulk(k->c, k->argv[1]);
}

static void text(struct hf_resp_client *c, const char *s)
{
    hf_resp_bulk(c, hf_slice_str(s));
}

static void run_hello(const struct call *k)
{
    uint64_t version = (uint64_t)hf_resp_version(k->c);
    if (k->argc > 1 && !hf_number_parse(k->argv[1], 2, 3, &version)) {
        hf_resp_error(k->c, "NOPROTO unsupported protocol version");
        return;
    }
    for (size_t i = 2; i < k->argc; i += 2) {
        if (!hf_kv_is(k->argv[i], "SETNAME") || i + 1 == k->argc) {
            hf_resp_error(k->c, "ERR HELLO takes a version and SETNAME; there are no passwords, "
                                "access is by socket and address");
            return;
        }
    }
    hf_resp_set_version(k->c, (int)version);
    hf_resp_map(k->c, 7);
    text(k->c, "server");
    text(k->c, k->kv->cfg.server);
    text(k->c, "version");
    text(k->c, k->kv->cfg.version);
    text(k->c, "proto");
    hf_resp_integer(k->c, (int64_t)version);
    text(k->c, "id");
    hf_resp_integer(k->c, (int64_t)hf_resp_client_id(k->c));
    text(k->c, "mode");
    text(k->c, "standalone");
    text(k->c, "role");
    text(k->c, k->kv->cfg.role);
    text(k->c, "modules");
    hf_resp_array(k->c, 0);
}

static void run_command(const struct call *k)
{
    bool count = k->argc > 1 && hf_kv_is(k->argv[1], "COUNT");
    if (count) {
        hf_resp_integer(k->c, 0);
    } else {
        hf_resp_array(k->c, 0);
    }
}

static void run_client(const struct call *k)
{
    if (hf_kv_is(k->argv[1], "ID")) {
        hf_resp_integer(k->c, (int64_t)hf_resp_client_id(k->c));
    } else if (hf_kv_is(k->argv[1], "GETNAME")) {
        hf_resp_nil(k->c);
    } else if (hf_kv_is(k->argv[1], "SETNAME") || hf_kv_is(k->argv[1], "SETINFO") ||
               hf_kv_is(k->argv[1], "NO-EVICT") || hf_kv_is(k->argv[1], "NO-TOUCH")) {
        hf_resp_simple(k->c, "OK"); /* accepted for the sake of client libraries; nothing uses it */
    } else if (hf_kv_is(k->argv[1], "INFO") || hf_kv_is(k->argv[1], "LIST")) {
        char line[64];
        snprintf(line, sizeof(line), "id=%llu resp=%d\n",
                 (unsigned long long)hf_resp_client_id(k->c), hf_resp_version(k->c));
        text(k->c, line);
    } else {
        hf_resp_error(k->c, "ERR unknown CLIENT subcommand");
    }
}

static void run_select(const struct call *k)
{
    uint64_t n;
    if (hf_number_parse(k->argv[1], 0, 0, &n)) {
        hf_resp_simple(k->c, "OK");
    } else {
        hf_resp_error(k->c, "ERR DB index is out of range: a stream is one key space, 0");
    }
}

static void run_quit(const struct call *k)
{
    hf_resp_simple(k->c, "OK");
    hf_resp_quit(k->c);
}

static void run_reset(const struct call *k)
{
    hf_resp_set_version(k->c, 2);
    hf_resp_simple(k->c, "RESET");
}

/* redis-benchmark and some libraries ask for these two. */
static void run_config(const struct call *k)
{
    static const struct {
        const char *word, *name, *value;
    } known[] = {{"SAVE", "save", ""}, {"APPENDONLY", "appendonly", "yes"}};
    enum { KNOWN = sizeof(known) / sizeof(known[0]) };
    bool asked[KNOWN] = {false};
    uint32_t count = 0;
    if (k->argc < 3 || !hf_kv_is(k->argv[1], "GET")) {
        hf_resp_error(k->c, "ERR only CONFIG GET is known; settings live in the config file");
        return;
    }
    for (size_t i = 0; i < KNOWN; i++) {
        for (size_t at = 2; at < k->argc && !asked[i]; at++) {
            asked[i] = hf_kv_is(k->argv[at], known[i].word);
        }
        count += asked[i];
    }
    hf_resp_map(k->c, count);
    for (size_t i = 0; i < KNOWN; i++) {
        if (asked[i]) {
            text(k->c, known[i].name);
            text(k->c, known[i].value);
        }
    }
}

static void run_time(const struct call *k)
{
    char part[24];
    uint64_t ms = hf_clock_wall_ms();
    hf_resp_array(k->c, 2);
    snprintf(part, sizeof(part), "%llu", (unsigned long long)(ms / 1000));
    text(k->c, part);
    snprintf(part, sizeof(part), "%llu", (unsigned long long)(ms % 1000 * 1000));
    text(k->c, part);
}

static void run_auth(const struct call *k)
{
    hf_resp_error(k->c, "ERR there are no passwords; access is by socket and address");
}

static void run_keys(const struct call *k)
{
    hf_resp_error(k->c, "ERR KEYS would hold up everyone else; use SCAN, or holdfast export");
}

static const struct command *find_connection(struct hf_slice name)
{
    static const struct command table[] = {
        {"PING", 1, 2, run_ping},       {"ECHO", 2, 2, run_echo},
        {"HELLO", 1, ANY, run_hello},   {"COMMAND", 1, ANY, run_command},
        {"CLIENT", 2, ANY, run_client}, {"SELECT", 2, 2, run_select},
        {"QUIT", 1, ANY, run_quit},     {"RESET", 1, 1, run_reset},
        {"CONFIG", 2, ANY, run_config}, {"TIME", 1, 1, run_time},
        {"AUTH", 2, ANY, run_auth},     {"KEYS", 1, ANY, run_keys},
    };
    return command_named(name, table, sizeof(table) / sizeof(table[0]));
}

bool hf_kv_is_connection(struct hf_slice name)
{
    return find_connection(name) != NULL;
}

bool hf_kv_connection(struct hf_kv *kv, struct hf_resp_client *c, const struct hf_slice *argv,
                      size_t argc)
{
    struct call k = {kv, c, argv, argc};
    return command_run(find_connection(argv[0]), &k);
}

/* ---- reads ---- */

struct hf_view *hf_kv_view(struct hf_kv *kv, struct hf_resp_client *c)
{
    if (kv->live) {
        return kv->view;
    }
    enum hf_err err =
        kv->view == NULL ? hf_view_open(kv->cfg.state, &kv->view) : hf_view_renew(kv->view);
    if (err != HF_OK) {
        hf_resp_error(c, "ERR store: %s", hf_err_text(err));
        return NULL;
    }
    kv->live = true;
    return kv->view;
}

uint64_t hf_kv_damaged(const struct hf_kv *kv)
{
    return kv->damaged;
}

void hf_kv_drained(struct hf_kv *kv)
{
    if (kv->live) {
        hf_view_reset(kv->view);
        kv->live = false;
    }
}

static void store_error(struct hf_kv *kv, struct hf_resp_client *c, enum hf_err err)
{
    if (err == HF_CORRUPT) {
        kv->damaged++;
        hf_resp_error(c, "CORRUPT this record is damaged and is not served");
    } else {
        hf_resp_error(c, "ERR store: %s", hf_err_text(err));
    }
}

/* A key that no store can hold is absent, as in Redis, and not an error. */
static enum hf_err get_live(struct hf_view *v, struct hf_slice key, struct hf_stored *s)
{
    bool possible = key.len > 0 && key.len <= HF_STORE_KEY_MAX;
    return possible ? hf_view_get(v, key, false, s) : HF_NOTFOUND;
}

enum hf_err hf_kv_get(struct hf_kv *kv, struct hf_resp_client *c, struct hf_view *v,
                      struct hf_slice key, struct hf_stored *out)
{
    enum hf_err err = get_live(v, key, out);
    if (err != HF_OK && err != HF_NOTFOUND) {
        store_error(kv, c, err);
    }
    return err;
}

struct found {
    enum hf_err err;
    struct hf_slice value; /* in the map, valid as long as the view */
};

static struct found find(struct hf_view *v, struct hf_slice key)
{
    struct hf_stored s = {0};
    enum hf_err err = get_live(v, key, &s);
    return (struct found){err, s.value};
}

static void reply_found(const struct call *k, const struct found *f)
{
    if (f->err == HF_OK) {
        hf_resp_bulk(k->c, f->value);
    } else if (f->err == HF_NOTFOUND) {
        hf_resp_nil(k->c);
    } else {
        store_error(k->kv, k->c, f->err);
    }
}

static void run_get(const struct call *k)
{
    struct hf_view *v = hf_kv_view(k->kv, k->c);
    if (v == NULL) {
        return;
    }
    struct found f = find(v, k->argv[1]);
    if (hf_resp_fits(k->c, REPLY_HEAD + f.value.len)) {
        reply_found(k, &f);
    }
}

static void run_mget(const struct call *k)
{
    struct hf_view *v = hf_kv_view(k->kv, k->c);
    if (v == NULL) {
        return;
    }
    struct found *f = malloc((k->argc - 1) * sizeof(*f));
    size_t bytes = REPLY_HEAD;
    /* What cannot be sent is not read either. */
    for (size_t i = 1; f != NULL && i < k->argc && bytes <= hf_resp_reply_max(k->c); i++) {
        f[i - 1] = find(v, k->argv[i]);
        bytes += REPLY_HEAD + f[i - 1].value.len;
    }
    if (f == NULL) {
        store_error(k->kv, k->c, HF_NOMEM);
    } else if (hf_resp_fits(k->c, bytes)) {
        hf_resp_array(k->c, k->argc - 1);
        for (size_t i = 1; i < k->argc; i++) {
            reply_found(k, &f[i - 1]);
        }
    }
    free(f);
}

static void run_exists(const struct call *k)
{
    struct hf_view *v = hf_kv_view(k->kv, k->c);
    int64_t found = 0;
    size_t bytes = 0;
    for (size_t i = 1; v != NULL && i < k->argc; i++) {
        struct hf_stored s = {0};
        enum hf_err err = hf_kv_get(k->kv, k->c, v, k->argv[i], &s);
        if (err != HF_OK && err != HF_NOTFOUND) {
            return;
        }
        found += err == HF_OK;
        bytes += s.value.len;
        if (bytes > hf_resp_reply_max(k->c)) { /* as much as MGET may read */
            hf_resp_error(k->c, "TOOBIG values of more than %zu bytes: ask for less at once",
                          hf_resp_reply_max(k->c));
            return;
        }
    }
    if (v != NULL) {
        hf_resp_integer(k->c, found);
    }
}

/* One key's record; false when the reply has been made. */
static bool lookup(const struct call *k, struct hf_stored *s, bool *found)
{
    struct hf_view *v = hf_kv_view(k->kv, k->c);
    if (v == NULL) {
        return false;
    }
    enum hf_err err = hf_kv_get(k->kv, k->c, v, k->argv[1], s);
    *found = err == HF_OK;
    return err == HF_OK || err == HF_NOTFOUND;
}

static void run_strlen(const struct call *k)
{
    struct hf_stored s;
    bool found;
    if (lookup(k, &s, &found)) {
        hf_resp_integer(k->c, found ? (int64_t)s.value.len : 0);
    }
}

static void run_type(const struct call *k)
{
    struct hf_stored s;
    bool found;
    if (lookup(k, &s, &found)) {
        hf_resp_simple(k->c, found ? "string" : "none");
    }
}

static void run_ttl(const struct call *k)
{
    struct hf_stored s;
    bool found;
    if (lookup(k, &s, &found)) {
        hf_resp_integer(k->c, found ? -1 : -2); /* Redis's codes: no expiry, no such key */
    }
}

static void run_dbsize(const struct call *k)
{
    struct hf_view *v = hf_kv_view(k->kv, k->c);
    struct hf_applied a;
    if (v == NULL) {
        return;
    }
    hf_view_applied(v, &a);
    hf_resp_integer(k->c, (int64_t)a.live_count);
}

/* ---- SCAN ---- */

struct scan {
    struct hf_slice after;
    struct cursor *cursor; /* that it goes on from; NULL: it begins */
    uint64_t count;
    char pattern[PATTERN_MAX + 1];
    bool matching;
    bool strings; /* TYPE string, or no TYPE */
    uint8_t from[HF_STORE_KEY_MAX];
    struct hf_slice *keys; /* owned; count of them */
    size_t found;
    size_t bytes; /* of those found, as replies */
};

static bool scan_begin(const struct call *k, struct scan *s)
{
    uint64_t id;
    if (!hf_number_parse(k->argv[1], 0, UINT64_MAX, &id)) {
        hf_resp_error(k->c, "ERR invalid cursor");
        return false;
    }
    if (id == 0) {
        return true;
    }
    struct cursor *at = &k->kv->cursor[id % CURSORS];
    const struct place *p = at->now.id == id ? &at->now : at->before.id == id ? &at->before : NULL;
    if (p == NULL) {
        hf_resp_error(k->c, "ERR this cursor is no longer known; begin again with SCAN 0");
        return false;
    }
    memcpy(s->from, p->key, p->len);
    s->after = hf_slice_of(s->from, p->len);
    if (p == &at->now) {
        at->before = at->now;
    }
    s->cursor = at;
    return true;
}

static bool scan_options(const struct call *k, struct scan *s)
{
    for (size_t i = 2; i + 1 < k->argc; i += 2) {
        struct hf_slice value = k->argv[i + 1];
        if (hf_kv_is(k->argv[i], "COUNT") && hf_number_parse(value, 0, UINT64_MAX, &s->count) &&
            s->count > 0) {
            s->count = s->count < SCAN_COUNT_MAX ? s->count : SCAN_COUNT_MAX;
        } else if (hf_kv_is(k->argv[i], "MATCH") && value.len < sizeof(s->pattern) &&
                   memchr(value.data, 0, value.len) == NULL) {
            memcpy(s->pattern, value.data, value.len);
            s->pattern[value.len] = '\0';
            s->matching = true;
        } else if (hf_kv_is(k->argv[i], "TYPE")) {
            s->strings = hf_kv_is(value, "STRING");
        } else {
            hf_resp_error(k->c, "ERR syntax error: SCAN cursor [MATCH pattern] [COUNT n] [TYPE t]");
            return false;
        }
    }
    return k->argc % 2 == 0 || (hf_resp_error(k->c, "ERR syntax error"), false);
}

static bool scan_matches(const struct scan *s, struct hf_slice key)
{
    char name[HF_STORE_KEY_MAX + 1];
    if (!s->matching) {
        return s->strings;
    }
    memcpy(name, key.data, key.len);
    name[key.len] = '\0';
    /* A key with a NUL byte is matched up to it: patterns cannot name that byte. */
    return s->strings && fnmatch(s->pattern, name, 0) == 0;
}

static struct cursor *cursor_oldest(struct hf_kv *kv)
{
    struct cursor *oldest = &kv->cursor[0];
    for (uint32_t i = 1; i < CURSORS && oldest->used > 0; i++) {
        oldest = kv->cursor[i].used < oldest->used ? &kv->cursor[i] : oldest;
    }
    oldest->now.id = oldest->before.id = 0;
    return oldest;
}

/* The number for the place behind `key`. */
static uint64_t cursor_keep(struct hf_kv *kv, struct cursor *at, struct hf_slice key)
{
    at = at != NULL ? at : cursor_oldest(kv);
    at->used = ++kv->uses;
    at->now.id = ++kv->serial * CURSORS + (uint64_t)(at - kv->cursor);
    at->now.len = (uint32_t)key.len;
    memcpy(at->now.key, key.data, key.len);
    return at->now.id;
}

/* Fills s->keys; HF_NOTFOUND at the end of the key space. Keys lie in the map, valid as long as the
 * view. */
static enum hf_err scan_walk(struct hf_view *v, struct scan *s)
{
    struct hf_stored at = {0};
    uint64_t live = 0;
    uint64_t dead = 0;
    size_t bytes = 0;
    size_t read = 0;
    while (live < s->count && dead < SCAN_DEAD_MAX && bytes < SCAN_BYTES_MAX &&
           read < SCAN_READ_MAX) {
        enum hf_err err = hf_view_next_record(v, s->after, &at);
        if (err != HF_OK) {
            return err;
        }
        s->after = at.key;
        if (at.tombstone) {
            dead++;
            continue;
        }
        live++;
        bytes += at.key.len;
        read += at.value.len;
        if (scan_matches(s, at.key)) {
            s->keys[s->found++] = at.key;
            s->bytes += REPLY_HEAD + at.key.len;
        }
    }
    return HF_OK;
}

static void reply_scan(const struct call *k, const struct scan *s, bool end)
{
    char cursor[24];
    uint64_t id = end ? 0 : cursor_keep(k->kv, s->cursor, s->after);
    snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)id);
    hf_resp_array(k->c, 2);
    text(k->c, cursor);
    hf_resp_array(k->c, s->found);
    for (size_t i = 0; i < s->found; i++) {
        hf_resp_bulk(k->c, s->keys[i]);
    }
}

static void run_scan(const struct call *k)
{
    struct scan s = {.count = 10, .strings = true};
    if (!scan_begin(k, &s) || !scan_options(k, &s)) {
        return;
    }
    struct hf_view *v = hf_kv_view(k->kv, k->c);
    if (v == NULL) {
        return;
    }
    s.keys = calloc((size_t)s.count, sizeof(*s.keys));
    enum hf_err err = s.keys == NULL ? HF_NOMEM : scan_walk(v, &s);
    if (err != HF_OK && err != HF_NOTFOUND) {
        store_error(k->kv, k->c, err);
    } else if (hf_resp_fits(k->c, 2 * REPLY_HEAD + s.bytes)) {
        reply_scan(k, &s, err == HF_NOTFOUND);
    }
    free(s.keys);
}

static const struct command *find_read(struct hf_slice name)
{
    static const struct command table[] = {
        {"GET", 2, 2, run_get},       {"MGET", 2, ANY, run_mget}, {"EXISTS", 2, ANY, run_exists},
        {"STRLEN", 2, 2, run_strlen}, {"TYPE", 2, 2, run_type},   {"TTL", 2, 2, run_ttl},
        {"PTTL", 2, 2, run_ttl},      {"SCAN", 2, ANY, run_scan}, {"DBSIZE", 1, 1, run_dbsize},
    };
    return command_named(name, table, sizeof(table) / sizeof(table[0]));
}

bool hf_kv_is_read(struct hf_slice name)
{
    return find_read(name) != NULL;
}

bool hf_kv_read(struct hf_kv *kv, struct hf_resp_client *c, const struct hf_slice *argv,
                size_t argc)
{
    struct call k = {kv, c, argv, argc};
    return command_run(find_read(argv[0]), &k);
}

/* ---- life ---- */

enum hf_err hf_kv_new(const struct hf_kv_config *c, struct hf_kv **kv)
{
    *kv = calloc(1, sizeof(**kv));
    if (*kv == NULL) {
        return HF_NOMEM;
    }
    (*kv)->cfg = *c;
    /* 40 bits: the numbers are below 2^53, which is what JavaScript counts to. */
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
        hf_kv_free(*kv);
        *kv = NULL;
        return HF_IO;
    }
    (*kv)->serial = random >> 24;
    return HF_OK;
}

void hf_kv_free(struct hf_kv *kv)
{
    if (kv != NULL) {
        if (kv->view != NULL) {
            hf_view_close(kv->view);
        }
        free(kv);
    }
}
