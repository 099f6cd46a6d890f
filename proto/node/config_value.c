/*
 * config_value.c - values of a configuration as text: parsing, limits, help, and the example file.
 *
 *   UINT   digits                        BYTES  digits, and B, KiB, MiB, GiB, TiB or nothing
 *   TIME   digits and ms, s, m, h or d; 0 needs no unit, other numbers do: "10" of what?
 *   BOOL   yes no true false on off      LEVEL  error warn info debug
 *   TEXT   anything printable, `min` to `max` bytes; URL, ADDRESS, NAME and KEY as well, but what
 *          is there must be one
 *
 * Invariant: nothing wraps: a number or product that does not fit is out of range. A max of 0 is no
 * limit (for a number; a text has one, the room in its struct).
 *
 * Must not: accept half a value ("10 s", "1.5GiB", "0x10", "-1"); who made a typing error shall
 * hear of it.
 *
 * Read next: config.c.
 */
#include "proto/node/config_value.h"

#include "hf/bytes.h"
#include "hf/log.h"
#include "hf/resp.h"
#include "hf/seal.h"
#include "hf/transport.h"

#include <inttypes.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit byte_units[] = {
    {"", 1},
    {"B", 1},
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {"TiB", UINT64_C(1) << 40},
};

static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000},
};

/* Reads digits at *text and moves past them; false when there are none or they do not fit. */
static bool read_digits(const char **text, uint64_t *value)
{
    const char *at = *text;
    uint64_t v = 0;
    if (*at < '0' || *at > '9') {
        return false;
    }
    while (*at >= '0' && *at <= '9') {
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*at - '0'), &v)) {
            return false;
        }
        at++;
    }
    *text = at;
    *value = v;
    return true;
}

static bool read_units(const char *text, const struct unit *units, size_t count, uint64_t *value)
{
    uint64_t v = 0;
    if (!read_digits(&text, &v)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, units[i].name) == 0) {
            return !__builtin_mul_overflow(v, units[i].factor, value);
        }
    }
    *value = 0;
    return v == 0 && *text == '\0';
}

