"""The official command line client (a2a-cli, the binary `a2acli`) against the real binary, over both of
its bindings.

Run by `cargo xtask test`. Environment: DORMOUSE and A2ACLI (the binaries), EXAMPLES and GUESTS (folders
of built modules). Prints one line per test and `N passed, N failed`.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback
import urllib.request

BINDINGS = ["jsonrpc", "rest"]
PATIENCE = 60.0


class Dormouse:
    """A server; `deploy` gives it agents."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [os.environ["DORMOUSE"], "serve", "--listen", "127.0.0.1:0", "--data-dir", folder],
            stdout=subprocess.PIPE,
            text=True,
        )

    def deploy(self):
        line = self.process.stdout.readline()
        self.url = line.strip().removeprefix("listening on ")
        assert self.url.startswith("http"), f"not the promised line: {line!r}"
        examples = [f"{name}.wasm" for name in ["csv_stats", "trip_planner", "report_writer"]]
        modules = [pathlib.Path(os.environ["EXAMPLES"]) / example for example in examples]
        for module in [*modules, pathlib.Path(os.environ["GUESTS"]) / "echo.wasm"]:
            headers = {"content-type": "application/wasm"}
            upload = urllib.request.Request(
                f"{self.url}/v1/modules", data=module.read_bytes(), headers=headers, method="POST"
            )
            with urllib.request.urlopen(upload, timeout=PATIENCE) as answer:
                assert answer.status in (200, 201), answer.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=PATIENCE) == 0


class Client:
    """The command line, with one agent over one binding."""

    def __init__(self, server, binding, agent):
        card = f"{server.url}/agents/{agent}/.well-known/agent-card.json"
        self.command = [
            os.environ["A2ACLI"], "--agent-card", card, "--transport", binding,
            "--output", "json", "--compact",
        ]
        # Nothing that somebody has set for themselves.
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("A2ACLI_")
        }

    def start(self, *args):
        return subprocess.Popen(
            [*self.command, *args], stdout=subprocess.PIPE, text=True, env=self.environment
        )

    def lines(self, *args, status=0):
        """What a command says, line by line."""
        done = subprocess.run(
            [*self.command, *args], capture_output=True, text=True, env=self.environment,
            timeout=PATIENCE,
        )
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        said = done.stderr if status else done.stdout
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    def run(self, *args):
        (answer,) = self.lines(*args)
        return answer

    def error(self, *args):
        (answer,) = self.lines(*args, status=1)
        return answer["error"]


def state(task):
    return task["status"]["state"].removeprefix("TASK_STATE_")


def said(task):
    return task["status"]["message"]["parts"][0]["text"]


def card(server, binding):
    card = Client(server, binding, "trip-planner").run("card", "get")
    assert card["name"] == "trip-planner" and card["signatures"], card
    bindings = [interface["protocolBinding"] for interface in card["supportedInterfaces"]]
    assert bindings == ["JSONRPC", "HTTP+JSON", "GRPC"], bindings


def send_for_a_message(server, binding):
    answer = Client(server, binding, "echo").run("send", "hello")
    assert answer["message"]["parts"] == [{"text": "hello"}], answer


def send_for_a_task(server, binding):
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as table:
        table.write("city,people\nOslo,709000\nBergen,291000\n")
        table.flush()
        client = Client(server, binding, "csv-stats")
        sent = client.run("send", "--file-part", table.name, "--media-type", "text/csv")
    assert state(sent["task"]) == "COMPLETED" and "2 rows" in said(sent["task"]), sent
    assert sent["task"]["artifacts"], sent


def a_part_of_another_kind(server, binding):
    with tempfile.NamedTemporaryFile(suffix=".png") as picture:
        client = Client(server, binding, "csv-stats")
        error = client.error("send", "--file-part", picture.name, "--media-type", "image/png")
    assert error["a2aCode"] == -32005, error


def several_turns(server, binding):
    client = Client(server, binding, "trip-planner")
    task = client.run("send", "I want to go to Oslo")["task"]
    assert state(task) == "INPUT_REQUIRED", task
    for answer in ["8 days", "1200 EUR"]:
        again = client.run("send", "--task-id", task["id"], answer)["task"]
        assert again["id"] == task["id"], again
    assert state(again) == "COMPLETED", again


