/*
 * history.c - the rules C1 to C9 over a recorded history (history.h).
 *
 * The model needs no search: a request id has one number, and a key is given the same value only
 * once, so a value tells which write it is of. Writes whose outcome nobody learned have no number;
 * what they might have done is allowed, and nothing more.
 *
 * Invariant: a right history is never refused. Where the clients' view leaves two possibilities,
 * the rule passes. Of all violations the one is kept that the earliest line completes: those after
 * it are often its consequences.
 *
 * It must not read files or take the time. The parser is history_read.c.
 */
#include "sim/history.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* All attempts of one request id. */
struct request {
    const struct history_op *first;  /* attempt, with the changes */
    const struct history_op *answer; /* the first attempt that was answered with a number */
    const struct history_op *fresh;  /* the one whose answer did not say "repeated" */
    uint64_t attempts;
    bool failed; /* no attempt can have had an effect */
};

struct change {
    const char *key, *value; /* value NULL: deleted */
    const struct request *request;
};

/* What was seen last of a node, or in a session of a client with a node. */
struct seen {
    const char *node;
    const struct history_op *newest; /* with the highest position */
    uint64_t start_line;             /* of the node's last start */
};

struct session {
    uint64_t process;
    const char *node;
    const struct history_op *read;  /* with the highest position shown in it */
    const struct history_op *wrote; /* its newest answered write */
};

struct check {
    const struct history *h;
    struct request *request; /* by id */
    size_t request_count;
    struct change *by_seq;   /* by key, then number; those without one come last */
    struct change *by_value; /* by key, then value */
    size_t change_count;
    const struct history_op **answered; /* fresh writes by time of answer */
    uint64_t *answered_max;             /* highest number up to that place */
    size_t answered_count;
    struct seen *seen;
    size_t seen_count;
    struct session *session;
    size_t session_count;
    struct history_counts *counts;
    struct history_violation *v;
};

/* ---- violations ---- */

__attribute__((format(printf, 5, 6))) static void
violate(struct check *c, const char *rule, uint64_t line, uint64_t against, const char *format, ...)
{
    va_list args;

    if (line < against) {
        uint64_t swap = line;

        line = against;
        against = swap;
    }
    if (c->v->rule != NULL && c->v->line <= line) {
        return;
    }
    c->v->rule = rule;
    c->v->line = line;
    c->v->against_line = against;
    va_start(args, format);
    vsnprintf(c->v->text, sizeof(c->v->text), format, args);
    va_end(args);
}

static const char *shown(const char *value)
{
    return value == NULL ? "nothing" : value;
}

/* ---- the model: requests and changes ---- */

static uint64_t seq_of(const struct change *c)
{
    return c->request->answer == NULL ? HISTORY_NONE : c->request->answer->seq;
}

static int order_ops(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a;
    const struct history_op *y = *(const struct history_op *const *)b;
    int by_id = strcmp(x->id, y->id);

    return by_id != 0 ? by_id : (x->from_line > y->from_line) - (x->from_line < y->from_line);
}

static int order_seq(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    int by_key = strcmp(x->key, y->key);

    return by_key != 0 ? by_key : (seq_of(x) > seq_of(y)) - (seq_of(x) < seq_of(y));
}

static int compare_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? (a != NULL) - (b != NULL) : strcmp(a, b);
}

static int order_value(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    int by_key = strcmp(x->key, y->key);

    return by_key != 0 ? by_key : compare_text(x->value, y->value);
}

static int order_answer(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a;
    const struct history_op *y = *(const struct history_op *const *)b;

    return (x->to_line > y->to_line) - (x->to_line < y->to_line);
}

