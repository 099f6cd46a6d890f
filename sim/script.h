/*
 * script.h - a scenario file as plain data: what the world is, what happens in it, what must hold.
 *
 * sim/README.md describes the language. A script knows nothing of any world: scenario.c plays it in
 * the virtual one, and another interpreter may play it with real daemons. So that both stay simple,
 * the parser resolves all it can: names and groups become sets of nodes, `for 6h` becomes a second
 * action six hours later, `flap` becomes cuts and heals, `restart` a crash and a start, and the
 * timeline is sorted. What is left is one list of actions, each at one moment.
 *
 * All times are microseconds from the start of the run, sizes bytes, chances 0 to 1. Everything in
 * a script is owned by it and constant until script_free. No global state.
 */
#ifndef HF_SIM_SCRIPT_H
#define HF_SIM_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hf/err.h"
#include "hf/messages.h"
#include "hf/types.h"

#define SCRIPT_EDGES_MAX 250u
#define SCRIPT_CORE                                                                                \
    0u /* node 0; edges are 1 to edge_count, in the order in which they are named                  \
        */
#define SCRIPT_EXPECTATIONS_MAX 64u
#define SCRIPT_ACTIONS_MAX 20000u /* after repetitions are written out */

#define SCRIPT_TRACES_MAX 64u
#define SCRIPT_CHANGES_MAX 64u /* of one write */
#define SCRIPT_VALUE_MIN 8u    /* values carry a number, so that a reader knows what it got */
#define SCRIPT_VALUE_MAX ((1u << 20) - 8)

/* A set of nodes. */
struct script_nodes {
    uint64_t bits[(SCRIPT_EDGES_MAX + 64) / 64];
};
static inline bool script_has(const struct script_nodes *s, uint32_t node)
{
    return (s->bits[node / 64] >> node % 64 & 1u) != 0;
}

/* ---- links ---- */

struct script_link {
    uint64_t delay_us;  /* one way */
    uint64_t jitter_us; /* each is up to so much longer or shorter */
    uint64_t rate_bps;  /* bits per second; 0 = no limit */
    uint64_t queue_us;  /* what waits longer for the transmitter is dropped */
    double loss;        /* of packets: over TCP it costs time, no message */
    double burst;       /* mean packets of a burst of losses (Gilbert-Elliott); 1 = independent */
    double packet_reorder;   /* of packets: others overtake them, ... */
    double packet_duplicate; /* ... or they arrive twice. TCP hides both */
    double drop;             /* of messages: they vanish */
    double duplicate;        /* a message arrives twice */
    double reorder;          /* a message is overtaken by later ones */
    double corrupt;          /* a bit of a message flips */
    const char *trace; /* path of a recording of delay and loss to replay, lines of `SECONDS RTT_MS
                          LOSS_PERCENT [RATE_MBIT]`; NULL = none */
};

/* ---- load ---- */

struct script_load {
    uint64_t write_every_us; /* mean time between writes; 0 = none but those of the timeline */
    bool steady;             /* writes come as above; else one in 20 is ten at once, and one in 100
                                is followed by 2 to 10 s without any */
    uint64_t burst_writes, burst_every_us; /* and so many at once, every so often; 0 = none */
    uint64_t idle_us, idle_every_us; /* of each such period, its last part is without writes */
    uint32_t keys;
    double zipf;            /* exponent of the keys' popularity; 0 = all alike */
    uint32_t changes_max;   /* a write changes 1 to so many keys */
    double deletes;         /* this part of the changes are deletes */
    uint32_t value_min;     /* values are evenly between min and max; or, when min is 0, mostly */
    uint32_t value_max;     /* under 200 bytes and up to max now and then */
    uint64_t read_every_us; /* clients read at every edge */
};
/* Where nothing else is said; also that of random runs. */
extern const struct script_load script_load_usual;

/* ---- the timeline ---- */

enum script_verb {
    SCRIPT_CUT = 0,      /* down, up: which directions; core to edge is down */
    SCRIPT_HEAL,         /* ends every cut of these links */
    SCRIPT_HALF_OPEN,    /* what connections there are pass nothing any more and tell nobody */
    SCRIPT_LINK,         /* from now on its profile is `link`; one edge in each */
    SCRIPT_CRASH,        /* kill -9 */
    SCRIPT_START,        /* of what has crashed */
    SCRIPT_PAUSE,        /* SIGSTOP */
    SCRIPT_RESUME,       /* SIGCONT */
    SCRIPT_DISK_SLOW,    /* a write takes us */
    SCRIPT_DISK_FULL,    /* writes end with ENOSPC */
    SCRIPT_DISK_FAILING, /* writes and syncs end with EIO */
    SCRIPT_DISK_WELL,    /* none of these any more */
    SCRIPT_DAMAGE,       /* the disk changes `count` records */
    SCRIPT_CLOCK,        /* the wall clock jumps by step_us */
    SCRIPT_DRIFT,        /* all clocks run by `ppm` too fast, or too slow; 0 = right again */
    SCRIPT_WRITE,        /* `count` writes of clients at once */
    SCRIPT_RELEASE,      /* new values for the first `count` keys, as fast as the core takes them */
    SCRIPT_ROLLBACK,     /* and the values from before: the newest release is taken back */
    SCRIPT_BACKUP,       /* a copy of the core's directory, which is called `us` */
    SCRIPT_RESTORE,      /* the copy that is called `us` takes the place of the core's directory */
    SCRIPT_REVOKE,       /* an operator takes an edge's rights away */
    SCRIPT_READ,         /* a client reads all keys */
    SCRIPT_DROP,         /* the next `count` batches on these links vanish */
    SCRIPT_FORGE,        /* a frame arrives that was signed by a key nobody trusts */
    SCRIPT_REPLAY,       /* the newest frame arrives once more */
    SCRIPT_VERBS,
};

