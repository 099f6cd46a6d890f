/*
 * commands.c - the RESP commands of a core: table, sessions, and the order in which commands run.
 *
 * Invariant: a connection sees its own commands take effect in the order it sent them. Writes go to
 * the core at once, one behind the other. A read after a write must show it, and the core's readers
 * see committed state only, so such a read is held until hf_core_when_visible; everything that the
 * connection sent behind it is held too. A connection that has not written reads at once (G9),
 * unless it asks with WAIT to see what the core has acknowledged so far. When the commit fails, a
 * read that waited for it fails, too: what it would show is older than what was answered (G7).
 *
 * Held commands run from hf_commands_run, never from a callback of the core: the core is not
 * entered again from its own callbacks. What one connection may hold is bounded (G16). It must not
 * know how a command is encoded (hf/resp.h), nor what a batch is (hf/core.h). Next: commands_impl.h
 * for the rules of handlers, then commands_write.c.
 */
#include "core/commands_impl.h"

#include "hf/loop.h"

#include <stdlib.h>

/* What a connection may pipeline behind a read that waits. A waiting read takes one commit, so a
 * client that gets near these is not waiting for its answers at all. */
#define HELD_COMMANDS_MAX 16384u
#define HELD_BYTES_MAX (16u << 20)

/* ---- the commands that core and edge share ---- */

static void run_read(struct hf_call *call)
{
    hf_kv_read(call->owner->kv, call->client, call->argv, call->argc);
}

static void run_connection(struct hf_call *call)
{
    hf_kv_connection(call->owner->kv, call->client, call->argv, call->argc);
}

static void run_quit(struct hf_call *call)
{
    /* What was sent behind it is not run, as when it had not been read yet. */
    hf_held_clear(&call->session->held);
    run_connection(call);
}

static void run_reset(struct hf_call *call)
{
    hf_multi_end(call->session);
    run_connection(call);
}

static void run_repair(struct hf_call *call)
{
    hf_call_fail(call, "ERR a core has nobody to be repaired from: stop it, and see 'The core does "
                       "not start' in RUNBOOK.md; ask an edge with its own --data or --socket");
}

/* A core's own; where kv.h has the same name, these come first. */
static const struct hf_command own[] = {
    {"SET", hf_run_set, 3, 0, CMD_DEFERS | CMD_QUEUES},
    {"HF.APPLY", hf_run_apply, 2, 0, CMD_DEFERS},
    {"DEL", hf_run_del, 2, 0, CMD_DEFERS | CMD_QUEUES},
    {"UNLINK", hf_run_del, 2, 0, CMD_DEFERS | CMD_QUEUES},
    {"MSET", hf_run_mset, 3, 0, CMD_DEFERS | CMD_QUEUES},
    {"MULTI", hf_run_multi, 1, 1, CMD_MULTI},
    {"EXEC", hf_run_exec, 1, 1, CMD_DEFERS | CMD_MULTI},
    {"DISCARD", hf_run_discard, 1, 1, CMD_MULTI},
    {"WAIT", hf_run_wait, 3, 3, CMD_WAIT},
    {"HF.STATUS", hf_run_status, 1, 1, 0},
    {"HF.EDGE", hf_run_edge, 2, 4, CMD_DEFERS},
    {"HF.LOG", hf_run_log, 2, 2, CMD_DEFERS},
    {"HF.CARRY", hf_run_carry, 3, 6, CMD_DEFERS | CMD_READS},
    {"HF.REPAIR", run_repair, 1, 0, 0},
    {"INFO", hf_run_info, 1, 0, 0},
    {"RESET", run_reset, 1, 1, CMD_MULTI},
    {"QUIT", run_quit, 1, 0, CMD_MULTI},
};

/* Their arguments are counted by kv.c. */
static const struct hf_command shared_read = {"", run_read, 1, 0, CMD_READS};
static const struct hf_command shared_connection = {"", run_connection, 1, 0, 0};

static const struct hf_command *find_command(struct hf_slice name)
{
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (hf_kv_is(name, own[i].name)) {
            return &own[i];
        }
    }
    if (hf_kv_is_read(name)) {
        return &shared_read;
    }
    return hf_kv_is_connection(name) ? &shared_connection : NULL;
}

/* ---- waiting ---- */

/* Whether the connection's reads show what they must: then it is as one that has not written. */
static bool visible(struct hf_session *s)
{
    struct hf_core_status status;

    hf_core_status(s->owner->config.core, &status);
    if (status.committed < s->read_seq) {
        return false;
    }
    s->wrote = false;
    s->unseen = false;
    return true;
}

static void on_visible(void *ctx)
{
    struct hf_session *s = ctx;

    s->visible_asked = false;
    if (s->writes_open == 0 && !visible(s)) {
        s->unseen = true;
    }
    hf_session_wake(s);
    hf_session_unref(s);
}

