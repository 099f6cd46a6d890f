/*
 * test_crash.c - kill -9 of core and edge, at random moments, under load.
 *
 * Two writers send requests with ids and send each again, with the same id, until it is answered,
 * as a careful client does. Meanwhile core and edge are killed and started again. Afterwards
 * nothing that was acknowledged is lost (G2, G3), every id is answered as it was the first time
 * (G5), the edge never went back behind what it had shown or reported (G6), nothing was seen in
 * halves (G4), and both end equal (G10, G11). Next: test_bad_input.c.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#include <pthread.h>
#include <stdatomic.h>

#define SOON_MS 8000
#define KILLS 20
#define WRITERS 2
#define REQUESTS_MAX 20000

/* ---- writers ---- */

struct writer {
    pthread_t thread;
    int number, port;
    atomic_int acked; /* requests 0..acked-1 */
    long long seq[REQUESTS_MAX];
    int repeats; /* answers to a second try of a request that the first had already made */
    atomic_bool failed;
    char failure[256];
    redisContext *c;
};

static struct writer writers[WRITERS];
static atomic_bool stop_writing; /* after the request under way is answered */
static atomic_bool give_up;      /* at once: the test has failed */
static bool writing;

/* NULL when the core is away or refuses for now. */
static redisReply *send_request(struct writer *w, int n)
{
    const struct timeval patience = {2, 0};

    if (w->c == NULL) {
        w->c = redisConnectWithTimeout("127.0.0.1", w->port, patience);
    }
    if (w->c != NULL && w->c->err == 0) {
        redisReply *r;

        redisSetTimeout(w->c, patience);
        r = redisCommand(w->c, "HF.APPLY id-%d-%d SET left-%d %d SET key-%d-%d %d SET right-%d %d",
                         w->number, n, w->number, n, w->number, n, n, w->number, n);
        if (r != NULL) {
            return r;
        }
    }
    redisFree(w->c);
    w->c = NULL;
    e2e_sleep_ms(5);
    return NULL;
}

static void fail_writer(struct writer *w, const char *what, int n, const char *text)
{
    snprintf(w->failure, sizeof w->failure, "writer %d request %d: %s %s", w->number, n, what,
             text == NULL ? "" : text);
    atomic_store(&w->failed, true);
}

static void take_answer(struct writer *w, int n, const redisReply *r)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2) {
        fail_writer(w, "refused:", n, r->str);
        return;
    }
    long long before = n > 0 ? w->seq[n - 1] : 0;
    w->seq[n] = r->element[0]->integer;
    w->repeats += strcmp(r->element[1]->str, "repeated") == 0;
    if (w->seq[n] < before) {
        fail_writer(w, "sequence numbers went back", n, NULL);
    }
    atomic_store(&w->acked, n + 1);
}

static void *write_on(void *arg)
{
    struct writer *w = arg;

    for (int n = 0; n < REQUESTS_MAX && !atomic_load(&w->failed); n++) {
        redisReply *r = NULL;

        if (atomic_load(&stop_writing)) {
            break;
        }
        while (r == NULL && !atomic_load(&give_up)) {
            r = send_request(w, n);
        }
        if (r == NULL) {
            break;
        }
        take_answer(w, n, r);
        freeReplyObject(r);
    }
    redisFree(w->c);
    w->c = NULL;
    return NULL;
}

static void start_writers(const struct e2e_node *core_node)
{
    atomic_store(&stop_writing, false);
    atomic_store(&give_up, false);
    writing = true;
    memset(writers, 0, sizeof writers);
    for (int i = 0; i < WRITERS; i++) {
        writers[i].number = i;
        writers[i].port = core_node->resp_port;
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_on, &writers[i]), 0);
    }
}

static void join_writers(void)
{
    atomic_store(&stop_writing, true);
    for (int i = 0; writing && i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
    }
    writing = false;
}

static int tear_down(void **state)
{
    atomic_store(&give_up, true);
    join_writers();
    return e2e_teardown(state);
}

static void stop_writers(void)
{
    join_writers();
    for (int i = 0; i < WRITERS; i++) {
        if (atomic_load(&writers[i].failed)) {
            fail_msg("%s", writers[i].failure);
        }
    }
}

static int acked_in_all(void)
{
    int n = 0;

    for (int i = 0; i < WRITERS; i++) {
        n += atomic_load(&writers[i].acked);
    }
    return n;
}

/* ---- killing ---- */

struct pair {
    struct e2e_node *core_node, *edge_node;
    redisContext *core, *edge;
};

/* Without a dictionary, which the core would put into the stream when it likes. */
static struct pair open_pair(void)
{
    struct pair p = {.core_node = e2e_core_new("core")};

    e2e_config(p.core_node, "[core]\ndictionary = off\n");
    e2e_start(p.core_node);
    p.core = e2e_connect(p.core_node);
    p.edge_node = e2e_edge_new(p.core_node, "edge", p.core_node->port);
    e2e_start(p.edge_node);
    p.edge = e2e_connect(p.edge_node);
    E2E_WAIT(SOON_MS, e2e_edge_says(p.edge, "live"));
    return p;
}

static int random_below(int n)
{
    uint32_t r;

    assert_int_equal(getrandom(&r, sizeof r, 0), sizeof r);
    return (int)(r % (uint32_t)n);
}

