/*
 * test_config.c - defaults, file, command line, help and example, all from one table.
 */
#include "hf/config.h"
#include "hf/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct config {
    char listen[21];
    char name[9];
    uint64_t edges;
    uint64_t cache;
    hf_ms hold;
    bool sync;
    uint64_t free;
};

#define AT(field) offsetof(struct config, field)

static const struct hf_config_row rows[] = {
    {"core", "listen", HF_CONFIG_TEXT, AT(listen), "tcp://a:1", 0, 20, "listen", "URL", "Where."},
    {"core", "name", HF_CONFIG_TEXT, AT(name), NULL, 1, 8, NULL, NULL, "Must be given."},
    {"core", "edges", HF_CONFIG_UINT, AT(edges), "40", 1, 1000, "edges", "N", "How many."},
    {"store", "cache", HF_CONFIG_BYTES, AT(cache), "64KiB", 4096, 1u << 30, "cache", "SIZE",
     "Room."},
    {"store", "hold", HF_CONFIG_TIME, AT(hold), "24h", 0, 7 * 86400000u, "hold", "TIME", "Long."},
    {"store", "sync", HF_CONFIG_BOOL, AT(sync), "yes", 0, 0, "sync", NULL, "Durable."},
    {"store", "free", HF_CONFIG_UINT, AT(free), NULL, 0, 0, NULL, NULL, "Any number."},
};

static const struct hf_config_table table = {rows, sizeof(rows) / sizeof(rows[0])};

struct fixture {
    struct config c;
    struct hf_error e;
    char path[64];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->path, sizeof(f->path), "/tmp/holdfast-config-XXXXXX");
    close(mkstemp(f->path));
    memset(&f->c, 0x5a, sizeof(f->c));
    hf_config_presets(&table, &f->c);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    free(f);
    return 0;
}

static void write_file(struct fixture *f, const char *text, size_t len)
{
    FILE *out = fopen(f->path, "w");
    fwrite(text, 1, len, out);
    fclose(out);
    f->e = (struct hf_error){0};
}

static enum hf_err read_bytes(struct fixture *f, const char *text, size_t len)
{
    write_file(f, text, len);
    return hf_config_file(&table, f->path, &f->c, &f->e);
}

/* The error must be "PATH:line: text". */
static void check_error(struct fixture *f, const char *file, const char *expected)
{
    char whole[400];
    assert_int_not_equal(read_bytes(f, file, strlen(file)), HF_OK);
    snprintf(whole, sizeof(whole), "%s:%s", f->path, expected);
    assert_string_equal(f->e.text, whole);
}

static enum hf_err read_args(struct fixture *f, const char *line, int *next)
{
    static char copy[500];
    char *argv[20] = {(char[]){"tool"}};
    int argc = 1;
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    f->e = (struct hf_error){0};
    return hf_config_args(&table, argc, argv, &f->c, next, &f->e);
}

static void check_arg_error(struct fixture *f, const char *line, const char *expected)
{
    int next = -1;
    assert_int_not_equal(read_args(f, line, &next), HF_OK);
    assert_string_equal(f->e.text, expected);
    assert_int_equal(next, -1);
}

static void presets_fill_the_struct(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(f->c.listen, "tcp://a:1");
    assert_string_equal(f->c.name, "");
    assert_int_equal(f->c.edges, 40);
    assert_int_equal(f->c.cache, 65536);
    assert_int_equal(f->c.hold, 86400000);
    assert_true(f->c.sync);
    assert_int_equal(f->c.free, 0);
}

static void a_file_sets_what_it_names_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    const char *text = "# comment\n[core]\nedges=7\nname = \"b c\" \n; more\n\n[store]\n"
                       "cache: 1MiB\nhold = 500ms ; why\nsync=off\nfree=18446744073709551615";
    assert_int_equal(read_bytes(f, text, strlen(text)), HF_OK);
    assert_int_equal(f->c.edges, 7);
    assert_string_equal(f->c.name, "\"b c\"");
    assert_int_equal(f->c.cache, 1 << 20);
    assert_int_equal(f->c.hold, 500);
    assert_false(f->c.sync);
    assert_true(f->c.free == UINT64_MAX);
    assert_string_equal(f->c.listen, "tcp://a:1");
}

