/*
 * interrupt.c - notes a signal for the run that is under way. Read interrupt.h.
 */
#include "sim/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#define GRACE_S 10u /* a run that hangs in one event is ended all the same */

static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
#define COUNT (sizeof(numbers) / sizeof(numbers[0]))

static struct sigaction before[COUNT];
static volatile sig_atomic_t seen;

static void on_signal(int number)
{
    seen = number;
    (void)alarm(GRACE_S);
}

void interrupt_begin(void)
{
    struct sigaction ours = {.sa_handler = on_signal};
    seen = 0;
    for (size_t i = 0; i < COUNT; i++) {
        (void)sigaction(numbers[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN) {
            (void)sigaction(numbers[i], &ours, NULL);
        }
    }
}

bool interrupt_seen(void)
{
    return seen != 0;
}

void interrupt_end(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        (void)sigaction(numbers[i], &before[i], NULL);
    }
    if (seen != 0) {
        (void)alarm(0);
        (void)raise(seen);
    }
}
