/* DESIGN.  The one room that knows Python's objects: SocketBase, of which Socket is a subclass.
 *
 * cffi hands numbers and memory to C, not objects.  A function in Python that looks whether a message is
 * here already costs as much as to receive one, and to lay a list of bytes out for C costs twice what
 * libzmq needs to send it.  So here are the calls that a busy program makes without end.
 *
 * Each of them does what nearly all of its calls need, or nothing: what it cannot do at once, has to
 * explain or has to wait for it leaves to the method in Python of the same name with a _ before it, which
 * can do all of it.  Nothing here waits, and no signal handler runs between two lines. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <limits.h>
#include <stddef.h>

#include "socket.h"

/* So many messages, and about so many bytes, in one call: between two calls the slice of time is looked at. */
#define SEVERAL 500
#define SEVERAL_BYTES (1 << 18)
#define SEVERAL_PARTS 1024

typedef struct {
    PyObject_HEAD
    PyObject *ready;   /* an iterator: what is received next: bytes, a list of several, or False for a mark */
    PyObject *partial; /* a set: who is in the middle of a message */
    unsigned long long address; /* the gzh_socket's, or 0 */
    char own; /* whether that goes with this */
} base;

static PyObject *name_flags, *name_copy, *name_timeout, *name_heed_mark, *name_first_of;

static gzh_socket *socket_of(const base *self)
{
    return (gzh_socket *)(uintptr_t)self->address;
}

/* No greenlet is in the middle of a message. */
static bool is_whole(const base *self)
{
    return self->partial && PySet_Size(self->partial) == 0;
}

/* Whether a call can be tried here, by what is given behind its first `before` arguments: flags; a copy is
 * wanted; a timeout that lets it wait, which does not matter to who need not. */
static bool is_plain(PyObject *const *args, Py_ssize_t count, PyObject *names, Py_ssize_t before, int *flags)
{
    PyObject *given = count > before ? args[before] : NULL;
    int overflow;
    *flags = 0;
    if (count > before + 1)
        return false;
    for (Py_ssize_t i = 0; names && i < PyTuple_Size(names); i++) {
        PyObject *name = PyTuple_GetItem(names, i), *value = args[count + i];
        if (name == name_flags && !given)
            given = value;
        else if (name == name_timeout) {
            if (value != Py_None && !(PyFloat_CheckExact(value) && PyFloat_AsDouble(value) > 0) &&
                !(PyLong_CheckExact(value) && PyLong_AsLongAndOverflow(value, &overflow) > 0))
                return false;
        } else if (name != name_copy || value != Py_True)
            return false;
    }
    if (given) {
        long value = PyLong_Check(given) ? PyLong_AsLongAndOverflow(given, &overflow) : -1;
        if (value < 0 || value > INT_MAX)
            return false;
        *flags = (int)value;
    }
    return true;
}

/* The method in Python, with the same arguments. */
static PyObject *in_python(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t count,
                           PyObject *names)
{
    PyObject *method = PyObject_GetAttrString(self, name);
    if (!method)
        return NULL;
    PyObject *result = NULL, *named = NULL, *given = PyTuple_New(count);
    if (!given)
        goto end;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_INCREF(args[i]);
        PyTuple_SetItem(given, i, args[i]);
    }
    if (names) {
        if (!(named = PyDict_New()))
            goto end;
        for (Py_ssize_t i = 0; i < PyTuple_Size(names); i++)
            if (PyDict_SetItem(named, PyTuple_GetItem(names, i), args[count + i]) == -1)
                goto end;
    }
    result = PyObject_Call(method, given, named);
end:
    Py_XDECREF(named);
    Py_XDECREF(given);
    Py_DECREF(method);
    return result;
}

/* A message that came before it was asked for; NULL without an error: there is none, or other greenlets were
 * let run and all may have changed. */
static PyObject *take_ready(base *self, int flags)
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
        PyObject *given = PyLong_FromLong(flags);
        PyObject *yielded =
            given ? PyObject_CallMethodObjArgs((PyObject *)self, name_heed_mark, given, NULL) : NULL;
        Py_XDECREF(given);
        if (!yielded)
            return NULL;
        bool all_may_have_changed = yielded == Py_True;
        Py_DECREF(yielded);
        if (all_may_have_changed)
            return NULL;
    }
}

static PyObject *receive(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    base *self = (base *)object;
    int flags;
    if (self->ready && is_whole(self) && is_plain(args, count, names, 0, &flags)) {
        PyObject *message = take_ready(self, flags);
        if (message && PyBytes_CheckExact(message))
            return message;
        if (message) {
            PyObject *part = PyObject_CallMethodObjArgs(object, name_first_of, message, NULL);
            Py_DECREF(message);
            return part;
        }
        if (PyErr_Occurred())
            return NULL;
    }
    return in_python(object, "_recv", args, count, names);
}