static void every_mistake_in_a_file_is_named_with_its_line(void **state)
{
    struct fixture *f = *state;
    check_error(f, "[core]\n\nedgse = 1\n",
                "3: [core] edgse: unknown key, expected one of listen, name, edges");
    check_error(f, "[cor]\nedges = 1\n",
                "2: [cor] edges: unknown section, expected one of [core], [store]");
    check_error(f, "[core]\nedges = 1\nedges = 1\n", "3: [core] edges: given twice");
    check_error(f, "[core]\nedges = 0\n", "2: [core] edges: out of range, expected 1 to 1000");
    check_error(f, "[core]\nedges = 1001\n", "2: [core] edges: out of range, expected 1 to 1000");
    check_error(f, "[core]\nedges = 7x\n", "2: [core] edges: expected a number");
    check_error(f, "[core]\nedges = -7\n", "2: [core] edges: expected a number");
    check_error(f, "[core]\nedges =\n", "2: [core] edges: expected a number");
    check_error(f, "[store]\nfree = 18446744073709551616\n", "2: [store] free: expected a number");
    check_error(f, "[store]\nfree = 99999999999999999999\n", "2: [store] free: expected a number");
    check_error(f, "[store]\ncache = 1\n", "2: [store] cache: out of range, expected 4KiB to 1GiB");
    check_error(f, "[store]\ncache = 64K\n",
                "2: [store] cache: expected a size as 4096, 64KiB, 16MiB, 1GiB");
    check_error(f, "[store]\nhold = 8d\n", "2: [store] hold: out of range, expected 0 to 7d");
    check_error(f, "[store]\nhold = 10\n",
                "2: [store] hold: expected a time as 500ms, 10s, 5m, 24h, 7d");
    check_error(f, "[store]\nhold = 18446744073709551615d\n",
                "2: [store] hold: expected a time as 500ms, 10s, 5m, 24h, 7d");
    check_error(f, "[store]\nsync = maybe\n", "2: [store] sync: expected yes or no");
    check_error(f, "[core]\nname = 123456789\n",
                "2: [core] name: expected 1 to 8 bytes of text, not 9");
    check_error(f, "[core]\nname =\n", "2: [core] name: expected 1 to 8 bytes of text, not 0");
    check_error(f, "[core]\nedges = 1\nname = a\n  listen = b\n",
                "4: the line begins with a blank");
    check_error(f, "[core]\nnonsense\nedges = 0\n",
                "2: expected [section], key = value, or a comment");
    check_error(f, "edges = 1\n", "1: [] edges: unknown section, expected one of [core], [store]");
}

/* What there is must be seen though somebody's text is long. */
static void a_long_unknown_key_is_cut(void **state)
{
    struct fixture *f = *state;
    char file[400] = "[store]\n", expected[200] = "2: [store] ";
    memset(file + strlen(file), 'k', 300);
    strcat(file, " = 1\n");
    memset(expected + strlen(expected), 'k', 60);
    strcat(expected, ": unknown key, expected one of cache, hold, sync, free");
    check_error(f, file, expected);
}

static void lines_the_library_would_split_are_refused(void **state)
{
    struct fixture *f = *state;
    char text[4000] = "[core]\n# ";
    memset(text + strlen(text), 'c', 1500);
    strcat(text, "\nedges = 9\nlisten = ");
    assert_int_equal(read_bytes(f, text, strlen(text) - 9), HF_OK);
    assert_int_equal(f->c.edges, 9);
    memset(text + strlen(text), 'x', 1201 - strlen("listen = "));
    check_error(f, text, "4: the line is longer than 1200 bytes");
    assert_int_equal(read_bytes(f, "[core]\ned\0es = 9\n", 17), HF_MALFORMED);
    assert_non_null(strstr(f->e.text, ":2: a zero byte"));
}

/* libinih's own buffer ends at 200. */
static void long_values_and_comments_behind_values_are_taken(void **state)
{
    struct fixture *f = *state;
    char text[2000];
    int n = snprintf(text, sizeof(text), "[core]\nedges = 9      %*s# nine\nname = a#b ; x\n", 1150,
                     "");
    assert_int_equal(read_bytes(f, text, (size_t)n), HF_OK);
    assert_int_equal(f->c.edges, 9);
    assert_string_equal(f->c.name, "a#b");
}

static void a_file_that_cannot_be_read_is_an_error(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hf_config_file(&table, "/nonexistent/x", &f->c, &f->e), HF_NOTFOUND);
    assert_string_equal(f->e.text, "/nonexistent/x: No such file or directory");
    assert_int_equal(hf_config_file(&table, "/tmp", &f->c, &f->e), HF_IO);
}

