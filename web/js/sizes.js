// Image sizes from aspect ratios. An aspect ratio is a string 'W:H'.
import { findParameter } from './parameters.js';

const { multiple } = findParameter('width');

// The nearest width or height in pixels that the model can generate, at least one multiple.
export const roundSide = (pixels) => Math.max(multiple, Math.round(pixels / multiple) * multiple);

// [width, height] with this aspect ratio, rounded.
export function sizeForAspect(aspect, shorterSide) {
  const [w, h] = aspect.split(':').map(Number);
  return w >= h
    ? [roundSide((shorterSide * w) / h), roundSide(shorterSide)]
    : [roundSide(shorterSide), roundSide((shorterSide * h) / w)];
}

// '16:9' -> '9:16'
export const swapAspect = (aspect) => aspect.split(':').reverse().join(':');

// The first of the landscape aspect ratios that gives this size, upright or not; null if none does. Small sizes may
// match several because of the rounding.
export function matchAspect(width, height, aspects) {
  const isPortrait = height > width;
  return aspects.find((aspect) => {
    const [w, h] = sizeForAspect(isPortrait ? swapAspect(aspect) : aspect, Math.min(width, height));
    return w === width && h === height;
  }) ?? null;
}