/* One more attempt of a request: C5 as far as the answers alone tell it. */
static void add_attempt(struct check *c, struct request *r, const struct history_op *op)
{
    r->attempts++;
    r->failed = r->failed && op->end == HISTORY_FAIL;
    if (op->end != HISTORY_OK) {
        return;
    }
    if (r->answer != NULL && r->answer->seq != op->seq) {
        violate(c, "C5", op->to_line, r->answer->to_line,
                "request %s was answered with number %" PRIu64 " and with %" PRIu64, op->id,
                r->answer->seq, op->seq);
    }
    if (!op->repeated && r->fresh != NULL) {
        violate(c, "C5", op->to_line, r->fresh->to_line,
                "request %s was applied twice: neither answer says that it is repeated", op->id);
    }
    if (op->repeated && r->attempts == 1) {
        violate(c, "C5", op->to_line, op->from_line,
                "request %s is answered as repeated at its first attempt", op->id);
    }
    if (r->answer == NULL) {
        r->answer = op;
    }
    if (!op->repeated) {
        r->fresh = op;
    }
}

static void *room(size_t count, size_t size)
{
    return calloc(count + 1, size);
}

/* Groups the attempts of each id. */
static bool make_requests(struct check *c)
{
    const struct history_op **op = room(c->h->count, sizeof(const struct history_op *));
    size_t count = 0;

    c->request = room(c->h->count, sizeof(*c->request));
    if (op == NULL || c->request == NULL) {
        free(op);
        return false;
    }
    for (size_t i = 0; i < c->h->count; i++) {
        if (c->h->op[i].kind == HISTORY_WRITE) {
            op[count++] = &c->h->op[i];
        }
    }
    qsort(op, count, sizeof(const struct history_op *), order_ops);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(op[i]->id, op[i - 1]->id) != 0) {
            c->request[c->request_count++] = (struct request){.first = op[i], .failed = true};
        }
        add_attempt(c, &c->request[c->request_count - 1], op[i]);
    }
    free(op);
    c->counts->writes = c->request_count;
    return true;
}

static bool make_changes(struct check *c)
{
    size_t count = 0;

    for (size_t i = 0; i < c->request_count; i++) {
        count += c->request[i].first->pair_count;
    }
    c->by_seq = room(count, sizeof(*c->by_seq));
    c->by_value = room(count, sizeof(*c->by_value));
    if (c->by_seq == NULL || c->by_value == NULL) {
        return false;
    }
    for (size_t i = 0; i < c->request_count; i++) {
        const struct request *r = &c->request[i];

        for (size_t k = 0; k < r->first->pair_count && !r->failed; k++) {
            const struct history_pair *p = &r->first->pair[k];

            c->by_seq[c->change_count++] = (struct change){p->key, p->value, r};
        }
    }
    memcpy(c->by_value, c->by_seq, c->change_count * sizeof(*c->by_seq));
    qsort(c->by_seq, c->change_count, sizeof(*c->by_seq), order_seq);
    qsort(c->by_value, c->change_count, sizeof(*c->by_value), order_value);
    return true;
}

/* Two requests with an id never share a batch when they share a key. */
static void check_shared_numbers(struct check *c)
{
    for (size_t i = 1; i < c->change_count; i++) {
        const struct change *a = &c->by_seq[i - 1], *b = &c->by_seq[i];

        if (a->request != b->request && strcmp(a->key, b->key) == 0 && seq_of(a) == seq_of(b) &&
            seq_of(a) != HISTORY_NONE) {
            violate(c, "C5", a->request->answer->to_line, b->request->answer->to_line,
                    "requests %s and %s both changed %s with number %" PRIu64,
                    a->request->first->id, b->request->first->id, a->key, seq_of(a));
        }
    }
}

