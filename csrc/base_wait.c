/* DESIGN.  Waiting: what base.h says.
 *
 * HelperBase and TurnsBase are what Helper and _Turns (gzmqhelper/_helper.py) are made of: the fields that a
 * wait touches, and what must not be interrupted.  Ctrl-C comes between any two lines of Python, and gevent
 * stops a watcher whose callback fails: so the callbacks of _Turns are here, where it comes nowhere.
 *
 * gzh_wait is _helper.wait once more, for a receive, of which a busy program makes one in each request: in Python
 * it was a fifth of what the hub's thread spent on that.  (A receive is simpler: its request is never inside a
 * call that cannot be left.) */
#include "base.h"

#include <stddef.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    long waiting; /* how many greenlets of the thread wait in this library */
    char turned;  /* the hub has looked at its descriptors since the last slice began */
} turns_base;

typedef struct {
    PyObject_HEAD
    PyObject *companion;        /* cffi's pointer, or None */
    PyObject *descriptor;       /* of the companion, an int: what to wait on */
    unsigned long long address; /* and where it is; 0: neither was asked for yet */
    PyObject *turns;
    PyObject *waits_for; /* a wait that is made here: (socket, the name of the call); report() reads it */
    char busy, may_wait;
} helper_base;

/* In seconds: longer than any wait. */
#define A_LIFETIME 1e9

/* _helper.py, of which getcurrent is kept. */
static PyObject *python, *current_greenlet;
static PyTypeObject *helper_type, *turns_type;

/* ---- the wait ---- */

/* The helper of the greenlet that runs, which may be a new one. */
static helper_base *helper_here(void)
{
    PyObject *greenlet = PyObject_CallNoArgs(current_greenlet), *helper = NULL;
    if (greenlet) {
        helper = PyObject_GetAttr(greenlet, gzh_name.own_helper);
        Py_DECREF(greenlet);
    }
    if (!helper && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        helper = PyObject_CallMethodObjArgs(python, gzh_name.current, NULL);
    }
    if (helper && !PyObject_TypeCheck(helper, helper_type)) {
        PyErr_SetString(PyExc_TypeError, "an attribute _gzmqhelper of a greenlet, which is no Helper");
        Py_CLEAR(helper);
    }
    return (helper_base *)helper;
}

static long waiting_with(const helper_base *helper)
{
    bool made = helper->turns && PyObject_TypeCheck(helper->turns, turns_type);
    return made ? ((turns_base *)helper->turns)->waiting : 0;
}

/* How long a wait may take. */
typedef struct {
    uint64_t end;      /* on gzh_now_ns's clock */
    PyObject *expired; /* what is raised then; NULL: it never ends */
} patience;

static bool be_patient(patience *p, double seconds)
{
    *p = (patience){0};
    if (seconds == GZH_FOR_EVER)
        return true;
    p->end = gzh_now_ns() + (uint64_t)((seconds < A_LIFETIME ? seconds : A_LIFETIME) * 1e9);
    p->expired = PyObject_CallMethodObjArgs(python, gzh_name.expired, NULL);
    return p->expired != NULL;
}

static PyObject *seconds_left(const patience *p)
{
    uint64_t now = gzh_now_ns();
    double seconds = now < p->end ? (double)(p->end - now) / 1e9 : 0;
    /* (libuv counts in milliseconds, and gevent warns of less.) */
    return PyFloat_FromDouble(seconds > 0.001 ? seconds : 0.001);
}

/* Whether that is what was raised: then it is nobody else's business. */
static bool has_expired(const patience *p)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (!p->expired || value != p->expired) {
        PyErr_Restore(type, value, traceback);
        return false;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return true;
}

static void end_patience(patience *p)
{
    /* It knows the frames of this greenlet, and the hub still knows it: a socket that is dropped now would not
     * go yet. */
    if (p->expired)
        PyException_SetTraceback(p->expired, Py_None);
    Py_CLEAR(p->expired);
}

