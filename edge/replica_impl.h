/*
 * replica_impl.h - what the files of the replica engine share: its state, and one function per
 * duty.
 *
 * replica.c     events in, the order of duties, notes
 * held.c        the table of frames between arrival and durability
 * fetch.c       what is asked for: holes, plans, parts of a transfer; and what answers mean
 * pace.c        the table of requests: time-outs, backoff, how large
 * share.c       what is left to the stream: how fast data is asked for beside it
 * width.c       how many requests for data: those that bring something
 * apply.c       the one store operation under way: apply, hold, staging, trouble
 * repair.c      compares with the core, narrows down, and has what differs fetched
 * liveness.c    links, beacons, staleness, and the state that readers are told
 *
 * PURE, all of it: see hf/replica.h. Each duty may be called at any time and does what is missing.
 */
#ifndef HF_EDGE_REPLICA_IMPL_H
#define HF_EDGE_REPLICA_IMPL_H

#include "hf/replica.h"

enum held_state {
    HELD_VERIFYING = 0, /* the pool has it */
    HELD_NO_BODY,       /* the signature is good; the body must be fetched */
    HELD_SEALED,        /* good, but the content key is missing */
    HELD_READY,
};

struct held {
    hf_seq seq;
    uint32_t slot;
    uint32_t bytes;
    enum held_state state;
    bool has_body;
    bool storing;  /* the HOLD under way takes it ... */
    bool stored;   /* ... and then it is in the inbox, too */
    bool retried;  /* with the keys of a HELLO that it led to */
    bool streamed; /* neither from a reply nor from the inbox: a sign that the stream lives */
    hf_ms since;
    struct hf_hash prev, chain;
};

enum request_state {
    REQUEST_SENT = 0,
    REQUEST_WAITS,  /* its chunk is there, and waits for the store */
    REQUEST_STORED, /* its chunk is being stored */
};

struct request {
    uint64_t id; /* 0 = free */
    enum hf_replica_request kind;
    enum request_state state;
    bool
        late; /* asked over a link that was lost since: it may be answered, and is not counted on */
    hf_seq first, last;
    uint32_t part; /* DELTA, KEYS */
    uint32_t data_max;
    hf_seq applied; /* when it was sent: a core whose head is below has lost data (G13) */
    hf_ms sent;
    hf_ms timeout_ms;
};

struct pace {
    hf_ms rtt;        /* smoothed; 0 = unknown */
    hf_ms rtt_least;  /* the same, of the quickest */
    hf_ms rtt_mean;   /* and of all: what most take */
    hf_ms replied_at; /* the last reply */
    uint32_t timeouts_in_row;
    hf_ms backoff, retry_at; /* none of them is sent before retry_at, but for REPORT */
    hf_ms failed_at;         /* when the backoff last grew */
};

/* How many requests for data are under way at most, and what was learned of it (width.c). */
struct width {
    uint32_t now;
    bool opening; /* up to open_to, by one for each answer */
    uint32_t open_to;
    uint32_t kept;      /* what is compared with, 0 = nothing was measured ... */
    uint64_t kept_rate; /* ... and its goodput, bytes per second */
    bool narrower;      /* the next one to be tried, or that is tried */
    uint32_t in_vain;   /* trials in a row that were no better */
    hf_ms rest_until;   /* none before */
    hf_ms round_at;     /* answers to what was asked before do not count */
    hf_ms measured_at;  /* since the first that does; -1 = none yet */
    uint64_t delivered; /* then */
    uint32_t answers;   /* since then ... */
    uint32_t bound;     /* ... and how many of them with no room for another request */
};

/* What one of them asks for, and how long the answers took beyond a round trip. */
struct size {
    uint32_t data_max; /* bytes; a power of two */
    uint32_t replies;  /* that were filled, since it changed or was looked at last */
    uint32_t quick, slow;
};

/* Catching up leaves the stream its share: the link's rate is measured for a second without a
 * limit, then data is asked for at a part of it for some seconds. */
