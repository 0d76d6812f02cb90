"""The official Python SDK's verifier (a2a.utils.signing) on the cards of the real binary.

Run by `cargo xtask test`. Environment: DORMOUSE (the binary), EXAMPLES and GUESTS (folders of
built modules). Prints one line per test and `N passed, N failed`.
"""

import base64
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback

import httpx
import jwt
from a2a.types import AgentCard
from a2a.utils.signing import (
    InvalidSignaturesError,
    NoSignatureError,
    create_signature_verifier,
)
from google.protobuf.json_format import ParseDict

PATIENCE = 60.0
AGENTS = ["csv-stats", "trip-planner", "report-writer", "hostile"]


class Dormouse:
    """A server, which `set_up` gives every example and the hostile guest; `token` is that of its admin, if it has one."""

    def __init__(self, folder):
        self.folder, self.token, self.process = folder, None, None

    def set_up(self):
        self.start()
        for example in ["csv_stats", "trip_planner", "report_writer"]:
            self.deploy(pathlib.Path(os.environ["EXAMPLES"]) / f"{example}.wasm")
        self.deploy(pathlib.Path(os.environ["GUESTS"]) / "hostile.wasm")

    def start(self):
        command = [os.environ["DORMOUSE"], "serve", "--listen", "127.0.0.1:0", "--data-dir", self.folder,
                   "--public-url", "https://agents.example.com"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.url = line.strip().removeprefix("listening on ")
        assert self.url.startswith("http"), f"not the promised line: {line!r}"

    def deploy(self, module):
        headers = {"content-type": "application/wasm"}
        answer = httpx.post(
            f"{self.url}/v1/modules", content=module.read_bytes(), headers=headers, timeout=PATIENCE
        )
        assert answer.status_code in (200, 201), answer.text

    def get(self, path):
        headers = {"a2a-version": "1.0"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        answer = httpx.get(f"{self.url}{path}", headers=headers, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.content

    def card(self, agent):
        return json.loads(self.get(f"/agents/{agent}/.well-known/agent-card.json"))

    def keys(self):
        return json.loads(self.get("/.well-known/jwks.json"))["keys"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=PATIENCE) == 0


def verify(server, card):
    """As a client would: the key that the header names, from where the header says."""

    def key(kid, jku):
        assert jku == "https://agents.example.com/.well-known/jwks.json", jku
        [jwk] = [one for one in server.keys() if one["kid"] == kid]
        return jwt.PyJWK(jwk)

    create_signature_verifier(key, ["ES256"])(ParseDict(card, AgentCard()))


def header_of(card):
    [signature] = card["signatures"]
    protected = signature["protected"]
    return json.loads(base64.urlsafe_b64decode(protected + "=" * (-len(protected) % 4)))


def accepts(server):
    for agent in AGENTS:
        verify(server, server.card(agent))
        verify(server, json.loads(server.get(f"/agents/{agent}/versions/1/.well-known/agent-card.json")))


def rejects_an_altered_card(server):
    def change(path, value):
        def changed(card):
            *parents, last = path
            for parent in parents:
                card = card[parent]
            card[last] = value

        return changed

    for alter in [
        change(["name"], "somebody else"),
        change(["supportedInterfaces", 0, "url"], "https://attacker.example.com"),
        change(["capabilities", "streaming"], False),
        change(["skills", 0, "description"], "x"),
        change(["iconUrl"], "https://attacker.example.com/icon.png"),
        lambda card: card["skills"].pop(),
        lambda card: card["capabilities"].pop("pushNotifications"),
    ]:
        card = server.card("csv-stats")
        alter(card)
        try:
            verify(server, card)
        except InvalidSignaturesError:
            continue
        raise AssertionError(f"an altered card was accepted: {card}")


def rejects_another_cards_signature(server):
    card = server.card("csv-stats")
    card["signatures"] = server.card("trip-planner")["signatures"]
    try:
        verify(server, card)
    except InvalidSignaturesError:
        pass
    else:
        raise AssertionError("a signature fitted another card")
    del card["signatures"]
    try:
        verify(server, card)
    except NoSignatureError:
        return
    raise AssertionError("a card without signature was accepted")


def names_its_key_by_thumbprint(server):
    header = header_of(server.card("hostile"))
    assert (header["alg"], header["typ"]) == ("ES256", "JOSE"), header
    [key] = server.keys()
    required = {name: key[name] for name in ["crv", "kty", "x", "y"]}
    digest = hashlib.sha256(json.dumps(required, separators=(",", ":"), sort_keys=True).encode()).digest()
    assert header["kid"] == base64.urlsafe_b64encode(digest).decode().rstrip("="), header
    assert "d" not in key, "the private key is published"


def is_stable(server):
    paths = [f"/agents/{agent}/.well-known/agent-card.json" for agent in AGENTS]
    before = [server.get(path) for path in paths] + [server.get("/.well-known/jwks.json")]
    assert before[0] == server.get(paths[0])
    server.stop()
    server.start()
    after = [server.get(path) for path in paths] + [server.get("/.well-known/jwks.json")]
    assert after == before, "the same cards, byte for byte, after a restart"


def accepts_with_authentication(server):
    new = {"name": "ann", "scopes": ["admin"]}
    answer = httpx.post(f"{server.url}/v1/tokens", json=new, timeout=PATIENCE)
    server.token = answer.json()["token"]
    for agent in AGENTS:
        card = server.card(agent)
        assert card["securitySchemes"]["bearer"], card
        verify(server, card)
        extended = json.loads(server.get(f"/agents/{agent}/extendedAgentCard"))
        assert extended["capabilities"]["extensions"], extended
        verify(server, extended)


TESTS = [
    accepts, rejects_an_altered_card, rejects_another_cards_signature, names_its_key_by_thumbprint,
    is_stable, accepts_with_authentication,
]


def run(server):
    failed = 0
    for test in TESTS:
        try:
            test(server)
        except Exception:
            failed += 1
            print(f"FAIL {test.__name__}")
            traceback.print_exc()
        else:
            print(f"pass {test.__name__}")
    print(f"{len(TESTS) - failed} passed, {failed} failed")
    return failed


def main():
    with tempfile.TemporaryDirectory() as folder:
        server = Dormouse(folder)
        try:
            server.set_up()
            failed = run(server)
            server.stop()
        finally:
            if server.process:
                server.process.kill()
                server.process.wait()
    sys.exit(1 if failed else 0)


main()
