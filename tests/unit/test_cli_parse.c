/*
 * test_cli_parse.c - the files that apply and import read: lines, escapes, JSON, certificates.
 *
 * A line that is read wrongly is signed and sent to every edge, so these tests look for what must
 * be refused as much as for what must be understood.
 */
#include "core/cli/input.h"
#include "core/cli/parse.h"
#include "core/cli/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct hf_parser parser;
    struct hf_line_change change;
    char *line; /* exactly as long as the text, so that a sanitizer sees a read behind it */
};

static void begin(struct fixture *f, enum hf_format format, const char *prefix)
{
    *f = (struct fixture){0};
    hf_parser_init(&f->parser, format, prefix);
}

static void end(struct fixture *f)
{
    free(f->line);
    hf_parser_deinit(&f->parser);
}

static enum hf_parsed feed_bytes(struct fixture *f, const char *text, size_t len)
{
    free(f->line);
    f->line = malloc(len > 0 ? len : 1);
    assert_non_null(f->line);
    memcpy(f->line, text, len);
    return hf_parser_line(&f->parser, f->line, len, &f->change);
}

static enum hf_parsed feed(struct fixture *f, const char *text)
{
    return feed_bytes(f, text, strlen(text));
}

static void assert_slice(struct hf_slice s, const char *bytes, size_t len)
{
    assert_int_equal(s.len, len);
    assert_memory_equal(s.data, bytes, len);
}

#define assert_text(slice, text) assert_slice(slice, text, sizeof(text) - 1)

static void assert_put(struct fixture *f, const char *line, const char *key, const char *value)
{
    assert_int_equal(feed(f, line), HF_PARSED_CHANGE);
    assert_false(f->change.del);
    assert_slice(f->change.key, key, strlen(key));
    assert_slice(f->change.value, value, strlen(value));
}

static void assert_bad(struct fixture *f, const char *line)
{
    f->parser.error[0] = '\0';
    assert_int_equal(feed(f, line), HF_PARSED_BAD);
    assert_true(f->parser.error[0] != '\0');
}

/* ---- escapes and base64 ---- */

static void every_byte_survives_escape_and_unescape(void **state)
{
    uint8_t all[256];
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    for (int i = 0; i < 256; i++) {
        all[i] = (uint8_t)i;
    }
    hf_text_escape(hf_slice_of(all, sizeof all), out);
    fclose(out);
    assert_null(memchr(text, '\n', len));
    assert_null(memchr(text, '\t', len));
    assert_true(hf_text_unescape(text, &len));
    assert_slice(hf_slice_of(text, len), (char *)all, sizeof all);
    free(text);
}

static void unknown_escape_is_refused_with_its_place(void **state)
{
    static const char *const bad[] = {"ab\\q", "ab\\", "ab\\x", "ab\\x1", "ab\\xg0", "ab\\0"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[16];
        size_t len = strlen(bad[i]);

        memcpy(text, bad[i], len);
        assert_false(hf_text_unescape(text, &len));
        assert_int_equal(len, 2);
    }
}

static void base64_of_every_length_comes_back(void **state)
{
    uint8_t bytes[70], back[80];
    char text[100];
    size_t len;

    (void)state;
    for (size_t n = 0; n < sizeof bytes; n++) {
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)(i * 37 + n);
        }
        hf_base64_encode(hf_slice_of(bytes, n), text);
        assert_int_equal(strlen(text) + 1, hf_base64_size(n));
        assert_true(hf_base64_decode(hf_slice_str(text), back, &len));
        assert_int_equal(len, n);
        assert_memory_equal(back, bytes, n);
    }
    hf_base64_encode(hf_slice_str("foobar"), text);
    assert_string_equal(text, "Zm9vYmFy");
}

static void base64_has_one_form_only(void **state)
{
    static const char *const bad[] = {
        "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm-v", "Zm9v\n"};
    uint8_t back[16];
    size_t len;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(hf_base64_decode(hf_slice_str(bad[i]), back, &len));
    }
    assert_true(hf_base64_decode(hf_slice_str("Zg=="), back, &len));
}

