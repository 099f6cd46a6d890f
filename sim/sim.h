/*
 * sim.h - the virtual world: one heap of events, nodes that are the daemons' own objects, a
 * network.
 *
 * What runs here is core/driver.o, edge/driver.o, the engines and the real store on tmpfs; only
 * clock, entropy, lanes and network are the simulator's (hf/world.h). Everything follows from the
 * seed: there is one thread, no real time, and every random draw comes from a stream of rng.h.
 *
 * world.c    the heap, lanes, and the hf_world of each node
 * hop.c      one direction of a link: rate, queue, packet loss, delay, cuts, recorded traces
 * tcp.c      when a message arrives on a connection over such lines
 * conn.c     the connections of an edge: dialling, breaking, half-open
 * net.c      messages: stream, requests and replies, and faults that TCP would not let through
 * node.c     starting, crashing and restarting the core and the edges
 * load.c     clients: writes with request ids, retried until answered, and the model they imply;
 *            workload.c what they write and orders.c what the timeline has them write, here and
 *            over real links
 * oracle.c   the promises, checked after every event
 * faults.c   which faults a seed has, and when they strike; attacks.c those of people and disks
 * disk.c     writes that fail, and what a power cut leaves of them
 * marks.c    which rare states were reached
 * script.c   the parser of scenario files, which knows nothing of this world
 * scenario.c plays a script here; expect.c measures what it expects (measure.h)
 * recorder.c samples for a report (record.h)
 * run.c      safety phase, liveness phase, the result
 */
#ifndef HF_SIM_H
#define HF_SIM_H

#include <stdio.h>
#include <xxhash.h>

#include "hf/core.h"
#include "hf/edge.h"
#include "sim/faults.h"
#include "sim/marks.h"
#include "sim/orders.h"
#include "sim/record.h"
#include "sim/rng.h"
#include "sim/script.h"
#include "sim/tcp.h"
#include "sim/workload.h"

#define SIM_EDGES_MAX 250u
#define SIM_CORE 0u        /* node index; edges are 1.. */
#define SIM_DISK_WELL 150u /* us that a job on the writer lane takes, on average */

/* Streams of the seed (rng.h). */
enum {
    SIM_RNG_NET = 1,
    SIM_RNG_LOAD = WORKLOAD_STREAM, /* taken by workload_init */
    SIM_RNG_FAULT,
    SIM_RNG_HUB_DOWN,
    SIM_RNG_HUB_UP,
    SIM_RNG_READ /* apart from the writes: how often one reads must not change them */
};

struct sim;
struct node;
struct disk;

/* ---- events ---- */

enum event_type {
    EV_JOB = 0, /* a job's work and done */
    EV_TICK,    /* a node's on_tick */
    EV_STREAM,  /* a message of the stream arrives beside TCP: late, or once more */
    EV_REQUEST, /* likewise a request */
    EV_TIMEOUT, /* a request ends without a reply */
    EV_LINK,    /* a connection is dialled, comes up or goes down: a its number, b the step */
    EV_WRITE,   /* the load writes */
    EV_FAULT,   /* faults.c or an action of a scenario: arg is its index */
    EV_CHECK,   /* a client reads somewhere */
    EV_FLOW,    /* something is due on a connection: a its number, b its life */
};

struct event {
    sim_us at;
    uint64_t order; /* of creation: ties are broken the same way every time */
    enum event_type type;
    uint32_t node;
    uint32_t life; /* of the node it was meant for; an older life's events are dropped */
    enum hf_lane lane;
    struct hf_job *job;
    uint64_t a, b;
    uint32_t peer_life;
    uint8_t *bytes; /* owned */
    size_t len;
};

/* An entry of the heap. The two by which it is ordered stand here too: a look at each event on the
 * way up or down would cost a cache miss, and with 200 edges there are some thousand events. */
struct due {
    sim_us at;
    uint64_t order;
    struct event *event; /* owned */
};

/* ---- network ---- */

#define LINK_DATA_MAX 16u /* what edges of a daemon take by default */
#define LINK_CONNS (HF_CHANNELS + LINK_DATA_MAX)
#define LINK_ASKS_MAX 64u

