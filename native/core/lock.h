/*
 * The process's two locks.
 *
 * The state lock covers everything xpmem knows of this process: agents, offers, permits,
 * attachments, regions and memfds. It is never taken while a range is frozen by a conversion, since
 * the thread that holds it may be waiting to write there.
 *
 * The conversion lock is held by whoever replaces mappings that xpmem shares (share, move, fork) or
 * ends them (the end of a region), so that a MAP_FIXED never lands on memory that was just given
 * back. Order: conversion before state.
 */

#ifndef XM_LOCK_H
#define XM_LOCK_H

void xm_lock(void);
void xm_unlock(void);

/* Waits, with the state lock held, until another thread calls xm_signal. */
void xm_await(void);
/* Wakes all threads in xm_await. The state lock must be held. */
void xm_signal(void);

void xm_lock_conversion(void);
void xm_unlock_conversion(void);

/* In a forked child, whose thread holds both locks: nobody awaits a signal. */
void xm_locks_forget(void);

#endif
