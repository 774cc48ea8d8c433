// What the Generate and Gallery views show of an image: its generation parameters, download links and actions.
// An image is an object of GET /api/images.
import { button, el, formatAge, formatDuration, formatSize, icon, propertyList } from './dom.js';
import { downloadUrl } from './api.js';
import { findParameter, parameters } from './parameters.js';
import { useParameters } from './settings.js';
import { openCompareDialog } from './compare.js';

// Parameters that are not shown as they are.
const SPECIAL = {
  original: (image) => image.original !== image.prompt && image.original,
  width: (image) => image.width && formatSize(image),
  height: () => null, // shown with the width
  // Only what is not usual:
  cfg_truncation: (image) => image.cfg_truncation < 1 && image.cfg_truncation,
  max_tokens: (image) => image.max_tokens !== findParameter('max_tokens').default && image.max_tokens,
  sampler: (image) => image.sampler !== 'euler' && image.sampler,
  schedule: (image) => image.schedule !== 'diffusers' && image.schedule,
};

// The text for a parameter; null or false if it is unknown, off, or the first (usual) one of its choices.
function parameterText(parameter, image) {
  const { name } = parameter;
  if (SPECIAL[name]) return SPECIAL[name](image);
  return image[name] !== parameter.choices?.[0] && (image[name] || null);
}

export function imageProperties(image) {
  const duration = image.seconds ? `, in ${formatDuration(image.seconds)}` : '';
  return propertyList([
    ...parameters.map((parameter) =>
      [parameter.name === 'width' ? 'Size' : parameter.label, parameterText(parameter, image)]),
    ['Not saved', image.unsaved],
    ['Generated', image.created && `${formatAge(image.created)}${duration}`],
  ]);
}

// For lists and the alt attribute.
export const imageTitle = (image) => image.prompt || `Image ${image.id}`;

const downloadLink = (image, format, label, iconName) => el('a.button.small',
  { href: downloadUrl(image.id, format), download: true, 'aria-label': `Download as ${format.toUpperCase()}` },
  iconName && icon(iconName), label);

export const downloadLinks = (image) => el('div.row.joined', { role: 'group', 'aria-label': 'Download' },
  downloadLink(image, 'png', 'PNG', 'download'),
  downloadLink(image, 'jpeg', 'JPEG'),
  downloadLink(image, 'webp', 'WebP'));

// beforeAction: called before each action, for example to close a dialog.
export function imageActions(image, beforeAction = () => {}) {
  return [
    button('.small', 'reuse', 'Use these settings', () => { beforeAction(); useParameters(image); }),
    button('.small', 'compare', 'Compare', () => { beforeAction(); openCompareDialog(image); }),
  ];
}
