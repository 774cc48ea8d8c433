// Pictures' shapes and sizes: sides are multiples of 16.
export const MULTIPLE = 16;
export const round = (side) => Math.max(MULTIPLE, Math.round(side / MULTIPLE) * MULTIPLE);

// [width, height] of shape 'W:H' whose shorter side is tier.
export function fit(shape, tier) {
  const [w, h] = shape.split(':').map(Number);
  return w >= h ? [round((tier * w) / h), round(tier)] : [round(tier), round((tier * h) / w)];
}

export const turned = (shape) => shape.split(':').reverse().join(':');

// Which of shapes and tiers give this size: {shape, tier, portrait}, or null for a free one.
export function recognise(width, height, shapes, tiers) {
  const portrait = height > width;
  for (const tier of tiers) {
    for (const shape of shapes) {
      const [w, h] = fit(portrait ? turned(shape) : shape, tier);
      if (w === width && h === height) return { shape, tier, portrait };
    }
  }
  return null;
}