static void options_take_a_value_in_both_ways_and_stop_at_the_first_operand(void **state)
{
    struct fixture *f = *state;
    int next = 0;
    assert_int_equal(read_args(f, "--edges 3 --hold=5m --sync=no - --edges 4", &next), HF_OK);
    assert_int_equal(next, 5);
    assert_int_equal(f->c.edges, 3);
    assert_int_equal(f->c.hold, 300000);
    assert_false(f->c.sync);
    assert_int_equal(read_args(f, "--sync word", &next), HF_OK);
    assert_true(f->c.sync);
    assert_int_equal(next, 2);
    assert_int_equal(read_args(f, "-- --edges", &next), HF_OK);
    assert_int_equal(next, 2);
    assert_int_equal(read_args(f, "", &next), HF_OK);
    assert_int_equal(next, 1);
    assert_int_equal(read_args(f, "--listen --edges", &next), HF_OK);
    assert_string_equal(f->c.listen, "--edges");
}

static void the_command_line_overrides_the_file_wherever_it_is_named(void **state)
{
    struct fixture *f = *state;
    char line[200];
    int next = 0;
    assert_int_equal(read_bytes(f, "[core]\nedges = 5\nname = n\n", 26), HF_OK);
    hf_config_presets(&table, &f->c);
    snprintf(line, sizeof(line), "--edges 6 --config %s", f->path);
    assert_int_equal(read_args(f, line, &next), HF_OK);
    assert_int_equal(f->c.edges, 6);
    assert_string_equal(f->c.name, "n");
    assert_int_equal(next, 5);
}

static void every_mistake_on_the_command_line_is_named(void **state)
{
    struct fixture *f = *state;
    check_arg_error(f, "--edgse 1", "unknown option --edgse");
    check_arg_error(f, "-e 1", "unknown option -e");
    check_arg_error(f, "--name n", "unknown option --name");
    check_arg_error(f, "--edges", "option --edges: a value must follow");
    check_arg_error(f, "--edges 1 --edges=2", "option --edges: given twice");
    check_arg_error(f, "--edges 0", "option --edges: out of range, expected 1 to 1000");
    check_arg_error(f, "--sync=si", "option --sync: expected yes or no");
    check_arg_error(f, "--config", "option --config: a value must follow");
    check_arg_error(f, "--config /nonexistent/x", "/nonexistent/x: No such file or directory");
    assert_int_equal(f->e.code, HF_ARG);
}

static void help_and_version_are_left_to_the_caller(void **state)
{
    struct fixture *f = *state;
    int next = -1;
    assert_int_equal(read_args(f, "--edges 3 --help", &next), HF_NOTFOUND);
    assert_string_equal(f->e.text, "help");
    assert_int_equal(read_args(f, "--version", &next), HF_NOTFOUND);
    assert_string_equal(f->e.text, "version");
    assert_int_equal(read_args(f, "--config /nonexistent/x", &next), HF_ARG);
}

static void help_lists_options_in_columns(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    hf_config_help(&table, out);
    fclose(out);
    assert_non_null(strstr(text, "  --listen URL   Where. (tcp://a:1)\n"));
    assert_non_null(strstr(text, "  --sync         Durable. (yes)\n"));
    assert_non_null(strstr(text, "  --config FILE  "));
    assert_null(strstr(text, "Must be given"));
    free(text);
}

static void the_example_file_reads_back_as_the_presets(void **state)
{
    struct fixture *f = *state;
    struct config changed = f->c;
    FILE *out = fopen(f->path, "w");
    hf_config_example(&table, out);
    fclose(out);
    changed.edges = 1;
    changed.sync = false;
    changed.hold = 1;
    changed.free = 1;
    strcpy(changed.listen, "x");
    assert_int_equal(hf_config_file(&table, f->path, &changed, &f->e), HF_OK);
    assert_int_equal(changed.edges, f->c.edges);
    assert_int_equal(changed.sync, f->c.sync);
    assert_int_equal(changed.hold, f->c.hold);
    assert_int_equal(changed.free, 0);
    assert_string_equal(changed.listen, f->c.listen);
    assert_string_equal(changed.name, "");
}

#define CONFIG_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

struct forms {
    char url[41];
    char address[41];
    char name[17];
    char key[65];
    enum hf_level level;
};

