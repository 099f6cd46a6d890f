/*
 * test_main_path.c - what an operator and a client do on a good day, with the programs they use.
 *
 * One core and two edges serve all tests: one edge joined with a token, one was added by its key.
 * Each test leaves them equal. What is pinned here is what scripts rely on: replies, error words,
 * exit statuses, field names (PROTOCOL.md section 10). Next: test_cut.c.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#include <jansson.h>

#define SOON_MS 3000
#define SUFFIX_LIST "/usr/share/publicsuffix/public_suffix_list.dat"

static struct e2e_node *core_node, *joined_node, *added_node;
static redisContext *core, *joined, *added;

static void all_equal(void)
{
    E2E_WAIT(SOON_MS, e2e_equal(core, joined) && e2e_equal(core, added));
}

static int64_t head(void)
{
    return e2e_core_status(core).head;
}

static int set_up(void **state)
{
    char token[1024];

    if (e2e_setup(state) != 0) {
        return -1;
    }
    core_node = e2e_core_new("core");
    e2e_start(core_node);
    core = e2e_connect(core_node);
    assert_int_equal(E2E_TOOL(core_node, token, "edge", "invite", "berlin"), 0);
    token[strcspn(token, "\n")] = '\0';
    joined_node = e2e_edge_bare("berlin");
    e2e_arg_set(joined_node, "--join", token);
    e2e_start(joined_node);
    joined = e2e_connect(joined_node);
    added_node = e2e_edge_new(core_node, "lima", core_node->port);
    e2e_start(added_node);
    added = e2e_connect(added_node);
    E2E_WAIT(SOON_MS, e2e_edge_says(joined, "live") && e2e_edge_says(added, "live"));
    return 0;
}

/* ---- joining ---- */

static void edges_join_by_token_and_by_key(void **state)
{
    struct e2e_row row;
    char list[1024];

    e2e_begin(state);
    E2E_WAIT(SOON_MS, e2e_core_says(core, "berlin", "live") && e2e_core_says(core, "lima", "live"));
    assert_true(e2e_row(core, "lima", &row));
    assert_string_equal(row.key, added_node->key);
    assert_string_equal(e2e_edge_status(joined).name, "berlin");
    assert_int_equal(E2E_TOOL(core_node, list, "edge", "list"), 0);
    assert_non_null(strstr(list, joined_node->key));
    assert_non_null(strstr(list, "lima\t"));
    e2e_error(core, "ERR", "HF.EDGE ADD lima %s", joined_node->key);
    e2e_error(core, "ERR", "HF.EDGE ADD new-name %s", joined_node->key);
    e2e_error(core, "ERR", "HF.EDGE INVITE Not/A/Name");
    e2e_passed();
}

/* ---- writing and reading ---- */

static void what_is_put_at_the_core_is_read_at_the_edges(void **state)
{
    char out[256];

    e2e_begin(state);
    e2e_ok(core, "SET redis-key %b", "a\0b", (size_t)3);
    assert_string_equal(e2e_text(core, "GET redis-key"), "a");
    assert_int_equal(e2e_integer(core, "STRLEN redis-key"), 3);
    assert_int_equal(E2E_TOOL(core_node, out, "put", "tool-key", "a value"), 0);
    assert_int_equal(E2E_TOOL(core_node, out, "get", "tool-key"), 0);
    assert_string_equal(out, "a value\n");
    all_equal();
    assert_int_equal(e2e_integer(joined, "STRLEN redis-key"), 3);
    assert_string_equal(e2e_text(added, "GET tool-key"), "a value");
    assert_int_equal(E2E_TOOL(joined_node, out, "get", "tool-key"), 0);
    assert_string_equal(out, "a value\n");
    assert_int_equal(E2E_TOOL(joined_node, out, "get", "no-such-key"), 1);
    e2e_passed();
}

