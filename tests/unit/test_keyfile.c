/*
 * test_keyfile.c - identities on disk: what is written, what is refused, and that nothing is
 * replaced.
 */
#include "hf/keyfile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char folder[64];
    char path[128];
    char other[128];
    struct hf_identity id;
    struct hf_error e;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->folder, sizeof(f->folder), "/tmp/holdfast-key-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/key", f->folder);
    snprintf(f->other, sizeof(f->other), "%s/other", f->folder);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    hf_identity_free(&f->id);
    unlink(f->path);
    unlink(f->other);
    assert_int_equal(rmdir(f->folder), 0); /* also: no temporary file was left */
    free(f);
    return 0;
}

static void write_text(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

#define SEED_HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define GOOD "holdfast-key-v1 " SEED_HEX "\n"

static void check_refused(struct fixture *f, const char *text, mode_t mode, enum hf_err code)
{
    unlink(f->path);
    write_text(f->path, text, mode);
    assert_int_equal(hf_keyfile_load(f->path, &f->id, &f->e), code);
    assert_non_null(strstr(f->e.text, f->path));
    assert_null(strstr(f->e.text, "1718191a"));
    assert_null(f->id.secret);
}

static void a_created_key_is_private_and_loads_again(void **state)
{
    struct fixture *f = *state;
    struct hf_identity again = {0};
    struct stat st;
    char text[100] = "";
    mode_t before = umask(0377); /* takes even the owner's write bit */
    assert_int_equal(hf_keyfile_create(f->path, &f->id, &f->e), HF_OK);
    umask(before);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, 81);
    FILE *in = fopen(f->path, "r");
    assert_int_equal(fread(text, 1, sizeof(text), in), 81);
    fclose(in);
    assert_memory_equal(text, "holdfast-key-v1 ", 16);
    assert_int_equal(strspn(text + 16, "0123456789abcdef"), 64);
    assert_int_equal(text[80], '\n');
    assert_int_equal(hf_keyfile_load(f->path, &again, &f->e), HF_OK);
    assert_true(hf_key_eq(&f->id.public_key, &again.public_key));
    hf_identity_free(&again);
}

static void a_seed_gives_the_identity_that_it_always_gave(void **state)
{
    struct fixture *f = *state;
    char hex[65];
    write_text(f->path, GOOD, 0600);
    assert_int_equal(hf_keyfile_load(f->path, &f->id, &f->e), HF_OK);
    hf_hex(f->id.public_key.b, 32, hex);
    assert_string_equal(hex, "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8");
}

static void the_line_end_may_be_missing_and_the_mode_may_be_stricter(void **state)
{
    struct fixture *f = *state;
    write_text(f->path, "holdfast-key-v1 " SEED_HEX, 0400);
    assert_int_equal(hf_keyfile_load(f->path, &f->id, &f->e), HF_OK);
}

static void a_key_that_others_may_touch_is_refused(void **state)
{
    struct fixture *f = *state;
    check_refused(f, GOOD, 0640, HF_PERMISSION);
    assert_non_null(strstr(f->e.text, "mode 0640"));
    check_refused(f, GOOD, 0604, HF_PERMISSION);
    check_refused(f, GOOD, 0620, HF_PERMISSION);
    check_refused(f, GOOD, 0601, HF_PERMISSION);
}

static void a_key_of_another_user_is_refused(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0) {
        skip();
    }
    write_text(f->path, GOOD, 0600);
    assert_int_equal(chown(f->path, 12345, 0), 0);
    assert_int_equal(hf_keyfile_load(f->path, &f->id, &f->e), HF_PERMISSION);
    assert_non_null(strstr(f->e.text, "owned by user 12345"));
}

