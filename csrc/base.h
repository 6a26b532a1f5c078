/* SocketBase, of which Socket is a subclass, and what of Helper must be quick or whole (base_wait.c): the one room
 * that knows Python's objects, for the calls that a busy program makes without end.
 *
 * cffi hands numbers and memory to C, not objects.  A function in Python that looks whether a message is
 * here already costs as much as to receive one, and to lay a list of bytes out for C costs twice what
 * libzmq needs to send it.
 *
 * Each method does what nearly all of its calls need.  What it cannot do at once or has to explain it leaves to
 * methods in Python, _recv_in_python for recv, which can do all of it.  Only gzh_wait and gzh_linger_or_wait
 * wait, and neither a signal handler nor another greenlet or thread runs between two lines, but where a method in
 * Python is called, Python's lock is let go, or an object is made and a garbage collection begins.
 *
 * All functions are called with Python's lock held; results that are objects are new references, and NULL
 * says that an exception is set. */
#ifndef GZH_BASE_H
#define GZH_BASE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "socket.h"

typedef struct {
    PyObject_HEAD
    PyObject *batch;   /* an iterator: what is received next: bytes, a list of several, or False for a mark */
    PyObject *ready;   /* it, or one that takes from it and has marks of its own */
    PyObject *unread, *unsent; /* dicts, by greenlet: what it has yet to take, and to send, of a message */
    unsigned long long address; /* the gzh_socket's, or 0 */
    int timeout; /* what RCVTIMEO said when a receive could not be made at once */
    char own; /* whether the gzh_socket goes with this */
} gzh_base;

/* Interned, as to make them anew costs what the call itself does. */
#define GZH_NAMES(X)                                                                     \
    X(flags, "flags")                                                                    \
    X(copy, "copy")                                                                      \
    X(timeout, "timeout")                                                                \
    X(recv, "_recv_in_python")                                                           \
    X(recv_on, "_recv_on")                                                               \
    X(recv_multipart, "_recv_multipart_in_python")                                       \
    X(recv_multipart_on, "_recv_multipart_on")                                           \
    X(first_of, "_first_of")                                                             \
    X(heed_mark, "_heed_mark")                                                           \
    X(share, "_share")                                                                   \
    X(put_back, "_put_back")                                                             \
    X(copy_threshold, "copy_threshold")                                                  \
    X(tracker_of_copies, "_tracker_of_copies")                                           \
    X(send, "_send_in_python")                                                           \
    X(send_multipart, "_send_multipart_in_python")                                       \
    X(own_helper, "_gzmqhelper")                                                         \
    X(current, "current")                                                                \
    X(Helper, "Helper")                                                                  \
    X(expired, "Expired")                                                                \
    X(over, "over")                                                                      \
    X(may_not_wait, "may_not_wait")                                                      \
    X(linger_for, "linger_for")                                                          \
    X(start_here, "_start_here")                                                         \
    X(wait_read, "wait_read")                                                            \
    X(wait_alone, "wait_alone")                                                          \
    X(line, "_line")                                                                     \
    X(io, "_io")                                                                         \
    X(check, "_check")                                                                   \
    X(popleft, "popleft")                                                                \
    X(switch_to, "switch")                                                               \
    X(stop, "stop")
typedef struct {
#define NAME(name, text) PyObject *name;
    GZH_NAMES(NAME)
#undef NAME
} gzh_names;
extern gzh_names gzh_name;

static inline gzh_socket *socket_of(const gzh_base *self)
{
    return (gzh_socket *)(uintptr_t)self->address;
}

/* No greenlet is in the middle of a message: that it receives, or sends.  (A Socket that was never made has none
 * of the dicts.) */
static inline bool is_empty(PyObject *parts_in_hand)
{
    return parts_in_hand && PyDict_Size(parts_in_hand) == 0;
}

/* Whether a call can be tried at once, by what is given behind its first `before` arguments: flags; a copy is
 * wanted; a timeout that lets it wait, which does not matter to who need not.  *timeout: borrowed.  in_place:
 * NULL, or whether a copy is not wanted. */
bool gzh_is_plain(PyObject *const *args, Py_ssize_t count, PyObject *names, Py_ssize_t before, int *flags,
                  PyObject **timeout, bool *in_place);
/* Call that method in Python, with the same arguments. */
PyObject *gzh_in_python(PyObject *self, PyObject *which, PyObject *const *args, Py_ssize_t count,
                        PyObject *names);

/* Flags that C takes.  False: an exception is set. */
bool gzh_flags(PyObject *given, int *flags);

/* A time to wait, or None.  False: an exception is set. */
#define GZH_FOR_EVER (-1.0)
bool gzh_seconds(PyObject *given, double *seconds);

/* gzh_recv, as _ask below has it; companion: NULL, or one that is free. */
PyObject *gzh_ask(gzh_base *self, gzh_companion *companion, int flags);
/* What gzh_end says, in the same way. */
PyObject *gzh_end_of(gzh_companion *companion, int flags, bool give_up);
/* Whether that is this code. */
bool gzh_is_code(PyObject *got, int code);
/* Wait for a message, after _ask has said GZH_WAIT, and say what comes as _ask does; -EAGAIN
 * when so many seconds have passed.  call: the method in Python that would do it, for people.  (base_wait.c) */
PyObject *gzh_wait(gzh_base *self, int flags, double seconds, PyObject *call);
/* The same for ever; after a moment on this thread, if a message may come in it (`linger`, in _helper.py).  NULL
 * without an exception: this greenlet may not wait. */
PyObject *gzh_linger_or_wait(gzh_base *self, int flags, PyObject *call);
bool gzh_add_wait_types(PyObject *module);

/* The methods, which base.c names; in base_receive.c and base_send.c. */
PyObject *gzh_base_recv(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *gzh_base_recv_multipart(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *gzh_base_send(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *gzh_base_send_multipart(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
/* _ask(flags): gzh_recv, as Python has what it says: bytes of one part, or a list of several; or a number:
 * above 0, the address of a gzh_message, which is the caller's now; below, a code.  A batch was shared. */
PyObject *gzh_base_ask(PyObject *self, PyObject *flags);
/* _wait_for_message(flags, seconds): gzh_wait; None: for ever. */
PyObject *gzh_base_wait_for_message(PyObject *self, PyObject *const *args, Py_ssize_t count);
/* _take_several(messages, most, flags): gzh_recv_many.  What it brings is appended to the list, and the
 * result is GZH_SEVERAL, if it was a single one too; all else is as _ask has it. */
PyObject *gzh_base_take_several(PyObject *self, PyObject *args);
/* _have(messages): these are received next, and nothing else. */
PyObject *gzh_base_have(PyObject *self, PyObject *messages);
/* _add(batch): what is left in that iterator is received next, before what is there.  Safe to say twice. */
PyObject *gzh_base_add(PyObject *self, PyObject *batch);
/* _send_several(messages, progress, flags): what gzh_send_many says of the messages of a list from the index
 * on that is the first item of the list `progress`, as far as they are made of bytes; 0 where the first is
 * not.  What was sent is added to that item, also if Ctrl-C keeps the caller from hearing it. */
PyObject *gzh_base_send_several(PyObject *self, PyObject *const *args, Py_ssize_t count);

/* waits_as(module): _helper.py, which has the functions that a wait needs. */
PyObject *gzh_base_waits_as(PyObject *module, PyObject *helper_module);

#endif
