/* DESIGN.  Waiting: what base.h says.
 *
 * HelperBase and TurnsBase are what Helper and _Turns (gzmqhelper/_helper.py) are made of: the fields that a
 * wait touches, and what must not be interrupted, as Ctrl-C comes between any two lines of Python.
 *
 * Every wait is made by wait_for, here: that of a message, of which a busy program makes one in each request, from
 * C, all others from _helper.wait.  A helper is busy from before its companion is asked until the request is
 * answered or taken back; a wait within a wait (a signal handler's) has a helper of its own. */
#include "base.h"

#include <stddef.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    long waiting; /* how many greenlets of the thread wait in this library */
    int skip; /* how often not to linger: set by `linger` in _helper.py, and counted down there and here */
    char turned; /* the hub has looked at its descriptors since the last slice began */
    char alone; /* a thread without greenlets, for all we know */
} turns_base;

typedef struct {
    PyObject_HEAD
    PyObject *companion;        /* cffi's pointer, or None */
    PyObject *descriptor;       /* of the companion, an int: what to wait on */
    unsigned long long address; /* and where it is; 0: neither was asked for yet */
    PyObject *turns;
    PyObject *waits_for; /* for report(): (frame, socket, call), see wait_for */
    /* The address of an exception from outside that ended a send whose message has gone, or 0.  Who reads it sets it
     * to 0 before: another exception may be there later. */
    unsigned long long sent_despite;
    char busy, may_wait;
} helper_base;

/* What is waited for: a message; or, where that is NULL, what two functions in Python say. */
typedef struct {
    gzh_base *socket;
    int flags;
    PyObject *begin, *end, *ask; /* as _helper.wait has them */
    PyObject *others;            /* called in place of wait_read, or None */
    PyObject *call;              /* of a message: the method in Python that would do it; else None */
} awaited;

/* In seconds: longer than any wait. */
#define A_LIFETIME 1e9

/* _helper.py, of which getcurrent is kept. */
static PyObject *python, *current_greenlet;
static PyTypeObject *helper_type, *turns_type;

/* ---- the wait ---- */

static bool is_made(const helper_base *helper)
{
    return helper->turns && PyObject_TypeCheck(helper->turns, turns_type);
}

/* The helper of the greenlet that runs, which may be a new one. */
static helper_base *helper_here(void)
{
    PyObject *greenlet = PyObject_CallNoArgs(current_greenlet), *helper = NULL;
    if (greenlet) {
        helper = PyObject_GenericGetAttr(greenlet, gzh_name.own_helper); /* a __getattr__ is not asked */
        Py_DECREF(greenlet);
    }
    if (!helper && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        helper = PyObject_CallMethodObjArgs(python, gzh_name.current, NULL);
    }
    if (helper && (!PyObject_TypeCheck(helper, helper_type) || !is_made((helper_base *)helper))) {
        PyErr_SetString(PyExc_TypeError, "an attribute _gzmqhelper of a greenlet, which is no Helper");
        Py_CLEAR(helper);
    }
    return (helper_base *)helper;
}

/* What has ended a sleep. */
typedef enum { NEWS, TIME_IS_UP, FROM_OUTSIDE } wake_up;

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

/* Whether it is from the timer of a wait that is over: if Ctrl-C ends one while gevent is about to call its timer, it
 * does all the same.  (One that goes on is further out on this stack, as a signal handler waits on it too.) */
static bool is_stray(PyObject *exception)
{
    PyObject *expired = PyObject_GetAttr(python, gzh_name.expired), *over = NULL;
    if (expired && PyErr_GivenExceptionMatches(exception, expired))
        over = PyObject_GetAttr(exception, gzh_name.over);
    bool is = over == Py_True;
    Py_XDECREF(over);
    Py_XDECREF(expired);
    PyErr_Clear();
    return is;
}

/* What the exception means that has ended a sleep.  It is set no more, unless it came from outside. */
static wake_up what_woke(const patience *p)
{
    PyObject *type, *value, *traceback;
    wake_up woken = FROM_OUTSIDE;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (p->expired && value == p->expired)
        woken = TIME_IS_UP;
    else if (is_stray(value))
        woken = NEWS;
    if (woken == FROM_OUTSIDE) {
        PyErr_Restore(type, value, traceback);
    } else {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
    }
    return woken;
}

static void end_patience(patience *p)
{
    PyObject *type, *value, *traceback;
    if (!p->expired)
        return;
    PyErr_Fetch(&type, &value, &traceback); /* (and what fails below is none of its business) */
    /* It knows the frames of this greenlet, and the hub still knows it: a socket that is dropped now would not
     * go yet. */
    PyException_SetTraceback(p->expired, Py_None);
    PyObject_SetAttr(p->expired, gzh_name.over, Py_True);
    PyErr_Restore(type, value, traceback);
    Py_CLEAR(p->expired);
}