static void anything_but_a_key_line_is_refused(void **state)
{
    struct fixture *f = *state;
    check_refused(f, "", 0600, HF_CORRUPT);
    check_refused(f, "\n", 0600, HF_CORRUPT);
    check_refused(f, "holdfast-key-v2 " SEED_HEX "\n", 0600, HF_CORRUPT);
    check_refused(f, GOOD "\n", 0600, HF_CORRUPT);
    check_refused(f, GOOD "more", 0600, HF_CORRUPT);
    check_refused(f, "holdfast-key-v1 " SEED_HEX "0", 0600, HF_CORRUPT);
    check_refused(f, "holdfast-key-v1 0001020304\n", 0600, HF_CORRUPT);
    check_refused(f,
                  "holdfast-key-v1 "
                  "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F\n",
                  0600, HF_CORRUPT);
}

static void links_pipes_and_folders_are_refused(void **state)
{
    struct fixture *f = *state;
    write_text(f->other, GOOD, 0600);
    assert_int_equal(symlink(f->other, f->path), 0);
    assert_int_equal(hf_keyfile_load(f->path, &f->id, &f->e), HF_PERMISSION);
    assert_non_null(strstr(f->e.text, "symbolic link"));
    unlink(f->path);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_int_equal(hf_keyfile_load(f->path, &f->id, &f->e), HF_PERMISSION);
    assert_non_null(strstr(f->e.text, "not a regular file"));
    assert_int_equal(hf_keyfile_load(f->folder, &f->id, &f->e), HF_PERMISSION);
}

static void creating_never_replaces_a_file_or_a_link(void **state)
{
    struct fixture *f = *state;
    char text[100] = "";
    write_text(f->path, "precious", 0600);
    assert_int_equal(hf_keyfile_create(f->path, &f->id, &f->e), HF_EXISTS);
    FILE *in = fopen(f->path, "r");
    assert_int_equal(fread(text, 1, sizeof(text), in), 8);
    fclose(in);
    assert_string_equal(text, "precious");
    unlink(f->path);
    assert_int_equal(symlink(f->other, f->path), 0); /* dangling */
    assert_int_equal(hf_keyfile_create(f->path, &f->id, &f->e), HF_EXISTS);
    assert_int_equal(access(f->other, F_OK), -1);
}

static void ensure_creates_once_and_loads_after_that(void **state)
{
    struct fixture *f = *state;
    struct hf_identity again = {0};
    bool created = false;
    assert_int_equal(hf_keyfile_ensure(f->path, &f->id, &created, &f->e), HF_OK);
    assert_true(created);
    assert_int_equal(hf_keyfile_ensure(f->path, &again, &created, &f->e), HF_OK);
    assert_false(created);
    assert_true(hf_key_eq(&f->id.public_key, &again.public_key));
    hf_identity_free(&again);
    chmod(f->path, 0644);
    assert_int_equal(hf_keyfile_ensure(f->path, &again, NULL, &f->e), HF_PERMISSION);
}

static void a_missing_folder_is_reported_with_the_path(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hf_keyfile_load("/nonexistent/key", &f->id, &f->e), HF_NOTFOUND);
    assert_int_equal(hf_keyfile_ensure("/nonexistent/key", &f->id, NULL, &f->e), HF_NOTFOUND);
    assert_non_null(strstr(f->e.text, "/nonexistent/key"));
}

static int start(void **state)
{
    (void)state;
    return hf_crypto_init() == HF_OK ? 0 : -1;
}

#define KEY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KEY_TEST(a_created_key_is_private_and_loads_again),
        KEY_TEST(a_seed_gives_the_identity_that_it_always_gave),
        KEY_TEST(the_line_end_may_be_missing_and_the_mode_may_be_stricter),
        KEY_TEST(a_key_that_others_may_touch_is_refused),
        KEY_TEST(a_key_of_another_user_is_refused),
        KEY_TEST(anything_but_a_key_line_is_refused),
        KEY_TEST(links_pipes_and_folders_are_refused),
        KEY_TEST(creating_never_replaces_a_file_or_a_link),
        KEY_TEST(ensure_creates_once_and_loads_after_that),
        KEY_TEST(a_missing_folder_is_reported_with_the_path),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