/* gevent's wait_read.  *expired: the time has passed. */
static bool wait_read(PyObject *descriptor, const patience *p, bool *expired)
{
    PyObject *function = PyObject_GetAttr(python, gzh_name.wait_read), *seconds = NULL, *woken = NULL;
    if (function && (!p->expired || (seconds = seconds_left(p))))
        woken = PyObject_CallFunctionObjArgs(function, descriptor, seconds, p->expired, NULL);
    *expired = !woken && has_expired(p);
    Py_XDECREF(woken);
    Py_XDECREF(seconds);
    Py_XDECREF(function);
    return woken || *expired;
}

/* An exception from outside ended the wait: take the request back. */
static void take_back(gzh_companion *companion)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_BEGIN_ALLOW_THREADS
    gzh_companion_cancel(companion);
    Py_END_ALLOW_THREADS
    PyErr_Restore(type, value, traceback);
}

static PyObject *wait_with(helper_base *helper, gzh_base *self, int flags, const patience *p)
{
    gzh_companion *companion = (gzh_companion *)(uintptr_t)helper->address;
    PyObject *descriptor = Py_NewRef(helper->descriptor);
    PyObject *got = gzh_ask(self, companion, flags);
    bool expired = false;
    while (got && gzh_is_code(got, GZH_WAIT)) {
        Py_DECREF(got);
        got = wait_read(descriptor, p, &expired) ? gzh_end_of(companion, flags, expired) : NULL;
    }
    if (!got)
        take_back(companion);
    Py_DECREF(descriptor);
    return got;
}

static bool start(helper_base *helper)
{
    PyObject *started = PyObject_CallMethodObjArgs((PyObject *)helper, gzh_name.start_here, NULL);
    Py_XDECREF(started);
    return started != NULL;
}

static PyObject *wait_as(helper_base *helper, gzh_base *self, int flags, double seconds, PyObject *call)
{
    PyObject *got = NULL, *turns = Py_NewRef(helper->turns); /* a fork gives the helper others */
    patience p;
    helper->busy = true; /* from here on a signal handler that waits takes another */
    ((turns_base *)turns)->waiting++;
    if ((helper->address || start(helper)) && be_patient(&p, seconds)) {
        if ((helper->waits_for = PyTuple_Pack(2, (PyObject *)self, call)))
            got = wait_with(helper, self, flags, &p);
        Py_CLEAR(helper->waits_for);
        end_patience(&p);
    }
    ((turns_base *)turns)->waiting--;
    helper->busy = false;
    Py_DECREF(turns);
    return got;
}

static PyObject *wait(helper_base *helper, gzh_base *self, int flags, double seconds, PyObject *call)
{
    if (!helper->may_wait)
        return PyObject_CallMethodObjArgs(python, gzh_name.may_not_wait, NULL);
    if (helper->busy) { /* a signal handler's, or a finalizer's */
        PyObject *other = PyObject_CallMethodObjArgs(python, gzh_name.Helper, NULL);
        PyObject *got = other ? wait_as((helper_base *)other, self, flags, seconds, call) : NULL;
        Py_XDECREF(other);
        return got;
    }
    PyObject *got = wait_as(helper, self, flags, seconds, call);
    if (got && gzh_is_code(got, GZH_BUSY)) { /* it is a parent process's: the helper gets another */
        Py_DECREF(got);
        PyObject *closed = PyObject_CallMethodObjArgs((PyObject *)helper, gzh_name.close, NULL);
        got = closed ? wait_as(helper, self, flags, seconds, call) : NULL;
        Py_XDECREF(closed);
    }
    return got;
}

PyObject *gzh_wait(gzh_base *self, int flags, double seconds, PyObject *call, bool with_others)
{
    helper_base *helper = helper_here();
    PyObject *got = NULL;
    if (helper && (!with_others || waiting_with(helper) > 0))
        got = wait(helper, self, flags, seconds, call);
    Py_XDECREF(helper);
    return got;
}

/* ---- TurnsBase ---- */

/* A watcher's callback: the hub has looked. */
static PyObject *mark(PyObject *object, PyObject *unused)
{
    (void)unused;
    ((turns_base *)object)->turned = true;
    PyObject *check = PyObject_GetAttr(object, gzh_name.check), *stopped = NULL;
    if (check)
        stopped = PyObject_CallMethodObjArgs(check, gzh_name.stop, NULL);
    Py_XDECREF(check);
    return stopped;
}

