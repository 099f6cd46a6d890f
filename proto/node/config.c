/*
 * config.c - one table drives defaults, the INI file, the command line, --help and the example
 * file.
 *
 * The file is INI as libinih reads it: [section], key = value, comments from "#" or ";" on (within
 * a line after a blank). libinih silently takes the rest of a line that is too long for it as
 * another line, and an indented line as more of the value before it; since nothing here may be
 * guessed, both are refused, by the reader that feeds it lines and counts them.
 *
 * Invariant: every value in the struct came through set_value: parsed whole, inside min and max of
 * its row. A text always ends in a zero within its max + 1 bytes. The first error wins and names
 * its place.
 *
 * Must not: know any key, keep a pointer to the table, or print (hf_config_help and _example write
 * to the stream they are given).
 *
 * Read next: include/hf/config.h; config_value.c for values as text.
 */
#include "proto/node/config_value.h"

#include <ini.h>

#include <errno.h>
#include <stdlib.h>

/* A join token of a long address fits. */
#define LINE_BYTES_MAX 1200
#define PLACE_MAX 300u

static const struct hf_config_row *find_key(const struct hf_config_table *t, const char *section,
                                            const char *key)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->row[i].section, section) == 0 && strcmp(t->row[i].key, key) == 0) {
            return &t->row[i];
        }
    }
    return NULL;
}

static bool has_section(const struct hf_config_table *t, const char *section)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->row[i].section, section) == 0) {
            return true;
        }
    }
    return false;
}

void hf_config_presets(const struct hf_config_table *t, void *config)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct hf_config_row *row = &t->row[i];
        hf_config_value_clear(row, config);
        if (row->preset != NULL) {
            struct hf_error e = {0};
            HF_ASSERT(hf_config_value_set(row, config, row->preset, &e) == HF_OK);
        }
    }
}

/* ---- the file ---- */

struct file_reader {
    const struct hf_config_table *table;
    void *config;
    struct hf_error *e;
    const char *path;
    FILE *file;
    bool *seen; /* owned; one a row */
    unsigned line;
    enum hf_err rc;
};

static void fail_line(struct file_reader *r, enum hf_err code, const char *text)
{
    if (r->rc == HF_OK) {
        r->rc = hf_error_set(r->e, code, "%s:%u: %s", r->path, r->line, text);
    }
}

static bool is_comment(const char *line)
{
    line += strspn(line, " \t");
    return *line == '#' || *line == ';' || *line == '\0';
}

/* Removes the line end; false when the line is not fit for the library. */
static bool check_line(struct file_reader *r, char *line, size_t len)
{
    if (strlen(line) != len) {
        fail_line(r, HF_MALFORMED, "a zero byte");
        return false;
    }
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) {
        line[--len] = '\0';
    }
    if (is_comment(line)) {
        line[0] = '\0'; /* of any length */
        return true;
    }
    if (len > LINE_BYTES_MAX) {
        fail_line(r, HF_TOO_BIG, "the line is longer than 1200 bytes");
        return false;
    }
    if (line[0] == ' ' || line[0] == '\t') {
        fail_line(r, HF_MALFORMED, "the line begins with a blank");
        return false;
    }
    return true;
}

/* Like fgets, as libinih wants it. NULL ends the parsing, at the end of the file or at an error. */
static char *next_line(char *buffer, int size, void *stream)
{
    struct file_reader *r = stream;
    char *line = NULL;
    size_t cap = 0;
    if (r->rc != HF_OK) {
        return NULL;
    }
    errno = 0;
    ssize_t len = getline(&line, &cap, r->file);
    r->line++;
    if (len < 0 && ferror(r->file)) {
        r->rc = hf_error_set(r->e, HF_IO, "%s: %s", r->path, strerror(errno));
    }
    bool ok = len >= 0 && check_line(r, line, (size_t)len);
    if (ok) {
        int n = snprintf(buffer, (size_t)size, "%s\n", line);
        HF_ASSERT(n > 0 && n < size);
    }
    free(line);
    return ok ? buffer : NULL;
}

/* The first row of its section: a table may come back to one. */
static bool first_of_section(const struct hf_config_table *t, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (strcmp(t->row[k].section, t->row[i].section) == 0) {
            return false;
        }
    }
    return true;
}

