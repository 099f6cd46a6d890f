/*
 * resp.c - the RESP server: its clients, reading, delivering commands, and turns of the loop.
 *
 * Reading. All clients read into one buffer of the server, and commands are parsed where they lie;
 * only an unfinished command is copied, into `in` of its client. So an idle client holds no buffer,
 * and a window of small commands costs no copy and no allocation.
 *
 * Turns. Callbacks only queue replies and mark their client dirty. A turn runs after each poll
 * (what it brought) and before each poll (what completed in between): it tells the owner that all
 * commands are delivered, sends what is ready with one write a client, and lets go on who waited
 * for room. Commands take HF_RESP_TURN_US of an iteration of the loop; the clients with what is
 * left then stand in a queue, and who had time goes to its end. Each iteration has time for one
 * command of the first of them, whatever came in. So whoever sends many slow ones stops neither the
 * loop nor anybody else (G14, G16).
 *
 * Invariant: a client that holds more than HF_RESP_PAUSE_BYTES of replies or HF_RESP_SLOTS_MAX
 * deferred ones is neither read from nor served its buffered commands until it is below again; so
 * its memory is bounded by one command, one reply and these. A client is closed in one place
 * (hf_resp_client_close), its memory goes in one other (on_client_closed), and what runs between
 * the two sees `closed`.
 *
 * Must not: know a command, block, or write to a socket while commands are being delivered.
 *
 * Read next: resp_impl.h, resp_reply.c.
 */
#include "proto/node/resp_impl.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define CLIENTS_MAX_DEFAULT 1024u
#define COMMAND_BYTES_DEFAULT (8u << 20)
#define COMMAND_BYTES_LIMIT (1u << 30) /* offsets in the parser are 32 bits */
#define INPUT_BYTES_DEFAULT (64u << 20)
#define OUTPUT_BYTES_DEFAULT (64u << 20)
#define OUTPUT_BYTES_LIMIT (1u << 30) /* a length in uv_buf_t is unsigned int */
#define STUCK_MS_DEFAULT 60000
#define SWEEP_MS_MAX 1000u
/* A client that sends its commands, shuts down its side and waits for the answers (nc, a script)
 * gets those that come within this; one that is gone altogether looks the same. */
#define QUIT_MS 5000u
#define IN_BYTES_MIN (16u << 10)
/* A resumed client may queue more at once; after so many rounds the other handles get their turn.
 */
#define TURN_ROUNDS_MAX 16u

/* ---- dirty clients ---- */

void hf_resp_client_dirty(struct hf_resp_client *c)
{
    if (!c->dirty && !c->closed) {
        c->dirty = true;
        TAILQ_INSERT_TAIL(&c->server->dirty, c, dirty_link);
        c->server->dirty_count++;
    }
}

static void client_clean(struct hf_resp_client *c)
{
    if (c->dirty) {
        c->dirty = false;
        TAILQ_REMOVE(&c->server->dirty, c, dirty_link);
        c->server->dirty_count--;
    }
}

/* ---- clients that wait for time ---- */

static void waits_begin(struct hf_resp_client *c)
{
    if (!c->waits && !c->closed) {
        c->waits = true;
        TAILQ_INSERT_TAIL(&c->server->waiting, c, waiting_link);
    }
}

static void waits_end(struct hf_resp_client *c)
{
    if (c->waits) {
        c->waits = false;
        TAILQ_REMOVE(&c->server->waiting, c, waiting_link);
    }
}

/* ---- closing ---- */

void hf_resp_server_release(struct hf_resp_server *s)
{
    if (!s->closed || s->handle_count > 0 || s->live_slot_count > 0) {
        return;
    }
    while (s->free_slots != NULL) {
        struct hf_resp_slot *p = s->free_slots;
        s->free_slots = p->next;
        free(p);
    }
    free(s->read_buffer);
    free(s->argv);
    free(s);
}

