// The form: what to draw, and how. Parameters have controls of the page's own (prompt, size, seed, count, model), or ones
// that are made from their descriptions.
import { $, $$, announce, fieldError, plural, setIcon, storage } from './dom.js';
import { submit } from './api.js';
import { add } from './jobs.js';
import { parameter, parameters, slides } from './parameters.js';
import { control, limit, moved, showValue, useValue, valueOf, wrongNumber } from './controls.js';
import { fit, recognise, round, turned } from './sizes.js';
import { emit, on } from './events.js';
import { originalOf, forgetOriginal, setOriginal } from './enhance.js';

const form = $('#settings');
const field = form.elements;
const PLACE = { width: 'size', height: 'size' }; // where errors of other fields stand
for (const place of ['main', 'more']) $(`#controls-${place}`).append(...parameters.filter((row) => row.place === place).map(control));
const ERRORS = $$('.error', form).map(({ id }) => id.replace('-error', '')); // fields that have a place for them
const KEPT = parameters.filter(({ name }) => field[name] && name !== 'model');
const SLIDERS = KEPT.filter(slides);

const shapes = () => $$('[name=shape]', form).map((input) => input.value);
const portrait = () => $('#portrait').getAttribute('aria-pressed') === 'true';
const locked = () => $('#lock').getAttribute('aria-pressed') === 'true';
let models = [];
let sized = false; // whether somebody chose a size; until then it is the model's own

const drawSeed = () => String(crypto.getRandomValues(new Uint32Array(1))[0]);

function setLock(on) {
  const lock = $('#lock');
  lock.setAttribute('aria-pressed', on);
  setIcon($('svg', lock), on ? 'lock' : 'open');
}

function setPortrait(on) {
  $('#portrait').setAttribute('aria-pressed', on);
  for (const input of $$('[name=shape]', form)) {
    const shape = on ? turned(input.value) : input.value;
    const [w, h] = shape.split(':').map(Number);
    const box = $('.shape', input.parentNode);
    box.style.setProperty('--w', w / Math.max(w, h));
    box.style.setProperty('--h', h / Math.max(w, h));
    $('b', input.parentNode).textContent = shape;
  }
}

// The size that shape and tier stand for.
function sizeFromChoices() {
  const shape = field.shape.value || '1:1';
  const tier = Number(field.tier.value) || Math.min(field.width.value, field.height.value);
  setSize(...fit(portrait() ? turned(shape) : shape, tier));
}

function setSize(width, height) {
  field.width.value = width;
  field.height.value = height;
  showSize();
}

// The choices that give the size in the fields; no shape is chosen when it is a free one.
function showSize() {
  const width = Number(field.width.value), height = Number(field.height.value);
  const chosen = recognise(width, height, [field.shape.value, ...shapes()].filter(Boolean));
  for (const input of $$('[name=shape]', form)) input.checked = chosen === input.value;
  for (const input of $$('[name=tier]', form)) input.checked = Math.min(width, height) === Number(input.value);
  if (width !== height) setPortrait(height > width);
  $('#size-note').textContent = chosen ? `${((width * height) / 1e6).toFixed(width * height < 1e5 ? 2 : 1)} megapixels` : 'custom size';
  emit('size', { width, height });
}

function showValues() {
  for (const row of SLIDERS) showValue(row, field[row.name]);
  const count = Number(field.count.value);
  $('#generate span').textContent = count > 1 && count <= field.count.max ? `Generate ${plural(count, 'image')}` : 'Generate';
}

// Until there is a list to choose from it is the one of the last time.
const chosenModel = () => field.model.value || storage.get('settings')?.model;

const keep = () => storage.set('settings', {
  ...Object.fromEntries(KEPT.map((row) => [row.name, row.type === 'boolean' ? field[row.name].checked : field[row.name].value])),
  model: chosenModel(), locked: locked(), sized,
});

// Puts values into the form; what is missing, or not stated, stays.
function useSettings(values) {
  for (const row of KEPT) useValue(row, field[row.name], values[row.name]);
  if (values.model) chooseModel(values.model);
  if (values.width) sized = true;
  setOriginal(values.original || null);
  showSize();
  showValues();
  ERRORS.forEach((id) => fieldError(id));
}

// All of a picture's recipe, its seed kept, ready to be drawn again.
export function useRecipe(recipe) {
  useSettings({ ...recipe, count: 1 });
  setLock(true);
  keep();
  location.hash = '#generate';
  $('#prompt').focus();
  announce('Settings loaded from the image.');
}

/* ---- models ---- */

const label = (model) => {
  const name = model.name.split('/').pop();
  return model.shelf === 'demo' ? 'demo (shapes on backgrounds)' : `${name} (${model.layout ?? 'unknown'}, ${model.precision ?? '?'})`;
};

// Recipes name a model by the last part of its path.
export function chooseModel(name) {
  const found = models.find((model) => model.name === name) ?? models.find((model) => model.name.split('/').pop() === name) ??
    (name === 'demo-model' && models.find((model) => model.shelf === 'demo'));
  if (!found) return;
  if (field.precision.value && field.precision.value !== found.precision) { field.precision.value = ''; listModels(); }
  field.model.value = found.name;
  modelChosen();
  keep();
}

function listModels() {
  const before = field.model.value, precision = field.precision.value;
  field.model.replaceChildren(...models
    .filter((model) => !precision || model.precision === precision)
    .map((model) => new Option(label(model), model.name)));
  if (models.some((model) => model.name === before)) field.model.value = before;
  if (field.model.selectedIndex < 0) field.model.selectedIndex = 0;
}