static void a_deleted_key_is_gone_everywhere(void **state)
{
    char out[256];

    e2e_begin(state);
    e2e_ok(core, "MSET d1 1 d2 2 d3 3");
    assert_int_equal(e2e_integer(core, "DEL d1 nothing-here d2"), 2);
    assert_int_equal(E2E_TOOL(core_node, out, "del", "d3"), 0);
    assert_string_equal(out, "1\n");
    assert_int_equal(E2E_TOOL(core_node, out, "del", "d3"), 1);
    all_equal();
    assert_int_equal(e2e_integer(joined, "EXISTS d1 d2 d3"), 0);
    assert_string_equal(e2e_text(added, "GET d1"), "(nil)");
    e2e_passed();
}

static void writing_what_is_there_spends_no_sequence_number(void **state)
{
    int64_t before;

    e2e_begin(state);
    e2e_ok(core, "SET same 1");
    before = head();
    e2e_ok(core, "SET same 1");
    e2e_ok(core, "MSET same 1 same 1");
    assert_int_equal(e2e_integer(core, "DEL never-was-there"), 0);
    assert_int_equal(head(), before);
    e2e_ok(core, "SET same 2");
    assert_int_equal(head(), before + 1);
    all_equal();
    e2e_passed();
}

static void a_transaction_is_one_batch(void **state)
{
    int64_t before = head();
    redisReply *r;

    e2e_begin(state);
    e2e_ok(core, "SET t-old 1");
    assert_int_equal(head(), before + 1);
    e2e_ok(core, "MULTI");
    assert_string_equal(e2e_text(core, "SET t1 1"), "QUEUED");
    assert_string_equal(e2e_text(core, "MSET t2 2 t3 3"), "QUEUED");
    assert_string_equal(e2e_text(core, "DEL t-old"), "QUEUED");
    r = redisCommand(core, "EXEC");
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    assert_int_equal(r->elements, 3);
    assert_int_equal(r->element[2]->integer, 1);
    freeReplyObject(r);
    assert_int_equal(head(), before + 2);
    e2e_ok(core, "MULTI");
    e2e_error(core, "ERR", "GET t1");
    e2e_error(core, "EXECABORT", "EXEC");
    e2e_ok(core, "MULTI");
    assert_string_equal(e2e_text(core, "SET t1 discarded"), "QUEUED");
    e2e_ok(core, "DISCARD");
    assert_string_equal(e2e_text(core, "GET t1"), "1");
    all_equal();
    e2e_passed();
}

static void each_del_of_a_transaction_answers_with_its_own_count(void **state)
{
    static const int expected[] = {1, 0, -1, 2, 0};
    redisReply *r;

    e2e_begin(state);
    e2e_ok(core, "SET td1 1");
    e2e_ok(core, "MULTI");
    assert_string_equal(e2e_text(core, "DEL td1 td-absent"), "QUEUED");
    assert_string_equal(e2e_text(core, "DEL td1"), "QUEUED");
    assert_string_equal(e2e_text(core, "MSET td1 2 td2 2"), "QUEUED");
    assert_string_equal(e2e_text(core, "DEL td2 td1 td2"), "QUEUED");
    assert_string_equal(e2e_text(core, "UNLINK td1"), "QUEUED");
    r = redisCommand(core, "EXEC");
    assert_non_null(r);
    assert_int_equal(r->elements, 5);
    for (int i = 0; i < 5; i++) {
        bool del = expected[i] >= 0;

        assert_int_equal(r->element[i]->type, del ? REDIS_REPLY_INTEGER : REDIS_REPLY_STATUS);
        assert_int_equal(r->element[i]->integer, del ? expected[i] : 0);
    }
    freeReplyObject(r);
    e2e_passed();
}

