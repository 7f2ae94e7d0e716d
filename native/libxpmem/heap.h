/* What the heap may do with memory that is shared. */

#ifndef XM_HEAP_H
#define XM_HEAP_H

/*
 * Keeps malloc from giving memory back with MADV_DONTNEED; once, before memory of the heap can be
 * moved. glibc trims the ends of its threads' heaps so, and takes them to be zeros when they grow
 * again (malloc/arena.c: heap_trim, shrink_heap; calloc clears up to the old end only). Moved
 * memory lies in a file, whose content MADV_DONTNEED leaves as it was.
 */
void xm_heap_keep(void);

#endif
