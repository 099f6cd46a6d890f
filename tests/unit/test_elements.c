/*
 * test_elements.c - elements that are hashed together against one at a time by libsodium, whatever
 * their lengths and however many wait.
 *
 * The portable way is compiled into this test once more under other names, as in test_expand.c.
 */
#include "hf/digest.h"
#include "hf/seal.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#define HAS_WIDE 0
#define hf_element_hash plain_hash
#define hf_elements_note plain_note
#define hf_elements_settle plain_settle
#define hf_elements_clear plain_clear
struct hf_hash plain_hash(struct hf_slice key, hf_seq seq, struct hf_slice value);
void plain_note(struct hf_elements *q, struct hf_lthash *sum, const struct hf_element *e);
void plain_settle(struct hf_elements *q, struct hf_lthash *sum);
void plain_clear(struct hf_elements *q);
#include "proto/wire/elements.c"
#undef hf_element_hash
#undef hf_elements_note
#undef hf_elements_settle
#undef hf_elements_clear

#define VALUE_MAX 600u
#define WAIT_VALUES 320u /* these lengths wait, with a key of 24 bytes */

static uint8_t text[VALUE_MAX];

/* Of any length from the shortest to more than waits, around the ends of blocks above all. */
static struct hf_element element(uint32_t i)
{
    return (struct hf_element){.key = hf_slice_of(text + i % 50, 1 + i % 33),
                               .value = hf_slice_of(text + i % 7, i * 13 % (VALUE_MAX - 7)),
                               .seq = i + 1,
                               .gone = i % 3 == 0};
}

static void single(struct hf_lthash *sum, const struct hf_element *e)
{
    struct hf_hash hash = hf_element_hash(e->key, e->seq, e->value);
    if (e->gone) {
        hf_lthash_sub(sum, &hash);
    } else {
        hf_lthash_add(sum, &hash);
    }
}

static void assert_same(const struct hf_lthash *a, const struct hf_lthash *b)
{
    assert_memory_equal(a->lane, b->lane, sizeof(a->lane));
}

static void any_number_that_waits_makes_the_sum_of_each(void **state)
{
    (void)state;
    for (uint32_t count = 0; count <= 3 * HF_ELEMENTS_WIDE; count++) {
        struct hf_elements wide = {.count = 0};
        struct hf_elements plain = {.count = 0};
        struct hf_lthash want, got, also;
        hf_lthash_clear(&want);
        hf_lthash_clear(&got);
        hf_lthash_clear(&also);
        for (uint32_t i = 0; i < count; i++) {
            struct hf_element e = element(count * 31 + i);
            single(&want, &e);
            hf_elements_note(&wide, &got, &e);
            plain_note(&plain, &also, &e);
        }
        hf_elements_settle(&wide, &got);
        plain_settle(&plain, &also);
        assert_same(&got, &want);
        assert_same(&also, &want);
    }
}

static void every_length_beside_every_other_has_its_own_hash(void **state)
{
    struct hf_elements q = {.count = 0};
    struct hf_lthash want, got;
    (void)state;
    hf_lthash_clear(&want);
    hf_lthash_clear(&got);
    for (uint32_t len = 0; len < WAIT_VALUES; len++) {
        struct hf_element e = {.key = hf_slice_of(text, 24),
                               .value = hf_slice_of(text, len * 7 % WAIT_VALUES),
                               .seq = len};
        single(&want, &e);
        hf_elements_note(&q, &got, &e);
        if (hf_elements_full(&q)) {
            hf_elements_settle(&q, &got);
            assert_same(&got, &want); /* here, so that no two mistakes cancel each other */
        }
    }
}

static void what_is_cleared_never_comes_into_the_sum(void **state)
{
    struct hf_elements q = {.count = 0};
    struct hf_lthash zero, got;
    struct hf_element e = element(5);
    (void)state;
    hf_lthash_clear(&zero);
    hf_lthash_clear(&got);
    hf_elements_note(&q, &got, &e);
    hf_elements_clear(&q);
    hf_elements_settle(&q, &got);
    assert_same(&got, &zero);
}

/* The key may be as long as it can be, and then even an empty value leaves nothing to wait with. */
static void the_longest_key_does_not_wait(void **state)
{
    struct hf_elements q = {.count = 0};
    struct hf_lthash want, got;
    struct hf_element e = {
        .key = hf_slice_of(text, HF_STORE_KEY_MAX), .value = hf_slice_of(NULL, 0), .seq = 9};
    (void)state;
    hf_lthash_clear(&want);
    hf_lthash_clear(&got);
    single(&want, &e);
    hf_elements_note(&q, &got, &e);
    assert_int_equal(q.count, 0);
    assert_same(&got, &want);
}

static int start(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < VALUE_MAX; i++) {
        text[i] = (uint8_t)(i * 151 + i / 256);
    }
    return hf_crypto_init() == HF_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_that_waits_makes_the_sum_of_each),
        cmocka_unit_test(every_length_beside_every_other_has_its_own_hash),
        cmocka_unit_test(what_is_cleared_never_comes_into_the_sum),
        cmocka_unit_test(the_longest_key_does_not_wait),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
