"""The examples in Python and JavaScript against the real binary, called with `dormouse send`.

Run by `cargo xtask test`. Environment: DORMOUSE (the binary), MODULES (the folder of what was built),
ROOT (the repository). Prints one line per test and `N passed, N failed`.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import traceback

AGENTS = ["word-count-py", "word-count-js"]
# Compiling Python's interpreter takes a debug build half a minute.
PATIENCE = 300.0

ROOT = pathlib.Path(os.environ["ROOT"])
CONTRACT = ROOT / "wit" / "agent.wit"
SHORTER = ROOT / "examples" / "javascript" / "wit" / "agent.wit"
ASYNC_IMPORT = re.compile(r"(?:^ *///.*\n)*^ *%?(\w+): async func.*-error>;\n", re.MULTILINE)


class Dormouse:
    """A server with the agents of this test; `run` is the command line."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [os.environ["DORMOUSE"], "serve", "--listen", "127.0.0.1:0", "--data-dir", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def deploy(self):
        line = self.process.stdout.readline()
        url = line.strip().removeprefix("listening on ")
        assert url.startswith("http"), f"not the promised line: {line!r}"
        self.environment = {**os.environ, "DORMOUSE_SERVER": url}
        for agent in AGENTS:
            module = pathlib.Path(os.environ["MODULES"]) / f"{agent}.wasm"
            self.run("deploy", str(module))

    def run(self, *args, status=0):
        done = subprocess.run(
            [os.environ["DORMOUSE"], *args], capture_output=True, text=True,
            env=self.environment, timeout=PATIENCE,
        )
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def send(self, agent, *args, status=0):
        """The task that a message leads to."""
        return json.loads(self.run("send", agent, *args, "--json", status=status))["task"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=PATIENCE) == 0


def state(task):
    return task["status"]["state"].removeprefix("TASK_STATE_")


def said(task):
    return task["status"]["message"]["parts"][0]["text"]


def counts(task):
    (artifact,) = task["artifacts"]
    return artifact["parts"][0]["data"]


def a_task_with_an_artifact(server, agent):
    task = server.send(agent, "the mouse and the house", "--data", '{"top": 1}')
    assert state(task) == "COMPLETED" and said(task) == "5 words", task
    assert counts(task) == {"words": 5, "texts": 1, "top": [["the", 2]]}, task


def text_beyond_ascii(server, agent):
    task = server.send(agent, "ÆRLIG ærlig 🐭")
    assert counts(task)["top"] == [["ærlig", 2], ["🐭", 1]], task


def asks_back(server, agent):
    asked = server.send(agent, "--data", '{"top": 2}')
    assert state(asked) == "INPUT_REQUIRED" and said(asked) == "Which text?", asked
    task = server.send(agent, "b b b a a c", "--task", asked["id"])
    assert task["id"] == asked["id"] and state(task) == "COMPLETED", task
    assert counts(task)["top"] == [["b", 3], ["a", 2]], task


def state_of_a_context(server, agent):
    first = server.send(agent, "one")
    second = server.send(agent, "two", "--context", first["contextId"])
    elsewhere = server.send(agent, "three")
    assert [counts(task)["texts"] for task in [first, second, elsewhere]] == [1, 2, 1]


def a_stream(server, agent):
    lines = server.run("send", agent, "one two", "--json", "--stream").splitlines()
    events = [json.loads(line) for line in lines]
    assert [list(event)[0] for event in (events[0], events[-1])] == ["task", "statusUpdate"]
    assert state(events[-1]["statusUpdate"]) == "COMPLETED", events
    assert any("artifactUpdate" in event for event in events), events
    working = [said(e["statusUpdate"]) for e in events[:-1] if "statusUpdate" in e]
    # The compiler for JavaScript cannot import what reports progress: docs/languages/javascript.md.
    assert working == (["2 words to count"] if agent == "word-count-py" else []), events


def an_exception_ends_only_its_call(server, agent):
    before = server.send(agent, "one")
    in_context = ["--context", before["contextId"]]
    task = server.send(agent, "two", "--data", "null", *in_context, status=1)
    assert state(task) == "FAILED", task
    assert task["status"]["message"]["metadata"]["errorClass"] == "trap", task
    after = server.send(agent, "three", *in_context)
    assert state(after) == "COMPLETED" and counts(after)["texts"] == 2, after


def the_shorter_contract_lacks_only_async_imports(_server, _agent):
    """The contract for JavaScript is the original without the functions that its tool cannot import."""
    original = CONTRACT.read_text()
    names = ["update", "artifact", "history", "save", "load", "delete", "list", "search", "next", "generate",
        "stream", "send"]
    assert ASYNC_IMPORT.findall(original) == names
    assert SHORTER.read_text() == ASYNC_IMPORT.sub("", original)


TESTS = [
    a_task_with_an_artifact, text_beyond_ascii, asks_back, state_of_a_context, a_stream,
    an_exception_ends_only_its_call,
]


def run(server):
    passed, failed = 0, 0
    runs = [(test, agent) for test in TESTS for agent in AGENTS]
    for test, agent in [(the_shorter_contract_lacks_only_async_imports, AGENTS[1]), *runs]:
        name = f"{test.__name__}: {agent}"
        try:
            test(server, agent)
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
