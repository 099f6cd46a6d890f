/*
 * replica.h - the edge's pure engine: what to verify, hold, apply, ask for and give up.
 *
 * PURE: no I/O, clock, randomness, threads or allocation after _new. Same events in the same order,
 * same effects, byte for byte. One owner.
 *
 * Level-triggered: after every event the engine compares what it has with the head it knows of and
 * does what is missing, so no intent is lost when a message is. Frames are named by the driver's
 * slot numbers; the engine sees their headers only. A frame counts as received once VERIFIED said
 * so, as applied once STORE_DONE said that the commit is durable. At most one store operation is
 * under way.
 *
 * Spurious ticks are harmless. Effects are run in list order. If more is due than fits the list the
 * deadline is now.
 */
#ifndef HF_REPLICA_H
#define HF_REPLICA_H

#include "hf/batch.h"
#include "hf/err.h"
#include "hf/messages.h"
#include "hf/seal.h"
#include "hf/state.h"
#include "hf/types.h"
#include "hf/world.h"

struct hf_replica;

struct hf_replica_config {
    hf_ms beacon_ms; /* the core's beacon interval; silence for 3 of them is a dead link */
    hf_ms report_ms; /* at most beacon_ms counts: in a busy stream only the answers bring beacons */
    hf_ms request_ms_min; /* shortest time-out of a request; grows with the measured round trip */
    hf_ms request_ms_max;
    hf_ms backoff_ms_min; /* after a failure, doubled up to max, jittered by half */
    hf_ms backoff_ms_max;
    hf_ms stable_ms;          /* a control link up for so long resets the backoff */
    hf_ms gap_ms;             /* a hole younger than this may still be filled by the stream */
    hf_ms stall_ms;           /* head > applied and nothing moved for so long: start over asking */
    hf_ms hold_ms;            /* frames held longer than this are written to the inbox */
    uint32_t hold_frames_max; /* out-of-order frames held; when full the lowest are kept */
    uint64_t hold_bytes_max;
    uint32_t fetch_max;        /* data requests in flight, at most HF_STAGE_PARTS_MAX; each has a
                                  connection of its own if the transport allows */
    uint32_t catchup_share;    /* percent of the link for catching up while the stream is busy */
    uint64_t catchup_rate_max; /* bytes per second; 0 = no limit */
    hf_ms stage_ms;            /* staged chunks are committed this often, or ... */
    uint64_t stage_bytes;      /* ... after so many bytes of records */
    uint32_t apply_frames_max; /* frames in one store transaction */
    uint32_t ahead_frames_min; /* so many are worth an APPLY that commits nothing */
    bool take_next; /* the next frame of an idle edge is verified and applied in one job: TAKE */
    uint32_t plan_batches; /* a gap wider than this asks for a PLAN first */
    hf_ms collect_ms;      /* an idle edge collects its tombstones this often */
};

/* The values the daemon runs with, each with its reason in edge/replica.c. */
void hf_replica_defaults(struct hf_replica_config *c);

#define HF_REPLICA_REQUESTS_MAX 72u

enum hf_replica_event_type {
    HF_REPEV_START = 0, /* position, stage, ok = genesis is known, entropy; join = enrol first;
                         * total, offset = bytes of the transfer that is staged, in all and so far,
                         * as kept with its last operation; damaged = the last MARK said so */
    HF_REPEV_RESTORED,  /* slot, header, bytes, chain: a frame of the inbox */
    HF_REPEV_LINK,      /* channel, ok = up */
    HF_REPEV_FRAME,     /* slot, header, bytes, chain, ok = has its body; not yet trusted; request =
                         * whose reply brought it, 0 = the stream */
    HF_REPEV_VERIFIED,  /* slot, code: OK; SEALED = signed but the content key is missing; else bad
                         */
    HF_REPEV_BEACON,  /* beacon (signature checked); t0 = when its request was handed over, or -1 */
    HF_REPEV_REPLY,   /* request, code and what came: see struct */
    HF_REPEV_TIMEOUT, /* request */
    HF_REPEV_STORE_DONE, /* op, code, seq; position as committed, stage as it is. TAKE: ok = it
                          * verified, and code is what applying it came to; else code is as in
                          * VERIFIED */
    HF_REPEV_CHECKED,    /* code of a full check of the own store */
    HF_REPEV_SURVEY,     /* the core asks for a REPORT now */
    HF_REPEV_REPAIR,     /* compare with the core and heal what differs; ok = damage was seen */
    HF_REPEV_COMPARED,   /* code; ok = all ranges asked about are through; offset = own records read
                          * for this reply, total = ranges that differ so far */
    HF_REPEV_TICK,
};

