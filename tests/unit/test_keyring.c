/*
 * test_keyring.c - content keys: which are kept and handed out, and a core that has too many.
 */
#include "peer_box.h"

/* ---- the ring ---- */

static void content_keys_go_oldest_first_with_the_newest_last(void **state)
{
    struct hf_keyring k;
    struct hf_content_key out[4];
    (void)state;
    assert_int_equal(hf_keyring_init(&k), HF_OK);
    for (uint32_t i = 1; i <= 10; i++) {
        struct hf_content_key c = {.id = i, .from = 10 * i};
        hf_keyring_add(&k, &c);
    }
    assert_int_equal(hf_keyring_select(&k, 35, out, 4), 4);
    assert_int_equal(out[0].id, 3);
    assert_int_equal(out[2].id, 5);
    assert_int_equal(out[3].id, 10);
    assert_int_equal(hf_keyring_select(&k, 95, out, 4), 2);
    assert_int_equal(out[0].id, 9);
    assert_int_equal(hf_keyring_select(&k, 100, out, 4), 1);
    assert_int_equal(out[0].id, 10);
    hf_keyring_deinit(&k);
}

static void keys_are_kept_for_the_log_and_for_dictionaries(void **state)
{
    struct hf_keyring k;
    struct hf_keyring_needs needs = {.first = 19, .dictionary = {35, 70}, .dictionary_count = 2};
    (void)state;
    assert_int_equal(hf_keyring_init(&k), HF_OK);
    for (uint32_t i = 1; i <= 10; i++) {
        struct hf_content_key c = {.id = i, .from = 10 * i};
        hf_keyring_add(&k, &c);
    }
    hf_keyring_drop(&k, &needs);
    assert_int_equal(k.count, 10);
    needs.first = 20;
    hf_keyring_drop(&k, &needs);
    assert_int_equal(hf_keyring_floor(&k), 20);
    needs.first = 90;
    hf_keyring_drop(&k, &needs);
    assert_int_equal(k.count, 4);
    assert_int_equal(hf_keyring_at(&k, 35)->id, 3);
    assert_int_equal(hf_keyring_at(&k, 70)->id, 7);
    assert_int_equal(hf_keyring_at(&k, 95)->id, 9);
    assert_int_equal(hf_keyring_floor(&k), 90);
    needs.first = 5000;
    needs.dictionary_count = 0;
    hf_keyring_drop(&k, &needs);
    assert_int_equal(k.count, 1);
    assert_int_equal(hf_keyring_newest(&k)->id, 10);
    hf_keyring_deinit(&k);
}

/* The log has batches of all of them. */
static void of_too_many_keys_the_oldest_go_that_are_no_dictionarys(void **state)
{
    struct hf_keyring k;
    struct hf_keyring_needs needs = {.first = 1, .dictionary = {2}, .dictionary_count = 1};
    (void)state;
    assert_int_equal(hf_keyring_init(&k), HF_OK);
    for (uint32_t i = 1; i <= HF_KEYRING_MAX; i++) {
        struct hf_content_key c = {.id = i, .from = i};
        hf_keyring_add(&k, &c);
    }
    hf_keyring_drop(&k, &needs);
    assert_int_equal(hf_keyring_floor(&k), 1);
    for (uint32_t i = HF_KEYRING_MAX + 1; i <= HF_KEYRING_MAX + 100; i++) {
        struct hf_content_key c = {.id = i, .from = i};
        hf_keyring_add(&k, &c);
    }
    hf_keyring_drop(&k, &needs);
    assert_int_equal(k.count, HF_KEYRING_MAX);
    assert_int_equal(k.key[0].id, 2);
    assert_int_equal(hf_keyring_floor(&k), 102);
    for (uint32_t i = 1; i <= HF_KEYRING_ROOM; i++) {
        struct hf_content_key c = {.id = HF_KEYRING_MAX + 100 + i, .from = HF_KEYRING_MAX + 100};
        hf_keyring_add(&k, &c);
    }
    assert_int_equal(k.count, HF_KEYRING_ROOM);
    assert_int_equal(hf_keyring_newest(&k)->id, HF_KEYRING_MAX + 100 + HF_KEYRING_ROOM);
    hf_keyring_deinit(&k);
}

/* ---- a core ---- */

/* No later start may find more of them than there is room for. */
static void a_key_that_no_batch_needs_is_deleted(void **state)
{
    struct box *b = *state;
    struct peer *gone = peer_new(b, 2);
    char value[1000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (uint32_t i = 0; i < 200; i++) {
        box_forget(b);
        value[0] = (char)('a' + i % 26);
        assert_int_equal(box_put(b, "k", value).code, HF_OK);
        assert_int_equal(i % 10 == 0 ? box_revoke_another(b, gone).code : HF_OK, HF_OK);
        box_pass(b, 1000);
    }
    box_pass(b, 2000);
    assert_in_range(b->core->writer.keys.count, 2, 19);
    assert_int_equal(box_objects(hf_core_state(b->core), hf_slice_str(HF_FACT_CONTENT_KEY_PREFIX)),
                     b->core->writer.keys.count);
    peer_free(gone);
}

/* While commits fail none of them can go. */
static void a_revocation_without_room_for_its_key_is_refused_until_a_commit(void **state)
{
    struct box *b = *state;
    struct hf_keyring *keys = &b->core->writer.keys;
    struct peer *gone = peer_new(b, 2);
    struct peer *other = peer_new(b, 3);
    box_enrol(b, "other", other);
    while (keys->count < HF_KEYRING_ROOM) {
        struct hf_content_key c = {.id = hf_keyring_newest(keys)->id + 1, .from = 1};
        hf_keyring_add(keys, &c);
    }
    struct told t = box_revoke_another(b, gone);
    assert_int_equal(t.code, HF_FULL);
    assert_non_null(strstr(t.text, "wait for a commit"));
    assert_int_equal(keys->count, HF_KEYRING_ROOM);
    assert_int_equal(keys->key[0].id, 1);
    assert_int_equal(box_put(b, "k", "v").code, HF_OK);
    box_pass(b, 2000);
    assert_in_range(keys->count, 1, HF_KEYRING_MAX);
    assert_int_equal(box_revoke(b, "other").code, HF_OK);
    peer_free(gone);
    peer_free(other);
}

static int small_core_setup(void **state)
{
    struct box *b = box_new();
    b->cfg.segment_bytes = b->cfg.log_bytes_max = 64 << 10;
    box_open(b);
    *state = b;
    return 0;
}

static int crypto_setup(void **state)
{
    (void)state;
    return hf_crypto_init() == HF_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_keys_go_oldest_first_with_the_newest_last),
        cmocka_unit_test(keys_are_kept_for_the_log_and_for_dictionaries),
        cmocka_unit_test(of_too_many_keys_the_oldest_go_that_are_no_dictionarys),
        cmocka_unit_test_setup_teardown(a_key_that_no_batch_needs_is_deleted, small_core_setup,
                                        box_teardown),
        cmocka_unit_test_setup_teardown(
            a_revocation_without_room_for_its_key_is_refused_until_a_commit, small_core_setup,
            box_teardown),
    };
    return cmocka_run_group_tests(tests, crypto_setup, NULL);
}
