/*
 * enrol.c - facts about edges: recording them, and the operator's invite, add and revoke.
 *
 * Invariant: nobody is told of a fact before it is durable, and a revoked edge is refused from the
 * moment of the call, before that. A revocation brings a new content key in the same sync, which
 * the next frame uses; the key's first seq is only known on the writer lane, which therefore makes
 * it.
 *
 * If a revocation cannot be made durable the operator hears so, and the edge stays refused until
 * the core restarts: failing closed is the smaller harm.
 */
#include "core/driver_impl.h"

#include <stdio.h>
#include <stdlib.h>

/* A token is to be used within a week; see the fact's own comment on what expiry means. */
#define TOKEN_LIFE_MS (UINT64_C(7) * 24 * 3600 * 1000)

struct admin {
    struct hf_fact_order order; /* first: the driver frees it at a crash */
    hf_admin_done *done;
    void *ctx;
    char text[HF_TOKEN_TEXT_MAX];    /* an invite's token */
    char withdrawn[HF_NAME_MAX + 1]; /* a name that nobody had, and whose tokens became void */
    struct hf_fact fact[];
};

/* ---- recording ---- */

void hf_core_edge_told(struct hf_core *core, uint32_t row)
{
    struct hf_publisher_effects fx;
    struct hf_publisher_event ev = {.type = HF_PUB_EDGE,
                                    .now = core->world.now(core->world.ctx),
                                    .edge = row,
                                    .ok = !hf_registry_row(core->registry, row)->fact.revoked};
    hf_publisher_step(core->publisher, &ev, &fx);
    HF_ASSERT(fx.count == 0);
}

static void order_work(struct hf_job *job)
{
    struct hf_fact_order *o = (struct hf_fact_order *)job;
    struct hf_core *core = o->owner;
    struct hf_core_writer *w = &core->writer;
    w->error.text[0] = '\0';
    o->code = w->broken ? hf_core_writer_recover(w) : HF_OK; /* which may find more batches */
    if (o->code == HF_OK && o->rotate && w->keys.count == HF_KEYRING_ROOM) {
        o->code =
            hf_error_set(&w->error, HF_FULL, "%u content keys wait for a commit", HF_KEYRING_MAX);
    }
    if (o->code == HF_OK && o->rotate) {
        const struct hf_content_key *newest = hf_keyring_newest(&w->keys);
        o->fact[o->count - 1].content_key = (struct hf_content_key){
            .id = newest->id + 1, .from = w->head.at.seq + 1, .key = o->fresh};
    }
    if (o->code == HF_OK) {
        o->code = hf_core_writer_record(w, o->fact, o->count);
    }
    snprintf(o->text, sizeof(o->text), "%s",
             w->error.text[0] != '\0' ? w->error.text : hf_err_text(o->code));
}

static void order_learn(struct hf_core *core, const struct hf_fact_order *o)
{
    for (uint32_t i = 0; i < o->count; i++) {
        const struct hf_fact *f = &o->fact[i];
        enum hf_err err = hf_registry_learn(core->registry, f);
        if (err != HF_OK) {
            hf_core_note(core, HF_LEVEL_ERROR, "enrolment: a recorded fact has no room: %s",
                         hf_err_text(err));
        } else if (f->type == HF_FACT_EDGE) {
            hf_core_edge_told(core, hf_registry_by_name(core->registry, f->edge.name)->row);
            hf_core_note(core, HF_LEVEL_INFO, "edge: %s name=%s",
                         f->edge.revoked ? "revoked" : "enrolled", f->edge.name);
        }
    }
}

static void order_done(struct hf_job *job)
{
    struct hf_fact_order *o = (struct hf_fact_order *)job;
    struct hf_core *core = o->owner;
    struct hf_fact_order **at = &core->orders;
    while (*at != o) {
        at = &(*at)->next;
    }
    *at = o->next;
    core->jobs--;
    core->n.facts += o->count;
    if (o->code == HF_OK) {
        order_learn(core, o);
    }
    o->recorded(o);
    core->pending.recorded = true;
    hf_core_drain(core);
}

void hf_core_record(struct hf_core *core, struct hf_fact_order *o)
{
    o->job = (struct hf_job){.work = order_work, .done = order_done};
    o->owner = core;
    o->next = core->orders;
    core->orders = o;
    core->jobs++;
    core->world.run(core->world.ctx, HF_LANE_WRITER, &o->job);
}

/* ---- the operator ---- */

static void refuse(hf_admin_done *done, void *ctx, enum hf_err code, const char *text)
{
    struct hf_admin_result r = {.code = code, .text = text};
    done(ctx, &r);
}