void hf_resp_handle_closed(uv_handle_t *h)
{
    struct hf_resp_server *s = h->data;
    s->handle_count--;
    hf_resp_server_release(s);
}

static void input_free(struct hf_resp_client *c)
{
    c->server->input_bytes -= c->in.cap;
    hf_resp_bytes_free(&c->in);
    c->in_start = 0;
}

/* Buffers of which nothing is in use, but for that of c. */
static void idle_inputs_free(struct hf_resp_client *c)
{
    struct hf_resp_client *other;
    TAILQ_FOREACH(other, &c->server->clients, link)
    {
        if (other != c && other->in_start == other->in.len) {
            input_free(other);
        }
    }
}

/* Doubling adds what there was, or what it takes to hold `extra`. */
static bool input_fits(const struct hf_resp_client *c, size_t extra)
{
    const struct hf_resp_server *s = c->server;
    size_t most = s->config.input_bytes_max;
    return s->input_bytes <= most && c->in.cap + extra <= most - s->input_bytes;
}

/* The room of unfinished commands is counted over all clients: each could announce little and send
 * much. */
static bool input_room(struct hf_resp_client *c, size_t extra)
{
    struct hf_resp_server *s = c->server;
    size_t before = c->in.cap;
    if (before - c->in.len >= extra) {
        return true;
    }
    if (!input_fits(c, extra)) {
        idle_inputs_free(c);
    }
    if (!input_fits(c, extra)) {
        return false;
    }
    bool good = hf_resp_bytes_room(&c->in, NULL, extra);
    s->input_bytes += c->in.cap - before;
    return good;
}

static void input_refuse(struct hf_resp_client *c)
{
    hf_resp_error(c, "BUSY too much of unfinished commands of all clients");
    hf_resp_quit(c);
}

static void on_client_closed(uv_handle_t *h)
{
    struct hf_resp_client *c = h->data;
    struct hf_resp_server *s = c->server;
    input_free(c);
    hf_resp_bytes_free(&c->out);
    hf_resp_bytes_free(&c->sending);
    hf_resp_parser_deinit(&c->parser);
    free(c);
    s->handle_count--;
    hf_resp_server_release(s);
}

void hf_resp_client_close(struct hf_resp_client *c)
{
    if (c->closed) {
        return;
    }
    struct hf_resp_server *s = c->server;
    client_clean(c);
    waits_end(c);
    c->closed = true;
    TAILQ_REMOVE(&s->clients, c, link);
    s->client_count--;
    if (s->config.on_close != NULL) {
        s->config.on_close(s->config.ctx, c);
    }
    hf_resp_drop_output(c);
    uv_close(&c->handle.base, on_client_closed);
}

/* ---- delivering ---- */

/* Where the others hold nearly all that all may hold, a client has what is free to each, and is
 * served a little at a time: it must not lose its replies for what they do not read. */
static bool over_limits(const struct hf_resp_client *c)
{
    const struct hf_resp_server *s = c->server;
    bool scarce = s->config.output_total_max - s->output_bytes < HF_RESP_PAUSE_BYTES;
    size_t most = scarce ? HF_RESP_OUTPUT_FREE / 2 : HF_RESP_PAUSE_BYTES;
    return c->queued_bytes > most || c->slot_count >= HF_RESP_SLOTS_MAX;
}

/* Whether commands had their time in this iteration of the loop, counted from the first. */
static bool spent(struct hf_resp_server *s)
{
    uint64_t now = hf_clock_us();
    if (s->turn_until == 0) {
        s->turn_until = now + HF_RESP_TURN_US;
    }
    return now >= s->turn_until;
}

static bool may_deliver(const struct hf_resp_client *c)
{
    return !c->closed && !c->quit && !c->failed && !over_limits(c);
}

