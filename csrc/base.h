/* SocketBase, of which Socket is a subclass: the one room that knows Python's objects, for the calls that
 * a busy program makes without end.
 *
 * cffi hands numbers and memory to C, not objects.  A function in Python that looks whether a message is
 * here already costs as much as to receive one, and to lay a list of bytes out for C costs twice what
 * libzmq needs to send it.
 *
 * Each method does what nearly all of its calls need.  What it cannot do at once, has to explain or has to
 * wait for it leaves to methods in Python, _recv_in_python for recv, which can do all of it.  Nothing
 * here waits, and neither a signal handler nor another thread runs between two lines, but where a method in
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
    PyObject *partial; /* a set: who is in the middle of a message */
    unsigned long long address; /* the gzh_socket's, or 0 */
    int timeout; /* what RCVTIMEO said when a receive could not be made at once */
    char own; /* whether the gzh_socket goes with this */
} gzh_base;

/* Interned, as to make them anew costs what the call itself does. */
typedef struct {
    PyObject *flags, *copy, *timeout;
    PyObject *recv, *recv_on, *recv_multipart, *recv_multipart_on;
    PyObject *first_of, *heed_mark, *share, *put_back;
    PyObject *send, *send_multipart;
} gzh_names;
extern gzh_names gzh_name;

static inline gzh_socket *socket_of(const gzh_base *self)
{
    return (gzh_socket *)(uintptr_t)self->address;
}

/* No greenlet is in the middle of a message. */
static inline bool is_whole(const gzh_base *self)
{
    return self->partial && PySet_Size(self->partial) == 0;
}

/* Whether a call can be tried at once, by what is given behind its first `before` arguments: flags; a copy is
 * wanted; a timeout that lets it wait, which does not matter to who need not.  *timeout: borrowed. */
bool gzh_is_plain(PyObject *const *args, Py_ssize_t count, PyObject *names, Py_ssize_t before, int *flags,
                  PyObject **timeout);
/* Call that method in Python, with the same arguments. */
PyObject *gzh_in_python(PyObject *self, PyObject *which, PyObject *const *args, Py_ssize_t count,
                        PyObject *names);

/* Flags that C takes.  False: an exception is set. */
bool gzh_flags(PyObject *given, int *flags);

/* The methods, which base.c names; in base_receive.c and base_send.c. */
PyObject *gzh_base_recv(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *gzh_base_recv_multipart(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *gzh_base_send(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *gzh_base_send_multipart(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
/* _ask(flags): gzh_recv, as Python has what it says: bytes of one part, or a list of several; or a number:
 * above 0, the address of a gzh_message, which is the caller's now; below, a code.  A batch was shared. */
PyObject *gzh_base_ask(PyObject *self, PyObject *flags);
/* _begin_ask(got, flags, companion): the same with a companion, by its address.  What it brings is put into
 * the list `got`, as its first item, and the result is 0; else it is the code. */
PyObject *gzh_base_begin_ask(PyObject *self, PyObject *const *args, Py_ssize_t count);
/* _end_ask(got, flags, companion, give_up): so gzh_end. */
PyObject *gzh_base_end_ask(PyObject *self, PyObject *const *args, Py_ssize_t count);
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

#endif
