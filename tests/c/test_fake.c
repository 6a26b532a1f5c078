/* That fake_zmq.c is as strict as it says: what passes with it was not let pass.  Each misuse is
 * committed by a child process, which must not survive it. */
#include "scene.h"

#include <sys/wait.h>

static void must_abort(void (*misuse)(void *zmq), void *zmq)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid != -1);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr)) /* what it has to say is expected */
            _exit(1);
        misuse(zmq);
        _exit(0);
    }
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_IS(WTERMSIG(status), SIGABRT);
}

static void *child_socket(int type)
{
    return zmq_socket(zmq_ctx_new(), type);
}

static void use_of_a_closed_socket(void *unused)
{
    void *zmq = child_socket(ZMQ_PULL);
    zmq_msg_t m;
    (void)unused;
    zmq_close(zmq);
    zmq_msg_init(&m);
    zmq_msg_recv(&m, zmq, ZMQ_DONTWAIT);
}

static void use_of_an_ended_context(void *unused)
{
    void *context = zmq_ctx_new();
    (void)unused;
    zmq_ctx_term(context);
    zmq_socket(context, ZMQ_PULL);
}

static void use_of_a_parents_socket(void *zmq)
{
    zmq_msg_t m;
    zmq_msg_init(&m);
    zmq_msg_recv(&m, zmq, ZMQ_DONTWAIT);
}

static void a_call_that_may_block(void *unused)
{
    zmq_msg_t m;
    (void)unused;
    zmq_msg_init(&m);
    zmq_msg_recv(&m, child_socket(ZMQ_PULL), 0);
}

static void a_message_copied_as_bytes(void *unused)
{
    zmq_msg_t m, copy;
    (void)unused;
    zmq_msg_init_size(&m, 5);
    memcpy(&copy, &m, sizeof copy);
    zmq_msg_close(&copy);
}

static void a_message_closed_twice(void *unused)
{
    zmq_msg_t m;
    (void)unused;
    zmq_msg_init(&m);
    zmq_msg_close(&m);
    zmq_msg_close(&m);
}

static void *binds_slowly(void *zmq)
{
    zmq_bind(zmq, "slow:x");
    return NULL;
}

static void two_threads_inside(void *unused)
{
    void *zmq = child_socket(ZMQ_PULL);
    zmq_msg_t m;
    (void)unused;
    fake_gate(true);
    start(binds_slowly, zmq);
    UNTIL(fake_is_inside(zmq) && fake_at_gate() == 1);
    zmq_msg_init(&m);
    zmq_msg_recv(&m, zmq, ZMQ_DONTWAIT);
}

static void misuse_ends_the_process(void)
{
    void *context = zmq_ctx_new(), *zmq = zmq_socket(context, ZMQ_PULL);
    must_abort(use_of_a_closed_socket, NULL);
    must_abort(use_of_an_ended_context, NULL);
    must_abort(use_of_a_parents_socket, zmq);
    must_abort(a_call_that_may_block, NULL);
    must_abort(a_message_copied_as_bytes, NULL);
    must_abort(a_message_closed_twice, NULL);
    must_abort(two_threads_inside, NULL);
    zmq_close(zmq);
    zmq_ctx_term(context);
}

static bool is_readable(void *zmq)
{
    struct pollfd fd = {.events = POLLIN};
    size_t size = sizeof fd.fd;
    CHECK_IS(zmq_getsockopt(zmq, ZMQ_FD, &fd.fd, &size), 0);
    return poll(&fd, 1, 0) == 1;
}

static int events_of(void *zmq)
{
    int events;
    size_t size = sizeof events;
    CHECK_IS(zmq_getsockopt(zmq, ZMQ_EVENTS, &events, &size), 0);
    return events;
}

/* As libzmq has it: a signal says that there is news, any call may consume it, and it comes again
 * only after the news was looked at. */
static void any_call_eats_the_signal(void)
{
    void *context = zmq_ctx_new(), *zmq = zmq_socket(context, ZMQ_DEALER);
    zmq_msg_t m;
    fake_deliver(zmq, "one");
    fake_deliver(zmq, "two");
    CHECK(is_readable(zmq));
    CHECK_IS(events_of(zmq), ZMQ_POLLIN | ZMQ_POLLOUT);
    CHECK(!is_readable(zmq)); /* with two messages there */
    zmq_msg_init(&m);
    CHECK_IS(zmq_msg_recv(&m, zmq, ZMQ_DONTWAIT), 3);
    fake_deliver(zmq, "three");
    CHECK(is_readable(zmq));
    CHECK_IS(zmq_msg_recv(&m, zmq, ZMQ_DONTWAIT), 3);
    CHECK(is_readable(zmq)); /* it had no need to look */
    CHECK_IS(zmq_msg_send(&m, zmq, ZMQ_DONTWAIT), 0);
    CHECK(!is_readable(zmq));
    CHECK_IS(zmq_msg_recv(&m, zmq, ZMQ_DONTWAIT), 5);
    CHECK_IS(zmq_msg_recv(&m, zmq, ZMQ_DONTWAIT), -1);
    CHECK_IS(errno, EAGAIN);
    zmq_msg_close(&m);
    zmq_close(zmq);
    zmq_ctx_term(context);
    nothing_is_left();
}

static void room_is_seen_when_the_news_was_looked_at(void)
{
    void *context = zmq_ctx_new(), *zmq = zmq_socket(context, ZMQ_PUSH);
    int one = 1;
    char text[16];
    zmq_msg_t m;
    zmq_setsockopt(zmq, ZMQ_SNDHWM, &one, sizeof one);
    fake_throttle(1000);
    zmq_msg_init_size(&m, 3);
    CHECK_IS(zmq_msg_send(&m, zmq, ZMQ_DONTWAIT), 0);
    CHECK_IS(zmq_msg_send(&m, zmq, ZMQ_DONTWAIT), -1);
    CHECK_IS(events_of(zmq), 0);
    CHECK(fake_take(zmq, NULL, text, sizeof text));
    CHECK(is_readable(zmq));
    CHECK_IS(zmq_msg_send(&m, zmq, ZMQ_DONTWAIT), -1);
    CHECK_IS(events_of(zmq), ZMQ_POLLOUT);
    CHECK_IS(zmq_msg_send(&m, zmq, ZMQ_DONTWAIT), 0);
    fake_throttle(1);
    zmq_msg_close(&m);
    zmq_close(zmq);
    zmq_ctx_term(context);
    nothing_is_left();
}

int main(void)
{
    begin();
    RUN(misuse_ends_the_process);
    RUN(any_call_eats_the_signal);
    RUN(room_is_seen_when_the_news_was_looked_at);
    return 0;
}