static bool argv_room(struct hf_resp_server *s, size_t argc)
{
    if (argc <= s->argv_cap) {
        return true;
    }
    size_t cap = s->argv_cap < 16 ? 16 : s->argv_cap;
    while (cap < argc) {
        cap *= 2;
    }
    struct hf_slice *more = realloc(s->argv, cap * sizeof(*more));
    if (more == NULL) {
        return false;
    }
    s->argv = more;
    s->argv_cap = cap;
    return true;
}

static void deliver_command(struct hf_resp_client *c, const uint8_t *command)
{
    struct hf_resp_server *s = c->server;
    size_t argc = c->parser.argc;
    if (!argv_room(s, argc) || !hf_resp_reserve(s)) {
        hf_resp_fail(c);
        return;
    }
    for (size_t i = 0; i < argc; i++) {
        const struct hf_resp_arg *a = &c->parser.arg[i];
        s->argv[i] = (struct hf_slice){command + a->offset, a->len};
    }
    s->delivered = true;
    s->config.on_command(s->config.ctx, c, s->argv, argc);
}

/* Delivers the whole commands in data; returns how many bytes are done with. `owed`: one of them
 * also when there is no time. */
static size_t deliver(struct hf_resp_client *c, uint8_t *data, size_t len, bool owed)
{
    size_t at = 0;
    while (at < len && may_deliver(c)) {
        size_t used = 0;
        if (spent(c->server) && !owed) {
            waits_begin(c);
            break;
        }
        owed = false;
        enum hf_resp_step step = hf_resp_parse(&c->parser, data + at, len - at, &used);
        if (step == HF_RESP_MORE) {
            break;
        }
        if (step == HF_RESP_BAD) {
            hf_resp_error(c, "ERR Protocol error: %s", c->parser.error);
            hf_resp_quit(c);
            break;
        }
        if (c->parser.argc > 0) {
            deliver_command(c, data + at);
        }
        at += used;
    }
    return at;
}

static void deliver_buffered(struct hf_resp_client *c, bool owed)
{
    if (c->in.len == 0) {
        return;
    }
    c->in_start += deliver(c, c->in.data + c->in_start, c->in.len - c->in_start, owed);
    if (c->in_start == c->in.len) {
        c->in_start = c->in.len = 0;
    }
}

/* ---- reading ---- */

static void stop_reading(struct hf_resp_client *c)
{
    if (c->reading) {
        c->reading = false;
        uv_read_stop(&c->handle.stream);
    }
}

/* An unfinished command is completed where it is; everything else goes through the shared buffer.
 */
static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct hf_resp_client *c = h->data;
    (void)suggested;
    if (c->in_start == c->in.len) {
        *buf = uv_buf_init((char *)c->server->read_buffer, HF_RESP_READ_BYTES);
        return;
    }
    if (c->in_start > 0) {
        c->in.len -= c->in_start;
        memmove(c->in.data, c->in.data + c->in_start, c->in.len);
        c->in_start = 0;
    }
    /* Room appears by doubling, as bytes arrive: what a command announces costs no memory. */
    if (c->in.cap - c->in.len < IN_BYTES_MIN && !input_room(c, IN_BYTES_MIN)) {
        *buf = uv_buf_init(NULL, 0);
        return;
    }
    *buf = uv_buf_init((char *)c->in.data + c->in.len, (unsigned)(c->in.cap - c->in.len));
}

static void keep_rest(struct hf_resp_client *c, const uint8_t *rest, size_t len)
{
    if (len == 0 || c->closed || c->quit) {
        return;
    }
    if (!input_room(c, len)) {
        input_refuse(c);
        return;
    }
    memcpy(c->in.data, rest, len);
    c->in.len = len;
    c->in_start = 0;
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct hf_resp_client *c = stream->data;
    struct hf_resp_server *s = c->server;
    if (nread == 0 || c->closed) {
        return;
    }
    if (nread == UV_EOF) {
        c->quit_by = uv_now(s->loop) + QUIT_MS;
        hf_resp_quit(c);
        return;
    }
    if (nread == UV_ENOBUFS) {
        input_refuse(c); /* on_alloc had no room */
        return;
    }
    if (nread < 0) {
        hf_resp_client_close(c);
        return;
    }
    size_t len = (size_t)nread;
    if (buf->base == (char *)s->read_buffer) {
        size_t done = deliver(c, s->read_buffer, len, false);
        keep_rest(c, s->read_buffer + done, len - done);
    } else {
        c->in.len += len;
        deliver_buffered(c, false);
    }
    if ((!may_deliver(c) || c->waits) && !c->closed) {
        stop_reading(c);
        hf_resp_client_dirty(c);
    }
}

