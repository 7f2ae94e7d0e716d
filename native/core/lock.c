#include "lock.h"

#include <pthread.h>
#include <stdlib.h>

#include "agent.h"
#include "backing.h"
#include "table.h"

static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t conversion = PTHREAD_MUTEX_INITIALIZER;

void xm_lock(void) {
    pthread_mutex_lock(&state);
}

void xm_unlock(void) {
    pthread_mutex_unlock(&state);
}

void xm_await(void) {
    pthread_cond_wait(&changed, &state);
}

void xm_signal(void) {
    pthread_cond_broadcast(&changed);
}

void xm_lock_conversion(void) {
    pthread_mutex_lock(&conversion);
}

void xm_unlock_conversion(void) {
    pthread_mutex_unlock(&conversion);
}

/* The child has none of the threads that may have held or awaited these. */
static void after_fork_in_child(void) {
    pthread_mutex_init(&conversion, NULL);
    pthread_cond_init(&changed, NULL);
    xm_agents_forget();
    xm_table_forget();
    xm_files_forget();
    xm_unlock();
}

__attribute__((constructor)) static void watch_forks(void) {
    /* It fails for want of memory only, while the library is loaded; nothing works without it. */
    if (pthread_atfork(xm_lock, xm_unlock, after_fork_in_child) != 0)
        abort();
}
