/*
 * input.h - lines of a file or of standard input, with bounded memory and their numbers.
 */
#ifndef HF_CLI_INPUT_H
#define HF_CLI_INPUT_H

#include "hf/types.h"

/* The longest line a valid change can take: a value of 1 MiB, each byte of it written as \u00XX,
 * and a key and member names beside it. */
#define HF_INPUT_LINE_MAX (8u << 20)

struct hf_input {
    int fd;
    const char *name; /* for messages */
    char *buffer;     /* owned */
    size_t cap;
    size_t begin, end; /* unread bytes */
    bool at_end;       /* the file has no more */
    uint64_t line;     /* number of the line given last, from 1 */
};

enum hf_input_result {
    HF_INPUT_LINE = 0,
    HF_INPUT_END,
    HF_INPUT_FAILED, /* read error, see errno */
    HF_INPUT_LONG,   /* a line over HF_INPUT_LINE_MAX */
};

/* Takes over fd. */
void hf_input_init(struct hf_input *in, int fd, const char *name);
void hf_input_deinit(struct hf_input *in);
/* The next line without its "\n" or "\r\n". The text is the caller's to change until the next call.
 */
enum hf_input_result hf_input_next(struct hf_input *in, char **text, size_t *len);

#endif
