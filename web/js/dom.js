// Small helpers: elements, icons, messages, numbers as people read them.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// el('button.small', {type: 'button', onclick: f}, 'Text', child): attributes; functions become listeners.
export function el(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split('.');
  const node = document.createElement(tag);
  if (classes.length) node.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null && child !== false));
  return node;
}

const SVG = 'http://www.w3.org/2000/svg';
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS(SVG, 'use'));
  setIcon(svg, name);
  return svg;
}
export const setIcon = (svg, name) => svg.firstElementChild.setAttribute('href', `#i-${name}`);

// A button with an icon and a text.
export const button = (classes, name, text, onclick, more = {}) =>
  el(`button.button${classes}`, { type: 'button', onclick, ...more }, name && icon(name), text);

export function facts(pairs) {
  const list = el('dl.facts');
  for (const [name, value] of pairs) {
    if (value != null && value !== false && value !== '') list.append(el(`div.fact${String(value).length > 40 || name === 'Prompt' ? '.long' : ''}`, {}, el('dt', {}, name), el('dd', {}, String(value))));
  }
  return list;
}

// What stands under a field; nothing clears it.
export function fieldError(id, text = '') {
  const place = $(`#${id}-error`);
  if (place.textContent !== text) place.textContent = text;
  for (const field of $$(`[aria-describedby~="${id}-error"]`)) {
    if (text) field.setAttribute('aria-invalid', 'true');
    else field.removeAttribute('aria-invalid');
  }
}

export function announce(text) {
  $('#announcer').textContent = text;
}

export function toast(text) {
  const note = el('p.toast', {}, text);
  $('#toasts').append(note);
  setTimeout(() => note.remove(), 5000);
}

// A dialog that is gone when it is closed; what opened it has the focus again.
export function dialog(title, classes, ...children) {
  const opener = document.activeElement;
  const head = el('h2', { id: `dialog-${dialog.count = (dialog.count ?? 0) + 1}` }, title);
  const box = el(
    `dialog${classes}`,
    { 'aria-labelledby': head.id },
    el('div.dialog-head', {}, head,
      button('.quiet.square', 'close', '', () => box.close(), { 'aria-label': 'Close' })),
    el('div.dialog-body', {}, ...children),
  );
  box.addEventListener('close', () => {
    box.remove();
    if (opener?.isConnected) opener.focus();
  });
  box.addEventListener('pointerdown', (event) => event.target === box && outside(box, event) && box.close());
  document.body.append(box);
  box.showModal();
  return box;
}

function outside(box, event) {
  const { left, right, top, bottom } = box.getBoundingClientRect();
  return event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom;
}

export function setRange(input) {
  const { min, max, value } = input;
  input.style.setProperty('--filled', `${((value - min) / (max - min)) * 100}%`);
}

export function bar(label) {
  return el('div.bar', { role: 'progressbar', 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100 }, el('i'));
}

// fraction null: nobody knows.
export function setBar(node, fraction) {
  node.toggleAttribute('data-waiting', fraction == null);
  if (fraction == null) {
    node.removeAttribute('aria-valuenow');
  } else {
    node.style.setProperty('--done', fraction);
    node.setAttribute('aria-valuenow', Math.round(fraction * 100));
  }
}

export function seconds(value) {
  if (value < 1) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')} min`;
}

export function bytes(value) {
  const units = ['bytes', 'kB', 'MB', 'GB'];
  let unit = 0;
  while (value >= 1000 && unit < 3) { value /= 1000; unit++; }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

let relative = null; // made when first needed: that takes 17 ms of a page that shall be there in 200
export function ago(time) {
  const past = Date.now() / 1000 - time;
  if (past < 45) return 'just now';
  for (const [unit, size] of [['day', 86400], ['hour', 3600], ['minute', 60]]) {
    if (past >= size * 0.75) {
      relative ??= new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
      return relative.format(-Math.max(1, Math.round(past / size)), unit);
    }
  }
  return 'just now';
}

export const size = ({ width, height }) => `${width} × ${height}`;
export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;

export const storage = {
  get(name) {
    try { return JSON.parse(localStorage.getItem(`zimage.${name}`)); } catch { return null; }
  },
  set(name, value) {
    try { localStorage.setItem(`zimage.${name}`, JSON.stringify(value)); } catch { /* private window: forgotten */ }
  },
};