enum hf_replica_request {
    HF_REPRQ_NONE = 0,
    HF_REPRQ_JOIN,
    HF_REPRQ_HELLO,
    HF_REPRQ_PLAN,
    HF_REPRQ_LOG,   /* first..last */
    HF_REPRQ_BODY,  /* first = seq; from where the slot's bytes end */
    HF_REPRQ_DELTA, /* part: from its cursor to its end */
    HF_REPRQ_KEYS,  /* part */
    HF_REPRQ_REPORT,
    HF_REPRQ_RANGES, /* where the driver's comparison has got to */
};

enum hf_replica_effect_type {
    HF_REPFX_VERIFY = 0, /* slot: signature, body hash, opening -> VERIFIED */
    HF_REPFX_DROP,     /* slot is not wanted; also while it is being verified (no VERIFIED then) */
    HF_REPFX_RELEASE,  /* all slots whose frames are <= last are done with */
    HF_REPFX_SEND,     /* request (id), kind, first, last, part, data_max, expect, timeout_ms */
    HF_REPFX_APPLIED,  /* up to `last`, durably; new views show it already */
    HF_REPFX_REDIAL,   /* channel */
    HF_REPFX_CHECK,    /* verify the whole store on the pool -> CHECKED */
    HF_REPFX_EVIDENCE, /* slot (or UINT32_MAX): keep this signed frame as proof of a fork */
    HF_REPFX_NOTE,     /* note, a, b */
    HF_REPFX_NARROW,   /* first = 0: all keys are to be compared with the core; 1: once more, what
                          differed, in smaller ranges */
    HF_REPFX_COMPARE,  /* the ranges that a reply brought with the own records -> COMPARED */
    /* Store operations: each ends with one STORE_DONE. Those of a stage: a, b = bytes of the
     * transfer on the wire, in all (0 = unknown) and so far, to be kept with it. */
    HF_REPFX_APPLY, /* frames first..last, of which first is the next after the applied one, in one
                       transaction. Without `commit` it stays open for the next APPLY, which goes on
                       with it; any other operation undoes it first */
    HF_REPFX_TAKE,  /* slot: verify it and, if it is good, apply it, in one: the next frame of an
                       idle edge */
    HF_REPFX_HOLD,  /* write the held frames among first..last to the inbox */
    HF_REPFX_STAGE_BEGIN,  /* plan, last = head of the plan */
    HF_REPFX_STAGE_CHUNK,  /* parts: the chunks that DELTA and KEYS replies brought of them; without
                              a commit */
    HF_REPFX_STAGE_SKIP,   /* part */
    HF_REPFX_STAGE_TARGET, /* last */
    HF_REPFX_STAGE_FRAME,  /* slot; without a commit */
    HF_REPFX_STAGE_SAVE,   /* commit what was staged */
    HF_REPFX_STAGE_SWITCH, /* slot: the frame whose digest decides; UINT32_MAX = the applied one, of
                              which the store has the header */
    HF_REPFX_STAGE_DROP,
    HF_REPFX_REOPEN,  /* after an I/O error */
    HF_REPFX_MARK,    /* first = 1: the own state is known to be damaged, 0: it is not any more; to
                         be kept over a restart */
    HF_REPFX_COLLECT, /* a step: forget tombstones up to `last`; STORE_DONE: ok = that was all */
};