/* A TCP connection, with its two ends: they may differ in what they know of it. */
struct conn {
    bool up;    /* the edge's end */
    bool alive; /* the core's end */
    bool dialling;
    bool swallowed; /* half-open: something in the middle forgot it and tells nobody */
    uint32_t life;  /* of this place in the table */
    sim_us lost_at, used_at, heard_at;
    sim_us step_at;   /* of the FLOW event that counts; 0 = none */
    bool waits;       /* for the time of its next attempt */
    uint32_t attempt; /* the one that counts: ATTEMPT events have it as peer_life */
    struct tcp down, out;
};

/* A request that waits for a connection or is under way on one. */
struct ask {
    uint64_t number; /* on this link, from 1 on; 0 = free */
    uint64_t id;     /* the driver's, who asks again with the same one */
    bool data;
    struct packet *packet; /* owned while it waits */
    uint32_t conn;
};

struct link {
    struct link_profile profile;
    struct hop down, up;          /* core to edge, edge to core */
    struct conn conn[LINK_CONNS]; /* stream, control, and those for data */
    struct ask ask[LINK_ASKS_MAX];
    uint64_t asked;
    sim_us outage_at, late; /* the last; how soon the second attempt followed */
    bool subscribed;
    uint32_t lose_next;     /* this many stream messages get lost */
    uint64_t messages_lost; /* by faults, and before a full queue of the publisher */
};

/* ---- nodes ---- */

struct node {
    struct sim *sim;
    uint32_t index;
    char name[HF_NAME_MAX + 1];
    bool alive;
    uint32_t life;
    struct rng rng;
    char dir[256];
    struct hf_identity id;
    struct hf_world world;
    sim_us tick_at;      /* of the TICK event that counts; 0 = none */
    sim_us writer_free;  /* the writer lane is busy until then */
    sim_us disk;         /* what a job on the writer lane takes */
    bool paused;         /* its events wait in `held`, in order */
    struct event **held; /* owned */
    size_t held_count, held_cap;
    sim_us resumed_at;    /* 0 = it was not paused in this life */
    int64_t wall_step_ms; /* what its wall clock was stepped by in all */
    double drift_ppm;     /* by which all its clocks run too fast, since drift_from ... */
    sim_us drift_from;
    int64_t drift_gained; /* ... and microseconds that it had gained before */
    struct hf_core *core;
    struct hf_edge *edge;
    struct link link;     /* edges */
    bool crash_at_job;    /* dies when its next write is due, which may or may not be done */
    bool power_at_job;    /* ... and what was not synced is lost */
    struct disk *disk_io; /* what becomes of its writes; owned */
    bool invited, revoked;
    bool revoke_asked;   /* the core may have died between doing it and saying so */
    bool damaged;        /* its disk was changed, and it is not known to be whole again */
    bool shattered;      /* ... below the records, so that its store may not open any more */
    hf_seq revoked_head; /* what it may still reach: the head when it was revoked */
    char token[HF_TOKEN_TEXT_MAX];
    enum hf_plan_kind plan;       /* of its newest plan */
    uint64_t reads, reads_failed; /* by clients; a read fails when nobody answers */
    /* oracle */
    hf_seq reached; /* the highest position seen; never goes back (G6), survives crashes (G2) */
    sim_us healed_at;
    sim_us started_at, deaf_since; /* nothing can have reached it since then; 0 = it can */
    sim_us told_at;      /* a message reached it, or one was played to it that may have been new */
    sim_us unread_since; /* readers find its store closed since then; 0 = open */
    bool in_backup;      /* the copy of the core that was taken knows it */
};

/* ---- history and model ---- */

struct past { /* what is known of seq n */
    bool known, digest_known;
    struct hf_hash chain, digest;
    sim_us durable_at;
};

#define SIM_KEYS_MAX 4096u
struct version { /* a key's value from a seq on */
    hf_seq seq;
    uint64_t value; /* 0 = deleted */
    uint32_t next;  /* index of the older one */
};

struct pending_write;