def stream(server, binding):
    client = Client(server, binding, "report-writer")
    events = client.lines("send", "--stream", "Costs: rent went up\nPeople: two joined")
    assert state(events[0]["task"]) == "SUBMITTED", events
    assert state(events[-1]["statusUpdate"]) == "COMPLETED", events
    chunks = [event["artifactUpdate"] for event in events if "artifactUpdate" in event]
    report = "".join(part["text"] for chunk in chunks for part in chunk["artifact"]["parts"])
    assert "## Costs" in report and "## People" in report, report
    assert chunks[-1]["lastChunk"], chunks


def get(server, binding):
    client = Client(server, binding, "trip-planner")
    task = client.run("send", "8 days to Lisbon for 1200 EUR")["task"]
    whole = client.run("task", "get", task["id"])
    assert state(whole) == "COMPLETED" and whole["history"], whole
    assert "history" not in client.run("task", "get", task["id"], "--history-length", "0")
    assert client.error("task", "get", "nothing")["a2aCode"] == -32001


def list_tasks(server, binding):
    client = Client(server, binding, "trip-planner")
    task = client.run("send", "I want to go to Oslo")["task"]
    of_context = ["task", "list", "--context-id", task["contextId"]]
    page = client.run(*of_context)
    assert [task["id"] for task in page["tasks"]] == [task["id"]], page
    assert client.run(*of_context, "--status", "completed")["tasks"] == []
    client.run("send", "I want to go to Oslo")
    first = client.run("task", "list", "--page-size", "1")
    second = client.run("task", "list", "--page-size", "1", "--page-token", first["nextPageToken"])
    assert first["tasks"][0]["id"] != second["tasks"][0]["id"], (first, second)


def cancel(server, binding):
    client = Client(server, binding, "trip-planner")
    task = client.run("send", "I want to go to Oslo")["task"]
    assert state(client.run("task", "cancel", task["id"])) == "CANCELED"
    assert client.error("task", "cancel", task["id"])["a2aCode"] == -32002


def subscribe(server, binding):
    client = Client(server, binding, "trip-planner")
    task = client.run("send", "I want to go to Oslo")["task"]
    with client.start("task", "subscribe", task["id"]) as subscribed:
        try:
            first = json.loads(subscribed.stdout.readline())
            assert state(first["task"]) == "INPUT_REQUIRED", first
            for answer in ["8 days", "1200 EUR"]:
                client.run("send", "--task-id", task["id"], answer)
            rest, _ = subscribed.communicate(timeout=PATIENCE)
            assert subscribed.returncode == 0
        finally:
            subscribed.kill()
    events = [json.loads(line) for line in rest.splitlines()]
    assert state(events[-1]["statusUpdate"]) == "COMPLETED", events
    assert client.error("task", "subscribe", task["id"])["a2aCode"] == -32004


def push_configurations(server, binding):
    client = Client(server, binding, "trip-planner")
    task = client.run("send", "I want to go to Oslo")["task"]["id"]
    commands = ["task", "push-config"]
    made = client.run(
        *commands, "create", task, "https://hooks.example.com/a?b=c", "--token", "t0ken",
        "--auth-scheme", "Bearer", "--auth-credentials", "secret",
    )
    assert made["taskId"] == task and made["token"] == "t0ken", made
    assert made["authentication"] == {"scheme": "Bearer", "credentials": "secret"}, made
    assert client.run(*commands, "get", task, made["id"]) == made
    assert client.run(*commands, "list", task)["configs"] == [made]
    client.lines(*commands, "delete", task, made["id"])
    assert client.error(*commands, "get", task, made["id"])["a2aCode"] == -32001


TESTS = [
    card, send_for_a_message, send_for_a_task, a_part_of_another_kind, several_turns, stream, get,
    list_tasks, cancel, subscribe, push_configurations,
]


def run(server):
    passed, failed = 0, 0
    for test in TESTS:
        for binding in BINDINGS:
            name = f"{test.__name__} over {binding}"
            try:
                test(server, binding)
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
            server.deploy()
            failed = run(server)
            server.stop()
        finally:
            server.process.kill()
            server.process.wait()
    sys.exit(1 if failed else 0)


main()
