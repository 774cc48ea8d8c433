// The Enhance button: a language model rewrites the prompt, whose text streams into the prompt field.
import { $, announce, setFieldError, setIcon } from './dom.js';
import { send } from './api.js';
import { on } from './events.js';

const prompt = $('#prompt'), enhanceButton = $('#enhance'), undoButton = $('#enhance-undo'), note = $('#enhance-note');
let original = null; // the prompt before it was enhanced; null if it was not
let problem = null; // why the server cannot enhance prompts; null if it can
let request = null; // the AbortController of the request that is in progress

export function setOriginal(text) {
  original = text;
  undoButton.hidden = original == null;
}
export const clearOriginal = () => setOriginal(null);

// The value for the parameter "original": the prompt before it was enhanced to enhancedPrompt, or null.
export function originalOf(enhancedPrompt) {
  return original != null && original.trim() !== enhancedPrompt.trim() ? original.trim() : null;
}

const MAX_SILENCE = 45000; // milliseconds; the server sends something every 15 seconds

// As reader.read(), but cancels the reader, which ends the request, when nothing comes.
async function readInTime(reader) {
  const timer = setTimeout(() => reader.cancel(), MAX_SILENCE);
  try {
    return await reader.read();
  } finally {
    clearTimeout(timer);
  }
}

// The server-sent events of a response, as [name, data] with the data parsed as JSON.
async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  for (;;) {
    const { done, value } = await readInTime(reader);
    if (done) return;
    const blocks = (buffer + value).split(/\r?\n\r?\n/);
    buffer = blocks.pop();
    for (const block of blocks) {
      const lines = block.split(/\r?\n/).map((line) => line.match(/^(event|data): ?(.*)$/)).filter(Boolean);
      const name = lines.find((line) => line[1] === 'event')?.[2];
      const data = lines.filter((line) => line[1] === 'data').map((line) => line[2]).join('\n');
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}

function setRunning(running) {
  $('span', enhanceButton).textContent = running ? 'Stop' : 'Enhance';
  setIcon($('svg', enhanceButton), running ? 'stop' : 'sparkles');
  prompt.readOnly = running;
  prompt.classList.toggle('streaming', running);
  note.textContent = running ? 'Starting' : '';
}

// Without a language model the button is disabled, with the reason beside it, in one line that can be unfolded; Stop never is.
function showProblem() {
  const text = !request && problem ? `${problem[0].toUpperCase()}${problem.slice(1)}.` : '';
  $('#enhance-problem summary').textContent = text;
  $('#enhance-problem').hidden = !text;
  enhanceButton.disabled = text !== '';
}

function setPrompt(text) {
  prompt.value = text;
  prompt.scrollTop = prompt.scrollHeight;
}

// Shows the text as it arrives. Throws when the job failed or was cancelled.
async function streamText(response) {
  let text = '';
  for await (const [name, data] of readEvents(response)) {
    if (name === 'queued') note.textContent = 'Queued';
    if (name === 'started' || name === 'progress') note.textContent = 'Writing';
    if (name === 'text') setPrompt(text += data.text);
    if (name === 'failed') throw new Error(data.error.message);
    if (name === 'cancelled') throw new DOMException('cancelled', 'AbortError');
    if (name === 'done') {
      setPrompt(data.text);
      return;
    }
  }
  throw new Error('The connection was lost. Your prompt has been restored; try again.');
}

// Restores the prompt if it fails or is stopped.
async function enhance() {
  const before = prompt.value;
  setFieldError('prompt');
  if (!before.trim()) {
    setFieldError('prompt', 'Enter a prompt to enhance.');
    prompt.focus();
    return;
  }
  request = new AbortController();
  setRunning(true);
  try {
    await streamText(await send('POST', '/api/enhance', { prompt: before.trim() }, { signal: request.signal }));
    setOriginal(before);
    announce('Prompt enhanced.');
  } catch (error) {
    setPrompt(before);
    if (error.name !== 'AbortError') setFieldError('prompt', error.message);
  }
  request = null;
  setRunning(false);
  showProblem();
  promptChanged();
}

function undo() {
  prompt.value = original;
  clearOriginal();
  promptChanged();
  prompt.focus();
}

const promptChanged = () => prompt.dispatchEvent(new Event('change', { bubbles: true }));

enhanceButton.addEventListener('click', () => (request ? request.abort() : enhance()));
undoButton.addEventListener('click', undo);
on('modelList', (list) => {
  problem = list.enhance_problem ?? null;
  showProblem();
});