enum hf_replica_note {
    HF_NOTE_LINK_UP = 0,    /* a = channel */
    HF_NOTE_LINK_DOWN,      /* a = channel */
    HF_NOTE_LINK_SILENT,    /* a = channel, b = ms of silence: redialled */
    HF_NOTE_CAUGHT_UP,      /* a = seq, b = ms since the link came back */
    HF_NOTE_FIRST_REPAIR,   /* a = seq, b = ms since the link came back */
    HF_NOTE_HOLE,           /* a..b asked for */
    HF_NOTE_PLAN,           /* a = enum hf_plan_kind, b = bytes */
    HF_NOTE_PROGRESS,       /* a = percent of a transfer, b = seconds that the rest may take */
    HF_NOTE_SWITCHED,       /* a = seq, b = staged bytes */
    HF_NOTE_STAGE_REFUSED,  /* a = seq, b = error; DIGEST: what was staged is not its state */
    HF_NOTE_BAD_FRAME,      /* a = seq, b = error */
    HF_NOTE_KEY_MISSING,    /* a = seq */
    HF_NOTE_HOLD_FULL,      /* a = seq given up */
    HF_NOTE_STORE_TROUBLE,  /* a = seq, b = error */
    HF_NOTE_STORE_WELL,     /* a = seq */
    HF_NOTE_DIVERGED,       /* a = seq, b = error */
    HF_NOTE_ROLLBACK,       /* a = head of the core, b = applied here */
    HF_NOTE_ROLLED_FORWARD, /* a = head of the core, b = applied here */
    HF_NOTE_FORK,           /* a = seq */
    HF_NOTE_REVOKED,
    HF_NOTE_REFUSED, /* a = request kind, b = error */
    HF_NOTE_UNKNOWN, /* the link is up, but the core has never answered */
    HF_NOTE_JOIN_REFUSED,
    HF_NOTE_WAITS,   /* the core has others to serve first; a = head, b = applied */
    HF_NOTE_STALLED, /* a = head, b = applied: asking again from the start */
    HF_NOTE_ENROLLED,
    HF_NOTE_REPAIR,          /* a = applied; comparing with the core */
    HF_NOTE_REPAIR_FOUND,    /* a = ranges that differ, b = records compared */
    HF_NOTE_REPAIR_SOUND,    /* a = records compared */
    HF_NOTE_REPAIR_DONE,     /* a = ranges replaced, b = records fetched */
    HF_NOTE_REPAIR_GIVEN_UP, /* b = error */
    HF_NOTE_COUNT,
};
/* The line for the log, "replica: sentence key=value"; used by daemon and simulator alike. */
void hf_replica_note_text(enum hf_replica_note note, uint64_t a, uint64_t b, char *out, size_t cap);
enum hf_level hf_replica_note_level(enum hf_replica_note note);

struct hf_replica_event {
    enum hf_replica_event_type type;
    hf_ms now;
    uint64_t entropy; /* fresh random bits */
    enum hf_err code;
    bool ok;
    bool join;
    bool damaged;
    enum hf_channel channel;
    uint32_t slot;
    uint32_t bytes;
    const struct hf_header *header; /* borrowed during step, as all pointers here */
    struct hf_hash chain;           /* chain hash of header */
    const struct hf_beacon *beacon;
    hf_ms t0;
    uint64_t request;
    /* REPLY: bytes = of the message. LOG: seq = last frame of the reply (its FRAME events came
     * before); BODY: seq, offset = bytes held from the start, total; PLAN: plan, seq = head, total
     * = bytes; BUSY: retry_ms. */
    hf_seq seq;
    uint64_t offset, total;
    enum hf_plan_kind plan;
    uint32_t retry_ms;
    enum hf_replica_effect_type op;
    const struct hf_position *position;
    const struct hf_stage *stage;
};

struct hf_replica_effect {
    enum hf_replica_effect_type type;
    uint32_t slot;
    uint64_t request;
    enum hf_replica_request kind;
    hf_seq first, last;
    uint32_t part;
    uint32_t parts;    /* bit i = part i */
    uint32_t data_max; /* bytes that the reply is to bring at most */
    bool commit;       /* APPLY, and always in TAKE */
    bool expect;       /* SEND: requests for data are likely to follow its answer */
    hf_ms timeout_ms;
    enum hf_channel channel;
    enum hf_plan_kind plan;
    enum hf_replica_note note;
    uint64_t a, b;
};

