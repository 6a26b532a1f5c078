/* The floor: what libzmq itself does, with nothing above it; and the other ends of all measurements.
 *
 *     cc -O2 -o floor floor.c $(pkg-config --cflags --libs libzmq)
 *
 * `python -m benchmarks` builds it so and runs it: ends.py says which commands there are. A command that
 * measures prints seconds, or microseconds; one that is another's end prints the endpoint it is bound to.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>
#include <zmq.h>

static void need(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "floor: %s: %s\n", what, zmq_strerror(errno));
        exit(1);
    }
}

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

static void rest(double seconds)
{
    struct timespec left = {0, (long)(seconds * 1e9)};
    nanosleep(&left, NULL);
}

/* Waits until libzmq's threads have nothing to do any more. */
static void quiet_down(void)
{
    double before, after = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    do {
        before = after;
        rest(0.1);
        after = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    } while (after - before >= 0.002);
}

static void *a_socket(void *context, int type, int hwm)
{
    int linger = 0;
    void *socket = zmq_socket(context, type);
    need(socket != NULL, "zmq_socket");
    zmq_setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &hwm, sizeof hwm);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    return socket;
}

static void *bound(void *context, int type, int hwm)
{
    char endpoint[256];
    size_t size = sizeof endpoint;
    void *socket = a_socket(context, type, hwm);
    need(zmq_bind(socket, "tcp://127.0.0.1:*") == 0, "zmq_bind");
    need(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0, "ZMQ_LAST_ENDPOINT");
    puts(endpoint);
    fflush(stdout);
    return socket;
}

static void *connected(void *context, int type, int hwm, const char *endpoint)
{
    void *socket = a_socket(context, type, hwm);
    need(zmq_connect(socket, endpoint) == 0, "zmq_connect");
    return socket;
}

/* One message of several parts. Large ones are not copied, as with copy=False in Python. */
static void send_one(void *socket, char *data, size_t size, int parts)
{
    while (parts-- > 0) {
        int flags = parts > 0 ? ZMQ_SNDMORE : 0;
        if (size < 65536) {
            need(zmq_send(socket, data, size, flags) >= 0, "zmq_send");
        } else {
            zmq_msg_t message;
            need(zmq_msg_init_data(&message, data, size, NULL, NULL) == 0, "zmq_msg_init_data");
            need(zmq_msg_send(&message, socket, flags) >= 0, "zmq_msg_send");
        }
    }
}

static void receive_one(void *socket, zmq_msg_t *message)
{
    do {
        need(zmq_msg_recv(message, socket, 0) >= 0, "zmq_msg_recv");
    } while (zmq_msg_more(message));
}

/* ---- the other ends ---- */

/* fill ENDPOINT COUNT SIZE PARTS HWM: send so many, and end when they have left; 0: for ever. */
static void fill(void *context, char **args)
{
    long count = atol(args[1]);
    size_t size = strtoul(args[2], NULL, 10);
    int parts = atoi(args[3]), linger = -1;
    void *socket = connected(context, ZMQ_PUSH, atoi(args[4]), args[0]);
    char *data = calloc(1, size);
    need(data != NULL, "calloc");
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    for (long i = 0; count == 0 || i < count; i++)
        send_one(socket, data, size, parts);
    zmq_close(socket);
    zmq_ctx_term(context);
}

/* drain COUNT HWM: receive so many, then print the time of day; 0: for ever. */
static void drain(void *context, char **args)
{
    struct timeval day;
    zmq_msg_t message;
    long count = atol(args[0]);
    void *socket = bound(context, ZMQ_PULL, atoi(args[1]));
    zmq_msg_init(&message);
    for (long i = 0; count == 0 || i < count; i++)
        receive_one(socket, &message);
    gettimeofday(&day, NULL);
    printf("%ld.%06ld\n", (long)day.tv_sec, (long)day.tv_usec);
}

/* echo: send every request back, for any number of REQ sockets. */
static void echo(void *context, char **args)
{
    zmq_msg_t message;
    void *router = bound(context, ZMQ_ROUTER, 0);
    (void)args;
    zmq_msg_init(&message);
    for (;;) {
        int more;
        do {
            need(zmq_msg_recv(&message, router, 0) >= 0, "zmq_msg_recv");
            more = zmq_msg_more(&message);
            need(zmq_msg_send(&message, router, more ? ZMQ_SNDMORE : 0) >= 0, "zmq_msg_send");
        } while (more);
    }
}

/* ---- the measurements ---- */

/* recv COUNT HWM: after a newline on the standard input, receive one message, and time those after it. */
static void receive(void *context, char **args)
{
    zmq_msg_t message;
    long count = atol(args[0]);
    void *socket = bound(context, ZMQ_PULL, atoi(args[1]));
    getchar();
    zmq_msg_init(&message);
    receive_one(socket, &message);
    double began = now();
    for (long i = 0; i < count; i++)
        receive_one(socket, &message);
    printf("%.9f\n", now() - began);
}

