// The official JavaScript client (@a2a-js/sdk) against the real binary, over JSON-RPC and HTTP+JSON.
//
// Run by `cargo xtask test`, in a folder that has the client in its node_modules. Environment:
// DORMOUSE (the binary), EXAMPLES and GUESTS (folders of built modules). Prints one line per test
// and `N passed, N failed`.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

// From the folder it is run in: this file lives elsewhere.
const require = createRequire(join(process.cwd(), 'package.json'));
const load = async (name) => import(pathToFileURL(require.resolve(name)).href);
const { ClientFactory, JsonRpcTransportFactory, RestTransportFactory } = await load('@a2a-js/sdk/client');
const { Role, TaskState } = await load('@a2a-js/sdk');

const BINDINGS = {
  'JSON-RPC': () => new JsonRpcTransportFactory(),
  'HTTP+JSON': () => new RestTransportFactory(),
};

function start(folder) {
  const flags = ['serve', '--listen', '127.0.0.1:0', '--data-dir', folder];
  return spawn(process.env.DORMOUSE, flags, { stdio: ['ignore', 'pipe', 'ignore'] });
}

// Gives a server every example and the hostile guest. Returns its URL.
async function setUp(child) {
  const [line] = await once(createInterface(child.stdout), 'line');
  const url = line.replace('listening on ', '');
  const deploy = async (path) => {
    const answer = await fetch(`${url}/v1/modules`, {
      method: 'POST',
      headers: { 'content-type': 'application/wasm' },
      body: await readFile(path),
    });
    assert.ok(answer.ok, await answer.text());
  };
  for (const example of ['csv_stats', 'trip_planner', 'report_writer']) {
    await deploy(join(process.env.EXAMPLES, `${example}.wasm`));
  }
  await deploy(join(process.env.GUESTS, 'hostile.wasm'));
  return url;
}

function request(text, { skill, task, atOnce } = {}) {
  const content = { $case: 'text', value: text };
  return {
    tenant: '',
    message: {
      messageId: randomUUID(),
      contextId: task?.contextId ?? '',
      taskId: task?.id ?? '',
      role: Role.ROLE_USER,
      parts: [{ content, metadata: undefined, filename: '', mediaType: '' }],
      metadata: skill ? { skillId: skill } : undefined,
      extensions: [],
      referenceTaskIds: [],
    },
    configuration: {
      acceptedOutputModes: [],
      taskPushNotificationConfig: undefined,
      historyLength: undefined,
      returnImmediately: atOnce ?? false,
    },
    metadata: undefined,
  };
}

const get = (task, historyLength) => ({ tenant: '', id: task.id, historyLength });
const textOf = (parts) => parts.map((part) => part.content.value).join('');
const all = async (events) => {
  const seen = [];
  for await (const event of events) seen.push(event.payload);
  return seen;
};

const TESTS = {
  async card(client) {
    const card = await (await client('csv-stats')).getAgentCard();
    assert.equal(card.name, 'csv-stats');
    assert.ok(card.capabilities.streaming);
  },

  async send(client) {
    const task = await (await client('csv-stats')).sendMessage(request('a,b\n1,2\n3,4\n'));
    assert.equal(task.status.state, TaskState.TASK_STATE_COMPLETED);
    assert.equal(task.artifacts[0].parts[0].content.value.rows, 2);
  },

  async message(client) {
    const message = await (await client('hostile')).sendMessage(request('hello', { skill: 'echo' }));
    assert.equal(textOf(message.parts), 'hello');
  },

  async turns(client) {
    const planner = await client('trip-planner');
    let task = await planner.sendMessage(request('I want to go to Oslo'));
    for (const answer of ['5 days', '900 EUR']) {
      assert.equal(task.status.state, TaskState.TASK_STATE_INPUT_REQUIRED);
      task = await planner.sendMessage(request(answer, { task }));
    }
    assert.equal(task.status.state, TaskState.TASK_STATE_COMPLETED);
  },

  async stream(client) {
    const writer = await client('report-writer');
    const events = await all(writer.sendMessageStream(request('A report on dormice')));
    assert.equal(events[0].$case, 'task');
    const chunks = events.filter((event) => event.$case === 'artifactUpdate').map((event) => event.value);
    assert.ok(chunks.length > 1 && chunks.at(-1).lastChunk);
    assert.equal(events.at(-1).value.status.state, TaskState.TASK_STATE_COMPLETED);
    const kept = await writer.getTask(get(events[0].value));
    const streamed = chunks.map((chunk) => textOf(chunk.artifact.parts)).join('');
    assert.equal(textOf(kept.artifacts[0].parts), streamed);
  },

  async get(client) {
    const hostile = await client('hostile');
    const task = await hostile.sendMessage(request('kept', { skill: 'echo-task' }));
    assert.deepEqual((await hostile.getTask(get(task))).status, task.status);
    assert.equal((await hostile.getTask(get(task, 0))).history.length, 0);
    await assert.rejects(hostile.getTask(get({ id: 'no-such-task' })), /not found/i);
  },

  async list(client) {
    const hostile = await client('hostile');
    const task = await hostile.sendMessage(request('one', { skill: 'echo-task' }));
    const page = await hostile.listTasks({
      tenant: '',
      contextId: task.contextId,
      status: TaskState.TASK_STATE_COMPLETED,
      pageSize: 10,
      pageToken: '',
      historyLength: undefined,
      statusTimestampAfter: undefined,
      includeArtifacts: false,
    });
    assert.deepEqual(page.tasks.map(({ id }) => id), [task.id]);
  },

  async cancel(client) {
    const hostile = await client('hostile');
    const task = await hostile.sendMessage(request('x', { skill: 'loop', atOnce: true }));
    const cancel = () => hostile.cancelTask({ tenant: '', id: task.id, metadata: undefined });
    assert.equal((await cancel()).status.state, TaskState.TASK_STATE_CANCELED);
    await assert.rejects(cancel(), /ended|cancel/i);
  },

  async subscribe(client) {
    const hostile = await client('hostile');
    const task = await hostile.sendMessage(request('x', { skill: 'slow', atOnce: true }));
    const events = await all(hostile.resubscribeTask({ tenant: '', id: task.id }));
    assert.equal(events[0].$case, 'task');
    assert.equal(events.at(-1).value.status.state, TaskState.TASK_STATE_COMPLETED);
  },
};

const folder = await mkdtemp(join(tmpdir(), 'dormouse-'));
const child = start(folder);
const exited = once(child, 'exit');
let [passed, failed] = [0, 0];
try {
  const url = await setUp(child);
  for (const [name, test] of Object.entries(TESTS)) {
    for (const [binding, transport] of Object.entries(BINDINGS)) {
      const factory = new ClientFactory({ transports: [transport()] });
      try {
        // The client would resolve a path against the origin.
        const card = (agent) => `${url}/agents/${agent}/.well-known/agent-card.json`;
        await test((agent) => factory.createFromUrl(card(agent), ''));
        passed += 1;
        console.log(`pass ${name} over ${binding}`);
      } catch (error) {
        failed += 1;
        console.log(`FAIL ${name} over ${binding}`, error);
      }
    }
  }
} finally {
  child.kill('SIGTERM');
  await exited;
  await rm(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