/* A reader polls both keys in one command while transactions move both together. */
static void an_edge_never_shows_half_of_a_transaction(void **state)
{
    int seen = 0;

    e2e_begin(state);
    e2e_ok(core, "MSET left 0 right 0");
    all_equal();
    for (int i = 1; i <= 150; i++) {
        redisReply *r;

        e2e_ok(core, "MULTI");
        e2e_text(core, "SET left %d", i);
        e2e_text(core, "SET filler-%d x", i);
        e2e_text(core, "SET right %d", i);
        e2e_text(core, "EXEC");
        r = redisCommand(joined, "MGET left right");
        assert_non_null(r);
        assert_int_equal(r->elements, 2);
        assert_string_equal(r->element[0]->str, r->element[1]->str);
        seen += atoi(r->element[0]->str) > 0;
        freeReplyObject(r);
    }
    assert_true(seen > 0);
    all_equal();
    e2e_passed();
}

static void a_request_id_is_applied_once(void **state)
{
    redisReply *r;
    int64_t seq, before = head();

    e2e_begin(state);
    r = redisCommand(core, "HF.APPLY id-1 AUTHOR ann REASON %s SET ap1 1 DEL same",
                     "because it is");
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    seq = r->element[0]->integer;
    assert_int_equal(seq, before + 1);
    assert_string_equal(r->element[1]->str, "applied");
    freeReplyObject(r);
    e2e_ok(core, "SET ap1 other");
    r = redisCommand(core, "HF.APPLY id-1 AUTHOR ann REASON %s SET ap1 1 DEL same",
                     "because it is");
    assert_non_null(r);
    assert_int_equal(r->element[0]->integer, seq);
    assert_string_equal(r->element[1]->str, "repeated");
    freeReplyObject(r);
    assert_string_equal(e2e_text(core, "GET ap1"), "other");
    e2e_error(core, "REUSED", "HF.APPLY id-1 SET ap1 3");
    assert_int_equal(head(), before + 2);
    all_equal();
    e2e_passed();
}

static void ifseq_refuses_a_key_that_changed_since(void **state)
{
    char words[120];
    int64_t seen;

    e2e_begin(state);
    e2e_ok(core, "SET guarded 1");
    seen = head();
    e2e_ok(core, "SET other-key 1");
    assert_string_equal(e2e_text(core, "HF.APPLY if-1 IFSEQ %lld SET guarded 2", (long long)seen),
                        "");
    assert_string_equal(e2e_text(core, "GET guarded"), "2");
    snprintf(words, sizeof words, "CONFLICT the key guarded changed at seq %lld, after %lld",
             (long long)seen + 2, (long long)seen + 1);
    e2e_error(core, words, "HF.APPLY if-2 IFSEQ %lld SET other-key 1 SET guarded 3",
              (long long)seen + 1);
    assert_int_equal(e2e_integer(core, "DEL guarded"), 1);
    e2e_error(core, "CONFLICT", "HF.APPLY if-3 IFSEQ %lld SET guarded 4", (long long)seen + 2);
    assert_string_equal(e2e_text(core, "GET guarded"), "(nil)");
    e2e_ok(core, "SET %b 1", "b\r\n\0", (size_t)4);
    e2e_error(core, "CONFLICT the key b\\x0d\\x0a\\x00 changed",
              "HF.APPLY if-4 IFSEQ %lld SET %b 2", (long long)seen, "b\r\n\0", (size_t)4);
    memset(words, 'w', 100);
    words[100] = '\0';
    e2e_ok(core, "SET %s 1", words);
    e2e_error(core, "CONFLICT the key wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww... changed",
              "HF.APPLY if-5 IFSEQ %lld SET %s 2", (long long)seen, words);
    all_equal();
    e2e_passed();
}

static void wait_counts_edges_that_have_it_durably(void **state)
{
    int64_t began;

    e2e_begin(state);
    e2e_ok(core, "SET waited 1");
    began = e2e_now_ms();
    assert_int_equal(e2e_integer(core, "WAIT 2 3000"), 2);
    assert_true(e2e_now_ms() - began < 2500);
    assert_string_equal(e2e_text(joined, "GET waited"), "1");
    assert_string_equal(e2e_text(added, "GET waited"), "1");
    began = e2e_now_ms();
    assert_int_equal(e2e_integer(core, "WAIT 3 200"), 2);
    assert_true(e2e_now_ms() - began >= 190);
    e2e_passed();
}