static void utf8_is_told_from_other_bytes(void **state)
{
    static const char *const good[] = {"", "abc", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    static const char *const bad[] = {"\xff",         "\xc0\x80",         "\xe0\x80\x80",
                                      "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3",
                                      "a\x80",        "\xe2\x82"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(hf_text_is_utf8(hf_slice_str(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(hf_text_is_utf8(hf_slice_str(bad[i])));
    }
}

static void control_bytes_do_not_reach_the_terminal(void **state)
{
    char out[8];

    (void)state;
    hf_text_plain(out, sizeof out, "a\x1b[2J\xff\n", 7);
    assert_string_equal(out, "a?[2J??");
    hf_text_plain(out, sizeof out, "0123456789", 10);
    assert_string_equal(out, "0123456");
}

/* ---- apply ---- */

static void apply_reads_puts_and_dels(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_APPLY, NULL);
    assert_put(&f, "put\tk\tv", "k", "v");
    assert_put(&f, "put\tk\t", "k", "");
    assert_put(&f, "put\ta b\tc d ", "a b", "c d ");
    assert_int_equal(feed(&f, "del\tk"), HF_PARSED_CHANGE);
    assert_true(f.change.del);
    assert_text(f.change.key, "k");
    assert_int_equal(f.change.value.len, 0);
    assert_int_equal(feed(&f, ""), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, "# put\tk\tv"), HF_PARSED_NOTHING);
    end(&f);
}

static void apply_resolves_escapes_in_key_and_value(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_APPLY, NULL);
    assert_int_equal(feed(&f, "put\t\\x00k\\t\t\\n\\\\\\xff"), HF_PARSED_CHANGE);
    assert_text(f.change.key, "\0k\t");
    assert_text(f.change.value, "\n\\\xff");
    end(&f);
}

static void apply_refuses_what_it_does_not_know(void **state)
{
    static const char *const bad[] = {
        "put k v",
        "put\tk",
        "put\tk\tv\tw",
        "del\tk\tv",
        "set\tk\tv",
        "PUT\tk\tv",
        " put\tk\tv",
        "put",
        "del",
        "put\t\tv",
        "del\t",
        "put\tk\tv\\z",
        "{\"op\":\"x\",\"key\":\"k\"}",
        "{\"op\":\"del\",\"key\":\"k\",\"value\":\"v\"}",
        "{\"op\":\"put\",\"key\":\"k\"}",
        "{\"op\":1,\"key\":\"k\",\"value\":\"v\"}",
    };
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_APPLY, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_bad(&f, bad[i]);
    }
    end(&f);
}

static void apply_takes_json_lines_between_others(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_APPLY, NULL);
    assert_put(&f, "{\"op\":\"put\",\"key\":\"k\",\"value\":\"v\"}", "k", "v");
    assert_put(&f, "{\"key\":\"k\",\"value\":\"w\"}", "k", "w");
    assert_int_equal(feed(&f, "{\"op\":\"del\",\"key\":\"k\"}"), HF_PARSED_CHANGE);
    assert_true(f.change.del);
    assert_put(&f, "put\tk\tv", "k", "v");
    end(&f);
}

/* ---- lines and tsv ---- */

static void lines_are_keys_with_value_1(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_LINES, "psl/");
    assert_put(&f, "co.uk", "psl/co.uk", "1");
    assert_put(&f, "  *.ck \t", "psl/*.ck", "1");
    assert_put(&f, "/single", "psl//single", "1");
    assert_int_equal(feed(&f, "// comment"), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, "  // comment"), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, "# comment"), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, "   "), HF_PARSED_NOTHING);
    end(&f);
}

static void tsv_takes_exactly_two_fields(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_TSV, "p:");
    assert_put(&f, "k\tv", "p:k", "v");
    assert_put(&f, "\\x23k\t", "p:#k", "");
    assert_int_equal(feed(&f, "#k\tv"), HF_PARSED_NOTHING);
    assert_bad(&f, "k");
    assert_bad(&f, "k\tv\tw");
    assert_bad(&f, "k\\\tv");
    end(&f);
}