/* For C7: by the time of a line, the highest number that was acknowledged. */
static bool make_answered(struct check *c)
{
    c->answered = room(c->request_count, sizeof(const struct history_op *));
    c->answered_max = room(c->request_count, sizeof(*c->answered_max));
    if (c->answered == NULL || c->answered_max == NULL) {
        return false;
    }
    for (size_t i = 0; i < c->request_count; i++) {
        if (c->request[i].answer != NULL) {
            c->answered[c->answered_count++] = c->request[i].answer;
        }
    }
    qsort(c->answered, c->answered_count, sizeof(const struct history_op *), order_answer);
    for (size_t i = 0; i < c->answered_count; i++) {
        uint64_t before = i == 0 ? 0 : c->answered_max[i - 1];

        c->answered_max[i] = c->answered[i]->seq > before ? c->answered[i]->seq : before;
    }
    return true;
}

/* ---- looking things up ---- */

/* The place of the first change of `key` with a number above `seq`, or behind all of the key. */
static size_t after(const struct check *c, const char *key, uint64_t seq)
{
    size_t low = 0, high = c->change_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int by_key = strcmp(c->by_seq[mid].key, key);

        if (by_key < 0 || (by_key == 0 && seq_of(&c->by_seq[mid]) <= seq)) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static bool is_of(const struct check *c, size_t at, const char *key)
{
    return at < c->change_count && strcmp(c->by_seq[at].key, key) == 0;
}

/* The last change of a key up to a position; NULL when there is none. */
static const struct change *last_change(const struct check *c, const char *key, uint64_t seq)
{
    size_t at = after(c, key, seq);

    return at > 0 && is_of(c, at - 1, key) ? &c->by_seq[at - 1] : NULL;
}

static const struct change *change_of(const struct check *c, const char *key, const char *value)
{
    struct change wanted = {.key = key, .value = value};

    return bsearch(&wanted, c->by_value, c->change_count, sizeof(wanted), order_value);
}

/* Whether a write whose number nobody knows, begun before `us`, may have deleted the key. */
static bool may_be_deleted(const struct check *c, const char *key, int64_t us)
{
    for (size_t at = after(c, key, HISTORY_NONE - 1); is_of(c, at, key); at++) {
        if (c->by_seq[at].value == NULL && c->by_seq[at].request->first->from_us <= us) {
            return true;
        }
    }
    return false;
}

/* ---- reads ---- */

/* C1 and C8 for a key of a read that names its position, or not (HISTORY_NONE). */
static void check_pair(struct check *c, const struct history_op *op, const struct history_pair *p)
{
    const struct change *due = op->seq == HISTORY_NONE ? NULL : last_change(c, p->key, op->seq);
    const struct change *of;

    if (p->value == NULL) {
        if (due != NULL && due->value != NULL && !may_be_deleted(c, p->key, op->to_us)) {
            violate(c, "C1", op->to_line, due->request->answer->to_line,
                    "%s at %" PRIu64 " shows no %s, which number %" PRIu64 " set to %s", op->node,
                    op->seq, p->key, seq_of(due), due->value);
        }
        return;
    }
    of = change_of(c, p->key, p->value);
    if (of == NULL) {
        violate(c, "C1", op->to_line, op->from_line, "%s shows %s as %s, which nobody wrote",
                op->node, p->key, p->value);
        return;
    }
    if (of->request->first->from_line > op->to_line) {
        violate(c, "C1", op->to_line, of->request->first->from_line,
                "%s shows %s as %s before that was written", op->node, p->key, p->value);
        return;
    }
    if (op->seq == HISTORY_NONE || seq_of(of) == HISTORY_NONE) {
        return;
    }
    if (seq_of(of) > op->seq) {
        violate(c, "C1", op->to_line, of->request->answer->to_line,
                "%s says position %" PRIu64 " and shows %s as %s, which is of number %" PRIu64,
                op->node, op->seq, p->key, p->value, seq_of(of));
    } else if (due != NULL && seq_of(due) > seq_of(of)) {
        violate(c, due->value == NULL ? "C8" : "C1", op->to_line, due->request->answer->to_line,
                "%s at %" PRIu64 " shows %s as %s of number %" PRIu64 "; number %" PRIu64 " %s%s",
                op->node, op->seq, p->key, p->value, seq_of(of), seq_of(due),
                due->value == NULL ? "deleted it" : "made it ",
                due->value == NULL ? "" : due->value);
    }
}

/* The positions at which a key can look like this: first..last. */
static void positions_of(const struct check *c, const struct history_pair *p, uint64_t *first,
                         uint64_t *last)
{
    const struct change *of = p->value == NULL ? NULL : change_of(c, p->key, p->value);
    size_t next;

    *first = 0;
    *last = HISTORY_NONE;
    if (of != NULL && seq_of(of) != HISTORY_NONE) {
        *first = seq_of(of);
        next = after(c, p->key, seq_of(of));
        *last = is_of(c, next, p->key) && seq_of(&c->by_seq[next]) != HISTORY_NONE
                    ? seq_of(&c->by_seq[next]) - 1
                    : HISTORY_NONE;
    }
    /* Absent: only before the first change can be said, and only when the key is never deleted. */
    if (p->value == NULL && change_of(c, p->key, NULL) == NULL) {
        next = after(c, p->key, 0);
        *last = is_of(c, next, p->key) && seq_of(&c->by_seq[next]) != HISTORY_NONE
                    ? seq_of(&c->by_seq[next]) - 1
                    : HISTORY_NONE;
    }
}

/* C9: some one position explains all keys that were read together. */
static bool check_together(struct check *c, const struct history_op *op)
{
    uint64_t first = 0, last = HISTORY_NONE;
    const struct history_pair *of_first = NULL, *of_last = NULL;

    for (size_t i = 0; i < op->pair_count; i++) {
        uint64_t from, to;

        positions_of(c, &op->pair[i], &from, &to);
        if (from >= first) {
            first = from;
            of_first = &op->pair[i];
        }
        if (to <= last) {
            last = to;
            of_last = &op->pair[i];
        }
    }
    if (first <= last || of_first == NULL || of_last == NULL) {
        return true;
    }
    const struct change *of = change_of(c, of_first->key, of_first->value);
    violate(c, "C9", op->to_line, of == NULL ? op->from_line : of->request->first->from_line,
            "%s shows %s as %s, which begins with number %" PRIu64 ", beside %s as %s, which ends "
            "with %" PRIu64,
            op->node, of_first->key, shown(of_first->value), first, of_last->key,
            shown(of_last->value), last);
    return false;
}

/* C7: everything acknowledged before (the read's begin - bound) is in what it shows. */
static void check_age(struct check *c, const struct history_op *op)
{
    size_t low = 0, high = c->answered_count;

    if (op->staleness_ms >= INT64_MAX / 1000 || op->seq == HISTORY_NONE) {
        return;
    }
    int64_t since = op->from_us - (int64_t)op->staleness_ms * 1000;
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (c->answered[mid]->to_us < since) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == 0 || c->answered_max[low - 1] <= op->seq) {
        return;
    }
    /* Which write it was: the last before with that number. */
    while (low > 1 && c->answered[low - 1]->seq != c->answered_max[low - 1]) {
        low--;
    }
    const struct history_op *w = c->answered[low - 1];
    violate(c, "C7", op->to_line, w->to_line,
            "%s says its data is at most %" PRIu64 " ms old and shows position %" PRIu64
            "; number %" PRIu64 " was acknowledged %.1f ms before the read",
            op->node, op->staleness_ms, op->seq, w->seq, (double)(op->from_us - w->to_us) / 1000);
}

