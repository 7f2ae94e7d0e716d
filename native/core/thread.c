#include "thread.h"

#include <signal.h>

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
