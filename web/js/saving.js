// What keeps the server from saving images, such as a full disk, in a notice above all views.
import { $, announce, el, plural } from './dom.js';
import { getJson } from './api.js';
import { on } from './events.js';

const section = $('#saving');

function unsavedText(count) {
  if (!count) return 'New images are kept in the server’s memory.';
  return `${plural(count, 'image')} could not be saved. Download what you need: the server keeps unsaved images only ` +
    'in memory, until it is stopped. It saves them when that is possible again.';
}

function render({ problems, unsaved_images: unsaved }) {
  const texts = problems.map(({ message }) => `Images cannot be saved: ${message}.`);
  if (texts.length) texts.push(unsavedText(unsaved));
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
