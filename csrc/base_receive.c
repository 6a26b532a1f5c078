/* DESIGN.  Receiving: what base.h says.  What the C core brings is put into a slot, which no call keeps, and
 * is made objects of with Python's lock held: nobody sees a batch that is half here. */
#include "base.h"

#include <errno.h>
#include <stdlib.h>

/* Behind so many messages of a batch there is a mark: see Batches in _batches.py. */
#define MARK_EVERY 8

/* Slots that no call uses at this moment.  Python's lock guards them. */
#define SPARES 8
static gzh_slot *spare[SPARES];
static int spares;

static gzh_slot *take_slot(void)
{
    gzh_slot *slot = spares > 0 ? spare[--spares] : malloc(sizeof *slot);
    if (!slot)
        PyErr_NoMemory();
    return slot;
}

static void return_slot(gzh_slot *slot)
{
    if (spares < SPARES)
        spare[spares++] = slot;
    else
        free(slot);
}

/* What lies at *from, from this part of the slot on: bytes, or a list of several. */
static PyObject *message_in(const gzh_slot *slot, const char **from, int part, int parts)
{
    if (parts == 1) {
        PyObject *data = PyBytes_FromStringAndSize(*from, slot->size[part]);
        *from += slot->size[part];
        return data;
    }
    PyObject *message = PyList_New(parts);
    for (int i = 0; message && i < parts; i++) {
        PyObject *data = message_in(slot, from, part + i, 1);
        if (data)
            PyList_SetItem(message, i, data);
        else
            Py_CLEAR(message);
    }
    return message;
}

/* Append those of a GZH_SEVERAL to a list. */
static bool append_messages(PyObject *messages, const gzh_slot *slot, bool marks)
{
    const char *from = slot->data;
    for (int i = 0; i < slot->several; i++) {
        if (marks && i > 0 && i % MARK_EVERY == 0 && PyList_Append(messages, Py_False) == -1)
            return false;
        PyObject *message = message_in(slot, &from, i * slot->each, slot->each);
        bool appended = message && PyList_Append(messages, message) == 0;
        Py_XDECREF(message);
        if (!appended)
            return false;
    }
    return true;
}

static void now_has(gzh_base *self, PyObject *batch)
{
    PyObject *before = self->batch, *ready_before = self->ready;
    Py_INCREF(batch);
    Py_INCREF(batch);
    self->batch = self->ready = batch;
    Py_XDECREF(before);
    Py_XDECREF(ready_before);
}

PyObject *gzh_base_have(PyObject *object, PyObject *messages)
{
    PyObject *batch = PyObject_GetIter(messages);
    if (!batch)
        return NULL;
    now_has((gzh_base *)object, batch);
    Py_DECREF(batch);
    Py_RETURN_NONE;
}

/* What is left in an iterator over a list goes to the end of another list. */
static bool move_to(PyObject *list, PyObject *iterator)
{
    PyObject *message;
    while ((message = PyIter_Next(iterator))) {
        bool appended = PyList_Append(list, message) == 0;
        Py_DECREF(message);
        if (!appended)
            return false;
    }
    return !PyErr_Occurred();
}

/* Messages in front of what has been left, of which `first` was taken already. */
static bool join(gzh_base *self, PyObject *batch, PyObject *first, PyObject *left)
{
    PyObject *list = PyList_New(0), *both = list ? PyObject_GetIter(list) : NULL;
    bool ok = false;
    if (both) {
        /* From here on no object is made, so that nobody comes between; somebody may have just now. */
        PyObject *newer = self->batch == left ? NULL : self->batch;
        ok = move_to(list, batch) && PyList_Append(list, first) == 0 && move_to(list, left) &&
             (!newer || move_to(list, newer));
        now_has(self, both);
    }
    Py_XDECREF(list);
    Py_XDECREF(both);
    return ok;
}

PyObject *gzh_base_add(PyObject *object, PyObject *batch)
{
    gzh_base *self = (gzh_base *)object;
    PyObject *left = self->batch, *first = NULL;
    bool ok = true;
    if (!left || left == batch || !(first = PyIter_Next(left))) {
        if (left != batch)
            now_has(self, batch);
    } else {
        /* A signal handler, or a finalizer, has received meanwhile, and left something. */
        Py_INCREF(left);
        ok = join(self, batch, first, left);
        Py_DECREF(left);
        Py_DECREF(first);
    }
    return ok ? Py_NewRef(Py_None) : NULL;
}

