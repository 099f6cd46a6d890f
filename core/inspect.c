/*
 * inspect.c - what the core says about itself: status, rows of edges, counters.
 *
 * Reads only what the owner's thread has, so asking never waits for the writer.
 */
#include "core/driver_impl.h"

#include <inttypes.h>
#include <stdio.h>

struct hf_state *hf_core_state(struct hf_core *core)
{
    return core->writer.state;
}

void hf_core_status(const struct hf_core *core, struct hf_core_status *out)
{
    const struct hf_core_head *head = &core->head;
    memset(out, 0, sizeof(*out));
    out->epoch_id = head->at.epoch_id;
    out->epoch = core->writer.genesis.epoch;
    out->head = head->at.seq;
    out->committed = head->committed;
    out->digest = head->at.digest;
    out->log_first = hf_changelog_first(core->writer.log);
    out->log_bytes = hf_changelog_disk_bytes(core->writer.log);
    out->live_count = head->live_count;
    out->edge_count = hf_registry_count(core->registry);
    out->created = core->created;
    if (core->fenced[0] != '\0') {
        out->refusing = core->fenced;
    } else if (core->failing[0] != '\0') {
        out->refusing = core->failing;
    }
}

void hf_core_edge(const struct hf_core *core, uint32_t i, hf_ms now, struct hf_edge_row *row)
{
    const struct hf_enrolled *e = hf_registry_at(core->registry, i);
    memset(row, 0, sizeof(*row));
    hf_publisher_edge(core->publisher, e->row, now, row);
    memcpy(row->name, e->fact.name, sizeof(row->name));
    row->key = e->fact.key;
    if (row->applied != UINT64_MAX) {
        row->lag_bytes = row->applied >= row->head
                             ? 0
                             : hf_changelog_bytes(core->writer.log, row->applied + 1, row->head);
        if (row->lag_bytes == 0 && row->applied < row->head) {
            row->lag_bytes = UINT64_MAX; /* below the log's floor: unknown */
        }
    }
    row->floor = hf_core_floor_of(core, row);
}

uint32_t hf_core_edges_at(const struct hf_core *core, hf_seq seq)
{
    return hf_publisher_edges_at(core->publisher, seq);
}

static void number(struct hf_writer *w, const char *name, uint64_t value)
{
    char line[64];
    int len = snprintf(line, sizeof(line), "%s %" PRIu64 "\n", name, value);
    hf_write_raw(w, line, (size_t)len);
}

size_t hf_core_counters(const struct hf_core *core, char *out, size_t cap)
{
    const struct hf_core_numbers *n = &core->n;
    struct hf_writer w;
    hf_writer_init(&w, out, cap);
    number(&w, "groups", n->groups);
    number(&w, "group_failures", n->group_failures);
    number(&w, "changes", n->changes);
    number(&w, "commits", n->commits);
    number(&w, "recoveries", n->recoveries);
    number(&w, "published", n->published);
    number(&w, "published_bytes", n->published_bytes);
    number(&w, "beacons", n->beacons);
    number(&w, "facts", n->facts);
    number(&w, "trims", n->trims);
    number(&w, "dictionary", core->head.dictionary);
    number(&w, "dictionary_gain_percent", core->head.gain_percent);
    number(&w, "waiting_bytes", core->waiting_bytes);
    struct hf_scrub_status scrub;
    hf_scrub_status(core->scrub, &scrub);
    number(&w, "scrub_permille", scrub.permille);
    number(&w, "scrub_records", scrub.records);
    number(&w, "scrub_errors", scrub.errors);
    number(&w, "scrub_rounds", scrub.rounds);
    hf_service_counters(core->service, &w);
    return w.failed ? 0 : w.len;
}

void hf_core_synced_at(const struct hf_core *core, char path[512], uint64_t *offset)
{
    hf_changelog_synced_at(core->writer.log, path, offset);
}