/* What must be of a form is checked where it stands, so that a mistake is told with its line. */
static void texts_of_a_form_are_checked_where_they_stand(void **state)
{
#define FORM(field) offsetof(struct forms, field)
    static const struct hf_config_row of_a_form[] = {
        {"f", "url", HF_CONFIG_URL, FORM(url), "tcp://a:1", 1, 40, NULL, NULL, "A URL."},
        {"f", "address", HF_CONFIG_ADDRESS, FORM(address), NULL, 0, 40, NULL, NULL, "An address."},
        {"f", "name", HF_CONFIG_NAME, FORM(name), NULL, 0, 16, NULL, NULL, "A name."},
        {"f", "key", HF_CONFIG_KEY, FORM(key), NULL, 0, 64, "key", "KEY", "A key."},
        {"f", "level", HF_CONFIG_LEVEL, FORM(level), "warn", 0, 0, NULL, NULL, "A level."},
    };
    static const struct hf_config_table t = {of_a_form, sizeof(of_a_form) / sizeof(of_a_form[0])};
    static const char *const good[] = {
        "url = tcp://[::1]:7410",
        "url = tcp://core.example:0",
        "address = off",
        "address = 127.0.0.1:0",
        "address = [::1]:65535",
        "address =",
        "name = lagos-1.b_c",
        "name =",
        "level = debug",
        "level = error",
        "key =",
        "key = 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    };
    static const struct {
        const char *line, *told;
    } bad[] = {
        {"url =", "[f] url: expected 1 to 40 bytes of text, not 0"},
        {"url = a:1", "[f] url: a:1 is not tcp://host:port"},
        {"url = tcp://a:65536", "[f] url: tcp://a:65536 is not tcp://host:port"},
        {"url = tls+tcp://a:1", "[f] url: tls+tcp://a:1: TLS is not supported"},
        {"address = localhost:1", "[f] address: 'localhost:1' is not a numeric address and port"},
        {"address = 127.0.0.1:65536", "[f] address: '127.0.0.1:65536' is not a numeric"},
        {"address = Off", "[f] address: 'Off' is not a numeric address and port"},
        {"name = a b", "[f] name: 'a b': a name is of a-z 0-9 . _ -"},
        {"key = 00", "[f] key: expected 64 hex digits"},
        {"level = loud", "[f] level: expected error, warn, info or debug, not 'loud'"},
        {"level =", "[f] level: expected error, warn, info or debug, not ''"},
    };
    struct fixture *f = *state;
    struct forms c;
    char text[128], told[300];
    hf_config_presets(&t, &c);
    assert_string_equal(c.url, "tcp://a:1");
    assert_string_equal(c.key, "");
    assert_int_equal(c.level, HF_LEVEL_WARN);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(text, sizeof(text), "[f]\n%s\n", good[i]);
        write_file(f, text, strlen(text));
        assert_int_equal(hf_config_file(&t, f->path, &c, &f->e), HF_OK);
    }
    assert_int_equal(c.level, HF_LEVEL_ERROR);
    assert_string_equal(c.address, "");
    const struct forms before = c;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "[f]\n\n%s\n", bad[i].line);
        write_file(f, text, strlen(text));
        assert_int_equal(hf_config_file(&t, f->path, &c, &f->e), HF_ARG);
        snprintf(told, sizeof(told), "%s:3: %s", f->path, bad[i].told);
        assert_memory_equal(f->e.text, told, strlen(told));
    }
    assert_memory_equal(&c, &before, sizeof(c));
    char *argv[] = {(char[]){"tool"}, (char[]){"--key=12"}};
    assert_int_equal(hf_config_args(&t, 2, argv, &c, NULL, &f->e), HF_ARG);
    assert_string_equal(f->e.text, "option --key: expected 64 hex digits");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONFIG_TEST(presets_fill_the_struct),
        CONFIG_TEST(a_file_sets_what_it_names_and_nothing_else),
        CONFIG_TEST(every_mistake_in_a_file_is_named_with_its_line),
        CONFIG_TEST(long_values_and_comments_behind_values_are_taken),
        CONFIG_TEST(a_long_unknown_key_is_cut),
        CONFIG_TEST(lines_the_library_would_split_are_refused),
        CONFIG_TEST(a_file_that_cannot_be_read_is_an_error),
        CONFIG_TEST(options_take_a_value_in_both_ways_and_stop_at_the_first_operand),
        CONFIG_TEST(the_command_line_overrides_the_file_wherever_it_is_named),
        CONFIG_TEST(every_mistake_on_the_command_line_is_named),
        CONFIG_TEST(help_and_version_are_left_to_the_caller),
        CONFIG_TEST(help_lists_options_in_columns),
        CONFIG_TEST(texts_of_a_form_are_checked_where_they_stand),
        CONFIG_TEST(the_example_file_reads_back_as_the_presets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
