// The form: what to draw, and how.
import { $, $$, announce, fieldError, plural, setIcon, setRange, storage } from './dom.js';
import { get, submit } from './api.js';
import { add } from './jobs.js';
import { fit, recognise, round, turned } from './sizes.js';
import { emit, on } from './events.js';
import { originalOf, forgetOriginal, setOriginal } from './enhance.js';

const form = $('#settings');
const field = form.elements;
const ERRORS = ['prompt', 'size', 'steps', 'shift', 'seed', 'count', 'model', 'guidance', 'negative', 'form'];
const PLACE = { width: 'size', height: 'size' }; // where errors of other fields stand
const KEPT = ['prompt', 'width', 'height', 'steps', 'shift', 'seed', 'count', 'guidance', 'negative', 'schedule', 'compute'];

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
  $('#size-note').textContent = chosen ? `${((width * height) / 1e6).toFixed(width * height < 1e5 ? 2 : 1)} megapixels` : 'free size';
  emit('size', { width, height });
}

function showValues() {
  for (const [id, text] of [['steps', (v) => v], ['shift', (v) => Number(v).toFixed(1)],
    ['guidance', (v) => (Number(v) ? Number(v).toFixed(1) : 'off')]]) {
    setRange(field[id]);
    $(`#${id}-value`).textContent = text(field[id].value);
  }
  const count = Number(field.count.value);
  $('#generate span').textContent = count > 1 && count <= 16 ? `Generate ${plural(count, 'picture')}` : 'Generate';
}

// Until there is a list to choose from it is the one of the last time.
const chosenModel = () => field.model.value || storage.get('settings')?.model;

const keep = () => storage.set('settings', {
  ...Object.fromEntries(KEPT.map((name) => [name, field[name].value])), model: chosenModel(), locked: locked(), sized,
});

// Puts values into the form; what is missing, or not stated, stays.
function useSettings(values) {
  for (const name of KEPT) {
    if (values[name] != null && values[name] !== '') field[name].value = values[name];
  }
  if ('negative' in values) field.negative.value = values.negative ?? '';
  if ('guidance' in values) field.guidance.value = values.guidance ?? 0;
  if (values.model) chooseModel(values.model);
  if (values.width) sized = true;
  setOriginal(values.original || null);
  showSize();
  showValues();
  ERRORS.forEach((id) => fieldError(id));
}

// All of a picture's recipe, its seed kept, ready to be drawn again.
export function useRecipe(recipe) {
  useSettings({ ...recipe, steps: recipe.steps || null, shift: recipe.shift || null, count: 1 });
  setLock(true);
  keep();
  location.hash = '#generate';
  $('#prompt').focus();
  announce('The settings of this picture are in the form.');
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
  field.precision.replaceChildren(new Option('any', ''), ...precisions.map((name) => new Option(name, name)));
  if (precisions.includes(precision)) field.precision.value = precision;
  listModels();
  const chosen = models.find((model) => model.name === wanted) ? wanted : list.default;
  if (models.some((model) => model.name === chosen)) field.model.value = chosen;
  modelChosen();
}

async function loadConfig() {
  const config = await get('/api/config').catch(() => null);
  if (!config) return;
  for (const side of [field.width, field.height]) {
    side.min = config.sizes.min;
    side.max = config.sizes.max;
  }
  field.count.max = config.count.max;
}

/* ---- submission ---- */

function wrong() {
  const errors = [];
  const whole = (input, name, id) => {
    const value = Number(input.value);
    if (input.value === '' || !Number.isInteger(value) || value < input.min || value > input.max) {
      errors.push([id, `${name} is a whole number from ${input.min} to ${input.max}.`]);
    } else if (id === 'size' && value % 16) {
      errors.push([id, `${name} is a multiple of 16: ${round(value - 8)} or ${round(value + 8)}.`]);
    }
  };
  if (!field.prompt.value.trim()) errors.push(['prompt', 'Say what to draw.']);
  whole(field.height, 'Height', 'size');
  whole(field.width, 'Width', 'size');
  whole(field.count, 'The number of pictures', 'count');
  if (field.seed.value.trim() && !/^\d{1,20}$/.test(field.seed.value.trim())) {
    errors.push(['seed', 'A seed is a whole number; without one it is drawn.']);
  }
  return Object.fromEntries(errors);
}

function showErrors(errors) {
  ERRORS.forEach((id) => fieldError(id, errors[id]));
  const first = ERRORS.find((id) => errors[id]);
  const input = first && $(`[aria-describedby~="${first}-error"]`);
  if (input && input.closest('#more')) $('#more').open = true;
  input?.focus();
}

export function params() {
  return {
    prompt: field.prompt.value.trim(),
    original: originalOf(field.prompt.value),
    negative: field.negative.value.trim() || null,
    model: chosenModel() || null,
    width: Number(field.width.value),
    height: Number(field.height.value),
    steps: Number(field.steps.value),
    shift: Number(field.shift.value),
    guidance: Number(field.guidance.value),
    seed: field.seed.value.trim() || null,
    count: Number(field.count.value),
    schedule: field.schedule.value,
    compute: field.compute.value,
  };
}

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
      if (Number(input.value) > 0 && Number(input.value) % 16) { input.value = round(Number(input.value)); showSize(); keep(); }
    });
  }
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  on('shelf', offerModels);
  loadConfig();
}
