// An agent in JavaScript: it counts the words of a text, and asks for one if there is none.
//
// A data part `{"top": 5}` says how many of the most frequent words to name. `docs/languages/javascript.md`
// says how to build and deploy this.

import log from 'dormouse:agent/log@0.1.0';

const AGENT = {
  name: 'word-count-js',
  version: '1.0.0',
  description: 'Counts words. Written in JavaScript.',
  defaultInputModes: ['text/plain', 'application/json'],
  defaultOutputModes: ['text/plain', 'application/json'],
  isolation: 'shared',
  concurrency: 1,
  skills: [
    {
      id: 'count',
      name: 'Count words',
      description: 'Counts the words of a text and names the most frequent ones.',
      tags: ['text'],
      examples: ['the mouse and the house'],
      inputModes: [],
      outputModes: [],
    },
  ],
  provider: null,
  documentationUrl: null,
  iconUrl: null,
  extensions: [],
  streaming: true,
  pushNotifications: true,
};

const part = (content) => ({ content, filename: null, mediaType: null, metadata: null });
const say = (text) => ({ parts: [part({ tag: 'text', val: text })], metadata: null });
const contents = (message, tag) =>
  message.parts.filter(({ content }) => content.tag === tag).map(({ content }) => content.val);

const wordsOf = (message) =>
  contents(message, 'text').join(' ').toLowerCase().split(/\s+/).filter(Boolean);

// How many words to name. JSON that has no members (null) ends the call: nobody catches the exception.
function topOf(message, otherwise) {
  const [options = '{}'] = contents(message, 'data');
  return JSON.parse(options).top ?? otherwise;
}

function mostFrequent(words, limit) {
  const counts = new Map();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].sort(([, one], [, other]) => other - one).slice(0, limit);
}

function count(call, words, top) {
  // Counts the texts of a context, over all of its tasks.
  const texts = JSON.parse(call.stateGet('context', 'texts') ?? '0') + 1;
  call.stateSet('context', 'texts', JSON.stringify(texts));
  const counts = { words: words.length, texts, top: mostFrequent(words, top) };
  log.write('info', 'counted', [['words', String(words.length)]]);
  const parts = [part({ tag: 'data', val: JSON.stringify(counts) })];
  const artifact = { id: null, name: 'counts', description: null, parts, metadata: null };
  return { tag: 'completed', val: { message: say(`${words.length} words`), artifacts: [artifact] } };
}

export const entrypoint = {
  definitions: () => [AGENT],
};

export const skills = {
  async onRequest(call, context, skill, message) {
    const top = topOf(message, 3);
    const words = wordsOf(message);
    if (words.length > 0) return count(call, words, top);
    const slot = JSON.stringify({ top });
    return { tag: 'input-required', val: { message: say('Which text?'), slot } };
  },

  async onInput(call, context, skill, slot, message) {
    return count(call, wordsOf(message), JSON.parse(slot).top);
  },
};