/* Have a batch put where all receivers look.  Where Ctrl-C comes between, it is said again: to do it twice is
 * safe, and the exception goes on afterwards. */
static bool share(gzh_base *self, const gzh_slot *slot)
{
    PyObject *messages = PyList_New(0), *batch = NULL, *shared = NULL;
    if (messages && append_messages(messages, slot, true))
        batch = PyObject_GetIter(messages);
    if (batch)
        shared = PyObject_CallMethodObjArgs((PyObject *)self, gzh_name.share, batch, Py_True, NULL);
    else
        gzh_socket_put_back(socket_of(self), NULL, 0); /* no memory: nobody is to wait */
    if (batch && !shared) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyObject *again = PyObject_CallMethodObjArgs((PyObject *)self, gzh_name.share, batch, Py_False, NULL);
        Py_XDECREF(again);
        PyErr_Restore(type, value, traceback);
    }
    bool ok = shared != NULL;
    Py_XDECREF(messages);
    Py_XDECREF(batch);
    Py_XDECREF(shared);
    return ok;
}

/* What gzh_recv and gzh_end say, as gzh_base_ask has it. */
static PyObject *found(const gzh_slot *slot, int rc)
{
    const char *from = slot->data;
    return rc == GZH_WHOLE               ? PyLong_FromVoidPtr(slot->whole)
           : rc >= 0 || rc == GZH_PARTS  ? message_in(slot, &from, 0, slot->parts)
                                         : PyLong_FromLong(rc);
}

static bool is_made(const gzh_base *self)
{
    if (!self->address)
        PyErr_SetString(PyExc_TypeError, "a Socket whose __init__ was not called");
    return self->address != 0;
}

PyObject *gzh_ask(gzh_base *self, gzh_companion *companion, int flags)
{
    gzh_slot *slot = take_slot();
    if (!slot)
        return NULL;
    int rc;
    Py_BEGIN_ALLOW_THREADS
    rc = gzh_recv(socket_of(self), companion, slot, flags);
    Py_END_ALLOW_THREADS
    if (rc == GZH_WAIT || rc == -EAGAIN)
        self->timeout = slot->timeout;
    PyObject *got = rc == GZH_SEVERAL && !share(self, slot) ? NULL : found(slot, rc);
    return_slot(slot);
    return got;
}

PyObject *gzh_base_ask(PyObject *object, PyObject *flags)
{
    int value;
    bool ok = gzh_flags(flags, &value) && is_made((gzh_base *)object);
    return ok ? gzh_ask((gzh_base *)object, NULL, value) : NULL;
}

bool gzh_is_code(PyObject *got, int code)
{
    int overflow;
    return PyLong_CheckExact(got) && PyLong_AsLongAndOverflow(got, &overflow) == code && !overflow;
}

PyObject *gzh_end_of(gzh_companion *companion, int flags, bool give_up)
{
    gzh_slot *slot = take_slot();
    if (!slot)
        return NULL;
    int rc;
    Py_BEGIN_ALLOW_THREADS
    rc = gzh_end(companion, slot, flags, give_up);
    Py_END_ALLOW_THREADS
    PyObject *got = found(slot, rc);
    return_slot(slot);
    return got;
}

PyObject *gzh_base_take_several(PyObject *self, PyObject *args)
{
    PyObject *messages;
    int most, flags, rc;
    if (!is_made((gzh_base *)self) || !PyArg_ParseTuple(args, "O!ii", &PyList_Type, &messages, &most, &flags))
        return NULL;
    gzh_slot *slot = take_slot();
    if (!slot)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = gzh_recv_many(socket_of((gzh_base *)self), slot, flags, most);
    Py_END_ALLOW_THREADS
    if (rc >= 0 || rc == GZH_PARTS) {
        slot->several = 1;
        slot->each = slot->parts;
        rc = GZH_SEVERAL;
    }
    PyObject *got = rc == GZH_SEVERAL && !append_messages(messages, slot, false) ? NULL : found(slot, rc);
    return_slot(slot);
    return got;
}

/* A message that came before it was asked for; NULL without an error: there is none. */
static PyObject *take_ready(gzh_base *self, int flags)
{
    for (;;) {
        PyObject *ready = self->ready; /* a garbage collection may have it replaced */
        Py_INCREF(ready);
        PyObject *message = PyIter_Next(ready);
        Py_DECREF(ready);
        if (message != Py_False)
            return message;
        Py_DECREF(message);
        if (!gzh_slice_is_over())
            continue;
        PyObject *given = PyLong_FromLong(flags), *yielded = NULL;
        if (given)
            yielded = PyObject_CallMethodObjArgs((PyObject *)self, gzh_name.heed_mark, given, NULL);
        Py_XDECREF(given);
        if (!yielded)
            return NULL;
        Py_DECREF(yielded);
    }
}