static gzh_companion *companion_of(const helper_base *helper)
{
    return (gzh_companion *)(uintptr_t)helper->address;
}

static PyObject *begin(const awaited *what, helper_base *helper)
{
    if (what->socket)
        return gzh_ask(what->socket, companion_of(helper), what->flags);
    return PyObject_CallFunctionObjArgs(what->begin, what->ask, helper->companion, NULL);
}

static PyObject *end(const awaited *what, helper_base *helper, bool give_up)
{
    if (what->socket)
        return gzh_end_of(companion_of(helper), what->flags, give_up);
    PyObject *gives_up = give_up ? Py_True : Py_False;
    return PyObject_CallFunctionObjArgs(what->end, what->ask, helper->companion, gives_up, NULL);
}

static PyObject *what_sleeps(const helper_base *helper, const awaited *what)
{
    if (what->others != Py_None)
        return Py_NewRef(what->others);
    bool alone = ((turns_base *)helper->turns)->alone;
    return PyObject_GetAttr(python, alone ? gzh_name.wait_alone : gzh_name.wait_read);
}

/* Let the hub run until the pipe is readable, or the time has passed.  FROM_OUTSIDE: an exception is set. */
static wake_up sleep_on(const helper_base *helper, const awaited *what, PyObject *pipe, const patience *p)
{
    PyObject *function = what_sleeps(helper, what);
    PyObject *seconds = NULL, *woken = NULL;
    if (function && (!p->expired || (seconds = seconds_left(p))))
        woken = PyObject_CallFunctionObjArgs(function, pipe, seconds, p->expired, NULL);
    wake_up by = woken ? NEWS : what_woke(p);
    Py_XDECREF(woken);
    Py_XDECREF(seconds);
    Py_XDECREF(function);
    return by;
}

/* An exception from outside ended the wait: take the request back.  False: the companion is inside a call for it,
 * and stays there. */
static bool take_back(helper_base *helper)
{
    gzh_companion *companion = companion_of(helper);
    PyObject *type, *value, *traceback;
    int rc;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_BEGIN_ALLOW_THREADS
    rc = gzh_companion_cancel(companion);
    Py_END_ALLOW_THREADS
    if (rc == 0 && gzh_companion_has_sent(companion))
        helper->sent_despite = (uintptr_t)value;
    PyErr_Restore(type, value, traceback);
    return rc == 0;
}

/* Its companion cannot be used any more: the next wait gets another. */
static void leave_companion(helper_base *helper)
{
    gzh_companion *companion = companion_of(helper);
    PyObject *pointer = helper->companion;
    helper->companion = Py_NewRef(Py_None);
    helper->address = 0;
    Py_BEGIN_ALLOW_THREADS
    gzh_companion_close(companion);
    Py_END_ALLOW_THREADS
    Py_DECREF(pointer);
}

static PyObject *wait_with(helper_base *helper, const awaited *what, const patience *p)
{
    PyObject *pipe = Py_NewRef(helper->descriptor), *got = begin(what, helper);
    bool usable = true;
    while (got && gzh_is_code(got, GZH_WAIT)) {
        wake_up by = sleep_on(helper, what, pipe, p);
        Py_DECREF(got);
        got = by == FROM_OUTSIDE ? NULL : end(what, helper, by == TIME_IS_UP);
    }
    if (!got)
        usable = take_back(helper);
    else if (gzh_is_code(got, GZH_BUSY))
        usable = false; /* on watch, in a call that was left, or a parent process's */
    if (!usable)
        leave_companion(helper);
    Py_DECREF(pipe);
    return got;
}

static bool start(helper_base *helper)
{
    PyObject *started = PyObject_CallMethodObjArgs((PyObject *)helper, gzh_name.start_here, NULL);
    Py_XDECREF(started);
    return started != NULL;
}

/* Where in Python this is, the socket, and the call: None where Python's frames show them. */
static PyObject *for_people(const awaited *what)
{
    PyObject *frame = (PyObject *)PyEval_GetFrame(), *socket = (PyObject *)what->socket;
    return PyTuple_Pack(3, frame ? frame : Py_None, socket ? socket : Py_None, what->call);
}

