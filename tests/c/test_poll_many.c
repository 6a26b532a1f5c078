/* One poll of several sockets: whoever has news first wins, once; and every socket is left as if never
 * asked. */
#include "crowd.h"

/* ---- at once ---------------------------------------------------------------------------------- */

static void a_look_finds_the_events_of_all(void)
{
    crowd c = begin_crowd(ZMQ_DEALER);
    gzh_poll_item items[MANY];
    fill(items, &c, ZMQ_POLLIN);
    CHECK_IS(look(items), 0);
    fake_deliver(c.zmq[1], "hello");
    fake_deliver(c.zmq[3], "hello");
    CHECK_IS(look(items), 2);
    for (int i = 0; i < MANY; i++)
        CHECK_IS(items[i].events, i % 2 ? ZMQ_POLLIN : 0);
    items[0].mask = items[1].mask = ZMQ_POLLIN | ZMQ_POLLOUT;
    CHECK_IS(look(items), 3);
    CHECK_IS(items[0].events, ZMQ_POLLOUT);
    CHECK_IS(items[1].events, ZMQ_POLLIN | ZMQ_POLLOUT);
    end_crowd(&c);
}

static void a_look_finds_the_events_of_descriptors_as_poll_has_them(void)
{
    int fds[200][2];
    gzh_poll_item items[300];
    for (int i = 0; i < 100; i++) {
        CHECK_IS(pipe(fds[i]), 0);
        items[3 * i] = (gzh_poll_item){.fd = fds[i][0], .mask = ZMQ_POLLIN};
        items[3 * i + 1] = (gzh_poll_item){.fd = fds[i][1], .mask = ZMQ_POLLIN | ZMQ_POLLOUT};
        items[3 * i + 2] = (gzh_poll_item){.fd = fds[i][0], .mask = ZMQ_POLLERR};
    }
    CHECK_IS(gzh_poll_look(items, 300, ZMQ_DONTWAIT), 100);
    CHECK_IS(write(fds[99][1], "x", 1), 1);
    CHECK_IS(gzh_poll_look(items, 300, ZMQ_DONTWAIT), 101);
    CHECK_IS(items[297].events, ZMQ_POLLIN);
    CHECK_IS(items[298].events, ZMQ_POLLOUT);
    close(fds[0][1]);
    CHECK_IS(gzh_poll_look(items, 2, ZMQ_DONTWAIT), 2);
    CHECK_IS(items[0].events, ZMQ_POLLERR); /* hung up */
    CHECK_IS(items[1].events, ZMQ_POLLERR); /* no descriptor at all */
    for (int i = 0; i < 100; i++) {
        close(fds[i][0]);
        if (i > 0)
            close(fds[i][1]);
    }
}

static void a_look_names_the_socket_that_is_closed(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    fill(items, &c, ZMQ_POLLIN);
    fake_deliver(c.zmq[0], "hello");
    gzh_socket_close(c.socket[2], NULL);
    CHECK_IS(look(items), -ENOTSOCK);
    CHECK_IS(items[2].events, -ENOTSOCK);
    end_crowd(&c);
}

static void a_look_that_may_wait_asks_for_the_hub_to_turn_first(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    fill(items, &c, ZMQ_POLLIN);
    fake_deliver(c.zmq[0], "hello");
    gzh_slice(0);
    pause_us(100);
    CHECK_IS(gzh_poll_look(items, MANY, 0), GZH_YIELD);
    CHECK_IS(gzh_poll_look(items, MANY, ZMQ_DONTWAIT), 1);
    gzh_slice(3600ull * 1000000000);
    CHECK_IS(gzh_poll_look(items, MANY, 0), 1);
    end_crowd(&c);
}

/* ---- the wait --------------------------------------------------------------------------------- */

static void a_poll_is_told_by_each_of_its_sockets(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    for (int i = 0; i < MANY; i++) {
        CHECK_IS(ask_poll(&g, items), GZH_WAIT);
        NOT_TOLD(&g);
        CHECK_IS(end_poll(&g, items, false), GZH_WAIT);
        fake_deliver(c.zmq[i], "hello");
        CHECK_IS(wait_poll(&g, items), 1);
        for (int j = 0; j < MANY; j++)
            CHECK_IS(items[j].events, i == j ? ZMQ_POLLIN : 0);
        CHECK_IS(recv_now(&g, c.socket[i]), 5);
    }
    dies(&g);
    end_crowd(&c);
}

