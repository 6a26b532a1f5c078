/* A whole message: one or more parts, each a zmq_msg_t.  wire.c fills and empties them; Python
 * holds one for a Frame, and for what is too large for a slot.  A message has one holder at a
 * time, who may be any thread. */
#ifndef GZH_MESSAGE_H
#define GZH_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include <zmq.h>

#include "companion.h"

typedef struct gzh_message gzh_message;

#define GZH_INLINE_PARTS 4

struct gzh_message {
    gzh_message *next; /* in a socket's ready list, under its queue mutex */
    zmq_msg_t *part;   /* the array below, or a larger one */
    int count, room;   /* so many parts are initialised; so many fit */
    bool captured;     /* a proxy has shown it to its capture socket, and not sent it yet */
    zmq_msg_t few[GZH_INLINE_PARTS];
};

/* For one on the stack: init, and clear at the end.  new: on the heap, freed by gzh_message_free,
 * which closes what is left of the parts; NULL where there is no memory. */
void gzh_message_init(gzh_message *message);
void gzh_message_clear(gzh_message *message);
gzh_message *gzh_message_new(void);
void gzh_message_free(gzh_message *message);
/* To an empty one, or to one that was not even initialised; the source is left empty. */
void gzh_message_move(gzh_message *message, gzh_message *source);
/* Onto the heap; the source is left empty.  NULL: no memory, the source is untouched. */
gzh_message *gzh_message_keep(gzh_message *source);
/* The same of one that was received and cannot be given back: where there is no memory, it stops. */
gzh_message *gzh_message_must_keep(gzh_message *source);

/* An uninitialised place for one part more, which counts at once; NULL: no memory. */
zmq_msg_t *gzh_message_place(gzh_message *message);
/* Initialise a part with a copy of the data.  0 or -errno. */
int gzh_part_copy(zmq_msg_t *part, const void *data, size_t size);
/* Add a part: a copy of the data; the caller's memory itself; or what `other` holds as part
 * `index` (shared with it, not copied).  0 or -errno. */
int gzh_message_add(gzh_message *message, const void *data, size_t size);
int gzh_message_share(gzh_message *message, gzh_message *other, int index);
/* The memory must stay until gzh_released has given back its number, the caller's choice. */
int gzh_message_pin(gzh_message *message, const void *data, size_t size, uint64_t number);
/* Move part `index` out, into a message of its own.  NULL: no memory. */
gzh_message *gzh_message_take(gzh_message *message, int index);

int gzh_message_parts(const gzh_message *message);
void *gzh_message_data(gzh_message *message, int index);
/* Of all parts. */
size_t gzh_message_total(const gzh_message *message);
size_t gzh_message_size(const gzh_message *message, int index);
int gzh_message_get(gzh_message *message, int property);
/* A property by name (zmq_msg_gets), valid while the message is; NULL: there is none. */
const char *gzh_message_text(gzh_message *message, const char *property);

/* libzmq's draft API, if this was built with it; else everything below is -ENOTSUP, or NULL. */
#ifdef ZMQ_BUILD_DRAFT_API
#define GZH_DRAFTS 1
#else
#define GZH_DRAFTS 0
#endif
/* Of a CLIENT's message, for the SERVER's answer: 0 if there is none. */
int64_t gzh_message_routing_id(gzh_message *message);
int gzh_message_set_routing_id(gzh_message *message, uint32_t routing_id);
/* Of a RADIO's message; valid while the message is. */
const char *gzh_message_group(gzh_message *message);
int gzh_message_set_group(gzh_message *message, const char *group);

/* Wait until libzmq is done with a pin: 0 if it is, GZH_BUSY, or GZH_WAIT, then gzh_pin_end. */
int gzh_pin_wait(gzh_companion *companion, uint64_t number);
int gzh_pin_end(gzh_companion *companion, bool give_up);
/* Which pins libzmq is done with: up to `room` of them, each told once; how many.  Any thread; a
 * finalizer may call it. */
int gzh_released(uint64_t *numbers, int room);

#endif