/* ---- many keys ---- */

static void the_public_suffix_list_is_imported_and_read(void **state)
{
    char out[4096];
    int64_t before, keys;

    e2e_begin(state);
    if (access(SUFFIX_LIST, R_OK) != 0) {
        print_message("no %s (package publicsuffix): not imported\n", SUFFIX_LIST);
        e2e_passed();
        skip();
    }
    assert_int_equal(
        E2E_TOOL(core_node, out, "import", "--prefix", "psl/", "--format", "lines", SUFFIX_LIST),
        0);
    all_equal();
    keys = e2e_edge_status(joined).live_keys;
    assert_true(keys > 5000);
    assert_string_equal(e2e_text(joined, "GET psl/co.uk"), "1");
    before = head();
    assert_int_equal(
        E2E_TOOL(core_node, out, "import", "--prefix", "psl/", "--format", "lines", SUFFIX_LIST),
        0);
    assert_int_equal(head(), before);
    e2e_passed();
}

static void import_text(const char *text, bool once, const char *expected)
{
    const char *path = e2e_path("some.tsv");
    FILE *f = fopen(path, "we");
    char out[1024];

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(once ? E2E_TOOL(core_node, out, "import", "--once", path)
                          : E2E_TOOL(core_node, out, "import", path),
                     0);
    if (strstr(out, expected) == NULL) {
        fail_msg("'%s' does not say '%s'", out, expected);
    }
}

/* A file that was imported before puts things back as they were; --once leaves them. */
static void an_import_leaves_what_the_file_says(void **state)
{
    int64_t before;

    e2e_begin(state);
    for (int i = 0; i < 2; i++) {
        import_text("site/title\tone\nsite/size\t1\n", i > 0, "imported 2 keys");
        import_text("site/title\ttwo\n", i > 0, "imported 1 keys");
        before = head();
        import_text("site/title\tone\nsite/size\t1\n", i > 0,
                    i == 0 ? "imported 2 keys" : "2 keys more had been imported");
        assert_int_equal(head(), before + (i == 0 ? 1 : 0));
        all_equal();
        assert_string_equal(e2e_text(joined, "GET site/title"), i == 0 ? "one" : "two");
    }
    e2e_passed();
}

static size_t scan_all(redisContext *c, const char *pattern)
{
    char cursor[32] = "0";
    size_t found = 0;

    do {
        redisReply *r = redisCommand(c, "SCAN %s MATCH %s COUNT 300", cursor, pattern);

        assert_non_null(r);
        assert_int_equal(r->type, REDIS_REPLY_ARRAY);
        snprintf(cursor, sizeof cursor, "%s", r->element[0]->str);
        found += r->element[1]->elements;
        freeReplyObject(r);
    } while (strcmp(cursor, "0") != 0);
    return found;
}

static void scan_steps_over_so_many_deleted_keys_at_a_time(void **state)
{
    enum { DELETED = 13500, PER_WRITE = 4500 };
    static char name[PER_WRITE][12];
    static const char *argv[1 + 2 * PER_WRITE];
    redisReply *r;

    e2e_begin(state);
    for (int from = 0; from < DELETED; from += PER_WRITE) {
        for (int i = 0; i < PER_WRITE; i++) {
            snprintf(name[i], sizeof name[i], "!%05d", from + i);
            argv[1 + 2 * i] = argv[2 + 2 * i] = name[i];
        }
        argv[0] = "MSET";
        freeReplyObject(redisCommandArgv(core, 1 + 2 * PER_WRITE, argv, NULL));
        argv[0] = "DEL";
        r = redisCommandArgv(core, 1 + 2 * PER_WRITE, argv, NULL);
        assert_int_equal(r->integer, PER_WRITE);
        freeReplyObject(r);
    }
    r = redisCommand(core, "SCAN 0 COUNT 100");
    assert_int_equal(r->element[1]->elements, 0);
    assert_string_not_equal(r->element[0]->str, "0");
    freeReplyObject(r);
    assert_int_equal(scan_all(core, "*"), e2e_core_status(core).live_keys);
    e2e_passed();
}