/* ---- what goes on in time: C2 to C5 ---- */

static struct seen *seen_of(struct check *c, const char *node)
{
    for (size_t i = 0; i < c->seen_count; i++) {
        if (strcmp(c->seen[i].node, node) == 0) {
            return &c->seen[i];
        }
    }
    c->seen[c->seen_count] = (struct seen){.node = node};
    return &c->seen[c->seen_count++];
}

static struct session *session_of(struct check *c, const struct history_op *op)
{
    for (size_t i = 0; i < c->session_count; i++) {
        if (c->session[i].process == op->process && strcmp(c->session[i].node, op->node) == 0) {
            return &c->session[i];
        }
    }
    c->session[c->session_count] = (struct session){.process = op->process, .node = op->node};
    return &c->session[c->session_count++];
}

static bool is_lower(const struct history_op *op, const struct history_op *than)
{
    return than != NULL && op->seq != HISTORY_NONE && op->seq < than->seq;
}

/* C2, C4, C5: an answer against what was seen of the node before it was asked. */
static void check_node(struct check *c, const struct history_op *op, const struct seen *s,
                       const struct history_op *before)
{
    if (!is_lower(op, before) || (op->kind == HISTORY_WRITE && op->repeated)) {
        return;
    }
    if (op->kind == HISTORY_WRITE) {
        violate(c, "C5", op->to_line, before->to_line,
                "%s gave number %" PRIu64 " to request %s after it had shown or given %" PRIu64,
                op->node, op->seq, op->id, before->seq);
    } else if (s->start_line > before->to_line) {
        violate(c, "C4", op->to_line, before->to_line,
                "%s is at %" PRIu64 " after its restart in line %" PRIu64 ", and was at %" PRIu64
                " before",
                op->node, op->seq, s->start_line, before->seq);
    } else {
        violate(c, "C2", op->to_line, before->to_line, "%s went back from %" PRIu64 " to %" PRIu64,
                op->node, before->seq, op->seq);
    }
}

