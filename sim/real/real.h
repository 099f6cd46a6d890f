/*
 * real.h - the real world of a scenario: the same file as in the virtual one, played with real
 * daemons over an emulated WAN (sim/wan), in real time.
 *
 * Two processes. The outer one emulates the network and nothing else, as `holdfast-sim link` does;
 * the inner one, the player, lives in the nest (sim/wan/nest.h) together with the daemons, so that
 * all of them end with it, however it ends. The player is one libuv loop: timers, daemons that end,
 * and connections to the daemons' unix sockets. Only questions to the network block, for a moment.
 *
 * command.c  `holdfast-sim wan`: options, what is refused, the network, the work directory
 * player.c   a run from its start to its verdict
 * daemon.c   processes: start, kill, pause; their disks and clocks
 * links.c    profiles, cuts, recorded traces, the emulator's counters
 * timeline.c an action of the script, carried out
 * writer.c   clients that write, and what they know of the core's state
 * history.c  what all clients asked and were answered, for `holdfast-sim check`
 * watch.c    asks daemons how they are and reads their logs, for the recording (sim/record.h)
 * reads.c    clients that read at the edges
 * judge.c    the script's expectations
 * compare.c  all keys, at the end; damage.c changes bytes on a disk; print.c the report
 *
 * Times are microseconds since the edges were started, unless they say otherwise. Memory that
 * cannot be had ends the program. Not for use from two threads.
 */
#ifndef HF_SIM_REAL_H
#define HF_SIM_REAL_H

#include <stdio.h>
#include <uv.h>

#include "sim/preload/faults.h"
#include "sim/real/client.h"
#include "sim/real/refuse.h"
#include "sim/record.h"
#include "sim/rng.h"
#include "sim/script.h"

#define REAL_DIR_MAX 256u
#define REAL_CORE_URL "tcp://198.18.0.1:7410"

struct real_options {
    const char *scenario;
    const char *dir; /* the work directory */
    const char *bin; /* where the daemons are */
    uint64_t seed;
    bool keep, quiet, all;   /* all: of the edges, in the table */
    const char *json, *html; /* files of the report, or NULL */
    const char *history;     /* file for what clients saw, or NULL */
};

/* What is true of a node at a moment; what is about links and data of others is of edges only. */
struct real_sample {
    uint64_t at_us;
    hf_seq head;                   /* of the core */
    hf_seq applied;                /* edges */
    bool running;                  /* the process is there, and not stopped by SIGSTOP */
    uint8_t state;                 /* enum hf_replica_state, as it said last */
    uint64_t staleness_ms;         /* UINT64_MAX = nobody can tell */
    uint64_t bytes_down, bytes_up; /* put onto the link since the start, IP headers included */
    bool cut_down, cut_up;
};

struct real_node {
    struct real *run;
    uint32_t index;
    const char *name;
    char dir[REAL_DIR_MAX];
    /* daemon.c */
    uv_process_t process;
    bool alive;  /* the process is there */
    bool wanted; /* ... as it should be: an end that nobody ordered is a finding */
    bool paused;
    bool ending;                         /* killed, not yet gone */
    void (*on_end)(struct real_node *n); /* what waits for that */
    uint32_t starts;
    bool small_disk;          /* the directory is a tmpfs of its own, which can be made full */
    struct hf_faults *faults; /* mapped; NULL = no library is preloaded */
    char *token;              /* owned; edges */
    /* links.c */
    struct script_link link;
    bool cut_down, cut_up;
    struct real_trace *trace; /* owned; NULL = none is replayed */
    /* watch.c */
    struct real_client status;
    bool asked;
    bool heard; /* it has answered at least once */
    struct real_sample last;
    FILE *log;       /* owned; what the daemon has written so far was read */
    char digest[65]; /* of last.applied; of the core's head */
    bool revoked;
    /* reads.c */
    struct real_client reader;
    uv_timer_t read_timer;
    struct rng rng;
    uint64_t reads, reads_failed; /* from its first full copy on */
    uint64_t read_since_us;       /* the one under way; 0 = none */
};

