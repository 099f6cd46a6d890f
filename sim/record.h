/*
 * record.h - what a scenario run was like: a bounded recording of the core and each edge, for the
 * report.
 *
 * Whoever runs the scenario says at moments of its choice what is true of an edge (record_sample),
 * and passes on the lines that daemons and simulator log (record_line); it is the virtual world
 * through recorder.c, or a runner of real daemons. Everything else follows from these two: cuts,
 * restarts, recoveries, worst cases.
 *
 * Bounded: a track has at most RECORD_POINTS_MAX points, all of the same width. A run that outlasts
 * them has its points merged in pairs, which keep the least and the most of both, and the width is
 * doubled: a run of a minute and one of a month take the same memory. Figures (struct
 * record_figures) come from every sample and lose nothing by it. What happened between two samples
 * is not known, so sample also when something changes.
 *
 * Times are milliseconds since the start of the run. Track 0 is the core, edges are 1 and up.
 * Memory that cannot be had ends the program. Threads: one owner. Next: report.h, which prints it.
 */
#ifndef HF_SIM_RECORD_H
#define HF_SIM_RECORD_H

#include "hf/types.h"

#define RECORD_POINTS_MAX 2000u     /* of a track: two a pixel of a wide screen */
#define RECORD_POINTS_MIN 400u      /* ... however many tracks there are */
#define RECORD_POINTS_TOTAL 120000u /* of all: 200 edges have 600 each, and a page 4 MB */
#define RECORD_STEPS_MAX 400u       /* of a band */
#define RECORD_EVENTS_MAX 300u      /* of a track */
#define RECORD_INTERVAL_MS 10       /* the first width of a point */
#define RECORD_UNKNOWN UINT64_MAX   /* a staleness that nobody can tell yet */
#define RECORD_NONE (-1)            /* a time that has not been */

#define RECORD_CORE 0u

/* States as hf_replica_state_name has them, and one more. */
#define RECORD_NOT_RUNNING 255u
const char *record_state_name(uint8_t state);
/* The state of that name, as `holdfast status` prints it. False: there is none. */
bool record_state_of(const char *name, uint8_t *state);

struct record_sample {
    hf_seq head;           /* of the core; what an edge is to reach */
    hf_seq applied;        /* edges */
    uint64_t staleness_ms; /* edges: what it answers with, or RECORD_UNKNOWN */
    uint64_t bytes_down; /* from the core to the edge since the run began; never less than before */
    uint64_t bytes_up;
    uint8_t
        state; /* enum hf_replica_state or RECORD_NOT_RUNNING; the core is LIVE or not running */
    bool cut_down, cut_up; /* the link carries nothing that way */
};

/* ---- how old the answers of an edge are ---- */

/* Of one that cannot say any more they are older than it last said by all the time since. */
struct record_age {
    bool known;
    uint64_t ms, at_us; /* what it last said, and when */
};
/* Takes what it says now, RECORD_UNKNOWN if it cannot. RECORD_UNKNOWN: it never could. */
uint64_t record_age_at(struct record_age *a, uint64_t now_us, uint64_t said_ms);

/* ---- what is kept ---- */

struct record_extent {
    uint64_t least, most;
};

struct record_point { /* of [i * interval, (i + 1) * interval) */
    struct record_extent head, applied;
    struct record_extent staleness_ms; /* both RECORD_UNKNOWN when it was unknown throughout */
    uint64_t bytes_down, bytes_up;     /* within it */
};

/* A value that holds from each step to the next. Of more than RECORD_STEPS_MAX steps the shortest
 * goes to the one before it. */
struct record_step {
    hf_ms from;
    uint8_t value;
};
struct record_band {
    struct record_step step[RECORD_STEPS_MAX];
    uint32_t count;
    uint64_t omitted;
};
enum { RECORD_CUT_DOWN = 1u, RECORD_CUT_UP = 2u }; /* bits of the band of cuts */

