/* A libzmq that obeys the tests.  fake_zmq.c has the zmq_* functions that csrc calls, with libzmq's
 * own rules for who sees what when; here are the test's controls: what the other side of a socket
 * does, and what goes wrong.
 *
 * A socket's other side is the test itself.  What it does (fake_deliver, fake_take, fake_refuse)
 * is a command in the socket's mailbox, as in libzmq: the descriptor (ZMQ_FD) is signalled only if
 * the mailbox had been emptied since the last signal, and nothing of it is seen before some call
 * on the socket has emptied the mailbox.
 *
 * Every function here may be called by any thread, also while others are inside the socket.
 * Messages are written as text, their parts divided by '|'. */
#ifndef FAKE_ZMQ_H
#define FAKE_ZMQ_H

#include <stdbool.h>
#include <stddef.h>

/* A message arrives.  False: the socket was closed. */
bool fake_deliver(void *zmq, const char *text);
/* As many bytes of one part, for what does not fit a slot. */
bool fake_deliver_size(void *zmq, size_t size);
/* The other side reads the oldest message that was sent, which makes room under SNDHWM.  With
 * `peer`, the oldest to that one (a ROUTER's messages begin with the peer's name; each has its own
 * SNDHWM).  False: there is none. */
bool fake_take(void *zmq, const char *peer, char *text, size_t room);
/* How many messages were sent and not taken. */
int fake_sent(void *zmq);
/* From now on there is nobody to send to (true), or there is again. */
void fake_refuse(void *zmq, bool refuse);

/* The next so many sends, or receives, fail like this; EVENTS does not show it. */
void fake_fail_sends(void *zmq, int error, int times);
void fake_fail_receives(void *zmq, int error, int times);
/* Part `index` (from 0) of a multipart is refused with EAGAIN, that many times.  What becomes of
 * the beginning is as in libzmq: PUSH, DEALER and REQ take it back and drop what follows up to the
 * end; a PAIR takes it back; an XPUB keeps it and must be given the rest. */
void fake_refuse_part(void *zmq, int index, int times);
/* XPUB and PUB alone: is a message begun and not ended? */
bool fake_is_begun(void *zmq);

/* For all sockets: a send empties the mailbox only every `every` times (1 at first; libzmq looks at
 * most once a millisecond). */
void fake_throttle(int every);
/* Calls give way to other threads now and then. */
void fake_jitter(bool on);
/* While the gate is shut, zmq_bind to "slow:..." stays inside; how many are. */
void fake_gate(bool shut);
int fake_at_gate(void);
/* A call is inside this socket now. */
bool fake_is_inside(void *zmq);
/* zmq_ctx_set of this value stays inside too. */
#define FAKE_SLOW_VALUE 4711
/* libzmq's reaper signals a socket's descriptor once more after zmq_close, and closes it later (here:
 * when the next socket of its context is closed, or the context ends), unless it is told to do it
 * in zmq_close: then the number is used again the sooner. */
void fake_reap_at_once(bool at_once);
/* zmq_socket fails like this the next time. */
void fake_fail_socket(int error);

/* What was made and not yet given back. */
int fake_sockets(void);
int fake_contexts(void);
int fake_messages(void);
/* Did zmq_ctx_term begin (and wait for sockets)? */
bool fake_is_terminating(void *zmq_context);

/* What a socket has in it, on stderr; for the last words of a test. */
void fake_dump(void *zmq);

#endif