static void scan_walks_through_every_key_once_when_nothing_changes(void **state)
{
    struct e2e_edge_status s;

    e2e_begin(state);
    all_equal();
    s = e2e_edge_status(joined);
    assert_int_equal(scan_all(joined, "*"), s.live_keys);
    assert_int_equal(e2e_integer(joined, "DBSIZE"), s.live_keys);
    assert_int_equal(scan_all(joined, "filler-*"), 150);
    e2e_ok(core, "SET scanned 1");
    assert_int_equal(scan_all(core, "*"), s.live_keys + 1);
    assert_int_equal(e2e_integer(core, "DBSIZE"), s.live_keys + 1);
    all_equal();
    e2e_passed();
}

/* SCAN from `cursor`, one key; the next cursor is put there. False: it was refused. */
static bool scan_one(redisContext *c, char cursor[32], char key[64])
{
    redisReply *r = redisCommand(c, "SCAN %s COUNT 1", cursor);
    bool good = r != NULL && r->type == REDIS_REPLY_ARRAY;

    if (good) {
        snprintf(cursor, 32, "%s", r->element[0]->str);
        snprintf(key, 64, "%s", r->element[1]->elements == 1 ? r->element[1]->element[0]->str : "");
    } else {
        assert_non_null(strstr(r->str, "no longer known"));
    }
    freeReplyObject(r);
    return good;
}

static void a_scan_that_goes_on_is_not_pushed_out_by_those_that_only_begin(void **state)
{
    char mine[32] = "0", missed[32], again[32], elsewhere[32] = "0", key[64], same[64];

    e2e_begin(state);
    assert_true(scan_one(core, mine, key));
    assert_true(scan_one(joined, elsewhere, key));
    /* Random, or one from before a restart would be believed. */
    assert_true(strtoull(mine, NULL, 10) > 1u << 30 && strtoull(elsewhere, NULL, 10) > 1u << 30);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 900; i++) {
            char other[32] = "0";

            assert_true(scan_one(core, other, key));
        }
        snprintf(missed, sizeof missed, "%s", mine);
        assert_true(scan_one(core, mine, key));
    }
    snprintf(again, sizeof again, "%s", missed);
    assert_true(scan_one(core, again, same)); /* the answer was lost on the way */
    assert_string_equal(same, key);
    assert_false(scan_one(core, mine, same)); /* and that one goes on instead */
    for (int i = 0; i < 1024; i++) {
        char other[32] = "0";

        assert_true(scan_one(core, other, key));
    }
    assert_false(scan_one(core, again, key));
    e2e_passed();
}

static void what_is_exported_can_be_imported_again(void **state)
{
    static char first[4u << 20], second[4u << 20];
    const char *path = e2e_path("export.jsonl");
    struct e2e_node *other = e2e_core_new("other");
    FILE *f;

    e2e_begin(state);
    e2e_start(other);
    e2e_ok(core, "SET %b %b", "bin\0\xff\n\t", (size_t)7, "\xc3\x28\0\r\n", (size_t)5);
    assert_int_equal(E2E_TOOL(core_node, first, "export", "--format", "jsonl"), 0);
    assert_true(strlen(first) > 1000 && strlen(first) < sizeof first - 1);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs(first, f);
    fclose(f);
    assert_int_equal(E2E_TOOL(other, second, "import", "--format", "jsonl", path), 0);
    assert_int_equal(E2E_TOOL(other, second, "export", "--format", "jsonl"), 0);
    assert_string_equal(first, second);
    /* Import leaves out what such a key would begin the file with. */
    e2e_ok(core, "SET %b v", "\xef\xbb\xbfk", (size_t)4);
    assert_int_equal(E2E_TOOL(core_node, first, "export", "--prefix", "\xef\xbb\xbf"), 0);
    assert_string_equal(first, "\\xef\xbb\xbfk\tv\n");
    e2e_stop(other, SIGTERM);
    all_equal();
    e2e_passed();
}