/* ---- turns ---- */

/* After room was made, or in its turn: first the commands that waited, then the socket. */
static void resume(struct hf_resp_client *c, bool owed)
{
    deliver_buffered(c, owed);
    if (!may_deliver(c) || c->waits) {
        return;
    }
    c->reading = true;
    if (uv_read_start(&c->handle.stream, on_alloc, on_read) != 0) {
        hf_resp_client_close(c);
    }
}

static void visit(struct hf_resp_client *c)
{
    client_clean(c);
    hf_resp_flush(c);
    if (c->closed) {
        return;
    }
    if (c->quit) {
        if (c->head == NULL && c->out.len == 0 && c->sending.len == 0) {
            hf_resp_client_close(c);
        }
        return;
    }
    if (!c->reading && !c->waits && may_deliver(c)) {
        resume(c, false);
    }
}

/* Those who wait for time, in their order. */
static void serve_waiting(struct hf_resp_server *s)
{
    while (!s->closed && !TAILQ_EMPTY(&s->waiting) && (!spent(s) || !s->owed_given)) {
        struct hf_resp_client *c = TAILQ_FIRST(&s->waiting);
        bool owed = !s->owed_given;
        s->owed_given = true;
        waits_end(c);
        resume(c, owed);
    }
}

static void on_idle(uv_idle_t *h)
{
    (void)h; /* Its being active is its purpose. */
}

static void turn(struct hf_resp_server *s)
{
    for (uint32_t round = 0; round < TURN_ROUNDS_MAX && !s->closed; round++) {
        if (s->delivered && s->config.on_drained != NULL) {
            s->delivered = false;
            s->config.on_drained(s->config.ctx);
        }
        s->delivered = false;
        uint32_t left = s->dirty_count;
        while (left-- > 0 && !s->closed && !TAILQ_EMPTY(&s->dirty)) {
            visit(TAILQ_FIRST(&s->dirty));
        }
        serve_waiting(s);
        if ((s->dirty_count == 0 && !s->delivered) || spent(s)) {
            break;
        }
    }
    if (s->closed) {
        return;
    }
    if (s->dirty_count > 0 || s->delivered || !TAILQ_EMPTY(&s->waiting)) {
        uv_idle_start(&s->idle, on_idle);
    } else {
        uv_idle_stop(&s->idle);
    }
}

static void on_prepare(uv_prepare_t *h)
{
    struct hf_resp_server *s = h->data;
    turn(s);
    s->turn_until = 0; /* what the poll brings begins an iteration */
    s->owed_given = false;
}

void hf_resp_send(struct hf_resp_server *s)
{
    turn(s);
}

static void on_check(uv_check_t *h)
{
    turn(h->data);
}

/* ---- the sweep: who is stuck, and whose buffers are idle ---- */

static bool is_stuck(struct hf_resp_client *c, uint64_t now)
{
    if (c->sending.len == 0) {
        return c->quit_by != 0 && now >= c->quit_by;
    }
    size_t size = uv_stream_get_write_queue_size(&c->handle.stream);
    if (size != c->stuck_size) {
        c->stuck_size = size;
        c->stuck_since = now;
        return false;
    }
    return now - c->stuck_since >= (uint64_t)c->server->config.stuck_ms_max;
}