/* A watcher's callback: let those in the line run, each in its turn, for so many nanoseconds. */
static PyObject *go_on(PyObject *object, PyObject *nanoseconds)
{
    uint64_t end = gzh_now_ns() + PyLong_AsUnsignedLongLong(nanoseconds);
    PyObject *line = PyObject_GetAttr(object, gzh_name.line), *io = NULL, *stopped = NULL;
    Py_ssize_t left = -1;
    while (line && (left = PyObject_Size(line)) > 0 && gzh_now_ns() < end) {
        PyObject *waiter = PyObject_CallMethodObjArgs(line, gzh_name.popleft, NULL), *ran = NULL;
        if (waiter)
            ran = PyObject_CallMethodObjArgs(waiter, gzh_name.switch_to, Py_None, NULL);
        Py_XDECREF(waiter);
        Py_XDECREF(ran);
        if (!ran)
            break;
    }
    if (!PyErr_Occurred() && left == 0 && (io = PyObject_GetAttr(object, gzh_name.io)))
        stopped = PyObject_CallMethodObjArgs(io, gzh_name.stop, NULL);
    bool failed = PyErr_Occurred() != NULL;
    Py_XDECREF(stopped);
    Py_XDECREF(io);
    Py_XDECREF(line);
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef turns_methods[] = {
    {"_mark", mark, METH_NOARGS, NULL},
    {"_go_on", go_on, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef turns_members[] = {
    {"waiting", T_LONG, offsetof(turns_base, waiting), 0, NULL},
    {"turned", T_BOOL, offsetof(turns_base, turned), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot turns_slots[] = {
    {Py_tp_methods, turns_methods},
    {Py_tp_members, turns_members},
    {0, NULL},
};

static PyType_Spec turns_spec = {
    .name = "gzmqhelper._native.TurnsBase",
    .basicsize = sizeof(turns_base),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = turns_slots,
};

/* ---- HelperBase ---- */

static int traverse(PyObject *object, visitproc visit, void *arg)
{
    helper_base *self = (helper_base *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->companion);
    Py_VISIT(self->descriptor);
    Py_VISIT(self->turns);
    Py_VISIT(self->waits_for);
    return 0;
}

static int clear(PyObject *object)
{
    helper_base *self = (helper_base *)object;
    Py_CLEAR(self->companion);
    Py_CLEAR(self->descriptor);
    Py_CLEAR(self->turns);
    Py_CLEAR(self->waits_for);
    return 0;
}

static void dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    clear(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyMemberDef helper_members[] = {
    {"_companion", T_OBJECT, offsetof(helper_base, companion), 0, NULL},
    {"_descriptor", T_OBJECT, offsetof(helper_base, descriptor), 0, NULL},
    {"_turns", T_OBJECT_EX, offsetof(helper_base, turns), 0, NULL},
    {"_waits_for", T_OBJECT, offsetof(helper_base, waits_for), READONLY, NULL},
    {"_address", T_ULONGLONG, offsetof(helper_base, address), 0, NULL},
    {"_busy", T_BOOL, offsetof(helper_base, busy), 0, NULL},
    {"_may_wait", T_BOOL, offsetof(helper_base, may_wait), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot helper_slots[] = {
    {Py_tp_members, helper_members},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

static PyType_Spec helper_spec = {
    .name = "gzmqhelper._native.HelperBase",
    .basicsize = sizeof(helper_base),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = helper_slots,
};

/* ---- the module's part ---- */

PyObject *gzh_base_waits_as(PyObject *module, PyObject *helper_module)
{
    (void)module;
    PyObject *getcurrent = PyObject_GetAttrString(helper_module, "getcurrent");
    if (!getcurrent)
        return NULL;
    current_greenlet = getcurrent;
    python = Py_NewRef(helper_module);
    Py_RETURN_NONE;
}

bool gzh_add_wait_types(PyObject *module)
{
    helper_type = (PyTypeObject *)PyType_FromSpec(&helper_spec);
    turns_type = (PyTypeObject *)PyType_FromSpec(&turns_spec);
    return helper_type && turns_type &&
           PyObject_SetAttrString(module, "HelperBase", (PyObject *)helper_type) == 0 &&
           PyObject_SetAttrString(module, "TurnsBase", (PyObject *)turns_type) == 0;
}
