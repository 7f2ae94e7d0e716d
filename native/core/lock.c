#include "lock.h"

#include <pthread.h>

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

void xm_locks_forget(void) {
    pthread_cond_init(&changed, NULL);
}
