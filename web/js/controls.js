// Form controls made from rows of the parameter table, and conversion between their values and the API's.
import { $, el, updateSliderTrack } from './dom.js';
import { hasSlider } from './parameters.js';

const MAX_LINE_BYTES = 300; // texts that may be longer get a textarea

function createInput(parameter) {
  const { name, type } = parameter;
  const describedBy = parameter.note ? `${name}-error ${name}-note` : `${name}-error`;
  const attributes = { id: name, name, 'aria-describedby': describedBy };
  if (type === 'choice') {
    return el('select.select', attributes, ...parameter.choices.map((choice) => new Option(choice, choice)));
  }
  if (type === 'boolean') return el('input', { ...attributes, type: 'checkbox' });
  if (type === 'text' && parameter.max > MAX_LINE_BYTES) return el('textarea.textarea', { ...attributes, rows: 2 });
  if (type === 'text') return el('input.input', { ...attributes, autocomplete: 'off' });
  return createNumberInput(parameter, attributes);
}

function createNumberInput(parameter, attributes) {
  if (hasSlider(parameter)) {
    const { low, high, step } = parameter;
    return el('input', { ...attributes, type: 'range', min: low, max: high, step, value: parameter.default });
  }
  const { min, max, multiple, default_text: placeholder } = parameter, isInteger = parameter.type === 'integer';
  const step = multiple ?? (isInteger ? 1 : 'any'), inputmode = isInteger ? 'numeric' : 'decimal';
  return el('input.input', { ...attributes, type: 'number', min, max, step, inputmode, placeholder });
}

// The label and the input, in the order in which they are shown.
function createLabelledInput(parameter) {
  const { name } = parameter;
  const label = el('label', { for: name }, parameter.label), input = createInput(parameter);
  if (parameter.type === 'boolean') return [el('div.row', {}, input, label)];
  if (!hasSlider(parameter)) return [label, input];
  return [el('div.label-row', {}, label, el('output', { for: name, id: `${name}-value` })), input];
}

// The input of a parameter (its id is the parameter's name) with label, note and a place for an error.
export const createControl = (parameter) => el('div.field', { title: parameter.help },
  ...createLabelledInput(parameter),
  parameter.note && el('p.note', { id: `${parameter.name}-note` }, parameter.note),
  el('p.error', { id: `${parameter.name}-error`, role: 'alert' }));

// Sets the limits of an input that index.html has.
export function setLimits(parameter, field) {
  Object.assign(field, { min: parameter.min, max: parameter.max, step: parameter.multiple ?? 1 });
}

/* ---- values ---- */

// The value of a field in the type that the API takes; null for an empty field: the default.
export function readValue(parameter, field) {
  if (parameter.type === 'boolean') return field.checked;
  if (parameter.type === 'integer' || parameter.type === 'number') {
    return field.value === '' ? null : Number(field.value);
  }
  return field.value.trim() || null;
}

// Extends the range of the slider beyond the usual one if the value is outside of it, and drops the step if the value
// is between two steps.
function setSliderValue(parameter, slider, value) {
  slider.min = Math.max(parameter.min, Math.min(parameter.low, value));
  slider.max = Math.min(parameter.max, Math.max(parameter.high, value));
  const steps = (value - slider.min) / parameter.step;
  slider.step = Math.abs(steps - Math.round(steps)) < 1e-6 ? parameter.step : 'any';
  slider.value = value;
}

function setValue(parameter, field, value) {
  if (parameter.type === 'boolean') field.checked = value === true;
  else if (hasSlider(parameter)) setSliderValue(parameter, field, Number(value));
  else field.value = value;
}

// Whether an image's metadata has a value. Steps that are unknown, for example, are 0.
const isGiven = ({ type, min }, value) =>
  value != null && value !== '' && !((type === 'integer' || type === 'number') && min > 0 && Number(value) === 0);

// The value of the field that stands for a value of an image: a choice in the table's letter case, a multiple.
function nearestValue({ type, choices, multiple }, value) {
  if (type === 'choice') return choices.find((choice) => choice.toLowerCase() === String(value).toLowerCase()) ?? value;
  return multiple ? Math.max(multiple, Math.round(value / multiple) * multiple) : value;
}

// Why the field cannot have a value; '' if it can.
function problemOf({ type, choices, min, max }, value) {
  if (type === 'choice') return choices.includes(value) ? '' : `'${value}' is not one of ${choices.join(', ')}`;
  if (type === 'text') {
    const bytes = new TextEncoder().encode(value).length;
    return max && bytes > max ? `it has ${bytes} bytes, and at most ${max} are possible` : '';
  }
  if (type !== 'integer' && type !== 'number') return '';
  const number = Number(value);
  if (type === 'integer' ? !Number.isInteger(number) : !Number.isFinite(number)) return `'${value}' is not a number that fits`;
  return number < min || number > max ? `${value} is outside of ${min} to ${max}` : '';
}

// Sets a field to the value of an image or of saved settings. An unknown value turns off what can be off and empties
// optional texts; other fields keep their value, as all fields do when it is undefined. Returns what the user should
// know: why the field has another value than this; '' if it has not.
export function applyValue(parameter, field, value) {
  if (value === undefined) return '';
  if (!isGiven(parameter, value)) {
    if (parameter.zero_off) setValue(parameter, field, 0);
    else if (parameter.type === 'text' && !parameter.required) setValue(parameter, field, '');
    return '';
  }
  const usable = nearestValue(parameter, value), problem = problemOf(parameter, usable);
  if (problem) return `${parameter.label}: ${problem}; it stays ${field.value || 'the default'}`;
  setValue(parameter, field, usable);
  if (usable === value || usable === Number(value) || parameter.type === 'choice') return '';
  return `${parameter.label}: ${value} is not a multiple of ${parameter.multiple}; it is now ${usable}`;
}

// Call this when the user has moved a slider: it moves by steps again if setSliderValue() dropped the step.
export function restoreSliderStep(parameter, field) {
  if (hasSlider(parameter) && field.step === 'any') field.step = parameter.step;
}

// Shows the value of a slider beside its label, with as many decimals as the step has, or all if it has more.
export function showSliderValue(parameter, slider) {
  const value = Number(slider.value), decimals = String(parameter.step).split('.')[1]?.length ?? 0;
  const rounded = value.toFixed(decimals);
  const text = Number(rounded) === value ? rounded : String(value);
  updateSliderTrack(slider);
  $(`#${parameter.name}-value`).textContent = parameter.zero_off && value === 0 ? 'off' : text;
}

// The error message for a number input; '' if its value is valid. Only controls made here (those that have a place) may
// be empty.
export function numberError(parameter, field, label) {
  const { min, max, multiple } = parameter;
  const value = Number(field.value), isInteger = parameter.type === 'integer', { badInput } = field.validity;
  if (parameter.place && field.value === '' && !badInput) return '';
  if (badInput || (isInteger && !Number.isInteger(value)) || value < min || value > max) {
    return `${label} must be a ${isInteger ? 'whole ' : ''}number from ${min} to ${max}.`;
  }
  if (!multiple || value % multiple === 0) return '';
  const below = Math.floor(value / multiple) * multiple;
  return `${label} must be a multiple of ${multiple}: ${below} or ${below + multiple}.`;
}