static bool reads_wait(struct hf_session *s)
{
    if (s->writes_open > 0) {
        return true;
    }
    if (!s->wrote) {
        return false;
    }
    if (visible(s)) {
        /* A view that another connection opened in this turn may be older than that commit. */
        hf_kv_drained(s->owner->kv);
        return false;
    }
    return !s->unseen;
}

static void set_wait(struct hf_session *s, hf_ms until)
{
    if (s->wait_until != 0) {
        s->owner->waits--;
    }
    if (until != 0) {
        s->owner->waits++;
    }
    s->wait_until = until;
}

/* While a WAIT has neither enough edges nor reached its deadline. */
static bool edges_wait(const struct hf_session *s, const struct hf_slice *argv, size_t argc)
{
    const struct hf_commands *o = s->owner;
    uint64_t edges, ms;

    if (s->writes_open > 0) {
        return true;
    }
    if (!hf_wait_arguments(argv, argc, &edges, &ms) || o->stopping ||
        hf_core_edges_at(o->config.core, s->write_seq) >= edges) {
        return false;
    }
    return s->wait_until == 0 || o->config.now(o->config.ctx) < s->wait_until;
}

static bool must_wait(struct hf_session *s, const struct hf_command *command,
                      const struct hf_slice *argv, size_t argc)
{
    if (command == NULL || s->in_multi) {
        return false;
    }
    return ((command->flags & CMD_READS) != 0 && reads_wait(s)) ||
           ((command->flags & CMD_WAIT) != 0 && edges_wait(s, argv, argc));
}

/* Begins what the first held command waits for, once; the answers to writes come by themselves. */
static void wait_begin(struct hf_session *s)
{
    struct hf_commands *o = s->owner;
    const struct hf_held *h = s->held.first;
    uint64_t edges, ms;

    if (s->writes_open > 0) {
        return;
    }
    if ((h->command->flags & CMD_READS) != 0 && !s->visible_asked) {
        s->visible_asked = true;
        hf_session_ref(s);
        hf_core_when_visible(o->config.core, on_visible, s);
        return;
    }
    if ((h->command->flags & CMD_WAIT) != 0 && s->wait_until == 0 &&
        hf_wait_arguments(h->argv, h->argc, &edges, &ms)) {
        hf_ms now = o->config.now(o->config.ctx);

        set_wait(s, ms == 0 || (hf_ms)ms > INT64_MAX - now ? INT64_MAX : now + (hf_ms)ms);
        hf_core_survey(o->config.core);
        /* The loop must learn of the deadline. */
        o->config.wake(o->config.ctx);
    }
}

/* ---- running ---- */

/* Older data would not be told from a write that was lost. */
static void fail_unseen(struct hf_call *call)
{
    struct hf_core_status status;

    hf_core_status(call->owner->config.core, &status);
    hf_call_fail(
        call,
        "NOTYET what this connection wrote, or saw by WAIT, is safe, but cannot be read yet: %s",
        status.refusing != NULL ? status.refusing : "it waits for a commit");
}

static void dispatch(struct hf_call *call)
{
    const struct hf_command *command = call->command;

    call->owner->command_count++;
    if (command == NULL) {
        call->session->multi_failed = true;
        hf_call_fail(call, "ERR unknown command '%s'",
                     hf_show_bytes(call->argv[0].data, call->argv[0].len).text);
    } else if (call->argc < command->argc_min ||
               (command->argc_max != 0 && call->argc > command->argc_max)) {
        call->session->multi_failed = true;
        hf_call_fail(call, "ERR wrong number of arguments for '%s'", command->name);
    } else if (call->session->in_multi && (command->flags & CMD_MULTI) == 0) {
        hf_multi_queue(call);
    } else if (call->session->unseen && (command->flags & CMD_READS) != 0) {
        fail_unseen(call);
    } else {
        command->run(call);
    }
}

/* Runs a command that need not wait. slot: of a held command; NULL: it is being delivered. */
static void run_call(struct hf_call *call, struct hf_resp_slot *slot)
{
    const struct hf_command *command = call->command;
    bool defers = command != NULL && (command->flags & CMD_DEFERS) != 0 &&
                  (!call->session->in_multi || (command->flags & CMD_MULTI) != 0);

    if (defers) {
        call->slot = slot != NULL ? slot : hf_resp_defer(call->client);
        dispatch(call);
        return;
    }
    if (slot == NULL) {
        dispatch(call);
        return;
    }
    call->client = hf_resp_slot_begin(slot);
    if (call->client != NULL) {
        dispatch(call);
    }
    hf_resp_slot_end(slot);
}

/* Behind what is held already, or as the first, which must wait. */
static void hold(struct hf_call *call)
{
    struct hf_session *s = call->session;
    struct hf_held *h = NULL;

    if (s->held.count < HELD_COMMANDS_MAX && s->held.bytes < HELD_BYTES_MAX) {
        h = hf_held_new(call, &s->held);
    }
    if (h == NULL) {
        if (s->held.last != NULL) { /* else it is a read, and stands in no transaction */
            hf_multi_refused(call, &s->held.last->spoiled);
        }
        hf_call_fail(call, "BUSY too many commands wait for a commit");
        return;
    }
    h->slot = hf_resp_defer(call->client);
    hf_held_append(&s->held, h);
    if (s->held.first == h) {
        wait_begin(s);
    }
}