static void limits_hold_for_prefix_and_key_together(void **state)
{
    char line[HF_STORE_KEY_MAX + 8];
    struct fixture f;

    (void)state;
    memset(line, 'k', sizeof line);
    begin(&f, HF_FORMAT_LINES, "ab");
    assert_int_equal(feed_bytes(&f, line, HF_STORE_KEY_MAX - 2), HF_PARSED_CHANGE);
    assert_int_equal(f.change.key.len, HF_STORE_KEY_MAX);
    assert_int_equal(feed_bytes(&f, line, HF_STORE_KEY_MAX - 1), HF_PARSED_BAD);
    end(&f);
    begin(&f, HF_FORMAT_TSV, NULL);
    assert_bad(&f, "\tv");
    end(&f);
}

static void value_of_1_mib_is_the_largest(void **state)
{
    char *line = malloc(HF_STORE_VALUE_MAX + 3);
    struct fixture f;

    (void)state;
    assert_non_null(line);
    memset(line, 'v', HF_STORE_VALUE_MAX + 3);
    line[1] = '\t';
    begin(&f, HF_FORMAT_TSV, NULL);
    assert_int_equal(feed_bytes(&f, line, HF_STORE_VALUE_MAX + 2), HF_PARSED_CHANGE);
    assert_int_equal(f.change.value.len, HF_STORE_VALUE_MAX);
    assert_int_equal(feed_bytes(&f, line, HF_STORE_VALUE_MAX + 3), HF_PARSED_BAD);
    end(&f);
    free(line);
}

/* ---- jsonl ---- */

static void json_strings_are_stored_unquoted(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_JSONL, "j/");
    assert_put(&f, "{\"key\":\"k\",\"value\":\"a \\\"b\\\" \\u00e9\"}", "j/k", "a \"b\" \xc3\xa9");
    assert_int_equal(feed(&f, "{\"key\":\"a\\u0000b\",\"value\":\"\\u0000\"}"), HF_PARSED_CHANGE);
    assert_text(f.change.key, "j/a\0b");
    assert_text(f.change.value, "\0");
    end(&f);
}

static void other_json_values_are_stored_as_they_are_written(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_JSONL, NULL);
    assert_put(&f, "{\"key\":\"k\",\"value\":0.10}", "k", "0.10");
    assert_put(&f, "{\"key\":\"k\",\"value\":123456789012345678901234567890}", "k",
               "123456789012345678901234567890");
    assert_put(&f, "{ \"value\" : [1, \"]\", {\"a\":\"}\"}] , \"key\":\"k\"}", "k",
               "[1, \"]\", {\"a\":\"}\"}]");
    assert_put(&f, "{\"key\":\"value\",\"value\":{\"value\":1,\"x\":\"\\\"\"}}", "value",
               "{\"value\":1,\"x\":\"\\\"\"}");
    assert_put(&f, "{\"key\":\"k\",\"value\":true }", "k", "true");
    assert_put(&f, "{\"key\":\"k\",\"value\":null}", "k", "null");
    assert_bad(&f, "{\"key\":\"k\",\"v\\u0061lue\":1}");
    end(&f);
}

static void bytes_come_as_base64(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_JSONL, NULL);
    assert_int_equal(feed(&f, "{\"key_b64\":\"/wA=\",\"value_b64\":\"gIGC\"}"), HF_PARSED_CHANGE);
    assert_text(f.change.key, "\xff\0");
    assert_text(f.change.value, "\x80\x81\x82");
    assert_int_equal(feed(&f, "{\"key_b64\":\"/wA=\",\"value\":7}"), HF_PARSED_CHANGE);
    assert_text(f.change.value, "7");
    end(&f);
}

