/*
 * driver_impl.h - the inside of struct hf_core, for the files of the driver.
 *
 * Who does what: driver.c runs the engine and the writer lane, enrol.c makes facts about edges
 * durable, fence.c stops a core whose data were rolled back, retention.c trims the log and forgets
 * tombstones, carry.c writes carry files, inspect.c answers what is asked about the core. Nobody
 * else includes this file, but the unit tests' core_box.h.
 */
#ifndef CORE_DRIVER_IMPL_H
#define CORE_DRIVER_IMPL_H

#include "core/ages.h"
#include "core/service.h"
#include "core/writer.h"
#include "hf/core.h"
#include "hf/scrub.h"

#include <stdarg.h>

#define HF_EDGES_MAX 4096u
#define HF_CORE_PATH_MAX 900u

enum hf_order {
    HF_ORDER_GROUP,
    HF_ORDER_COMMIT,
    HF_ORDER_RECOVER,
};

#define HF_ORDERS 3u

/* The one order of the engine that may be under way. */
struct hf_lane_job {
    struct hf_job job; /* first */
    struct hf_core *core;
    enum hf_order kind;
    struct hf_group group;
    struct hf_commit commit;
    enum hf_err code;
    struct hf_core_head head;
    char text[400];
};

/* One segment of the log to be thrown away. */
struct hf_trim_job {
    struct hf_job job; /* first */
    struct hf_core *core;
    bool under_way;
    bool tried;               /* with the two below */
    uint64_t bytes_max;       /* 0: the oldest has outlived its age */
    hf_seq oldest, committed; /* when it was ordered */
    uint64_t bytes;           /* of the segments, then */
    enum hf_err code;
    bool noted; /* that it failed; until one goes well */
};

struct hf_retention {
    struct hf_ages ages;
    bool ahead_noted;
    bool unsaved; /* marks that the next commit is to keep */
    struct hf_trim_job trim;
    uint8_t encoded[HF_AGES_BYTES_MAX]; /* the marks, while a commit takes them */
};

struct hf_train_job {
    struct hf_job job; /* first */
    struct hf_core *core;
    bool under_way;
};

struct hf_audit_op;

struct hf_visible_wait {
    void (*done)(void *ctx);
    void *ctx;
    struct hf_visible_wait *next;
};

/* What happened and the engine has not heard of yet. */
struct hf_pending {
    bool lane;
    bool recorded;
    bool read_waits;
    bool flush;
    bool tick;
    uint32_t writes;
};

struct hf_core_numbers {
    uint64_t groups;
    uint64_t group_failures;
    uint64_t changes;
    uint64_t commits;
    uint64_t recoveries;
    uint64_t published;
    uint64_t published_bytes;
    uint64_t beacons;
    uint64_t facts;
    uint64_t trims;
};

enum hf_presence {
    HF_PRESENCE_UNKNOWN = 0, /* never seen since the start, or revoked */
    HF_PRESENCE_HERE,
    HF_PRESENCE_AWAY,
    HF_PRESENCE_DIVERGED,
};
struct hf_presence_row {
    enum hf_presence is; /* as logged last */
    hf_ms since;
};

struct hf_core {
    struct hf_core_config cfg; /* strings point into this struct */
    struct hf_world world;
    const struct hf_identity *id;
    struct hf_core_writer writer; /* the lane's; frames are read here between its jobs */
    struct hf_registry *registry;
    struct hf_publisher *publisher;
    struct hf_service *service;
    struct hf_scrub *scrub;
    struct hf_core_head head;
    struct hf_write *waiting;
    struct hf_write **waiting_end;
    size_t waiting_bytes;
    struct hf_lane_job lane;
    struct hf_retention retention;
    struct hf_train_job train;
    uint32_t jobs;
    struct hf_fact_order *orders;             /* owned; under way */
    struct hf_visible_wait *waits;            /* owned */
    struct hf_audit_op *audits, *audits_last; /* owned; the first is under way (audit.c) */
    uint32_t audit_count;
    struct hf_pending pending;
    bool draining;
    struct hf_core_numbers n;
    bool created;      /* the stream, by this start */
    char fenced[300];  /* why writes are refused for good; empty when they are not */
    char failing[400]; /* why the last order failed; empty when it did not, or long ago */
    hf_ms failed_at;
    hf_ms noted[HF_ORDERS]
               [HF_ERR_COUNT]; /* when that failure of that order was logged; 0 = never */
    enum hf_err uncommitted; /* why the last commit failed: no write is taken until one goes well */
    hf_ms presence_at;       /* the next look */
    struct hf_presence_row presence[HF_EDGES_MAX];
    char dir[HF_CORE_PATH_MAX];
    char mark_path[HF_CORE_PATH_MAX + HF_NAME_MAX + 16];
    char url[HF_URL_MAX + 1];
    char stream[HF_NAME_MAX + 1];
};

/* ---- retention.c ---- */

/* Loads the marks of ages; before the lane runs. */
enum hf_err hf_core_retention_load(struct hf_core *core);
/* Orders what is due: at each tick and after each commit. */
void hf_core_retain(struct hf_core *core);
/* What a commit is to collect and to keep. */
void hf_core_retention_commit(struct hf_core *core, struct hf_commit *c);
/* How that ended: what was not kept is kept by the next one. */
void hf_core_retention_committed(struct hf_core *core, const struct hf_commit *c, enum hf_err code);
/* row: filled but for floor. */
enum hf_edge_floor hf_core_floor_of(const struct hf_core *core, const struct hf_edge_row *row);

/* ---- presence.c ---- */

/* Logs what changed about the edges; looks once a second. */
void hf_core_presence(struct hf_core *core, hf_ms now);

/* ---- fence.c ---- */

/* No write is taken any more; the evidence is made durable. */
void hf_core_fence(struct hf_core *core, const char *why, const struct hf_evidence_fact *evidence);
/* Gives the writes of a group their refusal; false when the core is not fenced. */
bool hf_core_fence_group(const struct hf_core *core, struct hf_group *g);

/* ---- driver.c ---- */

/* Forgets content keys that no kept frame needs. */
void hf_core_keys_drop(struct hf_core *core);
/* Gives the engine what happened, until nothing is left. */
void hf_core_drain(struct hf_core *core);
void hf_core_note(struct hf_core *core, enum hf_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* NULL when the name may be enrolled, with that key or (NULL) any, or is so already; else why not:
 * HF_EXISTS, HF_FULL, or HF_BUSY while an order for the name or the key is under way (enrol.c). */
const char *hf_core_enrol_objection(const struct hf_core *core, const char *name,
                                    const struct hf_key *key, enum hf_err *code);
/* Sends an order for facts to the writer lane (enrol.c). */
void hf_core_record(struct hf_core *core, struct hf_fact_order *order);
/* Tells the engine that a row of the registry is enrolled or revoked. */
void hf_core_edge_told(struct hf_core *core, uint32_t row);

#endif