static void shrink(struct hf_resp_client *c)
{
    if (c->in_start == c->in.len) {
        input_free(c);
        hf_resp_parser_shrink(&c->parser);
    }
    if (c->out.len == 0) {
        hf_resp_bytes_free(&c->out);
    }
    if (c->sending.len == 0) {
        hf_resp_bytes_free(&c->sending);
    }
}

static void on_sweep(uv_timer_t *h)
{
    struct hf_resp_server *s = h->data;
    uint64_t now = uv_now(s->loop);
    struct hf_resp_client *next = NULL;
    for (struct hf_resp_client *c = TAILQ_FIRST(&s->clients); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        if (is_stuck(c, now)) {
            hf_resp_client_close(c);
        } else {
            shrink(c);
        }
    }
}

/* ---- clients ---- */

bool hf_resp_client_add(struct hf_resp_server *s, int fd, bool is_unix)
{
    struct hf_resp_client *c = calloc(1, sizeof(*c) + s->config.client_user_bytes);
    if (c == NULL) {
        close(fd);
        return false;
    }
    c->server = s;
    c->id = ++s->next_id;
    c->version = 2;
    c->is_unix = is_unix;
    hf_resp_parser_init(&c->parser, s->config.command_bytes_max);
    TAILQ_INSERT_TAIL(&s->clients, c, link);
    s->client_count++;
    s->handle_count++;
    int rc = 0;
    if (is_unix) {
        uv_pipe_init(s->loop, &c->handle.pipe, 0);
        rc = uv_pipe_open(&c->handle.pipe, fd);
    } else {
        uv_tcp_init(s->loop, &c->handle.tcp);
        rc = uv_tcp_open(&c->handle.tcp, fd);
    }
    c->handle.base.data = c;
    if (rc != 0) {
        close(fd);
    } else {
        c->reading = true;
        rc = uv_read_start(&c->handle.stream, on_alloc, on_read);
    }
    if (rc != 0) {
        hf_resp_client_close(c);
    }
    return rc == 0;
}

void *hf_resp_user(struct hf_resp_client *c)
{
    return c->user;
}

int hf_resp_version(const struct hf_resp_client *c)
{
    return c->version;
}

void hf_resp_set_version(struct hf_resp_client *c, int version)
{
    c->version = version;
}

uint64_t hf_resp_client_id(const struct hf_resp_client *c)
{
    return c->id;
}

void hf_resp_quit(struct hf_resp_client *c)
{
    if (c->closed) {
        return;
    }
    c->quit = true;
    stop_reading(c);
    hf_resp_client_dirty(c);
}

/* ---- the server ---- */

static size_t or_default(size_t value, size_t preset, size_t limit)
{
    value = value == 0 ? preset : value;
    return value < limit ? value : limit;
}

static struct hf_resp_server *server_new(uv_loop_t *loop, const struct hf_resp_config *config)
{
    struct hf_resp_server *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->read_buffer = malloc(HF_RESP_READ_BYTES);
    if (s->read_buffer == NULL) {
        free(s);
        return NULL;
    }
    s->config = *config;
    struct hf_resp_config *c = &s->config;
    c->clients_max = c->clients_max == 0 ? CLIENTS_MAX_DEFAULT : c->clients_max;
    c->command_bytes_max =
        or_default(c->command_bytes_max, COMMAND_BYTES_DEFAULT, COMMAND_BYTES_LIMIT);
    /* Room doubles, so one whole command may need twice its size. */
    c->input_bytes_max = or_default(c->input_bytes_max, INPUT_BYTES_DEFAULT, OUTPUT_BYTES_LIMIT);
    if (c->input_bytes_max < 2 * c->command_bytes_max + HF_RESP_READ_BYTES) {
        c->input_bytes_max = 2 * c->command_bytes_max + HF_RESP_READ_BYTES;
    }
    c->output_bytes_max = or_default(c->output_bytes_max, OUTPUT_BYTES_DEFAULT, OUTPUT_BYTES_LIMIT);
    c->output_total_max = c->output_total_max == 0 ? 4 * c->output_bytes_max : c->output_total_max;
    if (c->output_total_max < c->output_bytes_max) {
        c->output_total_max = c->output_bytes_max;
    }
    c->stuck_ms_max = c->stuck_ms_max <= 0 ? STUCK_MS_DEFAULT : c->stuck_ms_max;
    s->loop = loop;
    s->listener[0] = (struct hf_resp_listener){.server = s, .fd = -1};
    s->listener[1] = (struct hf_resp_listener){.server = s, .fd = -1, .is_unix = true};
    TAILQ_INIT(&s->clients);
    TAILQ_INIT(&s->dirty);
    TAILQ_INIT(&s->waiting);
    return s;
}

