/*
 * profile.c - one table of {name, range, unit, field, help} drives options, `set` and the help.
 *
 * Invariant: a profile that came through here has values that the shaper can take: chances in
 * 0 to 1, times up to a minute, rates that do not overflow its nanoseconds.
 */
#include "sim/wan/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_DEFAULT_NS (100 * HF_WAN_MS) /* what routers are told to have, and many have more */

static void set_rtt(struct hf_wan_profile *p, double v)
{
    p->delay_ns = (uint64_t)(v / 2);
}

static void set_delay(struct hf_wan_profile *p, double v)
{
    p->delay_ns = (uint64_t)v;
}

static void set_jitter(struct hf_wan_profile *p, double v)
{
    p->jitter_ns = (uint64_t)v;
}

static void set_rate(struct hf_wan_profile *p, double v)
{
    p->rate_bps = (uint64_t)v;
}

static void set_queue_bytes(struct hf_wan_profile *p, double v)
{
    p->queue_bytes = (uint64_t)v;
}

static void set_queue_ms(struct hf_wan_profile *p, double v)
{
    p->queue_bytes = 0;
    p->queue_ns = (uint64_t)v;
}

static void set_loss(struct hf_wan_profile *p, double v)
{
    p->loss = v;
}

static void set_burst(struct hf_wan_profile *p, double v)
{
    p->burst = v;
}

static void set_reorder(struct hf_wan_profile *p, double v)
{
    p->reorder = v;
}

static void set_duplicate(struct hf_wan_profile *p, double v)
{
    p->duplicate = v;
}

/* A value is at most max and is multiplied by scale. An accepted suffix is part of the row: queue
 * is the one that can be given in two units, so it has two rows. */
static const struct setting {
    const char *name, *suffix;
    double max, scale;
    void (*set)(struct hf_wan_profile *p, double v);
    const char *help;
} settings[] = {
    {"rtt", "ms", 120000, 1e6, set_rtt, "round trip in ms: half of it each way"},
    {"delay", "ms", 60000, 1e6, set_delay, "one way in ms, for directions that differ"},
    {"jitter", "ms", 60000, 1e6, set_jitter, "each way, delay +- so many ms; keeps the order"},
    {"rate", "mbit", 100000, 1e6, set_rate, "each way, Mbit/s of IP packets; 0 is no limit"},
    {"loss", "%", 100, 0.01, set_loss, "percent of packets lost"},
    {"burst", "", 100000, 1, set_burst, "mean packets of a burst of losses; 1 is independent"},
    {"queue", "ms", 60000, 1e6, set_queue_ms, "before the rate: bytes, or 100ms (the default)"},
    {"queue", "", 1e9, 1, set_queue_bytes, NULL},
    {"reorder", "%", 100, 0.01, set_reorder, "percent of packets that others overtake"},
    {"duplicate", "%", 100, 0.01, set_duplicate, "percent of packets that arrive twice"},
};

void hf_wan_profile_default(struct hf_wan_profile *p)
{
    *p = (struct hf_wan_profile){.queue_ns = QUEUE_DEFAULT_NS, .burst = 1};
}

/* The unit may be left out where there is only one: 100 and 100ms are the same rtt. */
static bool suits(const struct setting *s, const char *unit)
{
    bool optional = s->set != set_queue_ms;
    return strcmp(unit, s->suffix) == 0 || (*unit == '\0' && optional);
}

enum hf_err hf_wan_profile_set(struct hf_wan_profile *p, const char *name, const char *value,
                               struct hf_error *e)
{
    bool known = false;
    char *unit;
    double v = strtod(value, &unit);
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        const struct setting *s = &settings[i];
        if (strcmp(name, s->name) != 0) {
            continue;
        }
        known = true;
        if (unit != value && isfinite(v) && v >= 0 && v <= s->max && suits(s, unit)) {
            s->set(p, v * s->scale);
            return HF_OK;
        }
    }
    if (!known) {
        return hf_error_set(e, HF_NOTFOUND, "no link has a '%s'", name);
    }
    return hf_error_set(e, HF_ARG, "%s cannot be '%s'", name, value);
}

const char *hf_wan_profile_name(size_t i, const char **help)
{
    size_t shown = 0;
    for (size_t n = 0; n < sizeof(settings) / sizeof(settings[0]); n++) {
        if (settings[n].help != NULL && shown++ == i) {
            *help = settings[n].help;
            return settings[n].name;
        }
    }
    return NULL;
}