static PyObject *receive_multipart(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    base *self = (base *)object;
    int flags;
    if (self->ready && is_whole(self) && is_plain(args, count, names, 0, &flags)) {
        PyObject *message = take_ready(self, flags);
        if (message && PyBytes_CheckExact(message)) {
            PyObject *parts = PyList_New(1);
            if (!parts)
                Py_DECREF(message);
            else
                PyList_SetItem(parts, 0, message);
            return parts;
        }
        if (message || PyErr_Occurred())
            return message;
    }
    return in_python(object, "_recv_multipart", args, count, names);
}

/* ---- sending ---- */

/* What of messages lies where.  The parts are held, for the list that they come from may be changed as soon
 * as other threads run. */
typedef struct {
    PyObject *held[SEVERAL_PARTS];
    const void *data[SEVERAL_PARTS];
    size_t size[SEVERAL_PARTS];
    int parts;
    size_t bytes;
} gathered;

static void begin(gathered *g)
{
    g->parts = 0; /* all else is filled in as far as it is used: the whole is large */
    g->bytes = 0;
}

static bool gather_part(gathered *g, PyObject *part)
{
    if (!PyBytes_CheckExact(part) || g->parts == SEVERAL_PARTS)
        return false;
    Py_INCREF(part);
    g->held[g->parts] = part;
    g->data[g->parts] = PyBytes_AsString(part);
    g->size[g->parts] = (size_t)PyBytes_Size(part);
    g->bytes += g->size[g->parts++];
    return true;
}

static void let_go(gathered *g, int parts)
{
    while (g->parts > parts)
        Py_DECREF(g->held[--g->parts]);
}

/* A list or tuple of bytes.  How many they are; 0, and nothing was gathered: it is not for us. */
static int gather_parts(gathered *g, PyObject *message)
{
    int before = g->parts;
    bool is_list = PyList_CheckExact(message);
    if (!is_list && !PyTuple_CheckExact(message))
        return 0;
    Py_ssize_t count = is_list ? PyList_Size(message) : PyTuple_Size(message);
    for (Py_ssize_t i = 0; i < count; i++)
        if (!gather_part(g, is_list ? PyList_GetItem(message, i) : PyTuple_GetItem(message, i))) {
            let_go(g, before);
            return 0;
        }
    return (int)count;
}

static PyObject *send(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    base *self = (base *)object;
    int flags;
    if (count > 0 && PyBytes_CheckExact(args[0]) && self->address && is_whole(self) &&
        is_plain(args, count, names, 1, &flags)) {
        const char *data = PyBytes_AsString(args[0]);
        size_t size = (size_t)PyBytes_Size(args[0]);
        int rc;
        Py_BEGIN_ALLOW_THREADS
        rc = gzh_send(socket_of(self), data, size, flags);
        Py_END_ALLOW_THREADS
        if (rc == 0)
            Py_RETURN_NONE;
    }
    return in_python(object, "_send", args, count, names);
}

static PyObject *send_multipart(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    base *self = (base *)object;
    gathered g;
    int flags;
    begin(&g);
    if (count > 0 && self->address && is_whole(self) && is_plain(args, count, names, 1, &flags) &&
        gather_parts(&g, args[0])) {
        int rc;
        Py_BEGIN_ALLOW_THREADS
        rc = gzh_send_parts(socket_of(self), g.data, g.size, g.parts, flags);
        Py_END_ALLOW_THREADS
        let_go(&g, 0);
        if (rc == 0)
            Py_RETURN_NONE;
    }
    return in_python(object, "_send_multipart", args, count, names);
}

/* _send_several(messages, begin, flags): what gzh_send_many says of the messages of a list from that index
 * on, as far as they are made of bytes; 0 where the first is not. */
static PyObject *send_several(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    base *self = (base *)object;
    gathered g;
    int counts[SEVERAL], messages = 0, rc = 0;
    begin(&g);
    if (count != 3 || !PyList_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "_send_several takes a list, an index and flags");
        return NULL;
    }
    Py_ssize_t next = PyLong_AsSsize_t(args[1]);
    int flags = (int)PyLong_AsLong(args[2]);
    if (PyErr_Occurred())
        return NULL;
    while (messages < SEVERAL && g.bytes < SEVERAL_BYTES && next < PyList_Size(args[0])) {
        PyObject *message = PyList_GetItem(args[0], next++);
        int parts = gather_part(&g, message) ? 1 : gather_parts(&g, message);
        if (parts == 0)
            break;
        counts[messages++] = parts;
    }
    if (messages > 0 && self->address) {
        Py_BEGIN_ALLOW_THREADS
        rc = gzh_send_many(socket_of(self), g.data, g.size, counts, messages, flags);
        Py_END_ALLOW_THREADS
    }
    let_go(&g, 0);
    return PyLong_FromLong(rc);
}

/* ---- the type ---- */

static int traverse(PyObject *object, visitproc visit, void *arg)
{
    base *self = (base *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->ready);
    Py_VISIT(self->partial);
    return 0;
}