static void count_handle(struct hf_resp_server *s, uv_handle_t *h)
{
    h->data = s;
    s->handle_count++;
}

static void start_handles(struct hf_resp_server *s)
{
    uint64_t stuck = (uint64_t)s->config.stuck_ms_max;
    uint64_t sweep_ms = stuck / 4 < SWEEP_MS_MAX ? stuck / 4 + 1 : SWEEP_MS_MAX;
    uv_prepare_init(s->loop, &s->prepare);
    uv_check_init(s->loop, &s->check);
    uv_idle_init(s->loop, &s->idle);
    uv_timer_init(s->loop, &s->sweep);
    uv_timer_init(s->loop, &s->accept_pause);
    count_handle(s, (uv_handle_t *)&s->prepare);
    count_handle(s, (uv_handle_t *)&s->check);
    count_handle(s, (uv_handle_t *)&s->idle);
    count_handle(s, (uv_handle_t *)&s->sweep);
    count_handle(s, (uv_handle_t *)&s->accept_pause);
    /* Listeners and clients keep a loop alive, and a rest from accepting; these do not. */
    uv_unref((uv_handle_t *)&s->prepare);
    uv_unref((uv_handle_t *)&s->check);
    uv_unref((uv_handle_t *)&s->sweep);
    uv_prepare_start(&s->prepare, on_prepare);
    uv_check_start(&s->check, on_check);
    uv_timer_start(&s->sweep, on_sweep, sweep_ms, sweep_ms);
}

enum hf_err hf_resp_open(struct uv_loop_s *loop, const struct hf_resp_config *c,
                         struct hf_resp_server **s, struct hf_error *e)
{
    HF_ASSERT(c->on_command != NULL);
    struct hf_resp_server *made = server_new(loop, c);
    if (made == NULL) {
        return hf_error_set(e, HF_NOMEM, "resp: out of memory");
    }
    /* libuv writes with write(2), so a peer that has closed would kill the process. */
    signal(SIGPIPE, SIG_IGN);
    start_handles(made);
    enum hf_err rc = hf_resp_listen(made, e);
    if (rc != HF_OK) {
        hf_resp_close(made);
        return rc;
    }
    *s = made;
    return HF_OK;
}

uint16_t hf_resp_port(const struct hf_resp_server *s)
{
    return s->port;
}

uint32_t hf_resp_clients(const struct hf_resp_server *s)
{
    return s->client_count;
}

void hf_resp_close(struct hf_resp_server *s)
{
    if (s == NULL || s->closed) {
        return;
    }
    s->closed = true;
    while (!TAILQ_EMPTY(&s->clients)) {
        hf_resp_client_close(TAILQ_FIRST(&s->clients));
    }
    hf_resp_unlisten(s);
    uv_close((uv_handle_t *)&s->prepare, hf_resp_handle_closed);
    uv_close((uv_handle_t *)&s->check, hf_resp_handle_closed);
    uv_close((uv_handle_t *)&s->idle, hf_resp_handle_closed);
    uv_close((uv_handle_t *)&s->sweep, hf_resp_handle_closed);
    uv_close((uv_handle_t *)&s->accept_pause, hf_resp_handle_closed);
}