static void json_that_is_not_meant_is_refused(void **state)
{
    static const char *const bad[] = {
        "{\"key\":\"k\"}",
        "{\"value\":\"v\"}",
        "{\"key\":\"k\",\"value\":1,\"vlaue\":2}",
        "{\"key\":\"k\",\"value\":1,\"value\":2}",
        "{\"key\":\"k\",\"key_b64\":\"aw==\",\"value\":1}",
        "{\"key\":\"k\",\"value\":1,\"value_b64\":\"aw==\"}",
        "{\"key\":1,\"value\":1}",
        "{\"key_b64\":\"a\",\"value\":1}",
        "{\"key\":\"k\",\"value_b64\":7}",
        "{\"op\":\"put\",\"key\":\"k\",\"value\":1}",
        "{\"key\":\"k\",\"value\":1} x",
        "{\"key\":\"k\",\"value\":1",
        "[\"k\",1]",
        "{}",
        "k\tv",
        "{\"key\":\"\xff\",\"value\":1}",
    };
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_JSONL, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_bad(&f, bad[i]);
    }
    static const char zero[] = "{\"key\":\"k\",\"value\":12\0}";
    assert_int_equal(feed_bytes(&f, zero, sizeof(zero) - 1), HF_PARSED_BAD);
    end(&f);
}

/* ---- pem ---- */

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_END "-----END CERTIFICATE-----"

static void certificates_are_split_and_named(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_PEM, "ca/");
    assert_int_equal(feed(&f, "# Issuer: O=Some"), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, "# Label: \"Some Root\""), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, "# MD5: 00"), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, PEM_BEGIN), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, "AAAA"), HF_PARSED_NOTHING);
    assert_put(&f, PEM_END, "ca/Some Root", PEM_BEGIN "\nAAAA\n" PEM_END "\n");
    assert_int_equal(feed(&f, PEM_BEGIN), HF_PARSED_NOTHING);
    assert_put(&f, PEM_END, "ca/0002", PEM_BEGIN "\n" PEM_END "\n");
    assert_int_equal(feed(&f, "# First"), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, "# Second"), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, PEM_BEGIN), HF_PARSED_NOTHING);
    assert_put(&f, PEM_END, "ca/First", PEM_BEGIN "\n" PEM_END "\n");
    assert_int_equal(hf_parser_end(&f.parser), HF_PARSED_NOTHING);
    end(&f);
}

static void label_that_occurs_twice_loses_no_certificate(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_PEM, NULL);
    assert_int_equal(feed(&f, "# Root"), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, PEM_BEGIN), HF_PARSED_NOTHING);
    assert_put(&f, PEM_END, "Root", PEM_BEGIN "\n" PEM_END "\n");
    assert_int_equal(feed(&f, "# Root"), HF_PARSED_NOTHING);
    assert_int_equal(feed(&f, PEM_BEGIN), HF_PARSED_NOTHING);
    assert_put(&f, PEM_END, "Root-0002", PEM_BEGIN "\n" PEM_END "\n");
    end(&f);
}

static void cut_off_certificate_is_an_error(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, HF_FORMAT_PEM, NULL);
    assert_int_equal(feed(&f, PEM_BEGIN), HF_PARSED_NOTHING);
    assert_bad(&f, PEM_BEGIN);
    assert_int_equal(hf_parser_end(&f.parser), HF_PARSED_BAD);
    end(&f);
}

/* ---- input ---- */

/* An input that reads `text` from an unnamed file. */
static void open_text(struct hf_input *in, const char *text, size_t len)
{
    char path[] = "/tmp/test_cli_parse-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    hf_input_init(in, fd, "text");
}

static void assert_next(struct hf_input *in, const char *expected, uint64_t number)
{
    char *line;
    size_t len;

    assert_int_equal(hf_input_next(in, &line, &len), HF_INPUT_LINE);
    assert_slice(hf_slice_of(line, len), expected, strlen(expected));
    assert_int_equal(in->line, number);
}

static void line_ends_of_both_kinds_and_none_are_read(void **state)
{
    struct hf_input in;
    char *line;
    size_t len;

    (void)state;
    open_text(&in, "a\nb\r\n\nlast", 10);
    assert_next(&in, "a", 1);
    assert_next(&in, "b", 2);
    assert_next(&in, "", 3);
    assert_next(&in, "last", 4);
    assert_int_equal(hf_input_next(&in, &line, &len), HF_INPUT_END);
    assert_int_equal(hf_input_next(&in, &line, &len), HF_INPUT_END);
    hf_input_deinit(&in);
}