// A small model's own size is one of the tiers.
function modelChosen() {
  const model = models.find((one) => one.name === field.model.value);
  const native = model?.native_size;
  emit('model', model);
  const standard = [512, 768, 1024, 1280];
  $$('#tiers .extra').forEach((choice) => choice.remove());
  if (native && !standard.includes(native)) {
    const choice = $('#tiers .choice').cloneNode(true);
    choice.classList.add('extra');
    const input = $('input', choice);
    input.value = native;
    input.checked = false;
    $('span', choice).textContent = native;
    $('#tiers').prepend(choice);
  }
  if (native && !sized) setSize(native, native);
  else showSize();
}

function offerModels(list) {
  if (list.error) return; // what was there before stays
  const wanted = chosenModel() || list.default;
  models = list.models.filter((model) => model.usable && model.kind === 'image');
  const precision = field.precision.value;
  const precisions = [...new Set(models.map((model) => model.precision).filter(Boolean))].sort();
  field.precision.replaceChildren(new Option('Any', ''), ...precisions.map((name) => new Option(name, name)));
  if (precisions.includes(precision)) field.precision.value = precision;
  listModels();
  const chosen = models.find((model) => model.name === wanted) ? wanted : list.default;
  if (models.some((model) => model.name === chosen)) field.model.value = chosen;
  modelChosen();
}

/* ---- submission ---- */

const labelOf = (name) => $(`label[for="${name}"]`).textContent;

function wrong() {
  const errors = [];
  if (!field.prompt.value.trim()) errors.push(['prompt', 'Enter a prompt.']);
  for (const row of KEPT.filter(({ name }) => field[name].type === 'number')) {
    const { name } = row, text = wrongNumber(row, field[name], labelOf(name));
    if (text) errors.push([PLACE[name] ?? name, text]);
  }
  if (field.seed.value.trim() && !/^\d{1,20}$/.test(field.seed.value.trim())) {
    errors.push(['seed', 'The seed must be a whole number. Leave it empty for a random seed.']);
  }
  return Object.fromEntries(errors.reverse()); // of width and height the first counts
}

function showErrors(errors) {
  ERRORS.forEach((id) => fieldError(id, errors[id]));
  const first = ERRORS.find((id) => errors[id]);
  const input = first && $(`[aria-describedby~="${first}-error"]`);
  if (input && input.closest('#more')) $('#more').open = true;
  input?.focus();
}

// What is not simply the value of a field.
const OWN = { original: () => originalOf(field.prompt.value), model: () => chosenModel() || null };

const params = () => Object.fromEntries(parameters.filter(({ name }) => OWN[name] || field[name])
  .map((row) => [row.name, OWN[row.name] ? OWN[row.name]() : valueOf(row, field[row.name])]));

async function generate(event) {
  event.preventDefault();
  if (!locked()) field.seed.value = drawSeed();
  const errors = wrong();
  showErrors(errors);
  if (Object.keys(errors).length) return;
  keep();
  const go = $('#generate');
  go.disabled = true;
  try {
    const entry = await submit('generate', params());
    add(entry);
    emit('submitted', entry);
  } catch (error) {
    const id = PLACE[error.field] ?? error.field;
    showErrors({ [ERRORS.includes(id) ? id : 'form']: error.message });
  } finally {
    go.disabled = false;
    if (document.activeElement === document.body) go.focus(); // a disabled button loses it
  }
}

/* ---- */

export function start() {
  for (const name of ['width', 'height', 'count']) limit(parameter(name), field[name]);
  setPortrait(false);
  const before = storage.get('settings');
  if (before) {
    useSettings(before);
    sized = before.sized;
    setLock(before.locked);
  }
  if (!field.seed.value) field.seed.value = drawSeed();
  showSize();
  showValues();

  form.addEventListener('submit', generate);
  form.addEventListener('change', keep);
  form.addEventListener('input', ({ target }) => {
    const row = parameter(target.name);
    if (row) moved(row, target);
    fieldError(PLACE[target.name] ?? (ERRORS.includes(target.name) ? target.name : 'form'));
    fieldError('form');
    showValues();
    if (target.name === 'seed') setLock(target.value !== '');
    if (target.name === 'prompt' && !target.value) forgetOriginal();
    if (target.name === 'width' || target.name === 'height') { sized = true; showSize(); }
    if (target.name === 'shape' || target.name === 'tier') { sized = true; fieldError('size'); sizeFromChoices(); }
    if (target.name === 'precision') { listModels(); modelChosen(); }
    if (target.name === 'model') modelChosen();
  });
  $('#portrait').addEventListener('click', () => {
    sized = true;
    setPortrait(!portrait());
    if (field.width.value !== field.height.value) setSize(field.height.value, field.width.value);
    keep();
  });
  $('#dice').addEventListener('click', () => { field.seed.value = drawSeed(); fieldError('seed'); keep(); });
  $('#lock').addEventListener('click', () => { setLock(!locked()); keep(); });
  for (const input of [field.width, field.height]) {
    input.addEventListener('blur', () => { // the nearest that fits, when it is a number at all
      if (Number(input.value) > 0 && Number(input.value) % input.step) { input.value = round(Number(input.value)); showSize(); keep(); }
    });
  }
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  on('shelf', offerModels);
}