enum { MANY = 60 }; /* values of 1 MiB: a quarter of what all clients may leave unread, nearly */

static void ask_for_many(redisContext *c, int count)
{
    const char *mget[128] = {"MGET"};
    int done = 0;

    for (int i = 1; i <= count; i++) {
        mget[i] = "large";
    }
    redisAppendCommandArgv(c, 1 + count, mget, NULL);
    while (!done) {
        assert_int_equal(redisBufferWrite(c, &done), REDIS_OK);
    }
}

/* Whether so many values come; if not, why. */
static bool gets_many(redisContext *c, int count, char why[16])
{
    redisReply *r = NULL;
    bool all;

    ask_for_many(c, count);
    assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
    all = r->type == REDIS_REPLY_ARRAY && r->elements == (size_t)count;
    snprintf(why, 16, "%.6s", r->type == REDIS_REPLY_ERROR ? r->str : "");
    freeReplyObject(r);
    return all;
}

static void replies_that_nobody_reads_leave_room_for_others(void **state)
{
    static char value[1u << 20];
    redisContext *const node[] = {core, joined};
    struct e2e_node *const where[] = {core_node, joined_node};
    char why[16];

    e2e_begin(state);
    memset(value, 'v', sizeof value);
    freeReplyObject(redisCommand(core, "SET large %b", value, sizeof value));
    all_equal();
    for (size_t n = 0; n < 2; n++) {
        redisContext *greedy[6];

        assert_int_equal(e2e_integer(node[n], "STRLEN large"), sizeof value);
        for (int i = 0; i < 6; i++) {
            greedy[i] = redisConnect("127.0.0.1", where[n]->resp_port);
            assert_non_null(greedy[i]);
            ask_for_many(greedy[i], MANY);
            assert_int_equal(redisBufferRead(greedy[i]), REDIS_OK); /* it is answered */
        }
        assert_false(gets_many(node[n], MANY, why));
        assert_string_equal(why, "BUSY c");
        assert_false(gets_many(node[n], MANY + 10, why));
        assert_string_equal(why, "TOOBIG");
        assert_int_equal(e2e_integer(node[n], "STRLEN large"), sizeof value);
        for (int i = 0; i < 6; i++) {
            redisFree(greedy[i]);
        }
        E2E_WAIT(SOON_MS, gets_many(node[n], MANY, why));
    }
    e2e_ok(core, "SET large small");
    e2e_passed();
}

/* ---- what an edge says about itself ---- */

static void hf_get_says_how_old_and_how_new(void **state)
{
    int64_t now;
    redisReply *r;

    e2e_begin(state);
    e2e_ok(core, "SET aged 1");
    now = head();
    all_equal();
    E2E_WAIT(SOON_MS, e2e_edge_status(joined).staleness_ms >= 0);
    r = redisCommand(joined, "HF.GET aged MAXAGE 60000 MINSEQ %lld", (long long)now);
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    assert_int_equal(r->elements, 4);
    assert_string_equal(r->element[0]->str, "1");
    assert_int_equal(r->element[1]->integer, now);
    assert_in_range(r->element[2]->integer, 0, 5000);
    assert_string_equal(r->element[3]->str, "live");
    freeReplyObject(r);
    e2e_error(joined, "NOTYET", "HF.GET aged MINSEQ %lld", (long long)now + 1);
    e2e_sleep_ms(20);
    E2E_WAIT(SOON_MS, e2e_edge_status(joined).staleness_ms > 5);
    e2e_error(joined, "STALE", "HF.GET aged MAXAGE 0");
    e2e_error(joined, "ERR", "HF.GET aged MAXAGE soon");
    e2e_passed();
}

