/*
 * test_wan_shaper.c - the model of an emulated link without the network: exact where the model is
 * exact, and by large samples where it draws.
 */
#include "sim/wan/flight.h"
#include "sim/wan/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { SAMPLE = 1000000 };

static struct hf_wan_shaper shaper(const char *const *words)
{
    struct hf_wan_shaper s;
    struct hf_error e;

    hf_wan_shaper_init(&s, 1, 1);
    hf_wan_profile_default(&s.profile);
    for (; *words != NULL; words += 2) {
        assert_int_equal(hf_wan_profile_set(&s.profile, words[0], words[1], &e), HF_OK);
    }
    return s;
}
#define SHAPER(...) shaper((const char *const[]){__VA_ARGS__, NULL})

static void packet_takes_its_time_on_the_link_and_then_the_delay(void **state)
{
    struct hf_wan_shaper s = SHAPER("delay", "50", "rate", "8");
    uint64_t at[2];

    (void)state;
    assert_int_equal(hf_wan_shaper_offer(&s, 1000, 1000, at), 1);
    assert_int_equal(at[0], 1000 + HF_WAN_MS + 50 * HF_WAN_MS); /* 1,000 bytes at 1 a us */
    assert_int_equal(hf_wan_shaper_offer(&s, 1000, 500, at), 1);
    assert_int_equal(at[0], 1000 + 1500000 + 50 * HF_WAN_MS); /* behind the first */
    assert_int_equal(hf_wan_shaper_offer(&s, 9 * HF_WAN_MS, 1000, at), 1);
    assert_int_equal(at[0], 60 * HF_WAN_MS); /* the link had become idle */
}

static void queue_in_bytes_takes_so_many_and_no_more(void **state)
{
    struct hf_wan_shaper s = SHAPER("rate", "8", "queue", "3000");
    uint64_t at[2];

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(hf_wan_shaper_offer(&s, 0, 1000, at), 1);
    }
    assert_int_equal(hf_wan_shaper_offer(&s, 0, 1000, at), 0);
    assert_int_equal(s.count.overflowed, 1);
    assert_int_equal(s.count.packets, 3);
    assert_int_equal(hf_wan_shaper_offer(&s, HF_WAN_MS, 1000, at), 1); /* one has left */
    assert_int_equal(hf_wan_shaper_offer(&s, HF_WAN_MS, 1, at), 0);
}

static void idle_link_takes_a_packet_larger_than_its_queue(void **state)
{
    struct hf_wan_shaper s = SHAPER("rate", "8", "queue", "100");
    uint64_t at[2];

    (void)state;
    assert_int_equal(hf_wan_shaper_offer(&s, 0, 1500, at), 1);
    assert_int_equal(hf_wan_shaper_offer(&s, 0, 40, at), 0);
}

static void order_is_kept_through_jitter_and_shorter_delays(void **state)
{
    struct hf_wan_shaper s = SHAPER("delay", "50", "jitter", "30");
    uint64_t at[2];
    uint64_t before = 0;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(hf_wan_shaper_offer(&s, i * HF_WAN_MS, 100, at), 1);
        assert_true(at[0] >= before);
        assert_true(at[0] >= i * HF_WAN_MS + 20 * HF_WAN_MS);
        before = at[0];
        if (i == 500) {
            s.profile.delay_ns = 5 * HF_WAN_MS; /* less than the jitter: never before now */
            s.profile.jitter_ns = 10 * HF_WAN_MS;
            break;
        }
    }
    for (uint64_t i = 501; i < 1000; i++) {
        assert_int_equal(hf_wan_shaper_offer(&s, i * HF_WAN_MS, 100, at), 1);
        assert_true(at[0] >= before && at[0] >= i * HF_WAN_MS);
        before = at[0];
    }
    assert_true(before <= 999 * HF_WAN_MS + 15 * HF_WAN_MS);
}

/* Losses and bursts of a large sample. */
static void lose(struct hf_wan_shaper *s, double *share, double *burst)
{
    uint64_t at[2];
    uint64_t bursts = 0;
    unsigned before = 1;

    for (uint64_t i = 0; i < SAMPLE; i++) {
        unsigned n = hf_wan_shaper_offer(s, i, 100, at);
        bursts += before > 0 && n == 0;
        before = n;
    }
    *share = (double)s->count.lost / SAMPLE;
    *burst = bursts == 0 ? 0 : (double)s->count.lost / (double)bursts;
    assert_int_equal(s->count.packets, SAMPLE);
}

