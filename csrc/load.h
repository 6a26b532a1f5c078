/* The memory of small parts that are sent, several of them in one piece.  send.c enters, as a socket's owner.
 *
 * libzmq reads them in place, on its own thread.  A piece of memory for each would be allocated here and
 * freed there, and the two threads would wait for each other in malloc: a seventh of each send in a flood. */
#ifndef GZH_LOAD_H
#define GZH_LOAD_H

#include <stddef.h>

#include "message.h"

typedef struct gzh_load gzh_load;

/* What a socket's owner fills.  All zero at first. */
typedef struct {
    gzh_load *load; /* NULL: none begun */
    size_t used;
    int parts;
} gzh_loader;

/* Initialise a part with a copy of the data, in memory of the load where it is small.  0 or -errno. */
int gzh_load_part(gzh_loader *loader, zmq_msg_t *part, const void *data, size_t size);
/* Fill no more.  Safe to say twice. */
void gzh_load_end(gzh_loader *loader);

#endif
