// The dialog that compares two images, split by a movable divider or side by side, and their generation parameters.
import { $$, button, el, formatSize, openDialog } from './dom.js';
import { getJson, imageUrl, thumbnailUrl } from './api.js';
import { parameters } from './parameters.js';

const MAX_IMAGES = 40; // latest images to choose the second one from
// Width and height are compared as one row, the size.
const compared = parameters.filter(({ name }) => !['original', 'width', 'height'].includes(name));

// A table of the parameters that differ.
function differencesTable(left, right) {
  const rows = [
    ...compared.map(({ name, label }) => [label, left[name], right[name]]),
    ['Size', formatSize(left), formatSize(right)],
  ].filter(([, leftValue, rightValue]) => leftValue !== rightValue);
  if (!rows.length) return el('p.note', {}, 'The generation parameters are identical.');
  const columnHeader = (text) => el('th', { scope: 'col' }, text);
  const cell = (value) => el('td', {}, String(value ?? 'none'));
  return el('table.differences', {},
    el('caption.visually-hidden', {}, 'Differences in generation parameters'),
    el('thead', {}, el('tr', {}, el('td'), columnHeader('Left'), columnHeader('Right'))),
    el('tbody', {}, ...rows.map(([label, leftValue, rightValue]) =>
      el('tr', {}, el('th', { scope: 'row' }, label), cell(leftValue), cell(rightValue)))));
}

// Moves the slider, and thereby the divider, while the pointer is dragged over the images.
function dragDivider(view, slider) {
  view.addEventListener('pointermove', (event) => {
    if (!event.buttons || slider.disabled) return;
    const { left, width } = view.getBoundingClientRect();
    slider.value = ((event.clientX - left) / width) * 100;
    slider.dispatchEvent(new Event('input'));
  });
}

// Returns the element with both images, and the button that shows them side by side.
function createComparison(left, right) {
  const figure = (image, side) =>
    el(`figure.${side}`, {}, el('img', { src: imageUrl(image.id), alt: `${side}: ${image.prompt}` }));
  const view = el('div.compare-view', {},
    figure(left, 'left'), figure(right, 'right'), el('div.compare-line', { 'aria-hidden': 'true' }));
  const comparison = el('div.compare-pair');
  const slider = el('input', { type: 'range', min: 0, max: 100, value: 50, 'aria-label': 'Position of the divider',
    oninput: () => comparison.style.setProperty('--split', `${slider.value}%`) });
  const toggle = button('.small', 'compare', 'Side by side', () => {
    const sideBySide = view.classList.toggle('side-by-side');
    toggle.setAttribute('aria-pressed', sideBySide);
    slider.disabled = sideBySide;
  }, { 'aria-pressed': 'false' });
  dragDivider(view, slider);
  comparison.style.setProperty('--ratio', Math.max(left.width / left.height, right.width / right.height));
  comparison.append(view, slider);
  return { comparison, toggle };
}

function createTile(image, onclick) {
  const label = `${image.prompt}, seed ${image.seed}`;
  return el('button.tile', { type: 'button', 'data-id': image.id, 'aria-label': label, onclick },
    el('img', { src: thumbnailUrl(image.id), alt: '', width: 72, height: 72, loading: 'lazy' }));
}

// left: the image of one side; the user chooses the other one in the dialog.
export async function openCompareDialog(left) {
  const images = el('div', {}, el('div.compare-view.skeleton')), tools = el('div.row'), differences = el('div');
  const tiles = el('ul.compare-list', { 'aria-label': 'Compare with' });
  const head = el('div.compare-head', {}, el('h3', {}, 'Compare with'), tools);
  openDialog('Compare images', '.wide', images, head, tiles, differences);

  const response = await getJson(`/api/images?limit=${MAX_IMAGES}`).catch(() => ({ images: [] }));
  const others = response.images.filter((image) => image.id !== left.id);
  const compareWith = (right) => {
    const { comparison, toggle } = createComparison(left, right);
    images.replaceChildren(comparison);
    tools.replaceChildren(toggle);
    differences.replaceChildren(differencesTable(left, right));
    for (const tile of $$('button', tiles)) tile.setAttribute('aria-pressed', tile.dataset.id === right.id);
  };
  tiles.append(...others.map((image) => el('li', {}, createTile(image, () => compareWith(image)))));
  if (others.length) compareWith(others[0]);
  else images.replaceChildren(el('p.note', {}, 'There is no other image to compare with. Generate another one first.'));
}