static void losses_have_the_mean_and_the_burst_that_were_asked(void **state)
{
    static const struct {
        const char *loss, *burst;
        double share, mean;
    } cases[] = {
        {"0.5", "1", 0.005, 1.005}, {"10", "1", 0.1, 1.111}, {"5", "8", 0.05, 8},
        {"30", "3", 0.3, 3},        {"90", "2", 0.9, 9}, /* the gaps are one packet then */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hf_wan_shaper s = SHAPER("loss", cases[i].loss, "burst", cases[i].burst);
        double share, mean;

        lose(&s, &share, &mean);
        assert_true(share > cases[i].share * 0.95 && share < cases[i].share * 1.05);
        assert_true(mean > cases[i].mean * 0.95 && mean < cases[i].mean * 1.05);
    }
}

static void everything_is_lost_at_a_hundred_percent_and_nothing_at_none(void **state)
{
    struct hf_wan_shaper all = SHAPER("loss", "100", "burst", "5");
    struct hf_wan_shaper none = SHAPER("loss", "0", "burst", "5");
    double share, mean;

    (void)state;
    lose(&all, &share, &mean);
    assert_true(share >= 1);
    lose(&none, &share, &mean);
    assert_true(share <= 0);
}

static void lost_packet_takes_its_time_on_the_link(void **state)
{
    struct hf_wan_shaper s = SHAPER("rate", "8", "loss", "100");
    uint64_t at[2];

    (void)state;
    assert_int_equal(hf_wan_shaper_offer(&s, 0, 1000, at), 0);
    s.profile.loss = 0;
    assert_int_equal(hf_wan_shaper_offer(&s, 0, 1000, at), 1);
    assert_int_equal(at[0], 2 * HF_WAN_MS);
}

static void cut_link_takes_nothing_and_stays_idle(void **state)
{
    struct hf_wan_shaper s = SHAPER("rate", "8");
    uint64_t at[2];

    (void)state;
    s.cut = true;
    assert_int_equal(hf_wan_shaper_offer(&s, 0, 1000, at), 0);
    assert_int_equal(s.count.cut, 1);
    assert_int_equal(s.count.packets, 0);
    s.cut = false;
    assert_int_equal(hf_wan_shaper_offer(&s, 0, 1000, at), 1);
    assert_int_equal(at[0], HF_WAN_MS);
}

static void detour_is_longer_than_what_may_overtake(void **state)
{
    struct hf_wan_shaper s = SHAPER("delay", "10", "reorder", "100");
    struct hf_wan_shaper slow = SHAPER("delay", "10", "rate", "0.8", "reorder", "100");
    uint64_t at[2];

    (void)state;
    assert_int_equal(hf_wan_shaper_offer(&s, 0, 1000, at), 1);
    assert_int_equal(at[0], 13 * HF_WAN_MS);
    assert_int_equal(hf_wan_shaper_offer(&slow, 0, 1000, at), 1);
    assert_int_equal(at[0], 10 * HF_WAN_MS + 5 * 10 * HF_WAN_MS); /* itself and four others */
    s.profile.reorder = 0;
    assert_int_equal(hf_wan_shaper_offer(&s, 0, 1000, at), 1);
    assert_int_equal(at[0], 10 * HF_WAN_MS); /* a detour holds up nobody else */
}

static void copy_arrives_with_the_original(void **state)
{
    struct hf_wan_shaper s = SHAPER("delay", "10", "duplicate", "100");
    uint64_t at[2] = {0, 0};

    (void)state;
    assert_int_equal(hf_wan_shaper_offer(&s, 0, 1000, at), 2);
    assert_true(at[0] == 10 * HF_WAN_MS && at[1] == at[0]);
    assert_int_equal(s.count.packets, 1);
    assert_int_equal(s.count.duplicated, 1);
}