struct sim_options {
    uint64_t seed;
    uint32_t edges;
    sim_us duration; /* of the safety phase */
    sim_us liveness; /* bound for converging after everything healed */
    struct script_load load;
    sim_us beacon; /* 0 = default, as for the next two */
    sim_us log_age, tombstone;
    uint64_t log_bytes;     /* core's retention: small ones make DELTA and SNAPSHOT happen */
    uint64_t delta_batches; /* ... and this makes tombstones go; 0 = they stay */
    struct link_profile profile;
    struct link_profile hub; /* the line of the core to all edges: only rate and queue count */
    uint64_t faults;         /* bits of enum fault, if faults_given; else the seed draws them */
    bool faults_given;
    bool calm;                   /* no faults at all */
    bool canary;                 /* the oracle remembers one digest wrongly: the run must fail */
    FILE *timeline;              /* what struck, as lines of the scenario language; or NULL */
    const struct script *script; /* or NULL; outlives the run */
    struct record *record;       /* new, to be filled; or NULL */
};

/* Bounds of core and edges that a run may set to silly values. */
struct sim_limits {
    uint32_t hold_frames_max, fetch_max, apply_frames_max, ahead_frames_min, plan_batches;
    uint64_t hold_bytes_max, stage_bytes;
    uint32_t commit_changes;
    bool take_next;
    sim_us edge_disk; /* what a job on an edge's writer lane takes, on average */
};

#define SIM_CAPTURED 8u
struct captured {   /* a message of the stream, for replaying it later */
    uint8_t *bytes; /* owned */
    size_t len;
    sim_us at; /* when the core said it */
};

struct recorder {
    sim_us next; /* when all are to be sampled */
    bool due[SIM_EDGES_MAX + 1], any_due;
};

struct sim {
    struct sim_options opt;
    struct sim_limits limits;
    struct recorder recorder;
    char root[128];
    sim_us now;
    uint64_t order;
    struct due *heap; /* owned */
    size_t heap_count, heap_cap;
    uint64_t events;
    XXH3_state_t *trace;
    FILE *out; /* trace text, or NULL */

    struct rng rng_net, rng_fault, rng_read; /* streams SIM_RNG_ of the seed */
    struct rng rng_kind[FAULT_KINDS];        /* each kind of fault draws for itself (faults.h) */
    struct hop hub_down, hub_up;             /* used when opt.hub has a rate */
    struct hop_trace trace_of[SCRIPT_TRACES_MAX]; /* recordings that profiles follow, ... */
    const char *trace_path[SCRIPT_TRACES_MAX];    /* ... from these files; the script's */
    uint32_t trace_count;
    struct node node[SIM_EDGES_MAX + 1];
    uint32_t node_count;

    struct past *past;     /* index: seq */
    hf_seq past_cap, head; /* head: the highest known durable */
    hf_seq acked;          /* the highest acknowledged to a client */
    struct workload workload;
    struct pending_write *writes;
    struct orders orders;
    uint32_t writes_open, ordered_open; /* the latter: of orders */
    uint64_t writes_sent, writes_acked, writes_refused;
    bool resending;      /* a LOAD_REFUSED is under way */
    sim_us hampered_at;  /* when the core was last seen down, or with a disk that is not well */
    uint32_t reader;     /* the edge that was read last */
    bool load_on, quiet; /* quiet: the liveness phase, faults are over */
    bool rolled_back; /* a scenario restored an old core: its promises are void, the edges' are not
                       */
    bool may_stay_apart;       /* a scenario that does not end in convergence */
    struct hf_identity forger; /* a key that nobody trusts */
    uint8_t *last_frame;       /* owned; the newest published, for forging and replaying */
    size_t last_frame_len;
    struct captured captured[SIM_CAPTURED];
    uint64_t published;
    bool saved, restored; /* a random run took a backup of the core, and went back to it */
    hf_seq restored_head;
    struct version *versions;
    uint32_t version_count, version_cap;
    uint32_t latest[SIM_KEYS_MAX];
    uint32_t unsettled[SIM_KEYS_MAX]; /* open writes of the key */

    char violation[512]; /* empty = none */
    uint64_t marks[MARK_COUNT];
    struct measure *measures; /* owned; expect.c */
};

/* ---- world.c ---- */
struct event *sim_at(struct sim *sim, sim_us at, enum event_type type, uint32_t node);
bool sim_next(struct sim *sim, struct event **ev); /* removes the earliest */
void sim_event_free(struct event *ev);
void world_init(struct node *n);
/* Runs what was ordered from a node that is about to die: `durable` jobs of the writer did their
 * work. */
void world_abandon(struct sim *sim, struct node *n, bool tell);
__attribute__((format(printf, 3, 4))) void sim_trace(struct sim *sim, const struct node *n,
                                                     const char *format, ...);

