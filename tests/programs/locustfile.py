"""A load test, as anybody would write it."""

from locust import HttpUser, constant, events, task


class Visitor(HttpUser):
    wait_time = constant(0.01)

    @task
    def visit(self):
        self.client.get("/")


@events.init.add_listener
def say_what_answers_for_zmq(environment, **_):
    rpc = getattr(environment.runner, "server", None) or environment.runner.client
    print("zmq is", type(rpc.socket).__module__, flush=True)
