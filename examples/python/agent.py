"""An agent in Python: it counts the words of a text, and asks for one if there is none.

A data part `{"top": 5}` says how many of the most frequent words to name. `docs/languages/python.md`
says how to build and deploy this.
"""

import json
from collections import Counter

from wit_world import exports
from wit_world.imports import log, tasks, types

AGENT = types.AgentDefinition(
    name="word-count-py",
    version="1.0.0",
    description="Counts words. Written in Python.",
    default_input_modes=["text/plain", "application/json"],
    default_output_modes=["text/plain", "application/json"],
    isolation=types.Isolation.SHARED,
    concurrency=1,
    skills=[
        types.SkillDefinition(
            id="count",
            name="Count words",
            description="Counts the words of a text and names the most frequent ones.",
            tags=["text"],
            examples=["the mouse and the house"],
            input_modes=[],
            output_modes=[],
        )
    ],
    provider=None,
    documentation_url=None,
    icon_url=None,
    extensions=[],
    streaming=True,
    push_notifications=True,
)


def part(content: types.PartContent) -> types.Part:
    return types.Part(content=content, filename=None, media_type=None, metadata=None)


def say(text: str) -> types.Message:
    return types.Message(parts=[part(types.PartContent_Text(text))], metadata=None)


def text_of(message: types.Message) -> str:
    contents = [part.content for part in message.parts]
    return " ".join(c.value for c in contents if isinstance(c, types.PartContent_Text))


def top_of(message: types.Message, otherwise: int) -> int:
    """How many words to name. What is no JSON object ends the call: nobody catches the exception."""
    for part in message.parts:
        if isinstance(part.content, types.PartContent_Data):
            return json.loads(part.content.value).get("top", otherwise)
    return otherwise


async def count(call: tasks.Call, words: list[str], top: int) -> types.Outcome:
    await call.update(say(f"{len(words)} words to count"))
    # Counts the texts of a context, over all of its tasks.
    texts = json.loads(call.state_get(tasks.Scope.CONTEXT, "texts") or "0") + 1
    call.state_set(tasks.Scope.CONTEXT, "texts", json.dumps(texts))
    counts = {"words": len(words), "texts": texts, "top": Counter(words).most_common(top)}
    log.write(log.Level.INFO, "counted", [("words", str(len(words)))])
    artifact = types.Artifact(
        id=None,
        name="counts",
        description=None,
        parts=[part(types.PartContent_Data(json.dumps(counts)))],
        metadata=None,
    )
    done = types.Completion(message=say(f"{len(words)} words"), artifacts=[artifact])
    return types.Outcome_Completed(done)


class Entrypoint(exports.Entrypoint):
    def definitions(self) -> list[types.AgentDefinition]:
        return [AGENT]


class Skills(exports.Skills):
    async def on_request(self, call, ctx, skill, message) -> types.Outcome:
        top = top_of(message, 3)
        words = text_of(message).lower().split()
        if words:
            return await count(call, words, top)
        slot = json.dumps({"top": top})
        return types.Outcome_InputRequired(types.AwaitedInput(say("Which text?"), slot))

    async def on_input(self, call, ctx, skill, slot, message) -> types.Outcome:
        words = text_of(message).lower().split()
        return await count(call, words, json.loads(slot)["top"])
