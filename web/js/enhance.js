// The Enhance button: a language model's words stream into the prompt's field.
import { $, announce, fieldError, setIcon } from './dom.js';
import { send } from './api.js';

const prompt = $('#prompt'), start = $('#enhance'), undo = $('#enhance-undo'), note = $('#enhance-note');
let original = null; // what the prompt was before
let running = null; // AbortController while text streams in

export const setOriginal = (text) => { original = text; undo.hidden = original == null; };
export const forgetOriginal = () => setOriginal(null);
// For the recipe: what was asked for, where that is another text than the prompt.
export const originalOf = (text) => (original != null && original.trim() !== text.trim() ? original.trim() : null);

// The events of a stream, as [name, data].
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const lines = part.split(/\r?\n/).map((line) => line.match(/^(event|data): ?(.*)$/)).filter(Boolean);
      const name = lines.find((line) => line[1] === 'event')?.[2];
      const data = lines.filter((line) => line[1] === 'data').map((line) => line[2]).join('\n');
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}

function show(on) {
  $('span', start).textContent = on ? 'Stop' : 'Enhance';
  setIcon($('svg', start), on ? 'stop' : 'spark');
  prompt.readOnly = on;
  prompt.classList.toggle('streaming', on);
  if (!on) note.textContent = '';
}

function put(text) {
  prompt.value = text;
  prompt.scrollTop = prompt.scrollHeight;
}

async function follow(response, before) {
  let text = '';
  for await (const [name, data] of events(response)) {
    if (name === 'queued') note.textContent = 'Queued';
    if (name === 'started' || name === 'progress') note.textContent = 'Writing';
    if (name === 'text') put(text += data.text);
    if (name === 'failed') throw new Error(data.error.message);
    if (name === 'cancelled') throw new DOMException('cancelled', 'AbortError');
    if (name === 'done') {
      put(data.text);
      setOriginal(before);
      announce('Prompt enhanced.');
      return;
    }
  }
  throw new Error('The connection was lost. Your prompt has been restored.');
}

async function enhance() {
  if (running) return running.abort();
  const before = prompt.value;
  fieldError('prompt');
  if (!before.trim()) {
    fieldError('prompt', 'Enter a prompt to enhance.');
    return prompt.focus();
  }
  running = new AbortController();
  show(true);
  note.textContent = 'Starting';
  try {
    await follow(await send('POST', '/api/enhance', { prompt: before.trim() }, { signal: running.signal }), before);
  } catch (error) {
    put(before);
    if (error.name !== 'AbortError') fieldError('prompt', error.message);
  }
  running = null;
  show(false);
  prompt.dispatchEvent(new Event('change', { bubbles: true }));
}

start.addEventListener('click', enhance);
undo.addEventListener('click', () => {
  prompt.value = original;
  forgetOriginal();
  prompt.dispatchEvent(new Event('change', { bubbles: true }));
  prompt.focus();
});
