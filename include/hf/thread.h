/*
 * thread.h - threads that leave the signals of the process to its main thread.
 */
#ifndef HF_THREAD_H
#define HF_THREAD_H

#include <pthread.h>
#include <signal.h>

/* As pthread_create. A signal that is sent to the process is never delivered to the new thread. One
 * of a fault of its own is: blocked, it would end the process past every handler
 * (hf/lost_pages.h). The mask is inherited, for if it were set by the thread there would be a gap.
 * From any thread. */
static inline int hf_thread_start(pthread_t *thread, void *(*run)(void *), void *ctx)
{
    sigset_t sent;
    sigset_t before;
    sigfillset(&sent);
    sigdelset(&sent, SIGBUS);
    sigdelset(&sent, SIGSEGV);
    sigdelset(&sent, SIGFPE);
    sigdelset(&sent, SIGILL);
    pthread_sigmask(SIG_SETMASK, &sent, &before);
    int rc = pthread_create(thread, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

#endif