static void a_poll_for_nothing_of_zeromqs_waits_until_it_is_given_up(void)
{
    gzh_poll_item item = {.fd = 0, .mask = ZMQ_POLLIN};
    greenlet g;
    born(&g);
    CHECK_IS(gzh_poll_begin(&item, 1, g.companion), GZH_WAIT);
    NOT_TOLD(&g);
    CHECK_IS(gzh_poll_end(&item, 1, g.companion, true), -EAGAIN);
    CHECK_IS(gzh_poll_begin(&item, 0, g.companion), GZH_WAIT);
    CHECK_IS(gzh_poll_begin(&item, 0, g.companion), GZH_BUSY);
    dies(&g);
}

static void news_of_two_sockets_are_told_once(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    fake_deliver(c.zmq[1], "hello");
    WAIT_TOLD(&g);
    fake_deliver(c.zmq[2], "hello");
    until_nobody_is_inside(c.socket[2]);
    CHECK_IS(wait_poll(&g, items), 2);
    CHECK_IS(items[1].events, ZMQ_POLLIN);
    CHECK_IS(items[2].events, ZMQ_POLLIN);
    CHECK_IS(recv_now(&g, c.socket[1]), 5);
    CHECK_IS(recv_now(&g, c.socket[2]), 5);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    NOT_TOLD(&g);
    CHECK_IS(end_poll(&g, items, true), -EAGAIN);
    dies(&g);
    end_crowd(&c);
}

static void what_is_there_already_is_told_and_the_rest_is_not_asked(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    fake_deliver(c.zmq[1], "hello");
    gzh_socket_close(c.socket[3], NULL);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    CHECK_IS(wait_poll(&g, items), 1);
    CHECK_IS(items[1].events, ZMQ_POLLIN);
    dies(&g);
    end_crowd(&c);
}

static void one_that_was_told_and_is_cancelled_leaves_no_byte(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    fake_deliver(c.zmq[3], "hello");
    WAIT_TOLD(&g);
    CHECK_IS(gzh_companion_cancel(g.companion), 0);
    CHECK(!is_told(&g, 0));
    CHECK_IS(recv_now(&g, c.socket[3]), 5);
    dies(&g);
    end_crowd(&c);
}

typedef struct {
    greenlet *g;
    gzh_poll_item *items;
    int result;
} giving_up;

static void *gives_up(void *argument)
{
    giving_up *it = argument;
    it->result = end_poll(it->g, it->items, true);
    return NULL;
}

static void one_that_gives_up_and_is_told_meanwhile_has_the_news(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    giving_up it = {&g, items, 0};
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    stop_at("poll: about to take out");
    pthread_t thread = start(gives_up, &it);
    wait_stopped();
    fake_deliver(c.zmq[2], "hello");
    WAIT_TOLD(&g);
    let_go();
    join(thread);
    CHECK_IS(it.result, 1);
    CHECK_IS(items[2].events, ZMQ_POLLIN);
    CHECK(!is_told(&g, 0));
    dies(&g);
    end_crowd(&c);
}

static void *asks(void *argument)
{
    giving_up *it = argument;
    it->result = ask_poll(it->g, it->items);
    return NULL;
}

static void news_between_two_nodes_are_not_missed(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    for (int closes = 0; closes < 2; closes++) {
        giving_up it = {&g, items, 0};
        stop_at("poll: one node more");
        pthread_t thread = start(asks, &it);
        wait_stopped();
        if (closes)
            gzh_socket_close(c.socket[0], NULL);
        else
            fake_deliver(c.zmq[0], "hello");
        WAIT_TOLD(&g);
        let_go();
        join(thread);
        CHECK_IS(it.result, GZH_WAIT);
        CHECK_IS(wait_poll(&g, items), closes ? -ENOTSOCK : 1);
        CHECK_IS(items[0].events, closes ? -ENOTSOCK : ZMQ_POLLIN);
        if (!closes)
            CHECK_IS(recv_now(&g, c.socket[0]), 5);
    }
    dies(&g);
    end_crowd(&c);
}