/* C2 and C3 in a session, whose operations follow one another. */
static void check_session(struct check *c, const struct history_op *op)
{
    struct session *s = session_of(c, op);

    if (op->kind == HISTORY_WRITE) {
        s->wrote = op->repeated && is_lower(op, s->wrote) ? s->wrote : op;
        return;
    }
    if (is_lower(op, s->read)) {
        violate(c, "C2", op->to_line, s->read->to_line,
                "process %" PRIu64 " saw %s go back from %" PRIu64 " to %" PRIu64, op->process,
                op->node, s->read->seq, op->seq);
    }
    if (op->seq != HISTORY_NONE && op->seq < op->min_seq) {
        violate(c, "C3", op->to_line, op->from_line,
                "%s was asked for at least %" PRIu64 " and shows %" PRIu64, op->node, op->min_seq,
                op->seq);
    }
    if (op->seq != HISTORY_NONE && !is_lower(op, s->read)) {
        s->read = op;
    }
    for (size_t i = 0; i < op->pair_count && s->wrote != NULL; i++) {
        uint64_t first, last;

        positions_of(c, &op->pair[i], &first, &last);
        if (last < s->wrote->seq) {
            violate(c, "C3", op->to_line, s->wrote->to_line,
                    "process %" PRIu64 " wrote number %" PRIu64 " and then sees %s as %s, which "
                    "ended with %" PRIu64,
                    op->process, s->wrote->seq, op->pair[i].key, shown(op->pair[i].value), last);
        }
    }
}

static void check_read(struct check *c, const struct history_op *op)
{
    c->counts->reads++;
    if (!check_together(c, op)) {
        return;
    }
    for (size_t i = 0; i < op->pair_count; i++) {
        check_pair(c, op, &op->pair[i]);
    }
    if (op->staleness_ms != HISTORY_NONE) {
        check_age(c, op);
    }
}

struct event {
    uint64_t line;
    const struct history_op *op;
    bool is_end;
};

static int order_event(const void *a, const void *b)
{
    const struct event *x = a, *y = b;

    return x->line != y->line ? (x->line > y->line) - (x->line < y->line)
                              : (int)x->is_end - (int)y->is_end;
}