/* ---- net.c: messages ---- */
void net_publish(struct sim *sim, struct hf_slice message);
void net_request(struct sim *sim, struct node *edge, uint64_t id, bool data,
                 struct hf_slice message, hf_ms timeout);
void net_reply(struct sim *sim, uint64_t handle, struct hf_slice message);
void net_on_stream(struct sim *sim, struct event *ev);
void net_on_request(struct sim *sim, struct event *ev);
void net_on_timeout(struct sim *sim, struct event *ev);
/* From conn.c: a message is there; the connection has changed. */
void net_arrived(struct sim *sim, struct node *edge, uint32_t conn, bool down, struct packet *p,
                 uint64_t tag);
void net_conn_up(struct sim *sim, struct node *edge, uint32_t conn);
void net_conn_down(struct sim *sim, struct node *edge, uint32_t conn);

/* ---- conn.c: connections ---- */
void net_init(struct sim *sim, struct node *edge);
void net_free(struct node *edge);
void conn_dial(struct sim *sim, struct node *edge, uint32_t conn, sim_us after);
/* Takes over the reference. False: the other end is gone, and nothing was taken on its way. */
bool conn_write(struct sim *sim, struct node *edge, uint32_t conn, bool down, struct packet *p,
                uint64_t tag);
void conn_end(struct sim *sim, struct node *edge, uint32_t conn); /* the edge closes it */
void net_redial(struct sim *sim, struct node *edge, enum hf_channel channel);
void net_expect(struct sim *sim, struct node *edge, uint32_t requests);
void net_node_gone(struct sim *sim, struct node *n); /* its connections break, unless cut */
void net_on_flow(struct sim *sim, struct event *ev);
void net_on_link(struct sim *sim, struct event *ev);
void net_cut(struct sim *sim, struct node *edge, bool down, bool up);
void net_heal(struct sim *sim, struct node *edge);
void net_half_open(struct sim *sim, struct node *edge); /* what is up now; new ones work */

/* ---- node.c ---- */
/* What a job on its writer lane takes while nothing is wrong with the disk. */
sim_us node_disk_well(const struct node *n);
void node_init(struct sim *sim, uint32_t index, const char *name);
bool node_start(struct sim *sim, struct node *n); /* false: it does not open, a violation was set */
void node_crash(struct sim *sim, struct node *n);
void node_power_cut(struct sim *sim, struct node *n); /* a crash; what was not synced is lost */
/* A core lets in 20 strangers a second, and those who are refused ask again ever later. */
#define JOINS_PER_S 16u
/* When an edge starts that is there from the beginning. */
sim_us node_joins_at(uint32_t edge);
void node_invite(struct sim *sim, struct node *edge);
void node_revoke(struct sim *sim, struct node *edge);
void node_free(struct node *n);
/* Copies the directory of a stopped or running node aside under a number, and back. */
void node_save(struct sim *sim, struct node *n, uint64_t number);
void node_restore(struct sim *sim, struct node *n, uint64_t number);
/* The core goes back to its copy 0 in a random run, which ends all writing; with_mark: also the
 * mark that is kept outside its directory. */
void node_roll_back(struct sim *sim, struct node *core, bool with_mark);
/* Between these nothing happens in the node: its events are held, in order. */
void node_pause(struct sim *sim, struct node *n);
void node_resume(struct sim *sim, struct node *n);
bool node_holds(struct node *n, struct event *ev); /* true: it has kept ev */
void node_drift(struct node *n, double ppm);
/* Microseconds on the node's own clock since the world began. */
sim_us node_clock(const struct node *n);
struct node *node_named(struct sim *sim, const char *name);

/* ---- load.c ---- */
void load_init(struct sim *sim);
void load_free(struct sim *sim);
enum load_event { LOAD_NEXT = 0, LOAD_BURST, LOAD_ORDERED, LOAD_REFUSED }; /* EV_WRITE's a */
void load_event(struct sim *sim, enum load_event what);
/* What a timeline orders is done in full, however long the core takes, in the order given. */
void load_order_writes(struct sim *sim, uint64_t count);
void load_order_release(struct sim *sim, uint32_t keys);
void load_order_rollback(struct sim *sim);   /* of the newest release */
bool load_order_done(const struct sim *sim); /* all is answered */
void load_resend(struct sim *sim);       /* the core is back: everything unanswered goes again */
void load_send_waiting(struct sim *sim); /* it was paused: what has not been sent goes now */
void load_give_up(struct sim *sim);      /* the clients stop; what was not answered stays unknown */
/* The value that key k has in the state of seq n. False: not known yet. */
bool load_expect(const struct sim *sim, uint32_t k, hf_seq n, uint64_t *value);