#define HF_REPLICA_EFFECTS_MAX 64u
struct hf_replica_effects {
    uint32_t count;
    struct hf_replica_effect at[HF_REPLICA_EFFECTS_MAX];
};

struct hf_replica *hf_replica_new(const struct hf_replica_config *c);
void hf_replica_free(struct hf_replica *r);
void hf_replica_step(struct hf_replica *r, const struct hf_replica_event *ev,
                     struct hf_replica_effects *fx);
/* When the next TICK is due. */
hf_ms hf_replica_deadline(const struct hf_replica *r);

/* ---- what readers, REPORT and oracles are told ---- */

enum hf_replica_state {
    HF_REPLICA_JOINING = 0, /* nothing complete to serve yet */
    HF_REPLICA_LIVE,
    HF_REPLICA_LAGGING,     /* the head is known to be ahead */
    HF_REPLICA_CATCHING_UP, /* a transfer is under way */
    HF_REPLICA_CUT_OFF,     /* nothing authentic arrives (G14) */
    HF_REPLICA_FROZEN,      /* authentic bytes, but no fresh beacon, or fetches do not move */
    HF_REPLICA_REVOKED,
    HF_REPLICA_DIVERGED,
};
const char *hf_replica_state_name(enum hf_replica_state s);

enum hf_repair_result {
    HF_REPAIR_NONE = 0, /* never asked for */
    HF_REPAIR_WAITING,  /* for the link, the store or a transfer */
    HF_REPAIR_COMPARING,
    HF_REPAIR_FETCHING,
    HF_REPAIR_SOUND,    /* ended: nothing differed */
    HF_REPAIR_DONE,     /* ended: the digest is the signed one again */
    HF_REPAIR_SNAPSHOT, /* ended: could not be healed in place, all is fetched anew */
    HF_REPAIR_FAILED,   /* ended: the core did not answer, or nothing could be compared */
};
const char *hf_repair_result_name(enum hf_repair_result r);

struct hf_repair_status { /* of the newest one; bytes as they travel */
    enum hf_repair_result result;
    uint64_t compared; /* own records */
    uint64_t ranges, records, bytes;
    uint64_t ended;                  /* how many came to an end */
    uint64_t repairs, ranges_healed; /* ever */
};

struct hf_replica_status {
    enum hf_replica_state state;
    hf_seq head; /* the highest that is proven, 0 = none */
    hf_seq applied;
    hf_seq received;       /* highest verified */
    uint64_t staleness_ms; /* G8; UINT64_MAX = unknown */
    uint32_t holes_total;
    uint32_t hole_count;
    struct hf_range hole[HF_REPORT_HOLES_MAX];
    enum hf_store_state store_state;
    /* Bytes as they travel, since it was planned; total (an estimate) is 0 without a transfer and
     * for a repair. ETA, at the speed since this start: UINT64_MAX = unknown. */
    uint64_t transfer_done, transfer_total;
    uint64_t transfer_eta_ms;
    hf_seq transfer_base;
    bool link_up[HF_CHANNELS];
    hf_ms last_heard_ms; /* ago; -1 = never */
    uint64_t duplicates, bad_frames, redials, timeouts, requests, held_now, held_bytes;
    uint64_t held_ahead; /* of those held: applied already, and not committed */
    struct hf_repair_status repair;
};
void hf_replica_status(const struct hf_replica *r, hf_ms now, struct hf_replica_status *out);
/* False once it was given up, though its reply may still come. */
bool hf_replica_awaits(const struct hf_replica *r, uint64_t request);
/* False while an edge that began with nothing has less than the core had when it first answered. */
bool hf_replica_loaded(const struct hf_replica *r);
/* For a liveness report: why it has not converged; a static sentence, NULL when it has. */
const char *hf_replica_pending(const struct hf_replica *r);

#endif
