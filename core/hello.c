/*
 * hello.c - see hello.h.
 *
 * A dictionary may be older than the first frame, and is sealed under the key of its own time: its
 * key comes along.
 */
#include "core/hello.h"

static bool has(const struct hf_hello_request *q, hf_seq seq)
{
    for (uint32_t i = 0; q != NULL && i < q->dictionary_count; i++) {
        if (q->dictionary[i] == seq) {
            return true;
        }
    }
    return false;
}

static void dictionary_put(struct hf_dictionaries *t, hf_seq seq, uint8_t *room,
                           struct hf_hello_reply *p)
{
    struct hf_dictionary *d = hf_dictionaries_at(t, seq);
    if (d == NULL) {
        return; /* it went this moment, with the frames that used it */
    }
    struct hf_slice frame = hf_dictionary_frame(d);
    uint8_t *to = room + p->dictionary_count * HF_DICTIONARY_FRAME_MAX;
    memcpy(to, frame.data, frame.len);
    p->dictionary[p->dictionary_count++] = hf_slice_of(to, frame.len);
    hf_dictionary_unuse(d);
}

void hf_hello_fill(const struct hf_keyring *keys, struct hf_dictionaries *dictionaries,
                   const struct hf_hello_request *q, hf_seq first, hf_seq head, uint8_t *room,
                   struct hf_hello_reply *p)
{
    hf_seq seq[HF_DICTIONARIES_MAX];
    uint32_t count = hf_dictionaries_list(dictionaries, seq);
    p->dictionary_count = 0;
    for (uint32_t i = 0; i < count && p->dictionary_count < HF_HELLO_DICTIONARIES_MAX; i++) {
        if (seq[i] <= head && !has(q, seq[i])) {
            dictionary_put(dictionaries, seq[i], room, p);
            first = seq[i] < first ? seq[i] : first;
        }
    }
    p->key_count = hf_keyring_select(keys, first, p->key, HF_CONTENT_KEYS_MAX);
}