/* With this helper, which is not busy. */
static PyObject *wait_with_this(helper_base *helper, const awaited *what, double seconds)
{
    PyObject *got = NULL, *turns = Py_NewRef(helper->turns); /* a fork gives the helper others */
    patience p;
    helper->busy = true;
    ((turns_base *)turns)->waiting++;
    if ((helper->waits_for = for_people(what)) && be_patient(&p, seconds)) {
        do {
            Py_XDECREF(got);
            got = helper->address || start(helper) ? wait_with(helper, what, &p) : NULL;
        } while (got && gzh_is_code(got, GZH_BUSY));
        end_patience(&p);
    }
    Py_CLEAR(helper->waits_for);
    ((turns_base *)turns)->waiting--;
    helper->busy = false;
    Py_DECREF(turns);
    return got;
}

/* seconds: or GZH_FOR_EVER.  -EAGAIN when they have passed. */
static PyObject *wait_for(helper_base *helper, const awaited *what, double seconds)
{
    if (!helper->may_wait)
        return PyObject_CallMethodObjArgs(python, gzh_name.may_not_wait, NULL);
    if (!helper->busy)
        return wait_with_this(helper, what, seconds);
    PyObject *other = PyObject_CallMethodObjArgs(python, gzh_name.Helper, NULL);
    PyObject *got = other ? wait_with_this((helper_base *)other, what, seconds) : NULL;
    if (other && ((helper_base *)other)->sent_despite)
        helper->sent_despite = ((helper_base *)other)->sent_despite;
    Py_XDECREF(other);
    return got;
}

/* Whether libzmq has news after a moment.  Who is not even to try, of many most, is not asked in Python. */
static bool has_lingered(helper_base *helper, gzh_base *self)
{
    turns_base *turns = (turns_base *)helper->turns;
    if (turns->skip > 0) {
        turns->skip--;
        return false;
    }
    PyObject *news = PyObject_CallMethodObjArgs(python, gzh_name.linger_for, self, NULL);
    Py_XDECREF(news);
    return news == Py_True;
}

/* What comes in such a moment; NULL without an exception: wait. */
static PyObject *linger(helper_base *helper, gzh_base *self, int flags)
{
    PyObject *got = NULL;
    for (int i = 0; i < GZH_LINGERS && !got && has_lingered(helper, self); i++)
        if ((got = gzh_ask(self, NULL, flags)) && gzh_is_code(got, GZH_WAIT))
            Py_CLEAR(got);
        else
            break;
    return got;
}

PyObject *gzh_wait(gzh_base *self, int flags, double seconds, PyObject *call)
{
    awaited what = {.socket = self, .flags = flags, .others = Py_None, .call = call};
    helper_base *helper = helper_here();
    PyObject *got = helper ? wait_for(helper, &what, seconds) : NULL;
    Py_XDECREF(helper);
    return got;
}

PyObject *gzh_linger_or_wait(gzh_base *self, int flags, PyObject *call)
{
    awaited what = {.socket = self, .flags = flags, .others = Py_None, .call = call};
    helper_base *helper = helper_here();
    PyObject *got = NULL;
    if (helper && helper->may_wait && !(got = linger(helper, self, flags)) && !PyErr_Occurred())
        got = wait_for(helper, &what, GZH_FOR_EVER);
    Py_XDECREF(helper);
    return got;
}

static PyObject *wait_in_python(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    double seconds;
    if (count != 5 || !is_made((helper_base *)object))
        return PyErr_BadArgument(), NULL;
    if (!gzh_seconds(args[3], &seconds))
        return NULL;
    awaited what = {.begin = args[0], .end = args[1], .ask = args[2], .others = args[4], .call = Py_None};
    return wait_for((helper_base *)object, &what, seconds);
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
    {"skip", T_INT, offsetof(turns_base, skip), 0, NULL},
    {"turned", T_BOOL, offsetof(turns_base, turned), 0, NULL},
    {"alone", T_BOOL, offsetof(turns_base, alone), 0, NULL},
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

static PyMethodDef helper_methods[] = {
    {"_wait", (PyCFunction)(void (*)(void))wait_in_python, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef helper_members[] = {
    {"_companion", T_OBJECT, offsetof(helper_base, companion), 0, NULL},
    {"_descriptor", T_OBJECT, offsetof(helper_base, descriptor), 0, NULL},
    {"_turns", T_OBJECT_EX, offsetof(helper_base, turns), 0, NULL},
    {"_waits_for", T_OBJECT, offsetof(helper_base, waits_for), READONLY, NULL},
    {"_address", T_ULONGLONG, offsetof(helper_base, address), 0, NULL},
    {"_sent_despite", T_ULONGLONG, offsetof(helper_base, sent_despite), 0, NULL},
    {"_busy", T_BOOL, offsetof(helper_base, busy), READONLY, NULL},
    {"_may_wait", T_BOOL, offsetof(helper_base, may_wait), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot helper_slots[] = {
    {Py_tp_methods, helper_methods},
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
