"""The official Python client (a2a-sdk) against the real binary, over all three bindings.

Run by `cargo xtask test`. Environment: DORMOUSE (the binary), EXAMPLES and GUESTS (folders of
built modules). Prints one line per test and `N passed, N failed`.
"""

import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback
import uuid

import grpc
import httpx
from a2a.client import A2ACardResolver, ClientCallContext, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError, A2AClientTimeoutError
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import A2AError, TaskNotCancelableError, TaskNotFoundError
from google.protobuf.json_format import MessageToDict

BINDINGS = ["JSONRPC", "HTTP+JSON", "GRPC"]
PATIENCE = 60.0


class Dormouse:
    """A server, which `set_up` gives every example and the hostile guest."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [os.environ["DORMOUSE"], "serve", "--listen", "127.0.0.1:0", "--data-dir", folder],
            stdout=subprocess.PIPE,
            text=True,
        )

    def set_up(self):
        line = self.process.stdout.readline()
        self.url = line.strip().removeprefix("listening on ")
        assert self.url.startswith("http"), f"not the promised line: {line!r}"
        for example in ["csv_stats", "trip_planner", "report_writer"]:
            self.deploy(pathlib.Path(os.environ["EXAMPLES"]) / f"{example}.wasm")
        self.deploy(pathlib.Path(os.environ["GUESTS"]) / "hostile.wasm")

    def deploy(self, module):
        answer = httpx.post(
            f"{self.url}/v1/modules",
            content=module.read_bytes(),
            headers={"content-type": "application/wasm"},
            timeout=PATIENCE,
        )
        assert answer.status_code in (200, 201), answer.text

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=PATIENCE) == 0


class Session:
    """One agent over one binding."""

    def __init__(self, server, agent, binding, streaming):
        self.server, self.agent, self.binding, self.streaming = server, agent, binding, streaming

    async def __aenter__(self):
        self.http = httpx.AsyncClient(timeout=PATIENCE)
        resolver = A2ACardResolver(self.http, f"{self.server.url}/agents/{self.agent}")
        self.card = await resolver.get_agent_card()
        config = ClientConfig(
            streaming=self.streaming,
            httpx_client=self.http,
            grpc_channel_factory=grpc.aio.insecure_channel,
            supported_protocol_bindings=[self.binding],
        )
        self.client = ClientFactory(config).create(self.card)
        return self

    async def __aexit__(self, *_):
        await self.client.close()

    async def send(self, text, skill=None, task=None, at_once=False):
        """Every event of one send."""
        message = pb.Message(
            message_id=str(uuid.uuid4()), role=pb.ROLE_USER, parts=[pb.Part(text=text)]
        )
        if skill:
            message.metadata["skillId"] = skill
        if task:
            message.task_id, message.context_id = task.id, task.context_id
        request = pb.SendMessageRequest(
            message=message,
            configuration=pb.SendMessageConfiguration(return_immediately=at_once),
        )
        return [event async for event in self.client.send_message(request)]

    async def task(self, *args, **kwargs):
        """The task that a send without streaming ends with."""
        events = await self.send(*args, **kwargs)
        assert len(events) == 1 and events[0].HasField("task"), events
        return events[0].task


def text_of(message):
    return "".join(part.text for part in message.parts)


async def card(server, binding):
    for agent in ["csv-stats", "trip-planner", "report-writer", "hostile"]:
        async with Session(server, agent, binding, False) as session:
            card = session.card
            assert card.name == agent and card.skills and card.description, card
            assert card.capabilities.streaming, card
            bound = {interface.protocol_binding for interface in card.supported_interfaces}
            assert bound >= set(BINDINGS), bound
            assert all(i.protocol_version == "1.0" for i in card.supported_interfaces)


async def send(server, binding):
    async with Session(server, "csv-stats", binding, False) as session:
        task = await session.task("city,people\nOslo,709000\nBergen,291000\n")
        assert task.status.state == pb.TASK_STATE_COMPLETED, task
        statistics = MessageToDict(task.artifacts[0].parts[0].data)
        assert statistics["rows"] == 2, statistics


async def send_for_a_message(server, binding):
    async with Session(server, "hostile", binding, False) as session:
        events = await session.send("hello", skill="echo")
        assert len(events) == 1 and text_of(events[0].message) == "hello", events


async def several_turns(server, binding):
    async with Session(server, "trip-planner", binding, False) as session:
        task = await session.task("I want to go to Oslo")
        for answer in ["5 days", "900 EUR"]:
            assert task.status.state == pb.TASK_STATE_INPUT_REQUIRED, task
            task = await session.task(answer, task=task)
        assert task.status.state == pb.TASK_STATE_COMPLETED, task


async def stream(server, binding):
    async with Session(server, "report-writer", binding, True) as session:
        events = await session.send("A report on dormice")
        assert events[0].HasField("task"), events[0]
        chunks = [e.artifact_update for e in events if e.HasField("artifact_update")]
        updates = [e.status_update for e in events if e.HasField("status_update")]
        assert len(chunks) > 1 and chunks[-1].last_chunk, chunks
        assert updates[-1].status.state == pb.TASK_STATE_COMPLETED, updates[-1]
        kept = await session.client.get_task(pb.GetTaskRequest(id=events[0].task.id))
        streamed = "".join(part.text for chunk in chunks for part in chunk.artifact.parts)
        assert "".join(part.text for part in kept.artifacts[0].parts) == streamed


async def get(server, binding):
    async with Session(server, "hostile", binding, False) as session:
        task = await session.task("kept", skill="echo-task")
        again = await session.client.get_task(pb.GetTaskRequest(id=task.id))
        assert again.status == task.status and again.context_id == task.context_id
        bare = await session.client.get_task(pb.GetTaskRequest(id=task.id, history_length=0))
        assert not bare.history
        try:
            await session.client.get_task(pb.GetTaskRequest(id="no-such-task"))
        except TaskNotFoundError:
            return
        raise AssertionError("an unknown task was found")


async def list_tasks(server, binding):
    async with Session(server, "hostile", binding, False) as session:
        first = await session.task("one", skill="echo-task")
        known = {first.id}
        for text in ["two", "three"]:
            events = await session.send(text, skill="echo-task")
            known.add(events[0].task.id)
        seen, token = [], ""
        while True:
            page = await session.client.list_tasks(
                pb.ListTasksRequest(page_size=2, page_token=token)
            )
            seen += [task.id for task in page.tasks]
            token = page.next_page_token
            if not token:
                break
        assert known <= set(seen) and len(seen) == len(set(seen)) == page.total_size, seen
        within = await session.client.list_tasks(
            pb.ListTasksRequest(context_id=first.context_id, status=pb.TASK_STATE_COMPLETED)
        )
        assert [task.id for task in within.tasks] == [first.id]


async def cancel(server, binding):
    async with Session(server, "hostile", binding, False) as session:
        task = await session.task("x", skill="loop", at_once=True)
        canceled = await session.client.cancel_task(pb.CancelTaskRequest(id=task.id))
        assert canceled.status.state == pb.TASK_STATE_CANCELED, canceled
        try:
            await session.client.cancel_task(pb.CancelTaskRequest(id=task.id))
        except TaskNotCancelableError:
            return
        raise AssertionError("a canceled task was canceled")


async def subscribe(server, binding):
    async with Session(server, "hostile", binding, True) as session:
        message = pb.Message(message_id=str(uuid.uuid4()), role=pb.ROLE_USER)
        message.parts.add().data.struct_value["ms"] = 500
        message.metadata["skillId"] = "slow"
        begun = session.client.send_message(pb.SendMessageRequest(message=message))
        task = (await anext(begun)).task
        request = pb.SubscribeToTaskRequest(id=task.id)
        seen = [event async for event in session.client.subscribe(request)]
        assert seen[0].HasField("task"), seen
        assert seen[-1].status_update.status.state == pb.TASK_STATE_COMPLETED, seen
        own = [event async for event in begun]
        assert own[-1] == seen[-1], "every reader sees the same events"


async def push_configurations(server, binding):
    async with Session(server, "hostile", binding, False) as session:
        assert session.card.capabilities.push_notifications
        client = session.client
        task = await session.task("kept", skill="echo-task")
        wanted = pb.TaskPushNotificationConfig(
            task_id=task.id,
            id="one",
            url="https://hooks.example.com/a?b=c",
            token="t0ken",
            authentication=pb.AuthenticationInfo(scheme="Bearer", credentials="secret"),
        )
        # The client writes the tenant of its interface into what it is given.
        sent = pb.TaskPushNotificationConfig()
        sent.CopyFrom(wanted)
        assert await client.create_task_push_notification_config(sent) == wanted
        unnamed = pb.TaskPushNotificationConfig(task_id=task.id, url=wanted.url)
        made = await client.create_task_push_notification_config(unnamed)
        assert made.id and made.task_id == task.id, made
        one = pb.GetTaskPushNotificationConfigRequest(task_id=task.id, id="one")
        assert await client.get_task_push_notification_config(one) == wanted
        page = pb.ListTaskPushNotificationConfigsRequest(task_id=task.id, page_size=1)
        first = await client.list_task_push_notification_configs(page)
        page.page_token = first.next_page_token
        second = await client.list_task_push_notification_configs(page)
        seen = {config.id for config in [*first.configs, *second.configs]}
        assert seen == {"one", made.id} and not second.next_page_token, seen
        for _ in range(2):
            await client.delete_task_push_notification_config(
                pb.DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="one")
            )
        for request in [one, pb.GetTaskPushNotificationConfigRequest(task_id="none", id="one")]:
            try:
                await client.get_task_push_notification_config(request)
            except TaskNotFoundError:
                continue
            raise AssertionError("a configuration was found that is not there")


async def deadline(server, binding):
    """A client that stops waiting gives up the answer, not the task."""
    async with Session(server, "hostile", binding, False) as session:
        context_id = str(uuid.uuid4())
        message = pb.Message(
            message_id=str(uuid.uuid4()), role=pb.ROLE_USER, context_id=context_id
        )
        message.parts.add().data.struct_value["ms"] = 1500
        message.metadata["skillId"] = "slow"
        request = pb.SendMessageRequest(message=message)
        try:
            context = ClientCallContext(timeout=0.6)
            async for event in session.client.send_message(request, context=context):
                raise AssertionError(f"an answer within the deadline: {event}")
        except A2AClientTimeoutError:
            pass
        state = None
        while state in (None, pb.TASK_STATE_SUBMITTED, pb.TASK_STATE_WORKING):
            page = await session.client.list_tasks(pb.ListTasksRequest(context_id=context_id))
            assert len(page.tasks) == 1, page
            state = page.tasks[0].status.state
            await asyncio.sleep(0.05)
        assert state == pb.TASK_STATE_COMPLETED, page


async def errors(server, binding):
    async with Session(server, "hostile", binding, False) as session:
        try:
            await session.send("x", skill="no-such-skill")
        except (A2AClientError, A2AError) as error:
            assert "no-such-skill" in str(error), error
            return
        raise AssertionError("an unknown skill was called")


TESTS = [
    card, send, send_for_a_message, several_turns, stream, get, list_tasks, cancel, subscribe,
    push_configurations, deadline, errors,
]


async def run(server):
    passed, failed = 0, 0
    for test in TESTS:
        for binding in BINDINGS:
            name = f"{test.__name__} over {binding}"
            try:
                await asyncio.wait_for(test(server, binding), PATIENCE)
            except Exception:
                failed += 1
                print(f"FAIL {name}")
                traceback.print_exc()
            else:
                passed += 1
                print(f"pass {name}")
    print(f"{passed} passed, {failed} failed")
    return failed


def main():
    with tempfile.TemporaryDirectory() as folder:
        server = Dormouse(folder)
        try:
            server.set_up()
            failed = asyncio.run(run(server))
            server.stop()
        finally:
            server.process.kill()
            server.process.wait()
    sys.exit(1 if failed else 0)


main()