struct real {
    const struct script *script;
    struct real_options options;
    uv_loop_t loop;
    uv_timer_t timeline_timer, watch_timer;
    const char *control; /* socket of the emulator */
    uint64_t start_ns;   /* moment 0, by uv_hrtime */
    struct real_node node[SCRIPT_EDGES_MAX + 1];
    uint32_t node_count, tokens;
    uint32_t next_action;
    uint64_t copy;                /* number of the core's copy that is being taken or put back */
    char refusing[256];           /* why the core refuses writes; empty = it does not */
    bool rolled_back;             /* a copy was put back: what the core acknowledged may be gone */
    struct real_writer *writer;   /* owned */
    struct real_judge *judge;     /* owned */
    struct record *record;        /* owned */
    struct real_history *history; /* owned; NULL = none is kept */
    uint64_t ended_us; /* the timeline was over: all was healed, nothing more is written */
    uint64_t equal_us; /* all edges equalled the core after that; 0 = not yet */
    uint64_t shown_us; /* the last progress line */
    char failure[512]; /* the first thing that went wrong; empty = nothing */
    bool ended, done;
};

/* ---- player.c ---- */
/* The inner process: plays the script and prints the report. Returns the exit status. */
int real_play(const struct script *s, const struct real_options *o);
uint64_t real_now_us(const struct real *r);
void real_player_round(struct real *r); /* all nodes were asked how they are */
void real_player_timeline_over(struct real *r);
/* Keeps the first. The run ends with it. */
__attribute__((format(printf, 2, 3))) void real_fail(struct real *r, const char *format, ...);

/* ---- daemon.c ---- */
/* Makes the node's directory and its config file. False with real_fail. */
bool real_daemon_prepare(struct real_node *n);
void real_daemon_start(struct real_node *n); /* nothing when it runs */
/* Kills it (SIGKILL); then, once it is gone, calls then(n), which may be NULL. */
void real_daemon_kill(struct real_node *n, void (*then)(struct real_node *n));
void real_daemon_pause(struct real_node *n, bool pause);
/* Runs a program of the system to its end, which must be a good one: for short ones. */
bool real_run(const char *const *words);
void real_daemon_disk_full(struct real_node *n, bool full);
/* The next three only where the script has said so (real_needs_faults). */
void real_daemon_disk_slow(struct real_node *n, uint64_t us);
void real_daemon_disk_failing(struct real_node *n);
void real_daemon_clock(struct real_node *n, int64_t step_us);
void real_daemon_disk_well(struct real_node *n);
void real_daemon_release(struct real_node *n); /* at the end; the daemon is gone */

/* ---- links.c ---- */
void real_link_set(struct real_node *n, const struct script_link *link);
void real_link_hub(struct real *r); /* the line that the core has to all edges together */
void real_link_cut(struct real_node *n, bool down, bool up);
void real_link_heal(struct real_node *n);
void real_link_half_open(struct real_node *n); /* of an edge */
void real_links_count(struct real *r); /* the emulator's counters, into each node's `last` */
/* Packets that the emulator had no time for: more than 0 make figures void. */
uint64_t real_links_overrun(const struct real *r);
void real_links_free(struct real_node *n);

/* ---- timeline.c ---- */
void real_timeline_start(struct real *r);
void real_heal_all(struct real *r);

/* ---- damage.c ---- */
/* So many records of the running edge, which it shows to readers, change on its disk. */
void real_damage(struct real_node *edge, uint64_t count);

/* ---- compare.c ---- */
/* Reads all keys at the core and all edges; each must have what was acknowledged last, or the run
 * fails. Calls done(r) at the end. */
void real_compare(struct real *r, void (*done)(struct real *r));

/* ---- print.c ---- */
void real_print_progress(struct real *r);
/* The table of the edges, the expectations, the verdict; returns whether all held. */
bool real_print_report(struct real *r);

/* ---- watch.c ---- */
/* Asks all nodes every few milliseconds, from now on until the run is done. */
void real_watch_start(struct real *r);
/* Something that no daemon logs, in its words: "operator: ...". */
__attribute__((format(printf, 2, 3))) void real_watch_note(struct real_node *n, const char *format,
                                                           ...);
void real_watch_end(struct real *r); /* the recording is complete */
/* It has all that the core has, by the digest. */
bool real_is_equal(const struct real *r, const struct real_node *edge);

/* ---- reads.c ---- */
void real_reads_start(struct real_node *edge);
void real_reads_all(struct real_node *edge); /* all keys at once */
void real_reads_stop(struct real_node *edge);

#endif
