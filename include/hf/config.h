/*
 * config.h - one table drives defaults, the INI file, the command line, --help and the example
 * file.
 *
 * An unknown section, key or option, a value out of range, or a duplicate is an error that names
 * file:line (or the option) and what was expected, which is the names that exist if one does not.
 * The command line overrides the file, which must be valid all the same.
 */
#ifndef HF_CONFIG_H
#define HF_CONFIG_H

#include <stdio.h>

#include "hf/err.h"
#include "hf/types.h"

enum hf_config_type {
    HF_CONFIG_TEXT = 0,  /* char[] of `max` + 1 bytes in the struct */
    HF_CONFIG_UINT = 1,  /* uint64_t */
    HF_CONFIG_BYTES = 2, /* uint64_t; "64KiB", "1GiB", plain bytes */
    HF_CONFIG_TIME = 3,  /* hf_ms; "500ms", "10s", "5m", "24h", "7d" */
    HF_CONFIG_BOOL = 4,  /* bool; yes/no, true/false, on/off */
    HF_CONFIG_LEVEL = 5, /* enum hf_level; error, warn, info, debug */
    /* Texts of a form, as TEXT in the struct; empty where `min` is 0: */
    HF_CONFIG_URL = 6,     /* tcp://HOST:PORT */
    HF_CONFIG_ADDRESS = 7, /* numeric ADDR:PORT, [ADDR]:PORT, or "off" */
    HF_CONFIG_NAME = 8,    /* of a stream or an edge; hf_name_valid */
    HF_CONFIG_KEY = 9,     /* 64 hex digits */
};

struct hf_config_row {
    const char *section;
    const char *key;
    enum hf_config_type type;
    size_t offset;
    const char *preset;  /* default, as text; NULL = empty text or 0; a LEVEL has one */
    uint64_t min, max;   /* of the number, or max length of the text */
    const char *option;  /* "listen" for --listen, or NULL: file only */
    const char *operand; /* "URL" in --help */
    const char *help;
};

struct hf_config_table {
    const struct hf_config_row *row;
    size_t count;
};

void hf_config_presets(const struct hf_config_table *t, void *config);
enum hf_err hf_config_file(const struct hf_config_table *t, const char *path, void *config,
                           struct hf_error *e);
/* Takes --option VALUE, --option=VALUE; bool options may stand alone. "--config FILE" is read
 * first, wherever it stands. Stops at the first non-option or "--"; *next is its index. --help and
 * --version are the caller's: they are reported as HF_NOTFOUND with e->text "help" or "version". */
enum hf_err hf_config_args(const struct hf_config_table *t, int argc, char **argv, void *config,
                           int *next, struct hf_error *e);
/* The options with their help and defaults, aligned. */
void hf_config_help(const struct hf_config_table *t, FILE *out);
/* A commented example file with every key at its default. */
void hf_config_example(const struct hf_config_table *t, FILE *out);

#endif
