// A picture that is dropped on the page, or chosen, tells its recipe.
import { $, $$, button, dialog, el, toast } from './dom.js';
import { call } from './api.js';
import { recipeFacts } from './picture.js';
import { useRecipe } from './settings.js';

const TYPES = ['image/png', 'image/jpeg', 'image/webp'];

function show(file, recipe) {
  const url = URL.createObjectURL(file);
  const fields = recipe.fields;
  const box = dialog('Generation parameters', '.wide.detail',
    el('figure.detail-picture', {}, el('img', { src: url, alt: file.name, width: recipe.width, height: recipe.height })),
    el('div.detail-text', {},
      fields ? recipeFacts({ ...fields, width: fields.width || recipe.width, height: fields.height || recipe.height })
        : el('p', {}, recipe.recipe ? 'The generation parameters are in an unknown format:' : 'This image has no generation parameters.'),
      recipe.recipe && el('details', { open: !fields }, el('summary', {}, 'Raw text'), el('pre.raw.mono', { tabindex: 0 }, recipe.recipe)),
      fields && el('div.row', {}, button('.primary', 'use', 'Use these settings', () => {
        box.close();
        useRecipe({ ...fields, width: fields.width || recipe.width, height: fields.height || recipe.height });
      }))));
  box.addEventListener('close', () => URL.revokeObjectURL(url));
}

export async function read(file) {
  if (!TYPES.includes(file.type)) {
    toast(`${file.name} is not a PNG, JPEG or WebP image.`);
    return;
  }
  try {
    show(file, await call('POST', '/api/recipe', file));
  } catch (error) {
    toast(`${file.name}: ${error.message}`);
  }
}

// Files dragged over a view mark it; dropped, they go to what(file).
export function dropZone(node, what) {
  const holds = (event) => [...event.dataTransfer.types].includes('Files');
  node.addEventListener('dragover', (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    event.stopPropagation();
    node.classList.add('dropping');
  });
  node.addEventListener('dragleave', (event) => { if (!node.contains(event.relatedTarget)) node.classList.remove('dropping'); });
  node.addEventListener('drop', (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    event.stopPropagation();
    node.classList.remove('dropping');
    const [file] = event.dataTransfer.files;
    if (file) what(file);
  });
}

export function start() {
  for (const view of $$('#view-generate, #view-gallery')) dropZone(view, read);
  $('#recipe-file').addEventListener('change', ({ target }) => {
    if (target.files[0]) read(target.files[0]);
    target.value = '';
  });
}