static void an_edge_refuses_writes(void **state)
{
    char out[256];

    e2e_begin(state);
    e2e_error(joined, "READONLY", "SET k v");
    e2e_error(joined, "READONLY", "DEL k");
    e2e_error(joined, "READONLY", "MSET k v");
    e2e_error(joined, "READONLY", "MULTI");
    e2e_error(joined, "READONLY", "HF.APPLY id SET k v");
    e2e_error(joined, "ERR", "NO.SUCH.COMMAND");
    assert_int_equal(E2E_TOOL(joined_node, out, "put", "k", "v"), 1);
    e2e_error(core, "ERR", "SET k v NX");
    e2e_error(core, "ERR KEYS would", "KEYS *");
    e2e_error(joined, "ERR KEYS would", "KEYS *");
    e2e_error(core, "ERR wrong number", "HF.STATUS more");
    e2e_error(joined, "ERR wrong number", "HF.STATUS more");
    redisReply *r = redisCommand(core, "CONFIG GET appendonly none save");
    assert_non_null(r);
    assert_int_equal(r->elements, 4); /* two of three are known */
    freeReplyObject(r);
    e2e_passed();
}

static void info_has_the_fields_that_redis_operators_know(void **state)
{
    static const char *const fields[] = {
        "role:slave\r\n",     "master_link_status:up\r\n", "master_last_io_seconds_ago:",
        "slave_repl_offset:", "slave_read_only:1\r\n",     "master_host:127.0.0.1\r\n"};
    const char *info = e2e_text(joined, "INFO replication");

    e2e_begin(state);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (strstr(info, fields[i]) == NULL) {
            fail_msg("INFO replication at the edge has no %s", fields[i]);
        }
    }
    assert_non_null(strstr(e2e_text(joined, "INFO clients"), "# Clients\r\nconnected_clients:"));
    assert_non_null(strstr(e2e_text(joined, "INFO stats memory"), "used_memory_peak:"));
    assert_null(strstr(e2e_text(joined, "INFO stats memory"), "role:"));
    assert_true(e2e_counter(core, "connections") >= 4); /* two edges, stream and control */
    assert_int_equal(e2e_counter(core, "refused_connections"), 0);
    assert_true(e2e_counter(joined, "stream_messages") > 0);
    assert_int_equal(e2e_counter(joined, "stream_messages_lost"), 0);
    assert_true(e2e_counter(core, "used_memory") > 1000000);
    assert_true(e2e_counter(joined, "used_memory_peak") > 1000000);
    info = e2e_text(core, "INFO replication");
    assert_non_null(strstr(info, "role:master\r\n"));
    assert_non_null(strstr(info, "connected_slaves:2\r\n"));
    assert_non_null(strstr(info, "name=berlin,state=live"));
    e2e_passed();
}

/* ---- holdfast status ---- */

static void check_json_edge(const json_t *e)
{
    static const char *const numbers[] = {"head",      "received", "applied",      "lag_batches",
                                          "lag_bytes", "holes",    "staleness_ms", "last_heard_ms"};

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (!json_is_integer(json_object_get(e, numbers[i]))) {
            fail_msg("status --json: %s of an edge is not an integer", numbers[i]);
        }
    }
    assert_true(json_is_number(json_object_get(e, "lag_seconds")));
    assert_true(json_is_true(json_object_get(e, "digest_ok")));
    assert_string_equal(json_string_value(json_object_get(e, "state")), "live");
    assert_true(json_is_string(json_object_get(e, "version")));
}