static bool read_bool(const char *text, bool *value)
{
    static const char *const yes[] = {"yes", "true", "on"};
    static const char *const no[] = {"no", "false", "off"};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *value = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

/* ---- limits ---- */

static bool is_number(const struct hf_config_row *row)
{
    return row->type == HF_CONFIG_UINT || row->type == HF_CONFIG_BYTES ||
           row->type == HF_CONFIG_TIME;
}

static uint64_t number_max(const struct hf_config_row *row)
{
    uint64_t type_max = row->type == HF_CONFIG_TIME ? (uint64_t)INT64_MAX : UINT64_MAX;
    return row->max == 0 || row->max > type_max ? type_max : row->max;
}

/* A number as a person would write it in this type. */
static void print_number(const struct hf_config_row *row, uint64_t value, char *out, size_t size)
{
    const struct unit *units = row->type == HF_CONFIG_TIME ? time_units : byte_units;
    size_t count = row->type == HF_CONFIG_TIME ? sizeof(time_units) / sizeof(time_units[0])
                                               : sizeof(byte_units) / sizeof(byte_units[0]);
    if (row->type == HF_CONFIG_UINT || value == 0) {
        count = 0;
    }
    while (count > 0 && value % units[count - 1].factor != 0) {
        count--;
    }
    uint64_t shown = count == 0 ? value : value / units[count - 1].factor;
    const char *name = count == 0 || units[count - 1].factor == 1 ? "" : units[count - 1].name;
    if (row->type == HF_CONFIG_TIME && value != 0 && *name == '\0') {
        name = "ms";
    }
    snprintf(out, size, "%" PRIu64 "%s", shown, name);
}

static enum hf_err check_number(const struct hf_config_row *row, uint64_t value, struct hf_error *e)
{
    if (value >= row->min && value <= number_max(row)) {
        return HF_OK;
    }
    char low[32];
    char high[32];
    print_number(row, row->min, low, sizeof(low));
    print_number(row, number_max(row), high, sizeof(high));
    return hf_error_set(e, HF_ARG, "out of range, expected %s to %s", low, high);
}

/* ---- setting ---- */

/* Memcpy, so that a struct of any layout may be described by offsets alone. */
static void store(const struct hf_config_row *row, void *config, const void *value, size_t len)
{
    memcpy((char *)config + row->offset, value, len);
}

static enum hf_err check_form(enum hf_config_type form, const char *text, struct hf_error *e)
{
    struct hf_key key;
    switch (form) {
    case HF_CONFIG_URL:
        return hf_url_check(text, e);
    case HF_CONFIG_ADDRESS:
        return strcmp(text, "off") == 0 ? HF_OK : hf_resp_address_check(text, e);
    case HF_CONFIG_NAME:
        return hf_name_valid(hf_slice_str(text))
                   ? HF_OK
                   : hf_error_set(e, HF_ARG, "'%s': a name is of a-z 0-9 . _ -", text);
    case HF_CONFIG_KEY:
        return hf_unhex(text, key.b, HF_KEY_BYTES) == HF_OK
                   ? HF_OK
                   : hf_error_set(e, HF_ARG, "expected %d hex digits", 2 * HF_KEY_BYTES);
    default:
        return HF_OK;
    }
}

static enum hf_err set_text(const struct hf_config_row *row, void *config, const char *text,
                            struct hf_error *e)
{
    size_t len = strlen(text);
    if (len < row->min || len > row->max) {
        return hf_error_set(e, HF_ARG, "expected %" PRIu64 " to %" PRIu64 " bytes of text, not %zu",
                            row->min, row->max, len);
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return hf_error_set(e, HF_ARG, "a control character in the text");
        }
    }
    enum hf_err rc = len == 0 ? HF_OK : check_form(row->type, text, e);
    if (rc == HF_OK) {
        store(row, config, text, len + 1);
    }
    return rc;
}

static enum hf_err set_number(const struct hf_config_row *row, void *config, const char *text,
                              struct hf_error *e)
{
    uint64_t value = 0;
    bool ok = false;
    const char *expected = "a number";
    if (row->type == HF_CONFIG_BYTES) {
        expected = "a size as 4096, 64KiB, 16MiB, 1GiB";
        ok = read_units(text, byte_units, sizeof(byte_units) / sizeof(byte_units[0]), &value);
    } else if (row->type == HF_CONFIG_TIME) {
        expected = "a time as 500ms, 10s, 5m, 24h, 7d";
        ok = read_units(text, time_units, sizeof(time_units) / sizeof(time_units[0]), &value);
    } else {
        ok = read_digits(&text, &value) && *text == '\0';
    }
    if (!ok) {
        return hf_error_set(e, HF_ARG, "expected %s", expected);
    }
    enum hf_err rc = check_number(row, value, e);
    if (rc != HF_OK) {
        return rc;
    }
    if (row->type == HF_CONFIG_TIME) {
        hf_ms ms = (hf_ms)value;
        store(row, config, &ms, sizeof(ms));
    } else {
        store(row, config, &value, sizeof(value));
    }
    return HF_OK;
}

enum hf_err hf_config_value_set(const struct hf_config_row *row, void *config, const char *text,
                                struct hf_error *e)
{
    bool flag = false;
    enum hf_level level = HF_LEVEL_INFO;
    switch (row->type) {
    case HF_CONFIG_UINT:
    case HF_CONFIG_BYTES:
    case HF_CONFIG_TIME:
        return set_number(row, config, text, e);
    case HF_CONFIG_BOOL:
        if (!read_bool(text, &flag)) {
            return hf_error_set(e, HF_ARG, "expected yes or no");
        }
        store(row, config, &flag, sizeof(flag));
        return HF_OK;
    case HF_CONFIG_LEVEL:
        if (!hf_level_parse(text, &level)) {
            return hf_error_set(e, HF_ARG, "expected error, warn, info or debug, not '%s'", text);
        }
        store(row, config, &level, sizeof(level));
        return HF_OK;
    default:
        return set_text(row, config, text, e);
    }
}

