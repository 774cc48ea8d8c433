// Controls of the form, made from the descriptions of parameters; and the values that controls hold.
import { $, el, setRange } from './dom.js';
import { slides } from './parameters.js';

const LINE = 300; // bytes: a text that may have more gets several lines

function input(row) {
  const { name } = row;
  const attributes = { id: name, name, 'aria-describedby': row.note ? `${name}-error ${name}-note` : `${name}-error` };
  if (row.type === 'choice') return el('select.select', attributes, ...row.choices.map((choice) => new Option(choice, choice)));
  if (row.type === 'boolean') return el('input', { ...attributes, type: 'checkbox' });
  if (row.type === 'text' && row.max > LINE) return el('textarea.textarea', { ...attributes, rows: 2 });
  if (row.type === 'text') return el('input.input', { ...attributes, autocomplete: 'off' });
  if (slides(row)) return el('input', { ...attributes, type: 'range', min: row.low, max: row.high, step: row.step, value: row.default });
  const whole = row.type === 'integer';
  return el('input.input', { ...attributes, type: 'number', min: row.min, max: row.max, step: row.multiple ?? (whole ? 1 : 'any'),
    inputmode: whole ? 'numeric' : 'decimal', placeholder: row.default_text });
}

function labelled(row) {
  const label = el('label', { for: row.name }, row.label);
  if (row.type === 'boolean') return [el('div.row', {}, input(row), label)];
  if (!slides(row)) return [label, input(row)];
  return [el('div.label-row', {}, label, el('output', { for: row.name, id: `${row.name}-value` })), input(row)];
}

export const control = (row) => el('div.field', { title: row.help }, ...labelled(row),
  row.note && el('p.note', { id: `${row.name}-note` }, row.note),
  el('p.error', { id: `${row.name}-error`, role: 'alert' }));

/* ---- values ---- */

// As the API takes it; null: nothing is said.
export function valueOf(row, field) {
  if (row.type === 'boolean') return field.checked;
  if (row.type === 'integer' || row.type === 'number') return field.value === '' ? null : Number(field.value);
  return field.value.trim() || null;
}

// A slider goes over the usual values, and as far beyond them, or between them, as the value needs.
function setSlider(row, field, value) {
  field.min = Math.max(row.min, Math.min(row.low, value));
  field.max = Math.min(row.max, Math.max(row.high, value));
  const steps = (value - field.min) / row.step;
  field.step = Math.abs(steps - Math.round(steps)) < 1e-6 ? row.step : 'any';
  field.value = value;
}

function setValue(row, field, value) {
  if (row.type === 'boolean') field.checked = value === true;
  else if (slides(row)) setSlider(row, field, Number(value));
  else field.value = value;
}

// Whether a value from elsewhere says something: an image that does not tell its steps has 0.
function isStated(row, value) {
  if (value == null || value === '') return false;
  if (row.type === 'choice') return row.choices.includes(value);
  return row.min === null || row.type === 'text' || Number(value) >= row.min;
}

// Puts a value from elsewhere into the field. What says nothing stays, but for what is off or empty unless it is said.
export function useValue(row, field, value) {
  if (value === undefined) return;
  if (isStated(row, value)) setValue(row, field, value);
  else if (row.zero_off) setValue(row, field, 0);
  else if (row.type === 'text' && !row.required) setValue(row, field, '');
}

// Where the user moves a slider, it goes by its steps again.
export function moved(row, field) {
  if (slides(row) && field.step === 'any') field.step = row.step;
}

function valueText(row, value) {
  if (row.zero_off && value === 0) return 'off';
  const decimals = String(row.step).split('.')[1]?.length ?? 0;
  return Number(value.toFixed(decimals)) === value ? value.toFixed(decimals) : String(value);
}

// The number beside a slider, and its track.
export function showValue(row, field) {
  setRange(field);
  $(`#${row.name}-value`).textContent = valueText(row, Number(field.value));
}

/* ---- limits ---- */

// Gives a field of the page's own the limits of its parameter.
export function limit(row, field) {
  Object.assign(field, { min: row.min, max: row.max, step: row.multiple ?? 1 });
}

// What is wrong with a number that was typed; '' when nothing is. A control that was made here may be empty: the default.
export function wrongNumber(row, field, name) {
  const value = Number(field.value), whole = row.type === 'integer';
  if (row.place && field.value === '' && !field.validity.badInput) return '';
  if (field.validity.badInput || (whole && !Number.isInteger(value)) || value < row.min || value > row.max) {
    return `${name} must be a ${whole ? 'whole ' : ''}number from ${row.min} to ${row.max}.`;
  }
  if (!row.multiple || value % row.multiple === 0) return '';
  const below = Math.floor(value / row.multiple) * row.multiple;
  return `${name} must be a multiple of ${row.multiple}: ${below} or ${below + row.multiple}.`;
}
