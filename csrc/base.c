/* The type SocketBase, and the module: see base.h. */
#include "base.h"

#include <limits.h>
#include <stddef.h>
#include <structmember.h>

gzh_names gzh_name;

static bool make_names(void)
{
#define MAKE(name, text)                                                                 \
    if (!(gzh_name.name = PyUnicode_InternFromString(text)))                             \
        return false;
    GZH_NAMES(MAKE)
#undef MAKE
    return true;
}

/* DONTWAIT and SNDMORE: all that there are. */
#define PLAIN_FLAGS 3

bool gzh_is_plain(PyObject *const *args, Py_ssize_t count, PyObject *names, Py_ssize_t before, int *flags,
                  PyObject **timeout, bool *in_place)
{
    PyObject *given = count > before ? args[before] : NULL;
    int overflow;
    *flags = 0;
    *timeout = Py_None;
    if (in_place)
        *in_place = false;
    if (count > before + 1)
        return false;
    for (Py_ssize_t i = 0; names && i < PyTuple_Size(names); i++) {
        PyObject *spelled = PyTuple_GetItem(names, i), *value = args[count + i];
        if (spelled == gzh_name.flags && !given)
            given = value;
        else if (spelled == gzh_name.timeout) {
            if (value != Py_None && !(PyFloat_CheckExact(value) && PyFloat_AsDouble(value) > 0) &&
                !(PyLong_CheckExact(value) && PyLong_AsLongAndOverflow(value, &overflow) > 0))
                return false;
            *timeout = value;
        } else if (spelled == gzh_name.copy && value == Py_False && in_place)
            *in_place = true;
        else if (spelled != gzh_name.copy || value != Py_True)
            return false;
    }
    if (given) {
        long value = PyLong_Check(given) ? PyLong_AsLongAndOverflow(given, &overflow) : -1;
        if (value < 0 || value > PLAIN_FLAGS)
            return false;
        *flags = (int)value;
    }
    return true;
}

bool gzh_flags(PyObject *given, int *flags)
{
    long value = PyLong_AsLong(given);
    if (value == -1 && PyErr_Occurred())
        return false;
    if (value < INT_MIN || value > INT_MAX) {
        PyErr_Format(PyExc_OverflowError, "flags: %ld has more bits than there are flags", value);
        return false;
    }
    *flags = (int)value;
    return true;
}

bool gzh_seconds(PyObject *given, double *seconds)
{
    *seconds = given == Py_None ? GZH_FOR_EVER : PyFloat_AsDouble(given);
    if (given != Py_None && !(*seconds > 0))
        *seconds = 0; /* a deadline that has passed */
    return !PyErr_Occurred();
}

PyObject *gzh_in_python(PyObject *self, PyObject *which, PyObject *const *args, Py_ssize_t count,
                        PyObject *names)
{
    PyObject *method = PyObject_GetAttr(self, which);
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

/* ---- the type ---- */

static int traverse(PyObject *object, visitproc visit, void *arg)
{
    gzh_base *self = (gzh_base *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->batch);
    Py_VISIT(self->ready);
    Py_VISIT(self->unread);
    Py_VISIT(self->unsent);
    return 0;
}

static int clear(PyObject *object)
{
    gzh_base *self = (gzh_base *)object;
    Py_CLEAR(self->batch);
    Py_CLEAR(self->ready);
    Py_CLEAR(self->unread);
    Py_CLEAR(self->unsent);
    return 0;
}

static void dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    gzh_base *self = (gzh_base *)object;
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
"when the last one is given, and all dropped if that fails. (A ROUTER or STREAM that says `Again`\n"
"keeps the others: the last one may be given again, or another message begun.) When `Again` is\n"
"raised nothing was sent, and never will be by itself.\n"
"Raises TypeError for what is no buffer. routing_id, group: for draft sockets.");

PyDoc_STRVAR(send_multipart_doc,
"send_multipart($self, /, msg_parts, flags=0, copy=True, track=False, timeout=None, **kwargs)\n--\n\n"
"Send a whole message: parts as `send` takes them. All of it is sent, or nothing.\n\n"
"Raises TypeError, which names the part, for what is no buffer, before any is sent.");

#define METHOD(name, function, flags, doc) \
    {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL | flags, doc}

static PyMethodDef methods[] = {
    METHOD("recv", gzh_base_recv, METH_KEYWORDS, receive_doc),
    METHOD("recv_multipart", gzh_base_recv_multipart, METH_KEYWORDS, receive_multipart_doc),
    METHOD("send", gzh_base_send, METH_KEYWORDS, send_doc),
    METHOD("send_multipart", gzh_base_send_multipart, METH_KEYWORDS, send_multipart_doc),
    METHOD("_send_several", gzh_base_send_several, 0, NULL),
    {"_have", gzh_base_have, METH_O, NULL},
    {"_add", gzh_base_add, METH_O, NULL},
    {"_ask", gzh_base_ask, METH_O, NULL},
    METHOD("_wait_for_message", gzh_base_wait_for_message, 0, NULL),
    {"_take_several", gzh_base_take_several, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"_batch", T_OBJECT_EX, offsetof(gzh_base, batch), READONLY, NULL},
    {"_ready", T_OBJECT_EX, offsetof(gzh_base, ready), 0, NULL},
    {"_unread", T_OBJECT_EX, offsetof(gzh_base, unread), 0, NULL},
    {"_unsent", T_OBJECT_EX, offsetof(gzh_base, unsent), 0, NULL},
    {"_c_address", T_ULONGLONG, offsetof(gzh_base, address), 0, NULL},
    {"_c_own", T_BOOL, offsetof(gzh_base, own), 0, NULL},
    {"_rcvtimeo", T_INT, offsetof(gzh_base, timeout), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_methods, methods}, {Py_tp_members, members}, {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},     {Py_tp_dealloc, dealloc}, {0, NULL},
};

static PyType_Spec spec = {
    .name = "gzmqhelper._native.SocketBase",
    .basicsize = sizeof(gzh_base),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

/* ---- the module ---- */

/* A cffi pointer that frees what it points to does so in the middle of a garbage collection: before
 * finalizers of users' that come later and may use it.  Out of the collector's sight it goes, as memory does,
 * when the last one that holds it is cleared, after all finalizers.  (What it holds itself must not lead
 * back to it, but from a module that stays.) */
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
    {"waits_as", gzh_base_waits_as, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* The glue's own, under another name: see CMakeLists.txt. */
PyObject *gzh_init_glue(void);

PyMODINIT_FUNC PyInit__native(void)
{
    if (!make_names())
        return NULL;
    PyObject *module = gzh_init_glue();
    PyObject *type = module ? PyType_FromSpec(&spec) : NULL;
    if (!type || PyObject_SetAttrString(module, "SocketBase", type) == -1 ||
        !gzh_add_wait_types(module) || PyModule_AddFunctions(module, functions) == -1)
        Py_CLEAR(module);
    Py_XDECREF(type);
    return module;
}