void hf_config_value_clear(const struct hf_config_row *row, void *config)
{
    uint64_t zero = 0;
    switch (row->type) {
    case HF_CONFIG_UINT:
    case HF_CONFIG_BYTES:
    case HF_CONFIG_TIME:
        store(row, config, &zero, sizeof(zero));
        return;
    case HF_CONFIG_BOOL:
        store(row, config, &(bool){false}, sizeof(bool));
        return;
    case HF_CONFIG_LEVEL:
        store(row, config, &(enum hf_level){HF_LEVEL_ERROR}, sizeof(enum hf_level));
        return;
    default: /* a text */
        memset((char *)config + row->offset, 0, row->max + 1);
        return;
    }
}

/* ---- help and example ---- */

/* "--listen URL", "--verbose"; its width. */
static int print_option(const struct hf_config_row *row, char *out, size_t size)
{
    bool alone = row->type == HF_CONFIG_BOOL || row->operand == NULL;
    return snprintf(out, size, "--%s%s%s", row->option, alone ? "" : " ",
                    alone ? "" : row->operand);
}

void hf_config_help(const struct hf_config_table *t, FILE *out)
{
    static const char config_option[] = "--config FILE";
    char text[128];
    int width = (int)sizeof(config_option) - 1;
    for (size_t i = 0; i < t->count; i++) {
        int n = t->row[i].option == NULL ? 0 : print_option(&t->row[i], text, sizeof(text));
        width = n > width ? n : width;
    }
    fprintf(out, "  %-*s  %s\n", width, config_option, "read this file first");
    for (size_t i = 0; i < t->count; i++) {
        const struct hf_config_row *row = &t->row[i];
        if (row->option == NULL) {
            continue;
        }
        print_option(row, text, sizeof(text));
        fprintf(out, "  %-*s  %s", width, text, row->help);
        if (row->preset != NULL && *row->preset != '\0') {
            fprintf(out, " (%s)", row->preset);
        }
        fputc('\n', out);
    }
    fprintf(out, "  %-*s  %s\n", width, "--help", "print this");
    fprintf(out, "  %-*s  %s\n", width, "--version", "print the version");
}

static void print_limits(const struct hf_config_row *row, FILE *out)
{
    char low[32];
    char high[32];
    if (!is_number(row) || (row->min == 0 && row->max == 0)) {
        return;
    }
    print_number(row, row->min, low, sizeof(low));
    print_number(row, number_max(row), high, sizeof(high));
    if (row->max == 0) {
        fprintf(out, "# At least %s.\n", low);
    } else {
        fprintf(out, "# %s to %s.\n", low, high);
    }
}

void hf_config_example(const struct hf_config_table *t, FILE *out)
{
    const char *section = NULL;
    for (size_t i = 0; i < t->count; i++) {
        const struct hf_config_row *row = &t->row[i];
        if (section == NULL || strcmp(section, row->section) != 0) {
            fprintf(out, "%s[%s]\n", section == NULL ? "" : "\n", row->section);
            section = row->section;
        }
        fprintf(out, "\n# %s\n", row->help);
        print_limits(row, out);
        if (row->option != NULL) {
            fprintf(out, "# Option --%s.\n", row->option);
        }
        /* A value that must be given has no default, and an empty one would be refused. */
        bool must_be_given = row->preset == NULL && row->min > 0;
        const char *none = is_number(row) ? "0" : "";
        none = row->type == HF_CONFIG_BOOL ? "no" : none;
        fprintf(out, "%s%s = %s\n", must_be_given ? "#" : "", row->key,
                row->preset == NULL ? none : row->preset);
    }
}