static void one_that_is_cancelled_or_given_up_is_on_no_socket_any_more(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    for (int cancels = 0; cancels < 2; cancels++) {
        CHECK_IS(ask_poll(&g, items), GZH_WAIT);
        if (cancels)
            CHECK_IS(gzh_companion_cancel(g.companion), 0);
        else
            CHECK_IS(end_poll(&g, items, true), -EAGAIN);
        for (int i = 0; i < MANY; i++) {
            fake_deliver(c.zmq[i], "hello");
            NOT_TOLD(&g);
            CHECK_IS(recv_now(&g, c.socket[i]), 5);
        }
    }
    dies(&g);
    end_crowd(&c);
}

static void all_that_poll_the_same_sockets_are_told(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[3][MANY];
    greenlet g[3], single, reader;
    born(&single);
    born(&reader);
    CHECK_IS(ask_recv(&reader, c.socket[1]), GZH_WAIT);
    for (int i = 0; i < 3; i++) {
        born(&g[i]);
        fill(items[i], &c, ZMQ_POLLIN);
        CHECK_IS(ask_poll(&g[i], items[i]), GZH_WAIT);
    }
    CHECK_IS(try_poll(c.socket[1], single.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    fake_deliver(c.zmq[1], "one"); /* there for all when they look, and then the reader's */
    CHECK_IS(wait_on(&reader, GZH_WAIT), 3);
    fake_deliver(c.zmq[1], "two");
    for (int i = 0; i < 3; i++) {
        CHECK_IS(wait_poll(&g[i], items[i]), 1);
        CHECK_IS(items[i][1].events, ZMQ_POLLIN);
        dies(&g[i]);
    }
    CHECK_IS(wait_on(&single, GZH_WAIT), ZMQ_POLLIN);
    dies(&single);
    dies(&reader);
    end_crowd(&c);
}

static void one_socket_may_be_polled_twice_in_one_poll(void)
{
    crowd c = begin_crowd(ZMQ_DEALER);
    gzh_poll_item items[MANY];
    greenlet g;
    char text[64];
    born(&g);
    set_option(c.socket[0], ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(c.socket[0], "full"), 0);
    fill(items, &c, ZMQ_POLLIN);
    items[1].socket = items[2].socket = c.socket[0];
    items[2].mask = ZMQ_POLLIN | ZMQ_POLLOUT;
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    fake_deliver(c.zmq[0], "hello");
    CHECK_IS(wait_poll(&g, items), 3);
    CHECK_IS(look(items), 3);
    CHECK_IS(recv_now(&g, c.socket[0]), 5);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    CHECK(fake_take(c.zmq[0], NULL, text, sizeof text));
    CHECK_IS(wait_poll(&g, items), 1);
    CHECK_IS(items[2].events, ZMQ_POLLOUT);
    dies(&g);
    end_crowd(&c);
}

static void a_message_that_a_killed_receiver_left_is_seen(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet reader, g;
    born(&reader);
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    CHECK_IS(ask_recv(&reader, c.socket[2]), GZH_WAIT);
    fake_deliver(c.zmq[2], "hello");
    WAIT_TOLD(&reader);
    CHECK_IS(look(items), 0);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    NOT_TOLD(&g);
    CHECK_IS(gzh_companion_cancel(reader.companion), 0);
    CHECK_IS(wait_poll(&g, items), 1);
    CHECK_IS(look(items), 1);
    CHECK_IS(items[2].events, ZMQ_POLLIN);
    dies(&reader);
    dies(&g);
    end_crowd(&c);
}

int main(void)
{
    begin();
    RUN(a_look_finds_the_events_of_all);
    RUN(a_look_finds_the_events_of_descriptors_as_poll_has_them);
    RUN(a_look_names_the_socket_that_is_closed);
    RUN(a_look_that_may_wait_asks_for_the_hub_to_turn_first);
    RUN(a_poll_is_told_by_each_of_its_sockets);
    RUN(a_poll_for_nothing_of_zeromqs_waits_until_it_is_given_up);
    RUN(news_of_two_sockets_are_told_once);
    RUN(what_is_there_already_is_told_and_the_rest_is_not_asked);
    RUN(one_that_was_told_and_is_cancelled_leaves_no_byte);
    RUN(one_that_gives_up_and_is_told_meanwhile_has_the_news);
    RUN(news_between_two_nodes_are_not_missed);
    RUN(one_that_is_cancelled_or_given_up_is_on_no_socket_any_more);
    RUN(all_that_poll_the_same_sockets_are_told);
    RUN(one_socket_may_be_polled_twice_in_one_poll);
    RUN(a_message_that_a_killed_receiver_left_is_seen);
    return 0;
}
