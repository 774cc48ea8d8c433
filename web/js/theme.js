// Light, dark, or as the system has it.
import { $, setIcon, storage } from './dom.js';

const NEXT = { auto: 'light', light: 'dark', dark: 'auto' };
const ICONS = { auto: 'auto', light: 'sun', dark: 'moon' };
const NAMES = { auto: 'system', light: 'light', dark: 'dark' };
const toggle = $('#theme');
let theme = 'auto';

function show() {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  setIcon($('svg', toggle), ICONS[theme]);
  toggle.setAttribute('aria-label', `Theme: ${NAMES[theme]}`);
  toggle.title = toggle.getAttribute('aria-label');
}

export function start() {
  theme = NEXT[storage.get('theme')] ? storage.get('theme') : 'auto';
  show();
  toggle.addEventListener('click', () => {
    theme = NEXT[theme];
    storage.set('theme', theme);
    show();
  });
}
