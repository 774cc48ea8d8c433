// The button that switches between the system's theme, light and dark.
import { $, setIcon, storage } from './dom.js';

const NEXT = { auto: 'light', light: 'dark', dark: 'auto' };
const ICONS = { auto: 'auto', light: 'sun', dark: 'moon' };
const NAMES = { auto: 'system', light: 'light', dark: 'dark' };
const toggle = $('#theme');
let theme = 'auto';

function applyTheme() {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  setIcon($('svg', toggle), ICONS[theme]);
  toggle.title = `Theme: ${NAMES[theme]}`;
  toggle.setAttribute('aria-label', toggle.title);
}

export function init() {
  const saved = storage.get('theme');
  theme = NEXT[saved] ? saved : 'auto';
  applyTheme();
  toggle.addEventListener('click', () => {
    theme = NEXT[theme];
    storage.set('theme', theme);
    applyTheme();
  });
}