void hf_commands_on_command(void *commands, struct hf_resp_client *c, const struct hf_slice *argv,
                            size_t argc)
{
    struct hf_commands *o = commands;
    struct hf_call call = {.owner = o, .client = c, .argv = argv, .argc = argc};

    if (argc == 0) {
        return;
    }
    call.session = hf_session_of(o, c);
    if (call.session == NULL || o->stopping) {
        hf_call_fail(&call, "BUSY %s", o->stopping ? "the core is stopping" : "out of memory");
        return;
    }
    call.command = find_command(argv[0]);
    if (call.session->held.first == NULL) {
        call.session->unseen = false; /* another read, another try */
    }
    if (call.session->held.first != NULL || must_wait(call.session, call.command, argv, argc)) {
        hold(&call);
    } else {
        run_call(&call, NULL);
    }
}

void hf_commands_on_drained(void *commands)
{
    struct hf_commands *o = commands;

    hf_kv_drained(o->kv);
    hf_core_flush(o->config.core);
}

void hf_commands_on_close(void *commands, struct hf_resp_client *c)
{
    struct hf_session **place = hf_resp_user(c);
    struct hf_session *s = *place;

    (void)commands;
    if (s == NULL) {
        return;
    }
    *place = NULL;
    s->client = NULL;
    set_wait(s, 0);
    hf_held_clear(&s->held);
    hf_session_unref(s);
}

/* Runs the held commands of one session, one at least, up to one that must wait still. */
static void run_session(struct hf_session *s, uint64_t until)
{
    for (bool first = true; s->held.first != NULL; first = false) {
        struct hf_held *h = s->held.first;
        struct hf_call call = {.owner = s->owner, .session = s, .command = h->command};

        call.argv = h->argv;
        call.argc = h->argc;
        if (must_wait(s, h->command, h->argv, h->argc)) {
            wait_begin(s);
            return;
        }
        if (!first && hf_clock_us() >= until) {
            hf_session_wake(s);
            return;
        }
        set_wait(s, 0);
        hf_held_take(&s->held);
        run_call(&call, h->slot);
        hf_multi_spoil(s, &h->spoiled);
        free(h);
    }
}

hf_ms hf_commands_run(struct hf_commands *o)
{
    hf_ms next = INT64_MAX;
    uint64_t until = hf_clock_us() + HF_RESP_TURN_US;

    if (o->waits > 0) {
        for (struct hf_session *s = o->sessions; s != NULL; s = s->next) {
            if (s->wait_until != 0) {
                hf_session_runnable(s);
            }
        }
    }
    o->wrote_in_run = false;
    hf_kv_drained(o->kv);
    struct hf_session *list = o->runnable;
    o->runnable = NULL; /* who becomes runnable meanwhile wakes the loop for it */
    while (list != NULL) {
        struct hf_session *s = list;

        list = s->next_runnable;
        s->runnable = false;
        run_session(s, until);
        hf_session_unref(s);
    }
    hf_kv_drained(o->kv);
    if (o->wrote_in_run) {
        hf_core_flush(o->config.core);
    }
    if (o->waits > 0) {
        for (struct hf_session *s = o->sessions; s != NULL; s = s->next) {
            next = s->wait_until != 0 && s->wait_until < next ? s->wait_until : next;
        }
    }
    return next;
}

/* ---- life ---- */

struct hf_commands *hf_commands_new(const struct hf_commands_config *c)
{
    const struct hf_kv_config kv = {.state = hf_core_state(c->core),
                                    .server = "holdfast-core",
                                    .version = c->version,
                                    .role = "master"};
    struct hf_commands *s = calloc(1, sizeof *s);

    if (s == NULL || hf_kv_new(&kv, &s->kv) != HF_OK) {
        free(s);
        return NULL;
    }
    s->config = *c;
    s->started = c->now(c->ctx);
    return s;
}

void hf_commands_free(struct hf_commands *s)
{
    if (s == NULL) {
        return;
    }
    HF_ASSERT(s->writes_open == 0);
    hf_kv_free(s->kv);
    hf_op_pool_free(s);
    free(s);
}

void hf_commands_set_ends(struct hf_commands *s, const struct hf_resp_server *server,
                          const struct hf_listener *listener)
{
    s->server = server;
    s->listener = listener;
}

size_t hf_commands_client_bytes(void)
{
    return sizeof(struct hf_session *);
}

void hf_commands_stop(struct hf_commands *s)
{
    s->stopping = true;
}

bool hf_commands_waiting(const struct hf_commands *s)
{
    return s->waits > 0;
}

bool hf_commands_settled(const struct hf_commands *s)
{
    return s->writes_open == 0;
}
