// Shows the generation parameters (infotext) that an image file contains, when it is dropped on the page or chosen.
import { $, $$, addDropTarget, button, el, openDialog, showToast } from './dom.js';
import { sendJson } from './api.js';
import { imageProperties } from './image.js';
import { useParameters } from './settings.js';

const TYPES = ['image/png', 'image/jpeg', 'image/webp'];

// info: the response of POST /api/recipe. Its fields are null if there is no infotext or it could not be parsed.
function openInfotextDialog(file, info) {
  const url = URL.createObjectURL(file);
  const { fields, recipe: infotext, width, height } = info;
  const found = fields && { ...fields, width: fields.width || width, height: fields.height || height };
  const unknown = infotext
    ? 'The generation parameters are in an unknown format:'
    : 'This image has no generation parameters.';
  const use = () => {
    box.close();
    useParameters(found);
  };
  const box = openDialog('Generation parameters', '.wide.detail',
    el('figure.detail-image', {}, el('img', { src: url, alt: file.name, width, height })),
    el('div.detail-text', {},
      found ? imageProperties(found) : el('p', {}, unknown),
      infotext && el('details', { open: !fields },
        el('summary', {}, 'Raw text'), el('pre.raw.mono', { tabindex: 0 }, infotext)),
      found && el('div.row', {}, button('.primary', 'reuse', 'Use these settings', use))));
  box.addEventListener('close', () => URL.revokeObjectURL(url));
}

async function readFile(file) {
  if (!TYPES.includes(file.type)) {
    showToast(`${file.name} is not a PNG, JPEG or WebP image.`);
    return;
  }
  try {
    openInfotextDialog(file, await sendJson('POST', '/api/recipe', file));
  } catch (error) {
    showToast(`${file.name}: ${error.message}`);
  }
}

export function init() {
  for (const view of $$('#view-generate, #view-gallery')) addDropTarget(view, readFile);
  $('#infotext-file').addEventListener('change', ({ target }) => {
    if (target.files[0]) readFile(target.files[0]);
    target.value = ''; // so that the same file can be chosen again
  });
}
