"""Functions that are given contexts and sockets."""

import pytest

import gzmqhelper as zmq
from gzmqhelper.decorators import context, socket


def test_a_function_gets_a_context_that_is_ended_when_it_returns():
    @context()
    def use(a, ctx, b=None):
        """What it does."""
        assert isinstance(ctx, zmq.Context) and not ctx.closed
        return a, b, ctx

    a, b, ctx = use(1, b=2)
    assert (a, b) == (1, 2) and ctx.closed
    assert use.__doc__ == "What it does." and use.__name__ == "use"
    assert use(1)[2] is not ctx


def test_arguments_go_to_the_context():
    @context("ctx", 3)
    def by_position(ctx):
        return ctx.io_threads

    @context(name="ctx", io_threads=4)
    def by_name(ctx):
        return ctx.io_threads

    assert (by_position(), by_name()) == (3, 4)


def test_a_function_gets_a_socket_that_is_closed_when_it_raises():
    seen = []

    @context()
    @socket(zmq.PUSH)
    @socket("pull", zmq.PULL)
    def use(ctx, push, pull):
        seen.extend([push, pull])
        assert push.context is ctx and pull.context is ctx
        assert (push.type, pull.type) == (zmq.PUSH, zmq.PULL)
        raise KeyError

    with pytest.raises(KeyError):
        use()
    assert seen[0].closed and seen[1].closed


def test_a_socket_is_made_in_the_context_that_is_named_or_else_in_the_process_one():
    @socket(zmq.PUSH, context_name="second")
    def named(first, push, second):
        return push.context is second

    @socket(zmq.PUSH)
    def default(push):
        return push.context

    with zmq.Context() as first, zmq.Context() as second:
        assert named(first, second=second)
    assert default() is zmq.Context.instance()
    zmq.Context.instance().term()


def test_a_keyword_that_the_caller_gives_too_is_an_error():
    @context("ctx")
    def use(ctx):
        pass

    with pytest.raises(TypeError, match="ctx"):
        use(ctx=1)


def test_the_type_of_the_socket_must_be_said():
    @context()
    @socket("push")
    def use(ctx, push):
        pass

    with pytest.raises(TypeError):
        use()
