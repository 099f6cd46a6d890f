/*
 * fuzz_script.c - the parser of scenario files, fed anything.
 *
 * What is refused has a message that names file and line; what is accepted is a script that an
 * interpreter may trust without looking: sorted, inside the run, about nodes that there are.
 */
#include "sim/script.h"

#include <string.h>

static void check_nodes(const struct script *s, const struct script_nodes *nodes)
{
    for (uint32_t i = s->edge_count + 1; i < 64 * sizeof(nodes->bits) / sizeof(nodes->bits[0]);
         i++) {
        HF_ASSERT(!script_has(nodes, i));
    }
}

static void check_link(const struct script_link *l)
{
    HF_ASSERT(l->loss >= 0 && l->loss <= 1 && l->drop >= 0 && l->drop <= 1 && l->burst >= 1);
    HF_ASSERT(l->trace == NULL || l->trace[0] != '\0');
}

static void check_actions(const struct script *s)
{
    uint64_t before = 0;
    for (uint32_t i = 0; i < s->action_count; i++) {
        const struct script_action *a = &s->action[i];
        HF_ASSERT(a->at_us >= before && a->at_us <= s->duration_us);
        HF_ASSERT(a->verb < SCRIPT_VERBS && script_verb_name(a->verb) != NULL && a->line > 0);
        before = a->at_us;
        check_nodes(s, &a->nodes);
        if (a->verb == SCRIPT_LINK) {
            check_link(&a->link);
        }
    }
}

static void check_script(const struct script *s)
{
    HF_ASSERT(s->edge_count > 0 && s->edge_count <= SCRIPT_EDGES_MAX && s->duration_us > 0);
    HF_ASSERT(s->load.keys > 0 && s->load.changes_max > 0 && s->load.read_every_us > 0);
    HF_ASSERT(s->load.value_min <= s->load.value_max && s->load.value_max <= SCRIPT_VALUE_MAX);
    for (uint32_t i = 1; i <= s->edge_count; i++) {
        check_link(&s->edge[i].link);
    }
    check_actions(s);
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        check_nodes(s, &s->expectation[i].nodes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script *s = NULL;
    struct hf_error e = {.code = HF_OK};
    if (script_parse("x.sim", hf_slice_of(data, size), &s, &e) == HF_OK) {
        check_script(s);
    } else {
        HF_ASSERT(s == NULL && (e.code == HF_ARG || e.code == HF_NOMEM));
        HF_ASSERT(strncmp(e.text, "x.sim:", 6) == 0 && e.text[6] >= '0' && e.text[6] <= '9');
    }
    script_free(s);
    return 0;
}
