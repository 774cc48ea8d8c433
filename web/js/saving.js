// A notice above all views says what keeps the server from saving images, such as a full disk.
import { $, announce, el, plural } from './dom.js';
import { getJson } from './api.js';
import { on } from './events.js';

const section = $('#saving');

function unsavedText(count) {
  if (!count) return 'The server keeps new images in memory until they can be saved. They are lost if it is stopped before.';
  return `${plural(count, 'image')} could not be saved. Download what you need: the server keeps unsaved images only ` +
    'in memory, until it is stopped. It saves them when that is possible again.';
}

function render({ problems, unsaved_images: unsaved }) {
  // The image files are saved all the same if only the database cannot be written.
  const isUnsaved = problems.some(({ kind }) => kind !== 'database_not_writable');
  const texts = problems.map(({ kind, message }) =>
    kind === 'database_not_writable' ? `${message[0].toUpperCase()}${message.slice(1)}.` : `Images cannot be saved: ${message}.`);
  if (isUnsaved || unsaved) texts.push(unsavedText(unsaved));
  const text = texts.join(' ');
  if (section.textContent === texts.join('')) return;
  section.replaceChildren(...texts.map((line) => el('p', {}, line)));
  announce(text || 'Images can be saved again.');
}

export function init() {
  on('storage', render);
  // Changes before this page was opened, or while it was not connected, are no events.
  on('snapshot', () => getJson('/api/health').then((health) => {
    if (health.problems.length || section.textContent) render(health);
  }, () => {}));
}