struct throttle {
    hf_ms live_at;  /* the last frame that came by the stream, -1 = none */
    hf_ms heard_at; /* the last frame or reply */
    hf_ms phase_at;
    bool limited;
    hf_ms limited_ms;     /* a phase with a limit lasts so long */
    uint64_t delivered;   /* bytes of data and of the stream, ever */
    hf_ms sample_at;      /* a sample began ... */
    uint64_t sample_from; /* ... when so much was delivered */
    bool sample_filled;   /* a reply in it was filled */
    uint64_t best_rate;   /* of this phase, bytes per second */
    uint64_t link_rate;   /* of the last phase without a limit; 0 = not known */
    int64_t credit;       /* bytes that may be asked for */
    hf_ms credit_at;
};

enum repair_phase {
    REPAIR_IDLE = 0,
    REPAIR_ASKING,   /* RANGES is due or under way */
    REPAIR_REPLIED,  /* the state that the reply was read from is not reached yet */
    REPAIR_COMPARES, /* COMPARE is under way */
    REPAIR_CHECKS,   /* nothing differs: CHECK is under way */
    REPAIR_STAGES,   /* the stage of the ranges is due, or active */
};

struct repair {
    enum repair_phase phase;
    bool wanted;
    bool known;         /* damage was seen: it goes before transfers, and ends in a healed state */
    bool blocked;       /* ... and keeps frames from being applied */
    bool damaged;       /* known, and not healed yet, whoever is at it; kept over a restart ... */
    bool marked;        /* ... once the store has it ... */
    bool marking;       /* ... which MARK, if it is under way, makes of it */
    bool comparing;     /* a COMPARE has not ended, perhaps one that was given up */
    uint32_t level;     /* 0 = all keys, 1 = what differed */
    uint64_t step;      /* numbers what is asked, so that an answer to something older is known */
    uint32_t failures;  /* in a row */
    hf_ms ask_at;       /* not before this */
    hf_ms frozen_until; /* nothing is applied while it asks, for so long */
    hf_seq asof;        /* of the last reply */
    hf_ms replied_at;
    bool healed; /* a repair ended well at healed_at */
    hf_seq healed_at;
    struct hf_repair_status status;
};

struct candidate { /* an answered request: head was `head` at t0 */
    hf_ms t0;
    hf_seq head;
};
#define CANDIDATES_MAX 16u

struct hf_replica {
    struct hf_replica_config cfg;
    hf_ms now;
    uint64_t entropy;
    struct hf_replica_effects *fx; /* of the step under way */
    bool started, has_genesis, join;
    bool more_due; /* the last step's list was full: the next tick is due at once */

    /* ---- position ---- */
    struct hf_position applied;
    struct hf_stage stage; /* its parts' keys are not kept here */
    hf_seq head;           /* proven */
    hf_seq received;
    hf_seq log_floor, delta_floor;
    uint64_t beacon_counter;
    /* An edge that began with nothing is loaded once it has what the core had when it first
     * answered: before that a key that is not here yet would look like one that does not exist. */
    bool loaded, load_known;
    hf_seq load_head;

    /* ---- held frames, sorted by seq ---- */
    struct held *held;
    uint32_t held_count;
    uint64_t held_bytes;
    uint32_t sealed_count;
    hf_ms bad_noted;
    bool keys_fresh; /* a HELLO was answered since: try the sealed ones again */

    /* ---- store ---- */
    bool store_busy;
    enum hf_replica_effect_type store_op;
    hf_seq apply_last;
    hf_seq ahead; /* frames behind the applied one that the last APPLY left open; all are held */
    hf_ms run_ms; /* that applying those of one transaction has taken */
    enum hf_store_state store_state;
    hf_ms ordered_at, rest_until; /* a busy store rests, so that more frames share a commit */
    hf_ms frame_at, pause_ms;     /* ... unless no frame has come for that long since the last */
    hf_ms store_retry;            /* no store operation before this */
    hf_ms transfer_wait, transfer_at; /* one came to nothing: the next is not before transfer_at */
    hf_seq collected;                 /* tombstones up to here are gone */
    hf_ms collect_at;                 /* the next step of collecting is not due before this */
    bool reopen, checking;
    bool reopen_now; /* without waiting for store_retry */
    bool diverged;
    bool rolled_back; /* diverged for no other reason than that the core lost data */
    /* What a reply asked of the store, until the store is free. */
    enum hf_plan_kind begin; /* NONE = no transfer is to begin */
    hf_seq begin_head;
    uint32_t part_turn;  /* the part to be asked for next, if it is idle */
    uint32_t skip_parts; /* bit i: the value at the cursor of part i moved away */
    bool extend_target, drop_stage;
    hf_ms staged_since;    /* the oldest that is staged and not committed; -1 = all is */
    uint64_t staged_saved; /* stage.bytes at the last commit */