/* A signal that came meanwhile is handled here, where the message can still be left to the next receive, and
 * not behind the call, where it would be lost. */
static PyObject *unless_interrupted(PyObject *object, PyObject *message)
{
    if (PyErr_CheckSignals() == 0)
        return message;
    PyObject *type, *value, *traceback, *messages = NULL, *back = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    if ((messages = PyList_New(0)) && PyList_Append(messages, message) == 0)
        back = PyObject_CallMethodObjArgs(object, gzh_name.put_back, messages, NULL);
    Py_XDECREF(back);
    Py_XDECREF(messages);
    Py_DECREF(message);
    PyErr_Restore(type, value, traceback); /* whatever putting it back may have said */
    return NULL;
}

PyObject *gzh_base_wait_for_message(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    int flags;
    double seconds;
    if (count != 2)
        return PyErr_BadArgument(), NULL;
    if (!is_made((gzh_base *)object) || !gzh_flags(args[0], &flags) || !gzh_seconds(args[1], &seconds))
        return NULL;
    PyObject *got = gzh_wait((gzh_base *)object, flags, seconds, gzh_name.recv_on);
    return !got || PyLong_CheckExact(got) ? got : unless_interrupted(object, got);
}

/* What comes in place of a GZH_WAIT; it itself, if it is for Python to wait: there it is known until when, if one
 * wait is not all, and what to do on the hub. */
static PyObject *waited_for(gzh_base *self, int flags, PyObject *wait, PyObject *call)
{
    PyObject *got = self->timeout < 0 ? gzh_linger_or_wait(self, flags, call) : NULL;
    if (!got && !PyErr_Occurred())
        return wait;
    Py_DECREF(wait);
    return got;
}

/* A message.  Or, *is_result, what one of two methods in Python returns: the one that can do all of it, with
 * the same arguments, or the one that goes on from what _ask has said. */
static PyObject *receive_any(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names,
                             PyObject *otherwise, PyObject *go_on, bool *is_result)
{
    gzh_base *self = (gzh_base *)object;
    PyObject *timeout, *got;
    int flags;
    *is_result = true;
    got = NULL;
    if (!self->ready || !self->address || !is_empty(self->unread) ||
        !gzh_is_plain(args, count, names, 0, &flags, &timeout, NULL))
        return gzh_in_python(object, otherwise, args, count, names);
    do {
        Py_CLEAR(got);
        got = take_ready(self, flags);
        if (!got && !PyErr_Occurred())
            got = gzh_ask(self, NULL, flags);
        if (got && timeout == Py_None && gzh_is_code(got, GZH_WAIT))
            got = waited_for(self, flags, got, go_on);
        if (!got)
            return NULL;
        if (!PyLong_CheckExact(got)) {
            *is_result = false;
            return got;
        }
    } while (gzh_is_code(got, GZH_SEVERAL));
    PyObject *given = PyLong_FromLong(flags), *result = NULL;
    if (given)
        result = PyObject_CallMethodObjArgs(object, go_on, got, given, timeout, NULL);
    Py_XDECREF(given);
    Py_DECREF(got);
    return result;
}

PyObject *gzh_base_recv(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    bool is_result;
    PyObject *message = receive_any(object, args, count, names, gzh_name.recv, gzh_name.recv_on, &is_result);
    if (message && !is_result)
        message = unless_interrupted(object, message);
    if (!message || is_result || PyBytes_CheckExact(message))
        return message;
    PyObject *first = PyObject_CallMethodObjArgs(object, gzh_name.first_of, message, NULL);
    Py_DECREF(message);
    return first;
}

PyObject *gzh_base_recv_multipart(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    bool is_result;
    PyObject *message = receive_any(object, args, count, names, gzh_name.recv_multipart,
                                    gzh_name.recv_multipart_on, &is_result);
    if (!message || is_result)
        return message;
    if (PyBytes_CheckExact(message)) {
        PyObject *parts = PyList_New(1); /* first, as a garbage collection may take long */
        if (!parts) {
            Py_DECREF(message);
            return NULL;
        }
        PyList_SetItem(parts, 0, message);
        message = parts;
    }
    return unless_interrupted(object, message);
}
