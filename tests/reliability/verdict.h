/*
 * verdict.h - what holdfast-sim check says of a recorded history.
 *
 * It must not be included before harness.c, of which it is a part.
 */
#ifndef TESTS_RELIABILITY_VERDICT_H
#define TESTS_RELIABILITY_VERDICT_H

/* True when every rule held. The verdict is its sentence without the file's name. */
static inline bool history_holds(const char *history, char *verdict, size_t cap)
{
    char command[1200];
    size_t n;

    snprintf(command, sizeof(command), "%s/holdfast-sim check %s 2>&1", box.bin, history);
    FILE *out = popen(command, "re"); /* NOLINT(cert-env33-c): words of our own */
    assert_non_null(out);
    n = fread(verdict, 1, cap - 1, out);
    verdict[n] = '\0';
    verdict[strcspn(verdict, "\n")] = '\0';
    int status = pclose(out);
    char *ok = strstr(verdict, "ok, ");
    if (status == 0 && ok != NULL) {
        memmove(verdict, ok, strlen(ok) + 1);
    }
    return status == 0;
}

#endif