static int clear(PyObject *object)
{
    base *self = (base *)object;
    Py_CLEAR(self->ready);
    Py_CLEAR(self->partial);
    return 0;
}

static void dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    base *self = (base *)object;
    PyObject_GC_UnTrack(object);
    clear(object);
    if (self->own && self->address)
        gzh_socket_drop(socket_of(self));
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(receive_doc, "recv($self, /, flags=0, copy=True, track=False, timeout=None)\n--\n\n"
"Receive one part (zmq_msg_recv): bytes, copied, or with ``copy=False`` a `Frame`.\n\n"
"After the first part of a message the others are this greenlet's to receive (see ``RCVMORE``,\n"
"or ``Frame.more``); other greenlets receive other messages meanwhile. In a flood that was received\n"
"as bytes, the first Frames may have no properties (`Frame.get`): up to 255, which had come before.");

PyDoc_STRVAR(receive_multipart_doc,
"recv_multipart($self, /, flags=0, copy=True, track=False, timeout=None)\n--\n\n"
"Receive a whole message: the list of its parts, as `recv` gives each.\n\n"
"In the middle of a message that this greenlet receives part by part: the rest of that.");

PyDoc_STRVAR(send_doc,
"send($self, /, data, flags=0, copy=True, track=False, routing_id=None, group=None, timeout=None)\n--\n\n"
"Send one part (zmq_msg_send).\n\n"
"data: a `Frame` or any buffer; copied, or with ``copy=False`` read in place by libzmq if it\n"
"has at least ``copy_threshold`` bytes: it must not change until then, and ``track=True``\n"
"returns the `MessageTracker` that tells. ``SNDMORE``: more parts follow; they are sent as one\n"
"when the last one is given, and all dropped if that fails. When `Again` is raised nothing was\n"
"sent, and never will be.\n"
"Raises TypeError for what is no buffer. routing_id, group: for draft sockets.");

PyDoc_STRVAR(send_multipart_doc,
"send_multipart($self, /, msg_parts, flags=0, copy=True, track=False, timeout=None, **kwargs)\n--\n\n"
"Send a whole message: parts as `send` takes them. All of it is sent, or nothing.\n\n"
"Raises TypeError, which names the part, for what is no buffer, before any is sent.");

#define METHOD(name, function, flags, doc) \
    {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL | flags, doc}

static PyMethodDef methods[] = {
    METHOD("recv", receive, METH_KEYWORDS, receive_doc),
    METHOD("recv_multipart", receive_multipart, METH_KEYWORDS, receive_multipart_doc),
    METHOD("send", send, METH_KEYWORDS, send_doc),
    METHOD("send_multipart", send_multipart, METH_KEYWORDS, send_multipart_doc),
    METHOD("_send_several", send_several, 0, NULL),
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"_ready", T_OBJECT_EX, offsetof(base, ready), 0, NULL},
    {"_partial", T_OBJECT_EX, offsetof(base, partial), 0, NULL},
    {"_address", T_ULONGLONG, offsetof(base, address), 0, NULL},
    {"_own", T_BOOL, offsetof(base, own), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_methods, methods}, {Py_tp_members, members}, {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},     {Py_tp_dealloc, dealloc}, {0, NULL},
};

static PyType_Spec spec = {
    .name = "gzmqhelper._native.SocketBase",
    .basicsize = sizeof(base),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

/* ---- the module ---- */

/* A cffi pointer that frees what it points to is finalized, and so frees, in the middle of a garbage collection:
 * before finalizers of users' that come later and may use it.  Out of the collector's sight it goes, as
 * memory does, when the last one that holds it is cleared, after all finalizers.  What it holds itself must
 * not lead back to it. */
static PyObject *untracked(PyObject *module, PyObject *object)
{
    (void)module;
    if (PyObject_GC_IsTracked(object))
        PyObject_GC_UnTrack(object);
    Py_INCREF(object);
    return object;
}

static PyMethodDef functions[] = {
    {"untracked", untracked, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* The glue's own, under another name: see CMakeLists.txt. */
PyObject *gzh_init_glue(void);

PyMODINIT_FUNC PyInit__native(void)
{
    name_flags = PyUnicode_InternFromString("flags");
    name_heed_mark = PyUnicode_InternFromString("_heed_mark");
    name_first_of = PyUnicode_InternFromString("_first_of");
    name_copy = PyUnicode_InternFromString("copy");
    name_timeout = PyUnicode_InternFromString("timeout");
    if (!name_flags || !name_copy || !name_timeout || !name_heed_mark || !name_first_of)
        return NULL;
    PyObject *module = gzh_init_glue();
    PyObject *type = module ? PyType_FromSpec(&spec) : NULL;
    if (!type || PyObject_SetAttrString(module, "SocketBase", type) == -1 ||
        PyModule_AddFunctions(module, functions) == -1)
        Py_CLEAR(module);
    Py_XDECREF(type);
    return module;
}
