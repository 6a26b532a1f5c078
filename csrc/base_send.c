/* DESIGN.  Sending: what base.h says.  Parts are read where Python has them, without its lock; they do not
 * change, as they are bytes, and do not go, as they are held. */
#include "base.h"

/* So many messages, and about so many bytes, in one call: between two the slice of time is looked at. */
#define SEVERAL 500
#define SEVERAL_BYTES (1 << 18)
#define SEVERAL_PARTS 1024

/* What of messages lies where. */
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

/* What is smaller than *below is copied though it need not be.  False: an exception is set. */
static bool is_copied_below(PyObject *self, bool in_place, size_t *below)
{
    *below = SIZE_MAX;
    if (!in_place)
        return true;
    PyObject *threshold = PyObject_GetAttr(self, gzh_name.copy_threshold);
    if (!threshold)
        return false;
    int overflow;
    long bytes = PyLong_Check(threshold) ? PyLong_AsLongAndOverflow(threshold, &overflow) : 0;
    *below = bytes > 0 ? (size_t)bytes : 0; /* else Python says what is wrong with it, or right */
    Py_DECREF(threshold);
    return true;
}

/* What a call returns that has sent copies. */
static PyObject *sent(PyObject *self, bool in_place)
{
    return in_place ? PyObject_GetAttr(self, gzh_name.tracker_of_copies) : Py_NewRef(Py_None);
}

/* No greenlet is in the middle of a message that it sends; nor, where that is against the socket's order, of one
 * that it receives. */
static bool is_between_messages(const gzh_base *self)
{
    return is_empty(self->unsent) && (is_empty(self->unread) || gzh_socket_order(socket_of(self)) == GZH_AT_WILL);
}

PyObject *gzh_base_send(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    gzh_base *self = (gzh_base *)object;
    PyObject *timeout;
    int flags;
    bool in_place;
    if (count > 0 && PyBytes_CheckExact(args[0]) && self->address && is_between_messages(self) &&
        gzh_is_plain(args, count, names, 1, &flags, &timeout, &in_place)) {
        const char *data = PyBytes_AsString(args[0]);
        size_t size = (size_t)PyBytes_Size(args[0]), below;
        int rc = -1;
        if (!is_copied_below(object, in_place, &below))
            return NULL;
        if (size < below) {
            Py_BEGIN_ALLOW_THREADS
            rc = gzh_send(socket_of(self), data, size, flags);
            Py_END_ALLOW_THREADS
        }
        if (rc == 0)
            return sent(object, in_place);
    }
    return gzh_in_python(object, gzh_name.send, args, count, names);
}

/* A frame of its own, as `gathered` is large: greenlets carry the stack below a wait with them. */
static __attribute__((noinline)) bool have_sent_parts(gzh_base *self, PyObject *message, int flags, size_t below)
{
    gathered g;
    int rc = -1;
    bool small = true;
    begin(&g);
    if (gather_parts(&g, message)) {
        for (int i = 0; i < g.parts; i++)
            small = small && g.size[i] < below;
        if (small) {
            Py_BEGIN_ALLOW_THREADS
            rc = gzh_send_parts(socket_of(self), g.data, g.size, g.parts, flags);
            Py_END_ALLOW_THREADS
        }
        let_go(&g, 0);
    }
    return rc == 0;
}

PyObject *gzh_base_send_multipart(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    gzh_base *self = (gzh_base *)object;
    PyObject *timeout;
    int flags;
    bool in_place;
    if (count > 0 && self->address && is_between_messages(self) &&
        gzh_is_plain(args, count, names, 1, &flags, &timeout, &in_place)) {
        size_t below;
        if (!is_copied_below(object, in_place, &below))
            return NULL;
        if (have_sent_parts(self, args[0], flags, below))
            return sent(object, in_place);
    }
    return gzh_in_python(object, gzh_name.send_multipart, args, count, names);
}

PyObject *gzh_base_send_several(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    gzh_base *self = (gzh_base *)object;
    gathered g;
    int counts[SEVERAL], messages = 0, rc = 0, flags;
    begin(&g);
    if (count != 3 || !PyList_Check(args[0]) || !PyList_Check(args[1]) || PyList_Size(args[1]) != 1)
        return PyErr_BadArgument(), NULL;
    PyObject *progress = PyList_GetItem(args[1], 0);
    Py_ssize_t first = PyLong_AsSsize_t(progress), next = first;
    if (PyErr_Occurred() || !gzh_flags(args[2], &flags))
        return NULL;
    while (next >= 0 && messages < SEVERAL && g.bytes < SEVERAL_BYTES && next < PyList_Size(args[0])) {
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
    if (rc > 0) {
        PyObject *sent = PyLong_FromSsize_t(first + rc);
        if (!sent || PyList_SetItem(args[1], 0, sent) == -1)
            return NULL;
    }
    return PyLong_FromLong(rc);
}