    struct repair repair;

    /* ---- requests ---- */
    struct request request[HF_REPLICA_REQUESTS_MAX];
    uint64_t next_id;
    struct pace pace[2]; /* of requests whose replies are small, and of those full of data */
    struct width width;
    struct size size;
    struct throttle throttle;
    uint32_t timeouts_in_row; /* of any kind */
    bool need_hello, revoked;
    bool waits;        /* for a turn at the core; it was noted */
    uint32_t detours;  /* refusals that said what to do instead, since anything came of one */
    hf_seq plan_until; /* LOG was chosen up to here */
    bool plan_now;     /* the log does not reach back: ask */
    hf_seq span;       /* frames that one LOG reply is expected to bring */
    hf_ms report_due;
    hf_ms report_hold, report_wait; /* its own backoff: none before, the next wait */
    hf_ms survey_until;             /* a client of the core waits: report each step at once */
    hf_ms hole_since;               /* -1 = there is none */
    bool repairing;                 /* the first hole was waited for; ask for the rest at once */
    hf_ms progress_at;              /* when something last moved */

    /* ---- links ---- */
    bool link[HF_CHANNELS];
    hf_ms link_since[HF_CHANNELS];     /* last change, -1 = not up yet since the start */
    hf_ms heard[HF_CHANNELS];          /* last authentic bytes, -1 = never */
    hf_ms wordless_since[HF_CHANNELS]; /* so many links have come up since then (-1: none) ... */
    uint32_t wordless[HF_CHANNELS];    /* ... and nothing was heard */
    bool link_quiet[HF_CHANNELS];      /* that it is up now was not told */
    hf_ms beacon_at;                   /* last fresh beacon, -1 = never */
    hf_ms answered_t0; /* when what was answered last with a beacon was asked, -1 = never */
    hf_ms healed_at;   /* control came back; -1 once caught up was noted */
    bool repair_noted;
    hf_ms behind_since; /* head > applied; -1 = not behind */

    /* ---- staleness (G8) ---- */
    struct candidate candidate[CANDIDATES_MAX];
    uint32_t candidate_count;
    hf_ms fresh_t0; /* -1 = unknown */

    uint64_t transfer_total, transfer_done;
    uint64_t transfer_from; /* done when it was taken up, at transfer_began */
    hf_ms transfer_began, progress_noted;
    uint64_t duplicates, bad_frames, redials, timeouts, requests;
};

static inline hf_ms later(hf_ms a, hf_ms b)
{
    return a > b ? a : b;
}

static inline hf_ms sooner(hf_ms a, hf_ms b)
{
    return a < b ? a : b;
}

/* ---- replica.c ---- */
/* Room is left for the effects of one duty; a duty that finds none stops and is called again. */
bool fx_room(const struct hf_replica *r);
struct hf_replica_effect *fx_add(struct hf_replica *r, enum hf_replica_effect_type type);
void note(struct hf_replica *r, enum hf_replica_note n, uint64_t a, uint64_t b);
/* ms in [half, whole], from the event's entropy. */
hf_ms jitter(struct hf_replica *r, hf_ms whole);

/* ---- held.c ---- */
struct held *held_find(struct hf_replica *r, hf_seq seq);
hf_seq held_last(const struct hf_replica *r); /* the highest, 0 = none */
/* Forgets it and drops its slot. */
void held_drop(struct hf_replica *r, struct held *h);
/* Forgets all up to and including seq; the slots are released. */
void held_release(struct hf_replica *r, hf_seq last);
void on_frame(struct hf_replica *r, const struct hf_replica_event *ev);
void on_restored(struct hf_replica *r, const struct hf_replica_event *ev);
void on_verified(struct hf_replica *r, const struct hf_replica_event *ev);
/* What VERIFIED means for a frame, however the result came. False: it is not held any more. */
bool held_verified(struct hf_replica *r, struct held *h, enum hf_err code);
void retry_sealed(struct hf_replica *r);
/* The next frame that is missing and neither held nor asked for, in [from, to]. */
bool held_gap(const struct hf_replica *r, hf_seq from, hf_seq to, struct hf_range *gap);

