// What a picture's recipe says, and what can be done with a picture; on the easel and in the gallery alike.
import { ago, button, el, facts, icon, seconds, size } from './dom.js';
import { fileUrl } from './api.js';
import { parameters } from './parameters.js';
import { useRecipe } from './settings.js';
import { compare } from './compare.js';

// What the facts say of a parameter, or nothing.
const FACTS = {
  original: (image) => image.original !== image.prompt && image.original,
  width: (image) => image.width && size(image),
  height: () => null,
};
const fact = (row, image) => (FACTS[row.name] ? FACTS[row.name](image) : image[row.name] !== row.choices?.[0] && (image[row.name] || null));

export function recipeFacts(image) {
  return facts([
    ...parameters.map((row) => [row.name === 'width' ? 'Size' : row.label, fact(row, image)]),
    ['Generated', image.created && `${ago(image.created)}${image.seconds ? `, in ${seconds(image.seconds)}` : ''}`],
  ]);
}

// A picture's name in lists and as alternative text.
export const title = (image) => image.prompt || `Image ${image.id}`;

const download = (image, format) =>
  el('a.button.small', { href: fileUrl(image.id, format, true), download: true, 'aria-label': `Download as ${format.toUpperCase()}` },
    format === 'png' && icon('save'), format.toUpperCase().replace('WEBP', 'WebP'));

export function downloads(image) {
  return el('div.row.joined', { role: 'group', 'aria-label': 'Download' },
    download(image, 'png'), download(image, 'jpeg'), download(image, 'webp'));
}

// closing: what to do first, in a dialog.
export function actions(image, closing = () => {}) {
  return [
    button('.small', 'use', 'Use these settings', () => { closing(); useRecipe(image); }),
    button('.small', 'compare', 'Compare', () => { closing(); compare(image); }),
  ];
}