static void setting_that_cannot_be_is_refused_and_changes_nothing(void **state)
{
    static const char *const wrong[][2] = {{"rtt", ""},     {"rtt", "-1"},     {"rtt", "120001"},
                                           {"rtt", "1s"},   {"rtt", "nan"},    {"rate", "inf"},
                                           {"rate", "1e6"}, {"loss", "100.1"}, {"loss", "5ms"},
                                           {"queue", "5%"}, {"queue", "1e10"}, {"reorder", "1 %"}};
    struct hf_wan_profile p, before;
    struct hf_error e;

    (void)state;
    hf_wan_profile_default(&p);
    memcpy(&before, &p, sizeof(p));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(hf_wan_profile_set(&p, wrong[i][0], wrong[i][1], &e), HF_ARG);
    }
    assert_int_equal(hf_wan_profile_set(&p, "rain", "1", &e), HF_NOTFOUND);
    assert_memory_equal(&p, &before, sizeof(p));
}

static void settings_have_the_units_that_their_names_say(void **state)
{
    struct hf_wan_shaper s =
        SHAPER("rtt", "100ms", "jitter", "1.5", "rate", "20mbit", "loss", "0.5%", "queue", "30ms");

    (void)state;
    assert_int_equal(s.profile.delay_ns, 50 * HF_WAN_MS);
    assert_int_equal(s.profile.jitter_ns, 1500000);
    assert_int_equal(s.profile.rate_bps, 20000000);
    assert_true(s.profile.loss > 0.00499 && s.profile.loss < 0.00501);
    assert_int_equal(s.profile.queue_ns, 30 * HF_WAN_MS);
    assert_int_equal(s.profile.queue_bytes, 0);
}

/* ---- flight ---- */

static void packets_leave_by_time_and_then_in_the_order_they_came(void **state)
{
    struct hf_wan_flight *f = hf_wan_flight_new();
    uint64_t last_at = 0;
    uint32_t last_number = 0;
    struct rng r;

    (void)state;
    assert_non_null(f);
    rng_seed(&r, 1, 1);
    assert_true(hf_wan_flight_next(f) == UINT64_MAX);
    for (uint32_t i = 1; i <= 5000; i++) {
        struct hf_wan_packet *p = hf_wan_flight_take(f);
        p->len = i;
        hf_wan_flight_add(f, p, 1 + rng_below(&r, 50));
    }
    for (uint32_t i = 1; i <= 5000; i++) {
        uint64_t at = hf_wan_flight_next(f);
        struct hf_wan_packet *p = hf_wan_flight_pop(f);
        assert_true(at > last_at || (at == last_at && p->len > last_number));
        last_at = at;
        last_number = p->len;
        hf_wan_flight_return(f, p);
    }
    assert_true(hf_wan_flight_next(f) == UINT64_MAX);
    hf_wan_flight_free(f);
}

static void pool_that_is_used_up_gives_none_until_one_comes_back(void **state)
{
    struct hf_wan_flight *f = hf_wan_flight_new();
    struct hf_wan_packet *p = NULL;
    struct hf_wan_packet *last = NULL;

    (void)state;
    while ((p = hf_wan_flight_take(f)) != NULL) {
        last = p;
    }
    hf_wan_flight_return(f, last);
    assert_ptr_equal(hf_wan_flight_take(f), last);
    assert_null(hf_wan_flight_take(f));
    hf_wan_flight_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packet_takes_its_time_on_the_link_and_then_the_delay),
        cmocka_unit_test(queue_in_bytes_takes_so_many_and_no_more),
        cmocka_unit_test(idle_link_takes_a_packet_larger_than_its_queue),
        cmocka_unit_test(order_is_kept_through_jitter_and_shorter_delays),
        cmocka_unit_test(losses_have_the_mean_and_the_burst_that_were_asked),
        cmocka_unit_test(everything_is_lost_at_a_hundred_percent_and_nothing_at_none),
        cmocka_unit_test(lost_packet_takes_its_time_on_the_link),
        cmocka_unit_test(cut_link_takes_nothing_and_stays_idle),
        cmocka_unit_test(detour_is_longer_than_what_may_overtake),
        cmocka_unit_test(copy_arrives_with_the_original),
        cmocka_unit_test(setting_that_cannot_be_is_refused_and_changes_nothing),
        cmocka_unit_test(settings_have_the_units_that_their_names_say),
        cmocka_unit_test(packets_leave_by_time_and_then_in_the_order_they_came),
        cmocka_unit_test(pool_that_is_used_up_gives_none_until_one_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