/* ---- pace.c ---- */
void pace_begin(struct hf_replica *r);
/* A transfer of so many bytes begins, 0 = it is not known: the link may be another. */
void pace_transfer(struct hf_replica *r, uint64_t bytes);
/* The one that was sent and is not answered, given up or timed out; NULL when there is none. */
struct request *request_sent(struct hf_replica *r, uint64_t id);
struct request *request_unused(struct hf_replica *r);
bool request_open(const struct hf_replica *r, enum hf_replica_request kind);
/* A DELTA or KEYS of this part is under way, or its chunk is not stored yet. */
bool request_of_part(const struct hf_replica *r, uint32_t part);
uint32_t stage_parts_left(const struct hf_replica *r); /* of the range in progress */
/* Of those whose chunk waits for the store the one that was sent first, or NULL. */
struct request *request_waiting(struct hf_replica *r);
bool is_data(enum hf_replica_request kind);
void requests_abandon(struct hf_replica *r);
/* The same, but for those of a transfer's parts, which are late then: their connections may have
 * outlived the link, and TCP bring what it held. */
void requests_outlive_link(struct hf_replica *r);
/* Gives up the parts that are late when nothing else is to be asked (all_asked), and those that are
 * slow when none of them has brought anything for long, so that they are asked for again. */
void requests_give_up_late(struct hf_replica *r, bool all_asked);
/* Nothing of a transfer is under way any more, as far as this engine cares. */
void requests_abandon_stage(struct hf_replica *r);
/* Another data request may be sent now. */
bool data_room(const struct hf_replica *r);
struct hf_replica_effect *request_send(struct hf_replica *r, const struct request *what);
void pace_restart(struct hf_replica *r);
/* An answer came: what was asked for, or a refusal. */
void pace_replied(struct hf_replica *r, const struct request *q, uint32_t bytes, bool granted);
void pace_busy(struct hf_replica *r, const struct request *q, hf_ms told);
void pace_timed_out(struct hf_replica *r, const struct request *q);
bool reply_is_filled(const struct request *q, uint32_t bytes);
bool reply_is_slow(const struct hf_replica *r, hf_ms since);
/* A request of this kind's class failed, or was told to come again after so long. */
void back_off(struct hf_replica *r, enum hf_replica_request kind, hf_ms told);
void back_off_all(struct hf_replica *r, hf_ms wait);
/* Data waits for all that failed, the rest only for its own: a core that refuses data answers a
 * HELLO, and where that fails nothing else is worth asking. */
bool is_held_back(const struct hf_replica *r, enum hf_replica_request kind);
void report_back_off(struct hf_replica *r, enum hf_err code);
void backoff_reset(struct hf_replica *r); /* after progress, if the link is stable */

/* ---- share.c ---- */
/* A transfer begins, or the link is another: its rate is measured anew. */
void share_measure(struct hf_replica *r);
void share_heard(struct hf_replica *r, uint32_t bytes);  /* anything came */
void share_stream(struct hf_replica *r, uint32_t bytes); /* a frame came by the stream */
void share_replied(struct hf_replica *r, const struct request *q, uint32_t bytes);
/* More data may be asked for now; what is asked for is charged, and given back if it never comes.
 */
bool share_room(const struct hf_replica *r);
void share_charge(struct hf_replica *r, uint32_t bytes);
void share_refund(struct hf_replica *r, uint32_t bytes);
hf_ms share_deadline(const struct hf_replica *r); /* when there is room again */

/* ---- width.c ---- */
/* A transfer of so many bytes begins, 0 = it is not known. */
void width_begin(struct hf_replica *r, uint64_t bytes);
/* Answers to what was asked before say nothing about how it is now. */
void width_restart(struct hf_replica *r);
void width_close(struct hf_replica *r);
void width_refused(struct hf_replica *r, hf_ms sent); /* what was asked then: the core is busy */
/* A request for data was answered; `open` of them were under way, this one among them. */
void width_replied(struct hf_replica *r, hf_ms sent, uint32_t open);

