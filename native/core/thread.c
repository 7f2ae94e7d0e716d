#include "thread.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Bytes of the kernel's signal set. */
#define SIGNAL_SET_BYTES 8

int xm_thread_start(pthread_t *thread, void *stack, size_t bytes, void *(*run)(void *),
                    void *argument) {
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return -error;
    error = pthread_attr_setstack(&attributes, stack, bytes);
    if (error == 0) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(thread, &attributes, run, argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    return -error;
}

uint64_t xm_signals_block(void) {
    uint64_t all = UINT64_MAX;
    uint64_t before = 0;
    /* It fails for bad addresses only. */
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, SIGNAL_SET_BYTES);
    return before;
}

void xm_signals_restore(uint64_t before) {
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, SIGNAL_SET_BYTES);
}
