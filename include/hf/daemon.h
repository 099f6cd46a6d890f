/*
 * daemon.h - what both daemons do alike around their drivers: options, hardening, the lock on DIR,
 * the real half of the world, and starting anew.
 *
 * A daemon's own struct begins with a struct hf_daemon and is the ctx of its world, so that the
 * shared callbacks find the loop. Threads: the main thread only.
 */
#ifndef HF_DAEMON_H
#define HF_DAEMON_H

#include "hf/config.h"
#include "hf/loop.h"
#include "hf/world.h"

struct hf_daemon {
    const char *name; /* "holdfast-core" */
    int argc;
    char **argv;
    struct hf_loop *loop;
};

/* Prints "name: text" and exits: 2 for a wrong use (HF_ARG), 1 for anything else. */
_Noreturn void hf_daemon_die(const struct hf_daemon *d, const struct hf_error *e);
/* Comes first in main: descriptors 0 to 2, presets, --config, options. --help, --version and
 * --example-config (when *example became true) print and exit 0 (1 if that cannot be written); a
 * wrong option exits 2. `usage` is what --help says above the options. */
void hf_daemon_options(const struct hf_daemon *d, const struct hf_config_table *t, void *options,
                       const bool *example, const char *usage);
/* umask 077, no core files, no debugger of the same user, all the descriptors that may be had. */
void hf_daemon_harden(void);
/* Makes DIR and locks it for the life of the process. HF_LOCKED when another daemon has it,
 * and still has it 1 s later. HF_MISMATCH when `foreign` is in it, a file that only another kind of
 * daemon makes. */
enum hf_err hf_daemon_data(const struct hf_daemon *d, const char *dir, const char *foreign,
                           struct hf_error *e);
/* Clock, entropy, lanes, wake-up and log of the world; the transport's part stays the caller's. */
struct hf_world hf_daemon_world(struct hf_daemon *d);
/* Re-executes with the same arguments, but with option[i] set to value[i] (addresses that are in
 * use now in place of "any port"). At most 4. */
_Noreturn void hf_daemon_again(const struct hf_daemon *d, const char *const *option,
                               const char *const *value, int count);

#endif
