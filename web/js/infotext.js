// Shows the generation parameters (infotext) that an image file contains, when it is dropped on the page or chosen.
import { $, $$, addDropTarget, button, el, openDialog, propertyList, showToast } from './dom.js';
import { sendJson } from './api.js';
import { imageProperties } from './image.js';
import { useParameters } from './settings.js';

// Settings that the fields have, and those that say nothing about the image. In lower case.
const READ = ['steps', 'sampler', 'schedule type', 'cfg scale', 'seed', 'size', 'model', 'model hash', 'shift',
  'cfg normalization', 'cfg truncation', 'max tokens', 'original prompt', 'negative prompt'];
const ABOUT = ['version', 'source', 'source text', 'source bytes', 'metadata_scheme', 'app_version', 'mflux_version'];

const TYPES = ['image/png', 'image/jpeg', 'image/webp'];

// The fields without null, which stands for a value that is missing and would reset its control. The size of a missing
// one is that of the image.
const knownFields = (fields, width, height) => ({
  ...Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)),
  width: fields.width || width,
  height: fields.height || height,
});

// Texts about the settings that are not taken over.
function unusedSettings({ settings, unread }) {
  const other = Object.keys(settings ?? {}).filter((name) => ![...READ, ...ABOUT].includes(name.toLowerCase()));
  return [
    unread?.length > 0 && `Values that do not fit: ${unread.join('; ')}`,
    other.length > 0 && `Settings without a field here: ${other.join(', ')}`,
  ].filter(Boolean);
}

// info: the response of POST /api/recipe. Its fields are null if there is no infotext.
function openInfotextDialog(file, info) {
  const url = URL.createObjectURL(file);
  const { fields, recipe: infotext, settings, source, width, height } = info;
  const unused = unusedSettings(info);
  const found = fields && knownFields(fields, width, height);
  const none = source
    ? `This image contains a ${source}, without generation parameters that can be read.`
    : 'This image has no generation parameters.';
  const use = () => {
    box.close();
    useParameters(found, unused);
  };
  const box = openDialog('Generation parameters', '.wide.detail',
    el('figure.detail-image', {}, el('img', { src: url, alt: file.name, width, height })),
    el('div.detail-text', {},
      found ? imageProperties(found) : el('p', {}, none),
      found && source !== 'infotext' && source && el('p', {}, `Read from: ${source}`),
      found && unused.length > 0 && el('p', {}, `Not taken over. ${unused.join('. ')}.`),
      settings && Object.keys(settings).length > 0 && el('details', {},
        el('summary', {}, 'All settings'), propertyList(Object.entries(settings))),
      infotext && el('details', {},
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