/* ---- fetch.c ---- */
void on_reply(struct hf_replica *r, const struct hf_replica_event *ev);
void on_timeout(struct hf_replica *r, const struct hf_replica_event *ev);
void duty_control(struct hf_replica *r); /* JOIN, HELLO, REPORT */
void duty_fetch(struct hf_replica *r);   /* PLAN, LOG, BODY, DELTA, KEYS */
/* All of it is wanted from here: the first frame that the store has not and that is not staged. */
hf_seq want_first(const struct hf_replica *r);

/* ---- apply.c ---- */
void on_store_done(struct hf_replica *r, const struct hf_replica_event *ev);
void on_checked(struct hf_replica *r, const struct hf_replica_event *ev);
void duty_store(struct hf_replica *r);
/* When the frames of the stream count as having paused, if no more come. */
hf_ms frames_pause_at(const struct hf_replica *r);
/* Orders TAKE for a frame that just arrived, if it is all that is to be done. */
bool order_take(struct hf_replica *r, const struct held *h);
/* There are tombstones that the core has forgotten, and nothing better to do. */
bool collect_due(const struct hf_replica *r);
/* In the tail of a transfer: the position that staged data has reached. */
hf_seq stage_at(const struct hf_replica *r);
bool stage_in_tail(const struct hf_replica *r);
/* Whether it is what the store is busy with. */
bool store_does(const struct hf_replica *r, enum hf_replica_effect_type op);
/* A transfer was decided on, and the store has not begun it yet. */
bool stage_begins(const struct hf_replica *r);
/* Decides on this one, instead of any that was decided on, begins or is there. */
void stage_replace(struct hf_replica *r, enum hf_plan_kind plan, hf_seq head);
bool stage_in_keys(const struct hf_replica *r);

/* ---- repair.c ---- */
void duty_repair(struct hf_replica *r);
/* Damage was seen; blocked = frames cannot be applied for it. */
void repair_want(struct hf_replica *r, bool blocked);
void on_repair(struct hf_replica *r, const struct hf_replica_event *ev);
void on_compared(struct hf_replica *r, const struct hf_replica_event *ev);
void repair_replied(struct hf_replica *r, const struct request *q, hf_seq asof);
void repair_unanswered(struct hf_replica *r, enum hf_err why);
void repair_not_yet(struct hf_replica *r);
void repair_busy(struct hf_replica *r, hf_ms told);
void repair_counts(struct hf_replica *r, const struct request *q, uint32_t bytes);
/* False: the CHECKED is not for the repair. */
bool repair_checked(struct hf_replica *r, enum hf_err code);
/* The staged ranges were stored, are visible, or were refused. */
void repair_staged(struct hf_replica *r, const struct hf_stage *now);
void repair_switched(struct hf_replica *r);
/* A state that was fetched whole took the place of the damaged one. */
void repair_replaced(struct hf_replica *r);
/* What the store has of it is not what is known. */
bool repair_mark_due(const struct hf_replica *r);
void repair_refused(struct hf_replica *r, enum hf_err code);
/* Frames up to here may be applied: a comparison needs both sides at one seq. */
hf_seq repair_limit(const struct hf_replica *r);
/* What is staged is of the applied seq, whose signed header is here: nothing else decides. */
bool repair_needs_no_frame(const struct hf_replica *r);
/* Known damage is looked for: no transfer may begin over it. */
bool repair_goes_first(const struct hf_replica *r);
hf_ms repair_deadline(const struct hf_replica *r);

/* ---- liveness.c ---- */
void on_link(struct hf_replica *r, const struct hf_replica_event *ev);
void on_beacon(struct hf_replica *r, const struct hf_replica_event *ev);
void heard_from(struct hf_replica *r, enum hf_channel channel);
void head_raise(struct hf_replica *r, hf_seq head);
void freshen(struct hf_replica *r); /* after applied moved */
void diverge(struct hf_replica *r, enum hf_replica_note why, uint64_t a, uint64_t b);
void duty_links(struct hf_replica *r);
hf_ms links_deadline(const struct hf_replica *r);

#endif