static void status_is_json_for_scripts(void **state)
{
    char out[8192];
    json_t *root, *edges;

    e2e_begin(state);
    e2e_ok(core, "SET for-status 1");
    all_equal();
    E2E_WAIT(SOON_MS, e2e_core_says(core, "berlin", "live"));
    e2e_integer(core, "WAIT 2 3000");
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--json"), 0);
    root = json_loads(out, 0, NULL);
    assert_non_null(root);
    assert_int_equal(json_integer_value(json_object_get(root, "head")), head());
    assert_int_equal(json_integer_value(json_object_get(root, "epoch")), 1);
    assert_int_equal(json_string_length(json_object_get(root, "digest")), 64);
    edges = json_object_get(root, "edges");
    assert_int_equal(json_array_size(edges), 2);
    check_json_edge(json_array_get(edges, 0));
    json_decref(root);
    assert_int_equal(E2E_TOOL(joined_node, out, "status", "--json"), 0);
    root = json_loads(out, 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "name")), "berlin");
    assert_int_equal(json_integer_value(json_object_get(root, "applied")), head());
    json_decref(root);
    e2e_passed();
}

static size_t count_char(const char *text, char c)
{
    size_t n = 0;

    for (; *text != '\0'; text++) {
        n += *text == c;
    }
    return n;
}

static void status_is_lines_for_cut_and_awk(void **state)
{
    char out[8192];

    e2e_begin(state);
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--tsv"), 0);
    assert_int_equal(count_char(out, '\n'), 3);
    assert_int_equal(count_char(out, '\t'), 3 * 13);
    assert_int_equal(strncmp(out, "state\tname\thead\t", 16), 0);
    assert_int_equal(E2E_TOOL(core_node, out, "status"), 0);
    assert_non_null(strstr(out, "berlin"));
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--tsv", "--json"), 2);
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--max-lag", "many"), 2);
    assert_int_equal(E2E_TOOL(NULL, out, "--socket", "/nowhere", "status"), 1);
    e2e_passed();
}

static void max_lag_becomes_an_exit_status(void **state)
{
    char out[8192];

    e2e_begin(state);
    assert_int_equal(e2e_integer(core, "WAIT 2 3000"), 2);
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--max-lag", "0"), 0);
    e2e_stop(added_node, SIGTERM);
    for (int i = 0; i < 5; i++) {
        e2e_ok(core, "SET lagging %d", i);
    }
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--max-lag", "100"), 0);
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--max-lag", "2"), 1);
    e2e_start(added_node);
    added = e2e_connect(added_node);
    all_equal();
    assert_int_equal(e2e_integer(core, "WAIT 2 3000"), 2);
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--max-lag", "0"), 0);
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_join_by_token_and_by_key),
        cmocka_unit_test(what_is_put_at_the_core_is_read_at_the_edges),
        cmocka_unit_test(a_deleted_key_is_gone_everywhere),
        cmocka_unit_test(writing_what_is_there_spends_no_sequence_number),
        cmocka_unit_test(a_transaction_is_one_batch),
        cmocka_unit_test(each_del_of_a_transaction_answers_with_its_own_count),
        cmocka_unit_test(an_edge_never_shows_half_of_a_transaction),
        cmocka_unit_test(a_request_id_is_applied_once),
        cmocka_unit_test(ifseq_refuses_a_key_that_changed_since),
        cmocka_unit_test(wait_counts_edges_that_have_it_durably),
        cmocka_unit_test(the_public_suffix_list_is_imported_and_read),
        cmocka_unit_test(an_import_leaves_what_the_file_says),
        cmocka_unit_test(scan_steps_over_so_many_deleted_keys_at_a_time),
        cmocka_unit_test(a_scan_that_goes_on_is_not_pushed_out_by_those_that_only_begin),
        cmocka_unit_test(replies_that_nobody_reads_leave_room_for_others),
        cmocka_unit_test(scan_walks_through_every_key_once_when_nothing_changes),
        cmocka_unit_test(what_is_exported_can_be_imported_again),
        cmocka_unit_test(hf_get_says_how_old_and_how_new),
        cmocka_unit_test(an_edge_refuses_writes),
        cmocka_unit_test(info_has_the_fields_that_redis_operators_know),
        cmocka_unit_test(status_is_json_for_scripts),
        cmocka_unit_test(status_is_lines_for_cut_and_awk),
        cmocka_unit_test(max_lag_becomes_an_exit_status),
    };

    return cmocka_run_group_tests(tests, set_up, e2e_teardown);
}