/* Waits until the load makes progress again, then for a random part of a commit interval. */
static void let_it_run(void)
{
    int acked = acked_in_all();

    E2E_WAIT(SOON_MS, acked_in_all() > acked + 5 || atomic_load(&writers[0].failed) ||
                          atomic_load(&writers[1].failed));
    e2e_sleep_ms(random_below(150));
}

static void look_at_pairs(redisContext *c)
{
    for (int i = 0; i < WRITERS; i++) {
        redisReply *r = redisCommand(c, "MGET left-%d right-%d", i, i);

        assert_non_null(r);
        assert_int_equal(r->element[0]->type, r->element[1]->type);
        if (r->element[0]->type == REDIS_REPLY_STRING) {
            assert_string_equal(r->element[0]->str, r->element[1]->str);
        }
        freeReplyObject(r);
    }
}

static void restart_core(struct pair *p)
{
    long long acked = 0;

    e2e_stop(p->core_node, SIGKILL);
    e2e_disconnect(p->core);
    /* The last answers are in the writers' tables once they have noticed; these are older. */
    for (int i = 0; i < WRITERS; i++) {
        int n = atomic_load(&writers[i].acked);

        if (n > 0 && writers[i].seq[n - 1] > acked) {
            acked = writers[i].seq[n - 1];
        }
    }
    e2e_start(p->core_node);
    p->core = e2e_connect(p->core_node);
    assert_true(e2e_core_status(p->core).head >= acked);
    assert_int_equal(e2e_core_status(p->core).epoch, 1);
    look_at_pairs(p->core);
}

static void restart_edge(struct pair *p)
{
    struct e2e_row row = {.applied = E2E_UNKNOWN};
    int64_t shown = e2e_edge_status(p->edge).applied;

    assert_true(e2e_row(p->core, "edge", &row));
    look_at_pairs(p->edge);
    e2e_stop(p->edge_node, SIGKILL);
    e2e_disconnect(p->edge);
    e2e_start(p->edge_node);
    p->edge = e2e_connect(p->edge_node);
    assert_true(e2e_edge_status(p->edge).applied >= shown);
    assert_true(e2e_edge_status(p->edge).applied >= row.applied);
    look_at_pairs(p->edge);
}

/* ---- what must be true in the end ---- */

static void check_writer(struct pair *p, const struct writer *w)
{
    for (int n = 0; n < w->acked; n++) {
        redisReply *r = redisCommand(p->edge, "GET key-%d-%d", w->number, n);

        assert_non_null(r);
        if (r->type != REDIS_REPLY_STRING || atoi(r->str) != n) {
            fail_msg("writer %d request %d was acknowledged as %lld and is lost", w->number, n,
                     w->seq[n]);
        }
        freeReplyObject(r);
    }
}

/* The same requests once more: all are known, with the numbers of the first answers. */
static void check_repeats(struct pair *p, struct writer *w)
{
    w->c = NULL;
    for (int n = 0; n < w->acked; n++) {
        redisReply *r = send_request(w, n);

        assert_non_null(r);
        assert_int_equal(r->type, REDIS_REPLY_ARRAY);
        assert_string_equal(r->element[1]->str, "repeated");
        assert_int_equal(r->element[0]->integer, w->seq[n]);
        freeReplyObject(r);
    }
    redisFree(w->c);
    /* A connection that has not written reads what is committed; WAIT makes it see all. */
    e2e_integer(p->core, "WAIT 0 0");
    assert_int_equal(atoi(e2e_text(p->core, "GET left-%d", w->number)), w->acked - 1);
}

static void check_all(struct pair *p)
{
    int64_t head;

    E2E_WAIT(SOON_MS, e2e_equal(p->core, p->edge));
    head = e2e_core_status(p->core).head;
    assert_int_equal(e2e_edge_status(p->edge).live_keys, acked_in_all() + 2 * WRITERS);
    for (int i = 0; i < WRITERS; i++) {
        check_writer(p, &writers[i]);
        check_repeats(p, &writers[i]);
    }
    /* Nothing was applied again. */
    assert_int_equal(e2e_core_status(p->core).head, head);
    print_message("%d requests acknowledged, %d of them at a second try of one already made\n",
                  acked_in_all(), writers[0].repeats + writers[1].repeats);
}

static void killing_the_core_loses_nothing_acknowledged(void **state)
{
    struct pair p = open_pair();

    e2e_begin(state);
    start_writers(p.core_node);
    for (int i = 0; i < KILLS; i++) {
        let_it_run();
        restart_core(&p);
    }
    stop_writers();
    check_all(&p);
    e2e_passed();
}

static void killing_the_edge_never_takes_it_back(void **state)
{
    struct pair p = open_pair();

    e2e_begin(state);
    start_writers(p.core_node);
    for (int i = 0; i < KILLS; i++) {
        let_it_run();
        restart_edge(&p);
    }
    stop_writers();
    check_all(&p);
    e2e_passed();
}

static void killing_both_in_turn_ends_equal(void **state)
{
    struct pair p = open_pair();

    e2e_begin(state);
    start_writers(p.core_node);
    for (int i = 0; i < KILLS / 2; i++) {
        let_it_run();
        if (i % 2 == 0) {
            restart_core(&p);
        }
        restart_edge(&p);
        if (i % 2 == 1) {
            restart_core(&p);
        }
    }
    stop_writers();
    check_all(&p);
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, tear_down)
        BOXED(killing_the_core_loses_nothing_acknowledged),
        BOXED(killing_the_edge_never_takes_it_back),
        BOXED(killing_both_in_turn_ends_equal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
