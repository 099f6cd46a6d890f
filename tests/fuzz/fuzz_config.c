/*
 * fuzz_config.c - config files and command lines, fed anything.
 *
 * An even first byte: the rest is a config file. An odd one: the rest is a command line, an
 * argument a line. What is refused has a sentence that names the place; what is accepted is inside
 * the limits of the table, and written down again in plain numbers it means the same.
 *
 * Two tables are asked: that of holdfast-core, as it is shipped, and one with every type and tight
 * limits. Read next: proto/node/config.c.
 */
#include "core/options.h"
#include "tests/fuzz/memory_file.h"

#include <inttypes.h>
#include <stdlib.h>

enum { ARGS_MAX = 16, BYTES_MAX = 4096 };

struct tight {
    char text[9];
    char name[4];
    uint64_t count;
    uint64_t bytes;
    uint64_t free;
    hf_ms time;
    bool flag;
    enum hf_level level;
    char url[25];
    char address[25];
    char key[65];
};

#define AT(field) offsetof(struct tight, field)

static const struct hf_config_row rows[] = {
    {"a", "text", HF_CONFIG_TEXT, AT(text), "x y", 0, 8, "text", "TEXT", "."},
    {"a", "name", HF_CONFIG_NAME, AT(name), NULL, 1, 3, NULL, NULL, "."},
    {"a", "count", HF_CONFIG_UINT, AT(count), "40", 1, 1000, "count", "N", "."},
    {"b", "bytes", HF_CONFIG_BYTES, AT(bytes), "64KiB", 4096, 1u << 30, "bytes", "SIZE", "."},
    {"b", "time", HF_CONFIG_TIME, AT(time), "24h", 0, 7 * 86400000u, "time", "TIME", "."},
    {"b", "flag", HF_CONFIG_BOOL, AT(flag), "yes", 0, 0, "flag", NULL, "."},
    {"b", "level", HF_CONFIG_LEVEL, AT(level), "info", 0, 0, "level", "LEVEL", "."},
    {"c", "url", HF_CONFIG_URL, AT(url), "tcp://a:1", 1, 24, "url", "URL", "."},
    {"c", "address", HF_CONFIG_ADDRESS, AT(address), "off", 0, 24, "address", "ADDR:PORT", "."},
    {"c", "key", HF_CONFIG_KEY, AT(key), NULL, 0, 64, "key", "KEY", "."},
    {"b", "free", HF_CONFIG_UINT, AT(free), NULL, 0, 0, "free", "N", "."},
};

static const struct hf_config_table tight_table = {rows, sizeof(rows) / sizeof(rows[0])};

union any_config {
    struct core_options core;
    struct tight tight;
};

static const void *field(const struct hf_config_row *row, const union any_config *c)
{
    return (const char *)c + row->offset;
}

/* A row as a line of a file, in units that need no rounding. Nothing for what was not given. */
static size_t print_row(const struct hf_config_row *row, const union any_config *c, char *out,
                        size_t room)
{
    uint64_t number;
    const char *text = field(row, c);

    static const char *const levels[] = {"error", "warn", "info", "debug"};

    switch (row->type) {
    case HF_CONFIG_BOOL:
        return (size_t)snprintf(out, room, "%s=%s\n", row->key,
                                *(const bool *)field(row, c) ? "on" : "off");
    case HF_CONFIG_LEVEL:
        return (size_t)snprintf(out, room, "%s=%s\n", row->key,
                                levels[*(const enum hf_level *)field(row, c)]);
    case HF_CONFIG_UINT:
    case HF_CONFIG_BYTES:
    case HF_CONFIG_TIME:
        memcpy(&number, field(row, c), sizeof(number));
        return (size_t)snprintf(out, room, "%s=%" PRIu64 "%s\n", row->key, number,
                                row->type == HF_CONFIG_TIME ? "ms" : "");
    default:
        return *text == '\0' && row->min > 0
                   ? 0
                   : (size_t)snprintf(out, room, "%s=%s\n", row->key, text);
    }
}