static void a_byte_order_mark_is_no_part_of_the_first_line(void **state)
{
    struct hf_input in;

    (void)state;
    open_text(&in, HF_TEXT_BOM "a\n" HF_TEXT_BOM "b\n", 10);
    assert_next(&in, "a", 1);
    assert_next(&in, HF_TEXT_BOM "b", 2);
    hf_input_deinit(&in);
    open_text(&in, HF_TEXT_BOM "\r\n", 5);
    assert_next(&in, "", 1);
    hf_input_deinit(&in);
    open_text(&in, "\xef\xbb\n", 3);
    assert_next(&in, "\xef\xbb", 1);
    hf_input_deinit(&in);
}

static void lines_longer_than_the_buffer_come_whole(void **state)
{
    size_t each = 150000, count = 5;
    char *text = malloc(count * (each + 1));
    struct hf_input in;
    char *line;
    size_t len;

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < count; i++) {
        memset(text + i * (each + 1), 'a' + (int)i, each);
        text[i * (each + 1) + each] = '\n';
    }
    open_text(&in, text, count * (each + 1));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(hf_input_next(&in, &line, &len), HF_INPUT_LINE);
        assert_int_equal(len, each);
        assert_memory_equal(line, text + i * (each + 1), each);
    }
    assert_int_equal(hf_input_next(&in, &line, &len), HF_INPUT_END);
    hf_input_deinit(&in);
    free(text);
}

static void line_without_end_is_refused_before_memory_is_spent(void **state)
{
    size_t len = HF_INPUT_LINE_MAX + 1;
    char *text = malloc(len), *line;
    struct hf_input in;

    (void)state;
    assert_non_null(text);
    memset(text, 'x', len);
    open_text(&in, text, len);
    assert_int_equal(hf_input_next(&in, &line, &len), HF_INPUT_LONG);
    assert_int_equal(in.line, 1);
    assert_true(in.cap <= HF_INPUT_LINE_MAX);
    hf_input_deinit(&in);
    free(text);
}

static void every_format_has_a_name(void **state)
{
    enum hf_format f = HF_FORMAT_APPLY;

    (void)state;
    assert_true(hf_format_parse("pem", &f));
    assert_int_equal(f, HF_FORMAT_PEM);
    assert_false(hf_format_parse("csv", &f));
    assert_int_equal(f, HF_FORMAT_PEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_survives_escape_and_unescape),
        cmocka_unit_test(unknown_escape_is_refused_with_its_place),
        cmocka_unit_test(base64_of_every_length_comes_back),
        cmocka_unit_test(base64_has_one_form_only),
        cmocka_unit_test(utf8_is_told_from_other_bytes),
        cmocka_unit_test(control_bytes_do_not_reach_the_terminal),
        cmocka_unit_test(apply_reads_puts_and_dels),
        cmocka_unit_test(apply_resolves_escapes_in_key_and_value),
        cmocka_unit_test(apply_refuses_what_it_does_not_know),
        cmocka_unit_test(apply_takes_json_lines_between_others),
        cmocka_unit_test(lines_are_keys_with_value_1),
        cmocka_unit_test(tsv_takes_exactly_two_fields),
        cmocka_unit_test(limits_hold_for_prefix_and_key_together),
        cmocka_unit_test(value_of_1_mib_is_the_largest),
        cmocka_unit_test(json_strings_are_stored_unquoted),
        cmocka_unit_test(other_json_values_are_stored_as_they_are_written),
        cmocka_unit_test(bytes_come_as_base64),
        cmocka_unit_test(json_that_is_not_meant_is_refused),
        cmocka_unit_test(certificates_are_split_and_named),
        cmocka_unit_test(label_that_occurs_twice_loses_no_certificate),
        cmocka_unit_test(cut_off_certificate_is_an_error),
        cmocka_unit_test(line_ends_of_both_kinds_and_none_are_read),
        cmocka_unit_test(a_byte_order_mark_is_no_part_of_the_first_line),
        cmocka_unit_test(lines_longer_than_the_buffer_come_whole),
        cmocka_unit_test(line_without_end_is_refused_before_memory_is_spent),
        cmocka_unit_test(every_format_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