struct script_action {
    uint64_t at_us;
    enum script_verb verb;
    struct script_nodes nodes; /* whom; empty for WRITE, RELEASE and ROLLBACK */
    bool down, up;
    uint64_t count;
    uint64_t us;
    int64_t step_us;
    double ppm;
    struct script_link link;
    uint32_t link_set; /* the parser's: which of its settings are meant ... */
    bool ends;         /* ... and that it ends what one began at since_us for a time */
    uint64_t since_us;
    uint32_t line;
};

/* ---- expectations ---- */

enum script_expect {
    SCRIPT_EXPECT_STATE = 0, /* at the end the edges are in state `word` (as `status` names it) */
    SCRIPT_EXPECT_REFUSING,  /* at the end the core refuses writes */
    SCRIPT_EXPECT_WITHIN, /* after each action `of` that concerned it, an edge was in state `word`
                             within limit_us; an action that is followed by another one before
                             that does not count, but at one of the edges one must. Empty word = it
                             had applied all that the core had acknowledged at the moment of the
                             action, or when it had answered all that the action writes. What
                             happens to the core, or is written there, concerns all edges but those
                             that are cut off, stopped or paused at that moment */
    SCRIPT_EXPECT_STALENESS, /* the most that an edge called itself out of date in the run was at
                                most (or at_least) limit_us; `linked` = not counted from when the
                                edge or the core was cut off, stopped or paused until it had again
                                applied all there was when that ended */
    SCRIPT_EXPECT_BYTES,     /* to each edge (or `from` it) at most limit_bytes were sent */
    SCRIPT_EXPECT_READS,     /* from its first full copy on, no read at the edge went unanswered */
    SCRIPT_EXPECT_WRITES,    /* no write was refused; with `word` "refused": some were */
    SCRIPT_EXPECT_PLAN, /* the newest plan of the edge was `plan`; LOG also when none was made */
    SCRIPT_EXPECT_MARK, /* the virtual world reached a rare state called `word` */
};

struct script_expectation {
    enum script_expect kind;
    struct script_nodes nodes; /* all of them must */
    char word[32];
    enum script_verb of;
    uint64_t limit_us, limit_bytes;
    bool at_least, linked, from;
    enum hf_plan_kind plan;
    uint32_t line;
    char text[128]; /* as it is written, for a report */
};

/* ---- the whole ---- */

struct script_edge {
    char name[HF_NAME_MAX + 1];
    struct script_link link;
};

struct script {
    char path[256];  /* of the file, for messages */
    char title[160]; /* the comment in the first line */
    bool has_seed;
    uint64_t seed;
    uint64_t duration_us; /* of the timeline; what is still to come then is an error of the file */
    uint64_t
        converge_us;     /* then all is healed, nothing is written any more, and all edges reach the
                            core's head within so long; 0 = this scenario does not end like that */
    uint64_t log_bytes;  /* the core's changelog; 0 = the default, as for the next three */
    uint64_t log_age_us; /* ... and how old it gets */
    uint64_t tombstone_us; /* deletes are remembered for so long */
    uint64_t beacon_us;    /* how often the core says where it is, 100 ms to 60 s */
    uint64_t hub_rate_bps; /* the line that the core has to all edges together; 0 = no limit */
    uint64_t hub_queue_us;
    struct script_load load;
    uint32_t edge_count;
    char *trace[SCRIPT_TRACES_MAX]; /* what the links' point to */
    uint32_t trace_count;
    struct script_edge edge[SCRIPT_EDGES_MAX + 1]; /* 0 is the core, whose link is unused */
    struct script_action *action;                  /* by time, then as written */
    uint32_t action_count;
    struct script_expectation *expectation;
    uint32_t expectation_count;
};

/* Reads and parses a file. HF_NOTFOUND or HF_IO when it cannot be read, HF_ARG when it is wrong;
 * the text of *e is then "FILE:LINE: what is wrong and what would be right". */
enum hf_err script_read(const char *path, struct script **out, struct hf_error *e);
/* The same from memory, of any content; `path` is for messages, and its directory is where link
 * traces are looked for. */
enum hf_err script_parse(const char *path, struct hf_slice text, struct script **out,
                         struct hf_error *e);
void script_free(struct script *s);

/* "90s" or "1h30m" in microseconds; false for what is no time, NULL too. */
bool script_time(const char *text, uint64_t *us);
/* "cut", "heal", ... */
const char *script_verb_name(enum script_verb verb);
/* The language in brief, for --help. */
extern const char script_help[];

#endif
