// Two pictures over each other, with a line that moves between them, or side by side; and how their recipes differ.
import { button, dialog, el, size } from './dom.js';
import { get, pictureUrl, thumbnailUrl } from './api.js';
import { parameters } from './parameters.js';

const ASIDE = ['original', 'width', 'height']; // the size is one row
const FIELDS = parameters.filter(({ name }) => !ASIDE.includes(name)).map(({ name, label }) => [name, label]);

function differences(first, second) {
  const rows = [...FIELDS.map(([field, name]) => [name, first[field], second[field]]), ['Size', size(first), size(second)]]
    .filter(([, a, b]) => a !== b);
  if (!rows.length) return el('p.note', {}, 'The generation parameters are identical.');
  return el('table.differences', {},
    el('caption.visually-hidden', {}, 'Differences in generation parameters'),
    el('thead', {}, el('tr', {}, el('td'), el('th', { scope: 'col' }, 'Left'), el('th', { scope: 'col' }, 'Right'))),
    el('tbody', {}, ...rows.map(([name, a, b]) =>
      el('tr', {}, el('th', { scope: 'row' }, name), el('td', {}, String(a ?? 'none')), el('td', {}, String(b ?? 'none'))))));
}

function pair(first, second) {
  const picture = (image, side) => el(`figure.${side}`, {}, el('img', { src: pictureUrl(image.id), alt: `${side}: ${image.prompt}` }));
  const view = el('div.compare-view', {}, picture(first, 'left'), picture(second, 'right'), el('div.compare-line', { 'aria-hidden': 'true' }));
  const both = el('div.compare-pair');
  both.style.setProperty('--ratio', Math.max(first.width / first.height, second.width / second.height));
  const range = el('input', { type: 'range', min: 0, max: 100, value: 50, 'aria-label': 'Position of the divider',
    oninput: () => both.style.setProperty('--split', `${range.value}%`) });
  const beside = button('.small', 'compare', 'Side by side', () => {
    const on = view.classList.toggle('beside');
    beside.setAttribute('aria-pressed', on);
    range.disabled = on;
  }, { 'aria-pressed': 'false' });
  view.addEventListener('pointermove', (event) => { // a finger or a pressed button moves the line
    if (!event.buttons || range.disabled) return;
    const { left, width } = view.getBoundingClientRect();
    range.value = ((event.clientX - left) / width) * 100;
    range.dispatchEvent(new Event('input'));
  });
  both.append(view, range);
  return { both, beside, differences: differences(first, second) };
}

export async function compare(first) {
  const place = el('div', {}, el('div.compare-view.skeleton')), tools = el('div.row'), recipes = el('div');
  const list = el('ul.compare-list', { 'aria-label': 'Compare with' });
  dialog('Compare images', '.wide', place, el('div.compare-head', {}, el('h3', {}, 'Compare with'), tools), list, recipes);
  const { images } = await get('/api/images?limit=40').catch(() => ({ images: [] }));
  const others = images.filter((image) => image.id !== first.id);
  const choose = (second) => {
    const { both, beside, differences: table } = pair(first, second);
    place.replaceChildren(both);
    tools.replaceChildren(beside);
    recipes.replaceChildren(table);
    for (const tile of list.querySelectorAll('button')) tile.setAttribute('aria-pressed', tile.dataset.id === second.id);
  };
  list.append(...others.map((image) => el('li', {}, el('button.tile', { type: 'button', 'data-id': image.id, 'aria-label': `${image.prompt}, seed ${image.seed}`, onclick: () => choose(image) },
    el('img', { src: thumbnailUrl(image.id), alt: '', width: 72, height: 72, loading: 'lazy' })))));
  if (others.length) choose(others[0]);
  else place.replaceChildren(el('p.note', {}, 'There is no other image to compare with. Generate another one first.'));
}