/* send ENDPOINT COUNT SIZE PARTS HWM: send one message, and time those after it. Prints the time of day
 * when that began, too, and lets all of it leave. */
static void send_many(void *context, char **args)
{
    struct timeval day;
    long count = atol(args[1]);
    size_t size = strtoul(args[2], NULL, 10);
    int parts = atoi(args[3]);
    char *data = calloc(1, size);
    void *socket = connected(context, ZMQ_PUSH, atoi(args[4]), args[0]);
    need(data != NULL, "calloc");
    send_one(socket, data, size, parts);
    quiet_down();
    gettimeofday(&day, NULL);
    double began = now();
    for (long i = 0; i < count; i++)
        send_one(socket, data, size, parts);
    printf("%.9f %ld.%06ld\n", now() - began, (long)day.tv_sec, (long)day.tv_usec);
    fflush(stdout);
    getchar(); /* until it has arrived */
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* roundtrip ENDPOINT COUNT SIZE: the median, and what 99 in 100 took at most, in microseconds. */
static void roundtrip(void *context, char **args)
{
    zmq_msg_t message;
    long count = atol(args[1]);
    size_t size = strtoul(args[2], NULL, 10);
    void *socket = connected(context, ZMQ_REQ, 0, args[0]);
    char *data = calloc(1, size);
    double *took = calloc((size_t)count, sizeof *took);
    need(data != NULL && took != NULL, "calloc");
    zmq_msg_init(&message);
    for (long i = -10; i < count; i++) {
        double began = now();
        send_one(socket, data, size, 1);
        receive_one(socket, &message);
        if (i >= 0)
            took[i] = now() - began;
    }
    qsort(took, (size_t)count, sizeof *took, ascending);
    printf("%.3f %.3f\n", took[count / 2] * 1e6, took[count * 99 / 100] * 1e6);
}

/* requests ENDPOINT SOCKETS EACH SIZE: one thread asks on so many REQ sockets at once, as often on each.
 * Prints seconds, and those of the processor, libzmq's thread included. */
static void requests(void *context, char **args)
{
    struct epoll_event events[64];
    zmq_msg_t message;
    int count = atoi(args[1]), set = epoll_create1(0);
    long each = atol(args[2]), left = 0;
    size_t size = strtoul(args[3], NULL, 10);
    char *data = calloc(1, size);
    void **socket = calloc((size_t)count, sizeof *socket);
    long *asked = calloc((size_t)count, sizeof *asked);
    need(set != -1 && data && socket && asked, "epoll_create1 or calloc");
    need(zmq_ctx_set(context, ZMQ_MAX_SOCKETS, count + 10) == 0, "ZMQ_MAX_SOCKETS");
    zmq_msg_init(&message);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)i};
        int fd;
        size_t fd_size = sizeof fd;
        socket[i] = connected(context, ZMQ_REQ, 0, args[0]);
        need(zmq_getsockopt(socket[i], ZMQ_FD, &fd, &fd_size) == 0, "ZMQ_FD");
        need(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
        for (int warm = 0; warm < 2; warm++) { /* the connection */
            send_one(socket[i], data, size, 1);
            receive_one(socket[i], &message);
        }
    }
    double began = now(), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < count; i++, left += each)
        send_one(socket[i], data, size, 1);
    while (left > 0) {
        int ready = epoll_wait(set, events, 64, -1);
        need(ready > 0, "epoll_wait");
        for (int e = 0; e < ready; e++) {
            unsigned i = events[e].data.u32;
            if (zmq_msg_recv(&message, socket[i], ZMQ_DONTWAIT) == -1) {
                need(errno == EAGAIN, "zmq_msg_recv");
                continue; /* other news; an answer would be news again */
            }
            left--;
            if (++asked[i] < each)
                send_one(socket[i], data, size, 1);
        }
    }
    printf("%.9f %.9f\n", now() - began, seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
}

static void version(void *context, char **args)
{
    int major, minor, patch;
    (void)context;
    (void)args;
    zmq_version(&major, &minor, &patch);
    printf("libzmq %d.%d.%d\n", major, minor, patch);
}

static const struct {
    const char *name;
    int args;
    void (*run)(void *context, char **args);
} commands[] = {
    {"fill", 5, fill}, {"drain", 2, drain},    {"echo", 0, echo},           {"recv", 2, receive},
    {"send", 5, send_many}, {"roundtrip", 3, roundtrip}, {"requests", 4, requests}, {"version", 0, version},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 == commands[i].args) {
            void *context = zmq_ctx_new();
            need(context != NULL, "zmq_ctx_new");
            commands[i].run(context, argv + 2);
            fflush(stdout);
            _Exit(0); /* not waiting for what was not sent */
        }
    }
    fprintf(stderr, "floor: no such command, or not with so many arguments\n");
    return 2;
}