/* Lists what would have been right; both names are somebody's text, so they are cut. */
static void fail_unknown(struct file_reader *r, const char *section, const char *key)
{
    const struct hf_config_table *t = r->table;
    bool known = has_section(t, section);
    const char *before = " ";
    char text[PLACE_MAX];
    size_t n = (size_t)snprintf(text, sizeof(text), "[%.60s] %.60s: unknown %s, expected one of",
                                section, key, known ? "key" : "section");
    for (size_t i = 0; i < t->count && n < sizeof(text); i++) {
        const struct hf_config_row *row = &t->row[i];
        if (known ? strcmp(row->section, section) != 0 : !first_of_section(t, i)) {
            continue;
        }
        n += (size_t)snprintf(text + n, sizeof(text) - n, known ? "%s%s" : "%s[%s]", before,
                              known ? row->key : row->section);
        before = ", ";
    }
    fail_line(r, HF_ARG, text);
}

static int on_value(void *user, const char *section, const char *key, const char *value)
{
    struct file_reader *r = user;
    char text[PLACE_MAX];
    if (r->rc != HF_OK) {
        return 0;
    }
    const struct hf_config_row *row = find_key(r->table, section, key);
    if (row == NULL) {
        fail_unknown(r, section, key);
        return 0;
    }
    if (r->seen[row - r->table->row]) {
        snprintf(text, sizeof(text), "[%s] %s: given twice", section, key);
        fail_line(r, HF_EXISTS, text);
        return 0;
    }
    r->seen[row - r->table->row] = true;
    struct hf_error inner = {0};
    enum hf_err rc = hf_config_value_set(row, r->config, value, &inner);
    if (rc != HF_OK && r->rc == HF_OK) {
        r->rc = hf_error_set(r->e, rc, "%s:%u: [%s] %s: %s", r->path, r->line, section, key,
                             inner.text);
    }
    return rc == HF_OK;
}

static enum hf_err open_error(struct hf_error *e, const char *path)
{
    enum hf_err code = HF_IO;
    if (errno == ENOENT) {
        code = HF_NOTFOUND;
    } else if (errno == EACCES || errno == EPERM) {
        code = HF_PERMISSION;
    }
    return hf_error_set(e, code, "%s: %s", path, strerror(errno));
}

enum hf_err hf_config_file(const struct hf_config_table *t, const char *path, void *config,
                           struct hf_error *e)
{
    struct file_reader r = {.table = t, .config = config, .e = e, .path = path};
    r.file = fopen(path, "re");
    if (r.file == NULL) {
        return open_error(e, path);
    }
    r.seen = calloc(t->count, sizeof(*r.seen));
    if (r.seen == NULL) {
        fclose(r.file);
        return hf_error_set(e, HF_NOMEM, "%s: out of memory", path);
    }
    static char comments[] = ";#";
    ini_inline_comment_prefixes = comments;
    ini_use_stack = false; /* its buffer has 200 bytes */
    ini_initial_alloc = LINE_BYTES_MAX + 3;
    int line = ini_parse_stream(next_line, &r, on_value, &r);
    /* The library goes on after a line it cannot read, so that line may be the earlier error. */
    if (line > 0 && (r.rc == HF_OK || (unsigned)line < r.line)) {
        r.rc = HF_OK;
        r.line = (unsigned)line;
        fail_line(&r, HF_MALFORMED, "expected [section], key = value, or a comment");
    } else if (line < 0 && r.rc == HF_OK) {
        r.rc = hf_error_set(e, HF_NOMEM, "%s: out of memory", path);
    }
    free(r.seen);
    fclose(r.file);
    return r.rc;
}

/* ---- the command line ---- */

enum pass { /* The file is below the command line, so it is read before any other option is taken.
             */
            PASS_FILE = 0,
            PASS_OPTIONS = 1,
};

struct arg_reader {
    const struct hf_config_table *table;
    void *config;
    struct hf_error *e;
    int argc;
    char **argv;
    int at;
    bool *seen; /* owned; one a row, and the last for --config */
};

static const struct hf_config_row *find_option(const struct hf_config_table *t, const char *name,
                                               size_t len)
{
    for (size_t i = 0; i < t->count; i++) {
        const char *option = t->row[i].option;
        if (option != NULL && strlen(option) == len && memcmp(option, name, len) == 0) {
            return &t->row[i];
        }
    }
    return NULL;
}