/* ---- oracle.c ---- */
__attribute__((format(printf, 2, 3))) void violate(struct sim *sim, const char *format, ...);
struct past *oracle_past(struct sim *sim, hf_seq seq);
bool oracle_forked(const struct sim *sim);
void oracle_published(struct sim *sim, const struct hf_header *h, struct hf_slice header);
void oracle_node(struct sim *sim, struct node *n); /* after each event that touched n */
void oracle_shown(void *ctx, hf_seq seq); /* an edge told its readers that they may see seq */
void oracle_core(struct sim *sim);        /* what a client sees of the core */
void oracle_read(struct sim *sim, struct node *edge);     /* a client reads some keys */
void oracle_read_all(struct sim *sim, struct node *edge); /* ... and all of them */
void oracle_core_opened(struct sim *sim);
void oracle_refused(struct sim *sim, enum hf_err code); /* a write, for want of room or a disk */
/* The core went back to an old copy of its data, but not of the mark beside it, which named what it
 * had committed. */
void oracle_mark(struct sim *sim, hf_seq committed);
bool oracle_converged(struct sim *sim, char *why, size_t cap);
void oracle_final(struct sim *sim);

/* ---- faults.c, attacks.c, scenario.c ---- */
void faults_plan(struct sim *sim);
void fault_strike(struct sim *sim, struct event *ev);
void faults_heal_all(struct sim *sim);
sim_us faults_invite_at(struct sim *sim, uint32_t edge); /* 0 = at the start */
void faults_invite(struct sim *sim, uint32_t edge, sim_us at);
/* Faults of a scenario; also struck by name in random runs. */
void fault_forge(struct sim *sim, struct node *edge);
void fault_damage(struct sim *sim, struct node *edge, uint64_t count);
void fault_shatter(struct sim *sim, struct node *edge, struct rng *r); /* one that is not running */
void fault_capture(struct sim *sim, struct hf_slice message);
void fault_replay(struct sim *sim, struct node *edge, struct rng *r);
/* HF_ARG for a script that this world cannot play, with the reason in e. */
enum hf_err scenario_check(const struct script *s, struct hf_error *e);
bool scenario_load(struct sim *sim); /* false: the core does not start, a violation was set */
void scenario_strike(struct sim *sim, uint64_t action);
uint64_t fault_end_of_crash(void);
uint64_t scenario_event(void); /* EV_FAULT's a for an action of a scenario */

/* ---- expect.c ---- */
#define SIM_EXPECTATIONS_MAX SCRIPT_EXPECTATIONS_MAX
void expect_init(struct sim *sim);
void expect_before(struct sim *sim, struct node *n); /* an event is about to reach n */
void expect_after(struct sim *sim, struct node *n);  /* ... and has */
void expect_action(struct sim *sim, const struct script_action *a);
/* At the end. The first expectation that did not hold is the run's violation. */
void expect_judge(struct sim *sim, struct sim_expectation *out);
void expect_free(struct sim *sim);

/* ---- recorder.c: nothing happens without opt.record ---- */
void recorder_begin(struct sim *sim);                      /* all nodes are known */
void recorder_step(struct sim *sim, const struct node *n); /* after each event that touched n */
void recorder_line(struct sim *sim, const struct node *n, const char *text); /* of the trace */
struct sim_result;
void recorder_end(struct sim *sim, const struct sim_result *result);

/* ---- run.c ---- */
struct sim_result {
    bool ok;
    char violation[512];
    uint64_t trace_hash, events, batches;
    uint64_t faults; /* that it had */
    sim_us virtual_us;
    uint64_t marks[MARK_COUNT];
    struct sim_expectation expectation[SIM_EXPECTATIONS_MAX];
    uint32_t expectation_count;
};
void sim_defaults(struct sim_options *o, uint64_t seed);
void sim_run(const struct sim_options *o, FILE *trace, struct sim_result *result);
/* Removes what a process that died in sim_run left behind. */
void sim_clean_after(long pid);

#endif
