/*
 * refuse.c - one reason for each thing that real daemons cannot be made to do. Next: refuse.h.
 */
#include "sim/real/refuse.h"

#include <inttypes.h>
#include <stdio.h>

#define S UINT64_C(1000000)
#define LOG_BYTES_MIN (UINT64_C(1) << 20)
#define NEEDS_LIBRARY                                                                              \
    "needs libholdfast-faults.so beside holdfast-sim: build it, or leave this to the virtual "     \
    "world"
#define NO_MESSAGE "a message inside TCP cannot be reached from outside: use the virtual world"

static enum hf_err at_line(const struct script *s, uint32_t line, const char *what, const char *why,
                           struct hf_error *e)
{
    return hf_error_set(e, HF_ARG, "%s:%" PRIu32 ": `%s` has no counterpart in the real world: %s",
                        s->path, line, what, why);
}

/* ---- links ---- */

/* NULL, or which setting and, in *why, the reason. */
static const char *link_trouble(const struct script_link *l, const char **why)
{
    static const char *const too_large = "the emulated network takes 60s, 100Gbit at most";
    *why = NO_MESSAGE;
    if (l->drop > 0) {
        return "drop";
    }
    if (l->duplicate > 0) {
        return "duplicate";
    }
    if (l->reorder > 0) {
        return "reorder";
    }
    if (l->corrupt > 0) {
        return "corrupt";
    }
    *why = too_large;
    if (l->delay_us > 60 * S || l->jitter_us > 60 * S) {
        return l->delay_us > 60 * S ? "delay" : "jitter";
    }
    if (l->queue_us > 60 * S || l->rate_bps > UINT64_C(100000000000)) {
        return l->queue_us > 60 * S ? "queue" : "rate";
    }
    return NULL;
}

static enum hf_err links(const struct script *s, struct hf_error *e)
{
    for (uint32_t i = 1; i <= s->edge_count; i++) {
        const char *why;
        const char *what = link_trouble(&s->edge[i].link, &why);
        if (what != NULL) {
            return hf_error_set(e, HF_ARG,
                                "%s: `%s` of the link of %s has no counterpart in the real world: "
                                "%s",
                                s->path, what, s->edge[i].name, why);
        }
    }
    return HF_OK;
}

/* ---- actions and expectations ---- */

bool real_needs_faults(enum script_verb verb)
{
    return verb == SCRIPT_CLOCK || verb == SCRIPT_DISK_SLOW || verb == SCRIPT_DISK_FAILING;
}

/* NULL when the verb can be done. */
static const char *verb_trouble(const struct script_action *a, const struct real_means *means)
{
    switch (a->verb) {
    case SCRIPT_DRIFT:
        return "the kernel's timers wake a process, and they have one speed for all: use the "
               "virtual world";
    case SCRIPT_DROP:
    case SCRIPT_FORGE:
    case SCRIPT_REPLAY:
        return NO_MESSAGE;
    case SCRIPT_CLOCK:
    case SCRIPT_DISK_SLOW:
    case SCRIPT_DISK_FAILING:
        return means->faults_library ? NULL : NEEDS_LIBRARY;
    case SCRIPT_CUT:
    case SCRIPT_HEAL:
    case SCRIPT_HALF_OPEN:
    case SCRIPT_LINK:
    case SCRIPT_CRASH:
    case SCRIPT_START:
    case SCRIPT_PAUSE:
    case SCRIPT_RESUME:
    case SCRIPT_DISK_FULL:
    case SCRIPT_DISK_WELL:
    case SCRIPT_DAMAGE:
    case SCRIPT_WRITE:
    case SCRIPT_RELEASE:
    case SCRIPT_ROLLBACK:
    case SCRIPT_BACKUP:
    case SCRIPT_RESTORE:
    case SCRIPT_REVOKE:
    case SCRIPT_READ:
    case SCRIPT_VERBS:
        return NULL;
    }
    HF_UNREACHABLE();
}

static enum hf_err actions(const struct script *s, const struct real_means *means,
                           struct hf_error *e)
{
    for (uint32_t i = 0; i < s->action_count; i++) {
        const struct script_action *a = &s->action[i];
        const char *what = script_verb_name(a->verb);
        const char *why = verb_trouble(a, means);
        if (why == NULL && a->verb == SCRIPT_LINK) {
            const char *setting = link_trouble(&a->link, &why);
            what = setting != NULL ? setting : what;
            why = setting != NULL ? why : NULL;
        }
        if (why != NULL) {
            return at_line(s, a->line, what, why, e);
        }
    }
    return HF_OK;
}

static enum hf_err expectations(const struct script *s, struct hf_error *e)
{
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        if (s->expectation[i].kind == SCRIPT_EXPECT_MARK) {
            return at_line(s, s->expectation[i].line, "expect mark",
                           "marks are reached inside the virtual world only", e);
        }
    }
    return HF_OK;
}

/* ---- the history ---- */

/* NULL when the rules C1 to C9 hold whatever the verb does. */
static const char *history_trouble(enum script_verb verb)
{
    return verb == SCRIPT_ROLLBACK ? "gives keys values that they had before, and a history must "
                                     "tell which write a value is of"
           : verb == SCRIPT_RESTORE
               ? "takes back what was acknowledged, which a history is there to find"
               : NULL;
}

static enum hf_err history(const struct script *s, struct hf_error *e)
{
    for (uint32_t i = 0; i < s->action_count; i++) {
        const struct script_action *a = &s->action[i];
        const char *why = history_trouble(a->verb);
        if (why != NULL) {
            return hf_error_set(e, HF_ARG, "%s:%" PRIu32 ": `%s` %s: leave --history out", s->path,
                                a->line, script_verb_name(a->verb), why);
        }
    }
    return HF_OK;
}

/* ---- the core ---- */

static enum hf_err core(const struct script *s, struct hf_error *e)
{
    return s->log_bytes == 0 || s->log_bytes >= LOG_BYTES_MIN
               ? HF_OK
               : hf_error_set(e, HF_ARG, "%s: `log` below 1MiB is no setting that a daemon takes",
                              s->path);
}

enum hf_err real_refuse(const struct script *s, const struct real_means *means, struct hf_error *e)
{
    if (s->duration_us > means->max_us) {
        return hf_error_set(e, HF_ARG,
                            "%s: takes %" PRIu64 " s of real time, and --max allows %" PRIu64
                            " s: give a larger --max, or use the virtual world",
                            s->path, s->duration_us / S, means->max_us / S);
    }
    enum hf_err rc = core(s, e);
    rc = rc == HF_OK ? links(s, e) : rc;
    rc = rc == HF_OK ? actions(s, means, e) : rc;
    rc = rc == HF_OK && means->history ? history(s, e) : rc;
    return rc == HF_OK ? expectations(s, e) : rc;
}