enum record_kind {
    RECORD_CUT = 0,
    RECORD_HEAL,
    RECORD_CRASH, /* it stopped */
    RECORD_START,
    RECORD_PLAN,
    RECORD_CAUGHT_UP,
    RECORD_OPERATOR,
    RECORD_ALARM,
    RECORD_KINDS,
};
const char *record_kind_name(enum record_kind kind);

/* Of more than RECORD_EVENTS_MAX events every second one of the most frequent kind goes, so that a
 * rare one stays. */
struct record_event {
    hf_ms at;
    enum record_kind kind;
    char text[112];
};

enum { RECORD_PLAN_LOG = 0, RECORD_PLAN_DELTA, RECORD_PLAN_SNAPSHOT, RECORD_PLANS };

struct record_figures {
    uint32_t cuts, restarts;
    hf_ms cut_ms;               /* in all; ways are not told apart */
    uint64_t staleness_most_ms; /* RECORD_UNKNOWN: it never knew one */
    hf_ms staleness_most_at;
    /* From the end of a cut or a start until all was applied that the core had at that moment. */
    uint32_t recoveries;
    hf_ms recovery_most_ms; /* RECORD_NONE: there was none */
    uint32_t plan[RECORD_PLANS];
};

struct record_track {
    char name[HF_NAME_MAX + 1];
    struct record_point *point; /* owned */
    uint32_t point_count;
    struct record_band states, cuts;
    struct record_event *event; /* owned; in order of time */
    uint32_t event_count;
    uint64_t events_omitted;
    struct record_figures figures;
    struct record_sample last;
    hf_ms last_at; /* RECORD_NONE: never sampled */
    /* A recovery under way, and one that needed no plan so far. */
    hf_ms recovering_since; /* RECORD_NONE: none */
    hf_seq recovering_to;
    bool planned, repaired;
    bool ran; /* a start before that is its first */
    struct record_age age;
};

/* An expectation of a scenario, and what came of it. */
struct sim_expectation {
    char text[128];
    bool held;
    char measured[96]; /* "1.204 s at lagos"; empty: the run ended before it could be measured */
};

struct record {
    /* What the runner says about the run; the strings are borrowed while the recording lives. */
    const char *title;   /* any bytes */
    const char *world;   /* "virtual", "real" */
    const char *version; /* of the software */
    uint64_t seed;
    uint64_t batches;
    char violation[512]; /* the first promise that was broken; empty = none */

    hf_ms duration_ms, interval_ms;
    uint32_t points_max;        /* of each track; even */
    struct record_track *track; /* owned; [0] is the core */
    uint32_t track_count;
    struct sim_expectation *expectation; /* owned */
    uint32_t expectation_count;
};

/* A recording without edges; title, world and so on are the caller's to set. */
struct record *record_new(void);
void record_free(struct record *r);

/* Adds an edge and returns its track; all come before the first sample. */
uint32_t record_add(struct record *r, const char *name);
/* Points no narrower than so; before the first sample. For a runner that samples once a second,
 * bytes would otherwise stand in one point of a hundred. */
void record_interval(struct record *r, hf_ms interval_ms);
/* What is true of a track at that time, which is not before its last one. */
void record_sample(struct record *r, uint32_t track, hf_ms at, const struct record_sample *s);
/* A line of a log or trace, "unit: sentence key=value"; those that matter become events. */
void record_line(struct record *r, uint32_t track, hf_ms at, const char *line);
void record_expect(struct record *r, const char *text, bool held, const char *measured);
/* The run is over. Nothing but record_expect may follow. */
void record_end(struct record *r, hf_ms at);

/* ---- asking it ---- */

/* True while samples of every event are wanted: the moment when it has caught up is near. */
bool record_is_recovering(const struct record *r, uint32_t track);
/* No promise was broken, and every expectation held. */
bool record_held(const struct record *r);
/* The tracks of all edges, worst first: those that have not caught up, then by the longest
 * recovery, then by staleness. `order` has room for track_count - 1. */
void record_worst(const struct record *r, uint32_t *order);
/* The edge did not end with what the core had, and was not revoked either. */
bool record_is_behind(const struct record_track *t);

#endif