static void on_recorded(struct hf_fact_order *o)
{
    struct admin *a = (struct admin *)o;
    struct hf_core *core = o->owner;
    struct hf_admin_result r = {.code = o->code, .text = o->code == HF_OK ? a->text : o->text};
    if (o->code == HF_OK && hf_registry_by_name(core->registry, a->withdrawn) != NULL) {
        r = (struct hf_admin_result){.code = HF_EXISTS,
                                     .text = "an edge has just joined with it: revoke again"};
    }
    a->done(a->ctx, &r);
    memset(a->text, 0, sizeof(a->text));
    free(a);
}

/* With room for `facts`. NULL after it told the operator why not. */
static struct admin *admin_new(const char *name, uint32_t facts, hf_admin_done *done, void *ctx)
{
    if (!hf_name_valid(hf_slice_str(name))) {
        refuse(done, ctx, HF_ARG, "not a name: 1 to 63 of a-z 0-9 . _ -, first a letter or digit");
        return NULL;
    }
    struct admin *a = calloc(1, sizeof(*a) + facts * sizeof(a->fact[0]));
    if (a == NULL) {
        refuse(done, ctx, HF_NOMEM, hf_err_text(HF_NOMEM));
        return NULL;
    }
    a->order.fact = a->fact;
    a->order.recorded = on_recorded;
    a->done = done;
    a->ctx = ctx;
    return a;
}

/* What is on its way to the disk is not in the registry yet, and cannot be compared with. */
static bool under_way(const struct hf_core *core, const char *name, const struct hf_key *key)
{
    for (const struct hf_fact_order *o = core->orders; o != NULL; o = o->next) {
        for (uint32_t i = 0; i < o->count; i++) {
            const struct hf_fact *f = &o->fact[i];
            if (f->type == HF_FACT_EDGE && (strcmp(f->edge.name, name) == 0 ||
                                            (key != NULL && hf_key_eq(&f->edge.key, key)))) {
                return true;
            }
        }
    }
    return false;
}

/* Rows, or open tokens, that the facts on their way will need. */
static uint32_t room_claimed(const struct hf_core *core, enum hf_fact_type type)
{
    uint32_t n = 0;
    for (const struct hf_fact_order *o = core->orders; o != NULL; o = o->next) {
        for (uint32_t i = 0; i < o->count; i++) {
            const struct hf_fact *f = &o->fact[i];
            if (f->type != type) {
                continue; /* a content key is the lane's for now */
            }
            bool known = type == HF_FACT_EDGE
                             ? hf_registry_by_name(core->registry, f->edge.name) != NULL
                             : hf_registry_token(core->registry, &f->token.id) != NULL;
            n += !known;
        }
    }
    return n;
}

static bool edges_full(const struct hf_core *core)
{
    uint32_t count = hf_registry_count(core->registry) + room_claimed(core, HF_FACT_EDGE);
    return count >= hf_registry_max(core->registry);
}

const char *hf_core_enrol_objection(const struct hf_core *core, const char *name,
                                    const struct hf_key *key, enum hf_err *code)
{
    const struct hf_enrolled *named = hf_registry_by_name(core->registry, name);
    const struct hf_enrolled *keyed = key == NULL ? NULL : hf_registry_by_key(core->registry, key);
    *code = HF_EXISTS;
    if (keyed != NULL && keyed != named) {
        return "the key is enrolled under another name";
    }
    if (named != NULL && !named->fact.revoked && keyed == NULL) {
        return "an edge of this name is enrolled; revoke it first";
    }
    *code = HF_FULL;
    if (named == NULL && edges_full(core)) {
        return "there are as many names as can be, those of revoked edges too: use one of these "
               "again";
    }
    *code = HF_BUSY;
    if (under_way(core, name, key)) {
        return "this name or key is just being enrolled or revoked; try again";
    }
    *code = HF_OK;
    return NULL;
}

void hf_core_edge_invite(struct hf_core *core, const char *name, hf_admin_done *done, void *ctx)
{
    enum hf_err code;
    const char *why = hf_core_enrol_objection(core, name, NULL, &code);
    if (why == NULL && hf_registry_tokens_full(core->registry, room_claimed(core, HF_FACT_TOKEN))) {
        why = "too many join tokens are open: revoke the names that nobody will join with";
        code = HF_FULL;
    }
    if (why != NULL) {
        refuse(done, ctx, code, why);
        return;
    }
    struct admin *a = admin_new(name, 1, done, ctx);
    if (a == NULL) {
        return;
    }
    struct hf_token t = {.root = core->writer.genesis.root};
    memcpy(t.url, core->url, sizeof(t.url));
    snprintf(t.name, sizeof(t.name), "%s", name);
    core->world.random(core->world.ctx, t.id.b, HF_ID_BYTES);
    core->world.random(core->world.ctx, t.secret, sizeof(t.secret));
    enum hf_err err = hf_token_print(&t, a->text);
    if (err != HF_OK) {
        free(a);
        refuse(done, ctx, err, "the token cannot be made: is the stream's URL set?");
        return;
    }
    a->fact[0] = (struct hf_fact){.type = HF_FACT_TOKEN};
    struct hf_token_fact *f = &a->fact[0].token;
    f->id = t.id;
    f->verifier = hf_token_verifier(t.secret);
    memcpy(f->name, t.name, sizeof(f->name));
    f->expires_wall_ms = core->world.wall_ms(core->world.ctx) + TOKEN_LIFE_MS;
    a->order.count = 1;
    hf_core_record(core, &a->order);
}