static bool name_is(const char *name, size_t len, const char *other)
{
    return strlen(other) == len && memcmp(name, other, len) == 0;
}

/* Cuts the option at r->at into name and value, and moves past both. A bool stands alone. */
static enum hf_err cut_option(struct arg_reader *r, const struct hf_config_row *row, size_t len,
                              const char **value)
{
    const char *name = r->argv[r->at++] + 2;
    if (name[len] == '=') {
        *value = name + len + 1;
        return HF_OK;
    }
    if (row != NULL && row->type == HF_CONFIG_BOOL) {
        *value = "yes";
        return HF_OK;
    }
    if (r->at == r->argc) {
        return hf_error_set(r->e, HF_ARG, "option --%s: a value must follow", name);
    }
    *value = r->argv[r->at++];
    return HF_OK;
}

static enum hf_err take_value(struct arg_reader *r, const struct hf_config_row *row,
                              const char *value, enum pass pass)
{
    const char *name = row == NULL ? "config" : row->option;
    bool *seen = &r->seen[row == NULL ? r->table->count : (size_t)(row - r->table->row)];
    if ((row == NULL) != (pass == PASS_FILE)) {
        return HF_OK;
    }
    if (*seen) {
        return hf_error_set(r->e, HF_EXISTS, "option --%s: given twice", name);
    }
    *seen = true;
    if (row == NULL) {
        enum hf_err file_rc = hf_config_file(r->table, value, r->config, r->e);
        /* HF_NOTFOUND from the command line means help or version. */
        if (file_rc == HF_NOTFOUND) {
            file_rc = HF_ARG;
            if (r->e != NULL) {
                r->e->code = file_rc;
            }
        }
        return file_rc;
    }
    struct hf_error inner = {0};
    enum hf_err rc = hf_config_value_set(row, r->config, value, &inner);
    return rc == HF_OK ? rc : hf_error_set(r->e, rc, "option --%s: %s", name, inner.text);
}

static enum hf_err take_option(struct arg_reader *r, enum pass pass)
{
    const char *arg = r->argv[r->at];
    if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
        return hf_error_set(r->e, HF_NOTFOUND, "help");
    }
    if (strcmp(arg, "--version") == 0) {
        return hf_error_set(r->e, HF_NOTFOUND, "version");
    }
    size_t len = strncmp(arg, "--", 2) == 0 ? strcspn(arg + 2, "=") : 0;
    const struct hf_config_row *row = find_option(r->table, arg + 2, len);
    if (len == 0 || (row == NULL && !name_is(arg + 2, len, "config"))) {
        return hf_error_set(r->e, HF_ARG, "unknown option %s", arg);
    }
    const char *value = NULL;
    enum hf_err rc = cut_option(r, row, len, &value);
    return rc == HF_OK ? take_value(r, row, value, pass) : rc;
}

/* "-" alone is an operand, as everywhere. */
static bool is_option(const char *arg)
{
    return arg[0] == '-' && arg[1] != '\0';
}

static enum hf_err run_pass(struct arg_reader *r, enum pass pass)
{
    r->at = 1;
    while (r->at < r->argc && is_option(r->argv[r->at])) {
        if (strcmp(r->argv[r->at], "--") == 0) {
            r->at++;
            break;
        }
        enum hf_err rc = take_option(r, pass);
        if (rc != HF_OK) {
            return rc;
        }
    }
    return HF_OK;
}

enum hf_err hf_config_args(const struct hf_config_table *t, int argc, char **argv, void *config,
                           int *next, struct hf_error *e)
{
    struct arg_reader r = {.table = t, .config = config, .e = e, .argc = argc, .argv = argv};
    r.seen = calloc(t->count + 1, sizeof(*r.seen));
    if (r.seen == NULL) {
        return hf_error_set(e, HF_NOMEM, "out of memory");
    }
    enum hf_err rc = run_pass(&r, PASS_FILE);
    if (rc == HF_OK) {
        rc = run_pass(&r, PASS_OPTIONS);
    }
    if (rc == HF_OK && next != NULL) {
        *next = r.at;
    }
    free(r.seen);
    return rc;
}
