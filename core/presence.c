/*
 * presence.c - the log's history of edges: heard of, cut off, back, diverged.
 *
 * Compares once a second what the engine says of each edge with what was logged of it last, so
 * however often a state changes in between, there is one line an edge and second at most.
 *
 * Must not decide anything: the states are publisher.c's. Next: enrol.c has the facts' lines.
 */
#include "core/driver_impl.h"

#include <inttypes.h>

#define LOOK_MS 1000
#define PAUSED_MS 3000 /* the process stood still: what edges sent meanwhile is not read yet */

static enum hf_presence presence_of(enum hf_edge_state state)
{
    switch (state) {
    case HF_EDGE_NEVER_SEEN:
    case HF_EDGE_REVOKED:
        break;
    case HF_EDGE_LIVE:
    case HF_EDGE_LAGGING:
    case HF_EDGE_CATCHING_UP:
        return HF_PRESENCE_HERE;
    case HF_EDGE_CUT_OFF:
        return HF_PRESENCE_AWAY;
    case HF_EDGE_DIVERGED:
        return HF_PRESENCE_DIVERGED;
    }
    return HF_PRESENCE_UNKNOWN;
}

static void say(struct hf_core *core, const char *name, enum hf_presence before,
                const struct hf_edge_row *row, hf_ms for_ms)
{
    switch (presence_of(row->state)) {
    case HF_PRESENCE_UNKNOWN:
        break;
    case HF_PRESENCE_HERE:
        if (before == HF_PRESENCE_AWAY) {
            hf_core_note(core, HF_LEVEL_INFO, "edge: back name=%s after_ms=%" PRId64, name, for_ms);
        } else {
            hf_core_note(core, HF_LEVEL_INFO, "edge: %s name=%s",
                         before == HF_PRESENCE_DIVERGED ? "no longer diverged" : "heard of", name);
        }
        break;
    case HF_PRESENCE_AWAY:
        hf_core_note(core, HF_LEVEL_WARN, "edge: cut off name=%s silent_ms=%" PRIu64, name,
                     row->last_heard_ms);
        break;
    case HF_PRESENCE_DIVERGED:
        hf_core_note(core, HF_LEVEL_ERROR, "edge: diverged name=%s applied=%" PRIu64, name,
                     row->applied);
        break;
    }
}

void hf_core_presence(struct hf_core *core, hf_ms now)
{
    if (now < core->presence_at) {
        return;
    }
    bool paused = core->presence_at > 0 && now - core->presence_at >= PAUSED_MS;
    core->presence_at = now + LOOK_MS;
    if (paused) {
        return;
    }
    for (uint32_t i = 0; i < hf_registry_count(core->registry); i++) {
        const struct hf_enrolled *e = hf_registry_at(core->registry, i);
        struct hf_edge_row row = {.state = HF_EDGE_NEVER_SEEN};
        hf_publisher_edge(core->publisher, e->row, now, &row);
        struct hf_presence_row *p = &core->presence[e->row];
        if (p->is != presence_of(row.state)) {
            say(core, e->fact.name, p->is, &row, now - p->since);
            *p = (struct hf_presence_row){presence_of(row.state), now};
        }
    }
}