static bool is_text(const struct hf_config_row *row)
{
    return row->type == HF_CONFIG_TEXT || row->type >= HF_CONFIG_URL;
}

static void check_limits(const struct hf_config_table *t, const union any_config *c)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct hf_config_row *row = &t->row[i];
        uint64_t number;

        if (is_text(row)) {
            const char *text = field(row, c);
            HF_ASSERT(memchr(text, '\0', row->max + 1) != NULL);
            HF_ASSERT(strlen(text) >= row->min || (row->preset == NULL && *text == '\0'));
        } else if (row->type != HF_CONFIG_BOOL && row->type != HF_CONFIG_LEVEL) {
            memcpy(&number, field(row, c), sizeof(number));
            HF_ASSERT(number >= row->min || (row->preset == NULL && number == 0));
            HF_ASSERT(row->max == 0 || number <= row->max);
        }
    }
}

static size_t print_all(const struct hf_config_table *t, const union any_config *c, char *out,
                        size_t room)
{
    size_t len = 0;

    for (size_t i = 0; i < t->count; i++) {
        len += (size_t)snprintf(out + len, room - len, "[%s]\n", t->row[i].section);
        len += print_row(&t->row[i], c, out + len, room - len);
        HF_ASSERT(len < room);
    }
    return len;
}

/* Written down and read again it is the same: nothing was guessed. */
static void check_again(const struct hf_config_table *t, const union any_config *c)
{
    static char text[8 * BYTES_MAX], same[8 * BYTES_MAX];
    size_t len = print_all(t, c, text, sizeof(text));
    union any_config again;
    struct hf_error e = {0};

    hf_config_presets(t, &again);
    HF_ASSERT(hf_config_file(t, memory_file(text, len), &again, &e) == HF_OK);
    HF_ASSERT(print_all(t, &again, same, sizeof(same)) == len && memcmp(text, same, len) == 0);
}

static void as_file(const struct hf_config_table *t, const uint8_t *data, size_t size)
{
    const char *path = memory_file(data, size);
    union any_config c;
    struct hf_error e = {0};

    hf_config_presets(t, &c);
    if (hf_config_file(t, path, &c, &e) == HF_OK) {
        check_limits(t, &c);
        check_again(t, &c);
    } else {
        size_t at = strlen(path);
        HF_ASSERT(e.code != HF_OK && strncmp(e.text, path, at) == 0);
        HF_ASSERT(e.text[at] == ':' && e.text[at + 1] >= '1' && e.text[at + 1] <= '9');
    }
}

static void as_arguments(const struct hf_config_table *t, const uint8_t *data, size_t size)
{
    char text[BYTES_MAX + 1];
    char *argv[ARGS_MAX + 1] = {text};
    union any_config c;
    struct hf_error e = {0};
    int argc = 1, next = -1;

    memcpy(text, data, size);
    text[size] = '\0';
    for (char *p = strchr(text, '\n'); p != NULL && argc < ARGS_MAX; p = strchr(p, '\n')) {
        *p++ = '\0';
        /* The files of this machine are none of the fuzzer's business. */
        argv[argc++] = strncmp(p, "--config", 8) == 0 ? p + 2 : p;
    }
    hf_config_presets(t, &c);
    enum hf_err err = hf_config_args(t, argc, argv, &c, &next, &e);
    if (err == HF_OK) {
        HF_ASSERT(next >= 1 && next <= argc);
        check_limits(t, &c);
    } else {
        HF_ASSERT(e.code == err && e.text[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct hf_config_table *table[] = {&core_options_table, &tight_table};

    if (size == 0 || size > BYTES_MAX) {
        return 0;
    }
    for (size_t i = 0; i < 2; i++) {
        if (data[0] % 2 == 0) {
            as_file(table[i], data + 1, size - 1);
        } else {
            as_arguments(table[i], data + 1, size - 1);
        }
    }
    return 0;
}
