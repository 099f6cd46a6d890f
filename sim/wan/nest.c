/*
 * nest.c - the init of a PID namespace; see nest.h.
 *
 * The life line is a pipe of which only the caller has the writing end: its end of file is the
 * caller's death, kill -9 included, with no window between fork and prctl as PR_SET_PDEATHSIG has
 * one, and with time to remove the control socket.
 *
 * Invariant: the init does nothing but wait; it is ended by its own exit only, or by a SIGKILL from
 * outside, and both take the namespace with it.
 */
#include "sim/wan/nest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANNOT_RUN 126
#define NOT_FOUND 127

int hf_wan_nest_status(int wait_status)
{
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

static _Noreturn void run_command(char *const *argv)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(argv[0], argv);
    fprintf(stderr, "holdfast-sim: %s: %s\n", argv[0], strerror(errno));
    _exit(errno == ENOENT ? NOT_FOUND : CANNOT_RUN);
}

/* Reaps all that has ended; true with *status when the command is among it. */
static bool reap(pid_t command, int *status)
{
    int ended;
    pid_t pid;
    while ((pid = waitpid(-1, &ended, WNOHANG)) > 0) {
        if (pid == command) {
            *status = hf_wan_nest_status(ended);
            return true;
        }
    }
    return false;
}

/* Until the command has ended, returning its status, or the caller has, returning -1. */
static int wait_for_either(pid_t command, int signals, int life_line)
{
    struct pollfd poll_set[] = {{.fd = signals, .events = POLLIN},
                                {.fd = life_line, .events = POLLIN}};
    int status = 0;
    for (;;) {
        struct signalfd_siginfo info;
        (void)poll(poll_set, 2, -1);
        if (poll_set[1].revents != 0) {
            return -1;
        }
        if (poll_set[0].revents == 0 || read(signals, &info, sizeof(info)) != sizeof(info)) {
            continue;
        }
        if (info.ssi_signo == SIGTERM) {
            (void)kill(command, SIGTERM);
        }
        if (reap(command, &status)) {
            return status;
        }
    }
}

/* A /proc that shows this namespace's pids, for the command alone. */
static bool mount_proc(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 &&
           mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0;
}

static _Noreturn void init_main(char *const *argv, const char *dir, const char *file, int life_line)
{
    sigset_t all;
    if (!mount_proc()) {
        fprintf(stderr, "holdfast-sim: mounting /proc: %s\n", strerror(errno));
        _exit(CANNOT_RUN);
    }
    /* What a terminal sends reaches the command too; all the init does about it is to wait on. */
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    int signals = signalfd(-1, &all, SFD_CLOEXEC);
    pid_t command = fork();
    if (command == 0) {
        run_command(argv);
    }
    int status =
        command < 0 || signals < 0 ? CANNOT_RUN : wait_for_either(command, signals, life_line);
    if (status < 0) {
        (void)unlink(file);
        (void)rmdir(dir);
        _exit(1);
    }
    _exit(status);
}

enum hf_err hf_wan_nest_start(char *const *argv, const char *dir, const char *file, pid_t *init,
                              struct hf_error *e)
{
    int life_line[2]; /* the writing end stays open until this process is no more */
    if (pipe2(life_line, O_CLOEXEC) != 0) {
        return hf_error_set(e, HF_IO, "pipe: %s", strerror(errno));
    }
    /* A fork into the namespace. After unshare(CLONE_NEWPID) instead, this process could never fork
     * again once the init has ended, which a leak checker wants to do at exit. */
    *init = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL);
    if (*init < 0) {
        return hf_error_set(e, HF_IO, "a PID namespace: %s", strerror(errno));
    }
    if (*init == 0) {
        close(life_line[1]);
        init_main(argv, dir, file, life_line[0]);
    }
    close(life_line[0]);
    return HF_OK;
}
