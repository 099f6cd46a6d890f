/*
 * test_cursor.c - the bounded msgpack reader and writer: one value, one encoding, no trust.
 *
 * Every literal byte string here is written by hand from the msgpack specification, not made with
 * the code under test.
 */
#include "hf/cursor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define READER(r, ...)                                                                             \
    const uint8_t r##_bytes[] = {__VA_ARGS__};                                                     \
    struct hf_reader r;                                                                            \
    hf_reader_init(&r, hf_slice_of(r##_bytes, sizeof(r##_bytes)))

static const struct {
    uint64_t value;
    size_t len;
    uint8_t bytes[9];
} uints[] = {
    {0, 1, {0}},
    {127, 1, {0x7f}},
    {128, 2, {0xcc, 0x80}},
    {255, 2, {0xcc, 0xff}},
    {256, 3, {0xcd, 1, 0}},
    {65535, 3, {0xcd, 0xff, 0xff}},
    {65536, 5, {0xce, 0, 1, 0, 0}},
    {UINT32_MAX, 5, {0xce, 0xff, 0xff, 0xff, 0xff}},
    {UINT64_C(1) << 32, 9, {0xcf, 0, 0, 0, 1, 0, 0, 0, 0}},
    {UINT64_MAX, 9, {0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
};

static void uint_is_written_and_read_in_its_shortest_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(uints) / sizeof(uints[0]); i++) {
        uint8_t buffer[16];
        struct hf_writer w;
        struct hf_reader r;

        hf_writer_init(&w, buffer, sizeof(buffer));
        hf_write_uint(&w, uints[i].value);
        assert_false(w.failed);
        assert_int_equal(w.len, uints[i].len);
        assert_memory_equal(buffer, uints[i].bytes, uints[i].len);
        hf_reader_init(&r, hf_slice_of(uints[i].bytes, uints[i].len));
        assert_true(hf_read_uint(&r, UINT64_MAX) == uints[i].value);
        assert_true(hf_reader_done(&r));
    }
}

static void uint_in_a_longer_form_than_needed_is_refused(void **state)
{
    static const struct {
        size_t len;
        uint8_t bytes[9];
    } longer[] = {
        {2, {0xcc, 0x7f}},
        {3, {0xcd, 0, 0xff}},
        {5, {0xce, 0, 0, 0xff, 0xff}},
        {9, {0xcf, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(longer) / sizeof(longer[0]); i++) {
        struct hf_reader r;

        hf_reader_init(&r, hf_slice_of(longer[i].bytes, longer[i].len));
        assert_true(hf_read_uint(&r, UINT64_MAX) == 0);
        assert_true(r.failed);
    }
}

static void uint_above_its_maximum_is_refused(void **state)
{
    READER(r, 100, 101);

    (void)state;
    assert_true(hf_read_uint(&r, 100) == 100);
    assert_true(hf_read_uint(&r, 100) == 0);
    assert_true(r.failed);
}

static void types_outside_the_subset_are_refused(void **state)
{
    /* Negative, map, str, float, bool, ext: none of them is an unsigned integer, bin or array. */
    static const uint8_t tags[] = {0xff, 0x80, 0xa1, 0xca, 0xc3, 0xd4,
                                   0xc1, 0xc7, 0xd9, 0xde, 0xd0};
    uint8_t bytes[32] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(tags); i++) {
        struct hf_reader r;

        bytes[0] = tags[i];
        hf_reader_init(&r, hf_slice_of(bytes, sizeof(bytes)));
        (void)hf_read_uint(&r, UINT64_MAX);
        assert_true(r.failed);
        hf_reader_init(&r, hf_slice_of(bytes, sizeof(bytes)));
        (void)hf_read_bin(&r, SIZE_MAX);
        assert_true(r.failed);
        hf_reader_init(&r, hf_slice_of(bytes, sizeof(bytes)));
        (void)hf_read_array(&r, 0, UINT32_MAX);
        assert_true(r.failed);
        hf_reader_init(&r, hf_slice_of(bytes, sizeof(bytes)));
        hf_read_skip(&r, 1);
        assert_true(r.failed);
    }
}

static void every_truncation_of_a_message_fails(void **state)
{
    static const uint8_t whole[] = {0x94, 0xcd, 1, 0, 0xc4, 3, 'a', 'b', 'c', 0xc0, 0x91, 0x05};

    (void)state;
    for (size_t len = 0; len <= sizeof(whole); len++) {
        struct hf_reader r;

        hf_reader_init(&r, hf_slice_of(whole, len));
        (void)hf_read_array(&r, 4, 4);
        (void)hf_read_uint(&r, 1000);
        (void)hf_read_bin(&r, 10);
        (void)hf_read_nil(&r);
        (void)hf_read_array(&r, 1, 1);
        (void)hf_read_uint(&r, 10);
        assert_int_equal(hf_reader_done(&r), len == sizeof(whole));
    }
}

static void array_that_announces_more_than_the_bytes_left_is_refused(void **state)
{
    READER(bomb, 0xdd, 0xff, 0xff, 0xff, 0xff);
    READER(four, 0x94, 1, 2, 3);
    READER(three, 0x93, 1, 2, 3);

    (void)state;
    assert_int_equal(hf_read_array(&bomb, 0, UINT32_MAX), 0);
    assert_true(bomb.failed);
    assert_int_equal(hf_read_array(&four, 0, UINT32_MAX), 0);
    assert_true(four.failed);
    assert_int_equal(hf_read_array(&three, 0, UINT32_MAX), 3);
    assert_false(three.failed);
}

static void array_count_outside_its_bounds_is_refused(void **state)
{
    READER(low, 0x92, 1, 2);
    READER(high, 0x92, 1, 2);
    READER(fits, 0x92, 1, 2);

    (void)state;
    assert_int_equal(hf_read_array(&low, 3, 5), 0);
    assert_true(low.failed);
    assert_int_equal(hf_read_array(&high, 0, 1), 0);
    assert_true(high.failed);
    assert_int_equal(hf_read_array(&fits, 2, 2), 2);
    assert_false(fits.failed);
}

static void array_in_a_longer_form_than_needed_is_refused(void **state)
{
    uint8_t bytes[70000] = {0xdc, 0, 15};
    struct hf_reader r;

    (void)state;
    hf_reader_init(&r, hf_slice_of(bytes, sizeof(bytes)));
    (void)hf_read_array(&r, 0, UINT32_MAX);
    assert_true(r.failed);
    bytes[2] = 16;
    hf_reader_init(&r, hf_slice_of(bytes, sizeof(bytes)));
    assert_int_equal(hf_read_array(&r, 0, UINT32_MAX), 16);
    memcpy(bytes, (const uint8_t[]){0xdd, 0, 0, 0xff, 0xff}, 5);
    hf_reader_init(&r, hf_slice_of(bytes, sizeof(bytes)));
    (void)hf_read_array(&r, 0, UINT32_MAX);
    assert_true(r.failed);
    memcpy(bytes, (const uint8_t[]){0xdd, 0, 1, 0, 0}, 5);
    hf_reader_init(&r, hf_slice_of(bytes, sizeof(bytes)));
    assert_int_equal(hf_read_array(&r, 0, UINT32_MAX), 65536);
}

static void bin_round_trips_at_every_form_boundary(void **state)
{
    static const size_t lens[] = {0, 1, 255, 256, 65535, 65536};
    static uint8_t data[65536];
    static uint8_t buffer[65536 + 8];

    (void)state;
    memset(data, 0x5a, sizeof(data));
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        size_t head = lens[i] < 256 ? 2 : lens[i] < 65536 ? 3 : 5;
        struct hf_slice got;
        struct hf_writer w;
        struct hf_reader r;

        hf_writer_init(&w, buffer, sizeof(buffer));
        hf_write_bin(&w, hf_slice_of(data, lens[i]));
        assert_false(w.failed);
        assert_int_equal(w.len, head + lens[i]);
        assert_int_equal(buffer[0], head == 2 ? 0xc4 : head == 3 ? 0xc5 : 0xc6);
        hf_reader_init(&r, hf_writer_bytes(&w));
        got = hf_read_bin(&r, lens[i]);
        assert_true(hf_reader_done(&r));
        assert_ptr_equal(got.data, buffer + head);
        assert_int_equal(got.len, lens[i]);
    }
}

static void bin_above_its_maximum_or_in_a_longer_form_is_refused(void **state)
{
    READER(high, 0xc4, 3, 'a', 'b', 'c');
    READER(longer, 0xc5, 0, 3, 'a', 'b', 'c');
    READER(lie, 0xc6, 0xff, 0xff, 0xff, 0xff, 'a');

    (void)state;
    assert_null(hf_read_bin(&high, 2).data);
    assert_true(high.failed);
    assert_null(hf_read_bin(&longer, 10).data);
    assert_true(longer.failed);
    assert_null(hf_read_bin(&lie, SIZE_MAX).data);
    assert_true(lie.failed);
}

static void fixed_field_of_another_length_fails_and_is_zeroed(void **state)
{
    READER(shorter, 0xc4, 2, 'a', 'b');
    READER(equal, 0xc4, 3, 'a', 'b', 'c');
    READER(longer, 0xc4, 4, 'a', 'b', 'c', 'd');
    char out[4] = "xyz";

    (void)state;
    hf_read_fixed(&shorter, out, 3);
    assert_true(shorter.failed);
    assert_memory_equal(out, "\0\0\0", 3);
    hf_read_fixed(&equal, out, 3);
    assert_true(hf_reader_done(&equal));
    assert_string_equal(out, "abc");
    hf_read_fixed(&longer, out, 3);
    assert_true(longer.failed);
    assert_memory_equal(out, "\0\0\0", 3);
}

static void nil_is_consumed_only_when_it_is_next(void **state)
{
    READER(r, 0xc0, 0x01);

    (void)state;
    assert_true(hf_read_nil(&r));
    assert_false(hf_read_nil(&r));
    assert_false(r.failed);
    assert_false(hf_reader_done(&r));
    assert_int_equal(hf_read_uint(&r, 5), 1);
    assert_false(hf_read_nil(&r));
    assert_true(hf_reader_done(&r));
}

static void after_a_failure_every_read_gives_zero(void **state)
{
    READER(r, 0xa0, 1, 0xc4, 1, 'x', 0xc0, 0x91, 1);
    uint8_t fixed = 7;

    (void)state;
    (void)hf_read_uint(&r, 100);
    assert_true(r.failed);
    assert_int_equal(hf_read_uint(&r, 100), 0);
    assert_null(hf_read_bin(&r, 100).data);
    assert_int_equal(hf_read_array(&r, 0, 9), 0);
    assert_false(hf_read_nil(&r));
    hf_read_fixed(&r, &fixed, 1);
    assert_int_equal(fixed, 0);
    hf_read_skip(&r, 0);
    assert_null(hf_read_raw(&r, 0).data);
    assert_int_equal(hf_reader_left(&r), 0);
    assert_true(r.failed);
    assert_false(hf_reader_done(&r));
}

static void skip_steps_over_whole_elements(void **state)
{
    READER(r, 0x93, 1, 0x92, 0xc4, 2, 'a', 'b', 0xc0, 0xcd, 1, 0, 0x90, 0xc0, 42);

    (void)state;
    hf_read_skip(&r, 3);
    assert_false(r.failed);
    assert_int_equal(hf_read_uint(&r, 100), 42);
    assert_true(hf_reader_done(&r));
}

static void skip_goes_eight_levels_deep_and_no_deeper(void **state)
{
    READER(eight, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 1);
    READER(nine, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 1);

    (void)state;
    hf_read_skip(&eight, 1);
    assert_true(hf_reader_done(&eight));
    hf_read_skip(&nine, 1);
    assert_true(nine.failed);
}

static void skip_of_more_elements_than_there_are_fails(void **state)
{
    READER(r, 1, 2, 3);

    (void)state;
    hf_read_skip(&r, UINT32_MAX);
    assert_true(r.failed);
}

static void absent_input_reads_as_empty(void **state)
{
    struct hf_reader r;

    (void)state;
    hf_reader_init(&r, hf_slice_of(NULL, 0));
    assert_true(hf_reader_done(&r));
    hf_read_skip(&r, 0);
    assert_int_equal(hf_read_raw(&r, 0).len, 0);
    assert_false(r.failed);
    (void)hf_read_uint(&r, 1);
    assert_true(r.failed);
}

static void raw_bytes_are_taken_as_they_are(void **state)
{
    READER(r, 'H', 'F', 1, 5);

    (void)state;
    assert_ptr_equal(hf_read_raw(&r, 3).data, r_bytes);
    assert_int_equal(hf_reader_left(&r), 1);
    assert_null(hf_read_raw(&r, 2).data);
    assert_true(r.failed);
}

static void writer_that_runs_full_fails_and_stays_failed(void **state)
{
    uint8_t buffer[8];
    struct hf_writer w;

    (void)state;
    memset(buffer, 0xee, sizeof(buffer));
    hf_writer_init(&w, buffer, 4);
    hf_write_array(&w, 2);
    hf_write_bin(&w, hf_slice_str("ab"));
    assert_true(w.failed);
    hf_write_nil(&w);
    hf_write_raw(&w, "z", 0);
    assert_true(w.failed);
    assert_null(hf_writer_bytes(&w).data);
    /* Nothing past the room that was given was touched. */
    assert_memory_equal(buffer + 4, "\xee\xee\xee\xee", 4);
}

static void writer_can_be_filled_to_its_last_byte(void **state)
{
    uint8_t buffer[6];
    struct hf_writer w;

    (void)state;
    hf_writer_init(&w, buffer, sizeof(buffer));
    hf_write_array(&w, 3);
    hf_write_nil(&w);
    hf_write_fixed(&w, "k", 1);
    hf_write_raw(&w, "\x07", 1);
    assert_false(w.failed);
    assert_int_equal(hf_writer_bytes(&w).len, 6);
    assert_memory_equal(buffer, "\x93\xc0\xc4\x01k\x07", 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uint_is_written_and_read_in_its_shortest_form),
        cmocka_unit_test(uint_in_a_longer_form_than_needed_is_refused),
        cmocka_unit_test(uint_above_its_maximum_is_refused),
        cmocka_unit_test(types_outside_the_subset_are_refused),
        cmocka_unit_test(every_truncation_of_a_message_fails),
        cmocka_unit_test(array_that_announces_more_than_the_bytes_left_is_refused),
        cmocka_unit_test(array_count_outside_its_bounds_is_refused),
        cmocka_unit_test(array_in_a_longer_form_than_needed_is_refused),
        cmocka_unit_test(bin_round_trips_at_every_form_boundary),
        cmocka_unit_test(bin_above_its_maximum_or_in_a_longer_form_is_refused),
        cmocka_unit_test(fixed_field_of_another_length_fails_and_is_zeroed),
        cmocka_unit_test(nil_is_consumed_only_when_it_is_next),
        cmocka_unit_test(after_a_failure_every_read_gives_zero),
        cmocka_unit_test(skip_steps_over_whole_elements),
        cmocka_unit_test(skip_goes_eight_levels_deep_and_no_deeper),
        cmocka_unit_test(skip_of_more_elements_than_there_are_fails),
        cmocka_unit_test(absent_input_reads_as_empty),
        cmocka_unit_test(raw_bytes_are_taken_as_they_are),
        cmocka_unit_test(writer_that_runs_full_fails_and_stays_failed),
        cmocka_unit_test(writer_can_be_filled_to_its_last_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
