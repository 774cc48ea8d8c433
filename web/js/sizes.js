// Pictures' shapes and sizes.
import { parameter } from './parameters.js';

const { multiple } = parameter('width');
export const round = (side) => Math.max(multiple, Math.round(side / multiple) * multiple);

// [width, height] of shape 'W:H' whose shorter side is tier.
export function fit(shape, tier) {
  const [w, h] = shape.split(':').map(Number);
  return w >= h ? [round((tier * w) / h), round(tier)] : [round(tier), round((tier * h) / w)];
}

export const turned = (shape) => shape.split(':').reverse().join(':');

// Which of shapes this size has, or null for a free one: the first that fits, as small sizes fit several.
export function recognise(width, height, shapes) {
  const portrait = height > width;
  return shapes.find((shape) => {
    const [w, h] = fit(portrait ? turned(shape) : shape, Math.min(width, height));
    return w === width && h === height;
  }) ?? null;
}
