/*
 * shipped.c - the scenarios that come with the simulator; see the header.
 */
#include "sim/shipped.h"

#include <dirent.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/script.h"

/* From the program: installed, built, built with a sanitizer. */
static const char *const places[] = {"../share/doc/holdfast/scenarios", "../sim/scenarios",
                                     "../../sim/scenarios"};
#define PLACES (sizeof(places) / sizeof(places[0]))

/* The first of the places that there is; the installed one if there is none. */
static void find_directory(char *dir, size_t cap)
{
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(program, '/');
    int stem = slash == NULL ? 0 : (int)(slash - program) + 1;
    for (size_t i = 0; i < PLACES; i++) {
        snprintf(dir, cap, "%.*s%s", stem, program, places[i]);
        if (access(dir, R_OK | X_OK) == 0) {
            return;
        }
    }
    snprintf(dir, cap, "%.*s%s", stem, program, places[0]);
}

static int is_scenario(const struct dirent *d)
{
    return fnmatch("*.sim", d->d_name, FNM_PERIOD) == 0;
}

enum hf_err shipped_list(struct hf_error *e)
{
    char dir[PATH_MAX];
    char path[2 * PATH_MAX];
    struct dirent **file = NULL;
    find_directory(dir, sizeof(dir));
    int count = scandir(dir, &file, is_scenario, alphasort);
    for (int i = 0; i < count; i++) {
        struct script *s;
        struct hf_error wrong = {.code = HF_OK};
        snprintf(path, sizeof(path), "%s/%s", dir, file[i]->d_name);
        enum hf_err err = script_read(path, &s, &wrong);
        printf("%-24.*s %s\n", (int)strlen(file[i]->d_name) - 4, file[i]->d_name,
               err == HF_OK ? s->title : wrong.text);
        if (err == HF_OK) {
            script_free(s);
        }
        free(file[i]);
    }
    free(file);
    return count > 0 ? HF_OK : hf_error_set(e, HF_NOTFOUND, "there are no scenarios in %s", dir);
}

void shipped_find(const char *name, char *path, size_t cap)
{
    char dir[PATH_MAX];
    if (strchr(name, '/') == NULL && access(name, F_OK) != 0) {
        find_directory(dir, sizeof(dir));
        snprintf(path, cap, "%s/%s.sim", dir, name);
        if (access(path, F_OK) == 0) {
            return;
        }
    }
    snprintf(path, cap, "%s", name);
}