static void take_event(struct check *c, const struct event *e, const struct history_op **before)
{
    const struct history_op *op = e->op;
    struct seen *s = seen_of(c, op->node);

    if (!e->is_end) {
        *before = s->newest;
        if (op->kind == HISTORY_START) {
            s->start_line = op->from_line;
            c->counts->starts++;
        }
        return;
    }
    if (op->end != HISTORY_OK || op->kind == HISTORY_START) {
        return;
    }
    /* What an edge reported may be older than what a client has seen of it since. */
    if (op->kind != HISTORY_ACK) {
        check_node(c, op, s, *before);
        check_session(c, op);
    }
    if (op->kind == HISTORY_READ) {
        check_read(c, op);
    }
    c->counts->statuses += op->kind == HISTORY_STATUS;
    if (op->seq != HISTORY_NONE && !is_lower(op, s->newest)) {
        s->newest = op;
    }
}

/* Line by line, as it happened. */
static bool sweep(struct check *c)
{
    size_t n = c->h->count, count = 0;
    struct event *e = room(2 * n, sizeof(*e));
    const struct history_op **before = room(n, sizeof(const struct history_op *));
    bool good = e != NULL && before != NULL;

    for (size_t i = 0; good && i < n; i++) {
        const struct history_op *op = &c->h->op[i];

        e[count++] = (struct event){op->from_line, op, false};
        if (op->to_line != 0) {
            e[count++] = (struct event){op->to_line, op, true};
        }
    }
    if (good) {
        qsort(e, count, sizeof(*e), order_event);
    }
    for (size_t i = 0; good && i < count; i++) {
        take_event(c, &e[i], &before[e[i].op - c->h->op]);
    }
    free(e);
    free(before);
    return good;
}

/* ---- C6 ---- */

static int order_status(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a;
    const struct history_op *y = *(const struct history_op *const *)b;

    if (x->epoch != y->epoch) {
        return x->epoch < y->epoch ? -1 : 1;
    }
    if (x->seq != y->seq) {
        return x->seq < y->seq ? -1 : 1;
    }
    return (x->to_line > y->to_line) - (x->to_line < y->to_line);
}

static bool check_digests(struct check *c)
{
    const struct history_op **s = room(c->h->count, sizeof(const struct history_op *));
    size_t count = 0;

    if (s == NULL) {
        return false;
    }
    for (size_t i = 0; i < c->h->count; i++) {
        const struct history_op *op = &c->h->op[i];

        if (op->kind == HISTORY_STATUS && op->end == HISTORY_OK) {
            s[count++] = op;
        }
    }
    qsort(s, count, sizeof(const struct history_op *), order_status);
    for (size_t i = 1; i < count; i++) {
        const struct history_op *a = s[i - 1], *b = s[i];

        if (a->epoch == b->epoch && a->seq == b->seq && strcmp(a->digest, b->digest) != 0) {
            violate(c, "C6", b->to_line, a->to_line,
                    "%s and %s are both at %" PRIu64 " of epoch %" PRIu64
                    " with different digests %.16s and %.16s",
                    a->node, b->node, a->seq, a->epoch, a->digest, b->digest);
        }
    }
    free(s);
    return true;
}

bool history_check(const struct history *h, struct history_counts *counts,
                   struct history_violation *v)
{
    struct check c = {.h = h, .counts = counts, .v = v};

    memset(counts, 0, sizeof(*counts));
    memset(v, 0, sizeof(*v));
    c.seen = room(h->count, sizeof(*c.seen));
    c.session = room(h->count, sizeof(*c.session));
    bool good = c.seen != NULL && c.session != NULL && make_requests(&c) && make_changes(&c) &&
                make_answered(&c);
    if (good) {
        check_shared_numbers(&c);
        good = sweep(&c) && check_digests(&c);
    }
    free(c.request);
    free(c.by_seq);
    free(c.by_value);
    free(c.answered);
    free(c.answered_max);
    free(c.seen);
    free(c.session);
    return good;
}
