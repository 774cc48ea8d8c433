// Helpers for DOM elements, dialogs and messages, for formatting values, and for local storage.
import { dialogClosed, dialogOpened } from './navigation.js';

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/**
 * Creates an element: el('button.small', { type: 'button', onclick: f }, 'Text', child).
 * @param selector tag name and classes
 * @param attributes functions become event listeners (onclick, ...); true is an empty attribute; false, null and
 *   undefined are left out
 * @param children nodes and strings; null, undefined and false are left out
 */
export function el(selector, attributes = {}, ...children) {
  const [tag, ...classes] = selector.split('.');
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

// An icon of index.html: name 'trash' is the symbol #i-trash.
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS(SVG, 'use'));
  setIcon(svg, name);
  return svg;
}

export const setIcon = (svg, name) => svg.firstElementChild.setAttribute('href', `#i-${name}`);

// A button with an icon (null: none) and a text. classes: '.small.danger', as in el().
export const button = (classes, iconName, text, onclick, attributes = {}) =>
  el(`button.button${classes}`, { type: 'button', onclick, ...attributes }, iconName && icon(iconName), text);

// A definition list of [name, value] pairs, without those whose value is null, undefined, false or ''.
export function propertyList(pairs) {
  const list = el('dl.properties');
  for (const [name, value] of pairs) {
    if (value == null || value === false || value === '') continue;
    const wide = name === 'Prompt' || String(value).length > 40 ? '.long' : '';
    list.append(el(`div.property${wide}`, {}, el('dt', {}, name), el('dd', {}, String(value))));
  }
  return list;
}

/* ---- messages ---- */

// Shows an error in the element `${id}-error`, and marks the fields that it describes as invalid; '' clears both.
export function setFieldError(id, text = '') {
  const message = $(`#${id}-error`);
  if (message.textContent !== text) message.textContent = text;
  for (const field of $$(`[aria-describedby~="${id}-error"]`)) {
    if (text) field.setAttribute('aria-invalid', 'true');
    else field.removeAttribute('aria-invalid');
  }
}

// For screen readers only.
export function announce(text) {
  $('#announcer').textContent = text;
}

// Shows a message for five seconds.
export function showToast(text) {
  const toast = el('p.toast', {}, text);
  $('#toasts').append(toast);
  setTimeout(() => toast.remove(), 5000);
}

/* ---- dialogs ---- */

let dialogCount = 0;

/**
 * Opens a modal dialog. Closing, also by Back, removes it from the document and returns the focus to what had it before.
 * @param classes '.wide', as in el(); '.lasting': only close('done') closes it
 * @returns the dialog element; children are in its .dialog-body
 */
export function openDialog(title, classes, ...children) {
  const opener = document.activeElement;
  const heading = el('h2', { id: `dialog-${++dialogCount}` }, title);
  const isLasting = classes.includes('.lasting');
  const close = button('.quiet.square', 'close', '', () => box.close(), { 'aria-label': 'Close' });
  const box = el(`dialog${classes}`, { 'aria-labelledby': heading.id, 'data-lasting': isLasting },
    el('div.dialog-head', {}, heading, !isLasting && close),
    el('div.dialog-body', {}, ...children));
  box.addEventListener('close', () => {
    if (isLasting && box.returnValue !== 'done') { // Escape, which cannot always be prevented
      box.showModal();
      return;
    }
    box.remove();
    if (opener?.isConnected) opener.focus();
    if (!isLasting) dialogClosed();
  });
  box.addEventListener('pointerdown', (event) => {
    if (!isLasting && event.target === box && isOutside(box, event)) box.close(); // a click on the backdrop
  });
  document.body.append(box);
  box.showModal();
  if (!isLasting) dialogOpened();
  return box;
}

function isOutside(box, event) {
  const { left, right, top, bottom } = box.getBoundingClientRect();
  return event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom;
}

/* ---- progress bars and sliders ---- */

export function progressBar(label) {
  return el('div.progress-bar',
    { role: 'progressbar', 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100 }, el('i'));
}

// fraction: 0 to 1; null when it is unknown.
export function setProgress(bar, fraction) {
  bar.toggleAttribute('data-indeterminate', fraction == null);
  if (fraction == null) {
    bar.removeAttribute('aria-valuenow');
  } else {
    bar.style.setProperty('--progress', fraction);
    bar.setAttribute('aria-valuenow', Math.round(fraction * 100));
  }
}

// Colours the track of a slider up to its value.
export function updateSliderTrack(slider) {
  const { min, max, value } = slider;
  slider.style.setProperty('--progress', `${((value - min) / (max - min)) * 100}%`);
}

/* ---- dropped files ---- */

// Highlights node while files are dragged over it; calls onFile with the first one that is dropped.
export function addDropTarget(node, onFile) {
  const hasFiles = (event) => [...event.dataTransfer.types].includes('Files');
  const accept = (event) => {
    event.preventDefault();
    event.stopPropagation();
  };
  node.addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    accept(event);
    node.classList.add('drop-target');
  });
  node.addEventListener('dragleave', (event) => {
    if (!node.contains(event.relatedTarget)) node.classList.remove('drop-target');
  });
  node.addEventListener('drop', (event) => {
    if (!hasFiles(event)) return;
    accept(event);
    node.classList.remove('drop-target');
    const [file] = event.dataTransfer.files;
    if (file) onFile(file);
  });
}

/* ---- formatting ---- */

export function formatDuration(seconds) {
  if (seconds < 1) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const twoDigits = (value) => String(value).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${twoDigits(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${twoDigits(Math.floor((whole % 3600) / 60))} min`;
}

// Decimal units: 1 kB is 1000 bytes.
export function formatBytes(count) {
  const units = ['bytes', 'kB', 'MB', 'GB'];
  let unit = 0;
  while (count >= 1000 && unit < 3) { count /= 1000; unit++; }
  return `${unit && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

let relativeTime = null; // created on first use: creating it takes 17 ms, which would delay the page

// "2 hours ago". time: seconds since the epoch.
export function formatAge(time) {
  const age = Date.now() / 1000 - time;
  if (age < 45) return 'just now';
  for (const [unit, length] of [['day', 86400], ['hour', 3600], ['minute', 60]]) {
    if (age >= length * 0.75) {
      relativeTime ??= new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
      return relativeTime.format(-Math.max(1, Math.round(age / length)), unit);
    }
  }
  return 'just now';
}

export const formatSize = ({ width, height }) => `${width} × ${height}`;

// "1 image", "2 images"
export const plural = (count, noun) => `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;

/* ---- local storage ---- */

// Values as JSON in localStorage. get() returns null when there is none. changed(name, f): calls f when another tab has
// set the value.
export const storage = {
  get(name) {
    try { return JSON.parse(localStorage.getItem(`zimage.${name}`)); } catch { return null; }
  },
  changed(name, listener) {
    addEventListener('storage', (event) => event.key === `zimage.${name}` && listener());
  },
  set(name, value) {
    try { localStorage.setItem(`zimage.${name}`, JSON.stringify(value)); } catch { /* none in private windows */ }
  },
};