void hf_core_edge_add(struct hf_core *core, const char *name, const struct hf_key *key,
                      hf_admin_done *done, void *ctx)
{
    enum hf_err code;
    const char *why = hf_core_enrol_objection(core, name, key, &code);
    if (why != NULL) {
        refuse(done, ctx, code, why);
        return;
    }
    const struct hf_enrolled *known = hf_registry_by_key(core->registry, key);
    if (known != NULL && !known->fact.revoked) {
        refuse(done, ctx, HF_OK, ""); /* it is what was asked for */
        return;
    }
    if (!hf_key_is_point(key) || hf_key_eq(key, &core->id->public_key)) {
        refuse(done, ctx, HF_ARG, "not a public key of an edge");
        return;
    }
    struct admin *a = admin_new(name, 1, done, ctx);
    if (a == NULL) {
        return;
    }
    a->fact[0] = (struct hf_fact){.type = HF_FACT_EDGE};
    struct hf_edge_fact *f = &a->fact[0].edge;
    f->key = *key;
    snprintf(f->name, sizeof(f->name), "%s", name);
    f->role = HF_ROLE_EDGE;
    f->enrolled_wall_ms = core->world.wall_ms(core->world.ctx);
    a->order.count = 1;
    hf_core_record(core, &a->order);
}

/* A token that no key has used: it is open, or void. */
static bool is_unused(const struct hf_token_fact *t)
{
    static const struct hf_key nobody;
    return !t->used || hf_key_eq(&t->used_by, &nobody);
}

static uint32_t tokens_unused(const struct hf_core *core, const char *name)
{
    const struct hf_token_fact *t;
    uint32_t n = 0;
    for (uint32_t i = 0; (t = hf_registry_token_at(core->registry, i)) != NULL; i++) {
        n += is_unused(t) && strcmp(t->name, name) == 0;
    }
    return n;
}

/* Unused tokens of the name become void with it and at once, or one could bring the name back, also
 * while the revocation waits for the lane. Those that are void already are recorded again: it may
 * have failed, and a restart would open them. */
static void tokens_void(struct hf_core *core, const char *name, struct hf_fact_order *o)
{
    const struct hf_token_fact *t;
    for (uint32_t i = 0; (t = hf_registry_token_at(core->registry, i)) != NULL; i++) {
        if (is_unused(t) && strcmp(t->name, name) == 0) {
            struct hf_fact *f = &o->fact[o->count++];
            *f = (struct hf_fact){.type = HF_FACT_TOKEN, .token = *t};
            f->token.used = true;
            (void)hf_registry_learn(core->registry, f); /* it replaces a row, which needs no room */
        }
    }
}

void hf_core_edge_revoke(struct hf_core *core, const char *name, hf_admin_done *done, void *ctx)
{
    struct hf_enrolled *e = hf_registry_by_name(core->registry, name);
    uint32_t tokens = tokens_unused(core, name);
    if (e == NULL && tokens == 0) {
        refuse(done, ctx, HF_NOTFOUND, "no edge of this name, and no join token for it");
        return;
    }
    struct admin *a = admin_new(name, tokens + 2, done, ctx);
    if (a == NULL) {
        return;
    }
    if (e != NULL) {
        e->fact.revoked = true; /* refused from now on, whatever comes of the rest */
        hf_core_edge_told(core, e->row);
        a->fact[0] = (struct hf_fact){.type = HF_FACT_EDGE, .edge = e->fact};
        a->order.count = 1;
        a->order.rotate = true;
        core->world.random(core->world.ctx, a->order.fresh.b, HF_KEY_BYTES);
    } else {
        snprintf(a->withdrawn, sizeof(a->withdrawn), "%s", name);
    }
    tokens_void(core, name, &a->order);
    if (a->order.rotate) {
        a->fact[a->order.count++] = (struct hf_fact){.type = HF_FACT_CONTENT_KEY};
    }
    hf_core_record(core, &a->order);
}

const char *hf_core_invited(const struct hf_core *core, uint32_t *at)
{
    const struct hf_token_fact *t = hf_registry_token_at(core->registry, *at);
    while (t != NULL && t->used) {
        t = hf_registry_token_at(core->registry, ++*at);
    }
    *at += t != NULL;
    return t != NULL ? t->name : NULL;
}
