// The form of the Generate view. index.html has the controls for the prompt, size, seed, count and model; those of the
// other parameters are made from the parameter table.
import { $, $$, announce, button, el, plural, setFieldError, setIcon, storage } from './dom.js';
import { submitJob } from './api.js';
import { addJob } from './jobs.js';
import { findParameter, hasSlider, parameters } from './parameters.js';
import { applyValue, createControl, numberError, readValue, restoreSliderStep, setLimits, showSliderValue } from './controls.js';
import { matchAspect, roundSide, sizeForAspect, swapAspect } from './sizes.js';
import { emit, on } from './events.js';
import { showView } from './navigation.js';
import { clearOriginal, originalOf, setOriginal } from './enhance.js';

const form = $('#settings');
const fields = form.elements; // by name
for (const place of ['main', 'more']) {
  $(`#controls-${place}`).append(...parameters.filter((parameter) => parameter.place === place).map(createControl));
}

const ERROR_IDS = { width: 'size', height: 'size' }; // of fields whose errors are not shown in `${name}-error`
const errorIds = $$('.error', form).map(({ id }) => id.replace('-error', ''));
const formParameters = parameters.filter(({ name }) => fields[name] && name !== 'model');
const sliderParameters = formParameters.filter(hasSlider);

let isSizeChosen = false; // false: the size follows the model's native size

/* ---- seed ---- */

const randomSeed = () => String(crypto.getRandomValues(new Uint32Array(1))[0]);

const isSeedLocked = () => $('#lock-seed').getAttribute('aria-pressed') === 'true';

function setSeedLocked(locked) {
  const button = $('#lock-seed');
  button.setAttribute('aria-pressed', locked);
  setIcon($('svg', button), locked ? 'lock' : 'unlock');
}

/* ---- size ---- */

const STANDARD_SIDES = [512, 768, 1024, 1280]; // pixels; those that index.html has

const aspectInputs = () => $$('[name=aspect]', form);
const isPortrait = () => $('#portrait').getAttribute('aria-pressed') === 'true';

// The values of the inputs are landscape ratios; in portrait they are shown swapped.
function setPortrait(portrait) {
  $('#portrait').setAttribute('aria-pressed', portrait);
  for (const input of aspectInputs()) {
    const aspect = portrait ? swapAspect(input.value) : input.value;
    const [w, h] = aspect.split(':').map(Number);
    const aspectIcon = $('.aspect-icon', input.parentNode);
    aspectIcon.style.setProperty('--w', w / Math.max(w, h));
    aspectIcon.style.setProperty('--h', h / Math.max(w, h));
    $('b', input.parentNode).textContent = aspect;
  }
}

function setSize(width, height) {
  fields.width.value = width;
  fields.height.value = height;
  sizeChanged();
}

// Sets the size from the chosen aspect ratio and shorter side.
function setSizeFromChoices() {
  const aspect = fields.aspect.value || '1:1';
  const shorterSide = Number(fields.short_side.value) || Math.min(fields.width.value, fields.height.value);
  setSize(...sizeForAspect(isPortrait() ? swapAspect(aspect) : aspect, shorterSide));
}

// Checks the aspect ratio and the shorter side that match the size in the fields; none for a custom size.
function sizeChanged() {
  const width = Number(fields.width.value), height = Number(fields.height.value), pixels = width * height;
  const inputs = aspectInputs();
  const aspect = matchAspect(width, height, [fields.aspect.value, ...inputs.map(({ value }) => value)].filter(Boolean));
  for (const input of inputs) input.checked = input.value === aspect;
  for (const input of $$('[name=short_side]', form)) input.checked = Number(input.value) === Math.min(width, height);
  if (width !== height) setPortrait(height > width);
  $('#size-note').textContent = aspect ? `${(pixels / 1e6).toFixed(pixels < 1e5 ? 2 : 1)} megapixels` : 'custom size';
  emit('sizeChanged', { width, height });
}

function togglePortrait() {
  isSizeChosen = true;
  setPortrait(!isPortrait());
  const { width, height } = fields;
  if (width.value !== height.value) setSize(height.value, width.value);
  saveSettings();
}

// Rounds a width or height to a valid one when the field loses the focus.
function roundField(field) {
  const pixels = Number(field.value);
  if (!(pixels > 0) || pixels % field.step === 0) return;
  field.value = roundSide(pixels);
  sizeChanged();
  saveSettings();
}

// Replaces the additional choice for the shorter side: the native size of a small model.
function showNativeSize(nativeSize) {
  for (const choice of $$('#short-sides .extra')) choice.remove();
  if (!nativeSize || STANDARD_SIDES.includes(nativeSize)) return;
  const choice = $('#short-sides .choice').cloneNode(true);
  choice.classList.add('extra');
  const input = $('input', choice);
  input.value = nativeSize;
  input.checked = false;
  $('span', choice).textContent = nativeSize;
  $('#short-sides').prepend(choice);
}

/* ---- values of the form ---- */

function showValues() {
  for (const parameter of sliderParameters) showSliderValue(parameter, fields[parameter.name]);
  const count = Number(fields.count.value), isPlural = count > 1 && count <= fields.count.max;
  $('#generate span').textContent = isPlural ? `Generate ${plural(count, 'image')}` : 'Generate';
}

function saveSettings() {
  const values = formParameters.map(({ name, type }) =>
    [name, type === 'boolean' ? fields[name].checked : fields[name].value]);
  const others = { model: missingModel ?? modelName(), locked: isSeedLocked(), sized: isSizeChosen, defaults: shownDefaults };
  storage.set('settings', { ...Object.fromEntries(values), ...others });
}

// Sets the fields to the values of an image or of saved settings, by parameter name. See applyValue() for those that
// are missing or unknown. The model comes first, since it has defaults. Returns texts about values not taken over.
function applyValues(values) {
  const texts = [
    values.model && applyModel(values.model),
    ...formParameters.map((parameter) => applyValue(parameter, fields[parameter.name], values[parameter.name])),
  ];
  if (values.width) isSizeChosen = true;
  setOriginal(values.original || null);
  sizeChanged();
  showValues();
  for (const id of errorIds) setFieldError(id);
  return texts.filter(Boolean);
}

// Fills the form with the generation parameters of an image, such that Generate repeats it, and shows the form. What
// could not be taken over is said above the form. unused: texts about settings of the image that have no field.
export function useParameters(image, unused = []) {
  notes = [...applyValues({ ...image, count: 1 }), ...unused];
  setSeedLocked(true);
  saveSettings();
  showNotes();
  showView('generate');
  $('#prompt').focus();
  announce(notes.length ? `Settings loaded from the image, except ${notes.length}.` : 'Settings loaded from the image.');
}

/* ---- notes above the form ---- */

let notes = []; // about the settings of an image
let missingModel = null; // name of the model that was selected and is not there any more

function showNotes() {
  const texts = [...notes];
  if (missingModel) texts.unshift(`Model: ${missingModel} is not there any more, or not usable; another one is selected`);
  $('#settings-notes').replaceChildren(...(texts.length ? [
    el('p', {}, notes.length ? 'Not all settings could be taken over:' : 'A setting has changed:'),
    el('ul', {}, ...texts.map((text) => el('li', {}, `${text}.`))),
    button('.small', 'close', 'Dismiss', dismissNotes),
  ] : []));
}

function dismissNotes() {
  notes = [];
  missingModel = null;
  showNotes();
  saveSettings();
  $('#prompt').focus();
}

function restoreSettings() {
  const saved = storage.get('settings');
  if (!saved) return;
  applyValues(saved); // what is not possible any more keeps its default; modelsChanged() looks for the model
  isSizeChosen = saved.sized;
  shownDefaults = saved.defaults ?? shownDefaults;
  setSeedLocked(saved.locked);
}

/* ---- defaults of the model ---- */

// Defaults of steps, guidance and shift, by name, that the fields follow until the user changes them.
let shownDefaults =
  Object.fromEntries(['steps', 'guidance', 'shift'].map((name) => [name, findParameter(name).default ?? 0]));

// Sets the fields that have the defaults of the model that was selected before to those of this one. A default that is
// not known (null) leaves the field as it is.
function showDefaults(defaults) {
  for (const [name, value] of Object.entries(defaults ?? {})) {
    if (value === null) continue;
    if (Number(fields[name].value) === shownDefaults[name]) applyValue(findParameter(name), fields[name], value);
    shownDefaults[name] = value;
  }
  showValues();
}

/* ---- models ---- */

let models = []; // usable image models

const baseName = (name) => name.split('/').pop();

function optionText({ name, shelf, layout, precision }) {
  if (shelf === 'demo') return 'demo (shapes on backgrounds)';
  return `${baseName(name)} (${layout ?? 'unknown'}, ${precision ?? '?'})`;
}

// The selected model's name. Until the list of models has been loaded, the one of the saved settings.
const modelName = () => fields.model.value || storage.get('settings')?.model;

// A model's name in the metadata of images: without folder and the extension of a file.
const stemOf = (name) => baseName(name).replace(/\.(safetensors|gguf)$/, '');

// The models that a name can mean, the one that is selected first. name: as in GET /api/models, or the last part of it,
// perhaps without its extension, as in the metadata of images.
function findModels(name) {
  const tests = [
    (model) => model.name === name,
    (model) => baseName(model.name) === name,
    (model) => stemOf(model.name) === stemOf(name),
    (model) => name === 'demo-model' && model.shelf === 'demo',
  ];
  const found = tests.map((test) => models.filter(test)).find((list) => list.length) ?? [];
  return found.sort((a, b) => (b.name === modelName()) - (a.name === modelName()));
}

// Selects the model of an image. Returns what the user should know; '' if it is certainly that model.
function applyModel(name) {
  const found = findModels(name), selected = modelName() || 'none';
  if (!models.length) return `Model: ${name} cannot be looked up, since the list of models is not loaded yet`;
  if (!found.length) return `Model: ${name} is not among the models here; it stays ${selected}`;
  selectModel(found[0].name);
  if (found.length === 1) return '';
  return `Model: ${name} can be ${found.map((model) => model.name).join(' or ')}; it is now ${found[0].name}`;
}

// Selects a model in the form. Does nothing if there is none of that name.
export function selectModel(name) {
  const [model] = findModels(name);
  if (!model) return;
  missingModel = null;
  if (fields.precision.value && fields.precision.value !== model.precision) {
    fields.precision.value = '';
    listModels();
  }
  fields.model.value = model.name;
  modelSelected();
  saveSettings();
}

// Lists the models of the chosen precision, and keeps the selected one if it is among them.
function listModels() {
  const previous = fields.model.value, precision = fields.precision.value;
  fields.model.replaceChildren(...models
    .filter((model) => !precision || model.precision === precision)
    .map((model) => new Option(optionText(model), model.name)));
  if (models.some((model) => model.name === previous)) fields.model.value = previous;
  if (fields.model.selectedIndex < 0) fields.model.selectedIndex = 0;
}

function listPrecisions() {
  const previous = fields.precision.value;
  const names = [...new Set(models.map((model) => model.precision).filter(Boolean))].sort();
  fields.precision.replaceChildren(new Option('Any', ''), ...names.map((name) => new Option(name, name)));
  if (names.includes(previous)) fields.precision.value = previous;
}

function modelSelected() {
  const model = models.find(({ name }) => name === fields.model.value), nativeSize = model?.native_size;
  emit('modelSelected', model);
  showDefaults(model?.defaults);
  showNativeSize(nativeSize);
  if (nativeSize && !isSizeChosen) setSize(nativeSize, nativeSize);
  else sizeChanged();
}

// Selects the model that was selected before, or else the server's default.
function modelsChanged(list) {
  if (list.error) return;
  const wanted = missingModel || modelName() || list.default;
  models = list.models.filter((model) => model.usable && model.kind === 'image');
  const isAvailable = (name) => models.some((model) => model.name === name);
  listPrecisions();
  listModels();
  const selected = isAvailable(wanted) ? wanted : list.default;
  if (isAvailable(selected)) fields.model.value = selected;
  missingModel = isAvailable(wanted) || wanted === list.default ? null : wanted;
  showNotes();
  modelSelected();
}

/* ---- submission ---- */

const labelText = (name) => $(`label[for="${name}"]`).textContent;

// The messages for invalid fields, by the id of their place.
function validate() {
  const errors = [];
  if (!fields.prompt.value.trim()) errors.push(['prompt', 'Enter a prompt.']);
  for (const parameter of formParameters) {
    const { name } = parameter;
    const text = fields[name].type === 'number' && numberError(parameter, fields[name], labelText(name));
    if (text) errors.push([ERROR_IDS[name] ?? name, text]);
  }
  const seed = fields.seed.value.trim();
  if (seed && !/^\d{1,20}$/.test(seed)) {
    const range = 'a whole number from 0 to 18446744073709551615';
    errors.push(['seed', `The seed must be ${range}. Leave it empty for a random seed.`]);
  }
  return Object.fromEntries(errors.reverse()); // the first one wins where several have one place
}

// Shows these errors and clears all others; focuses the first field that has one.
function showErrors(errors) {
  for (const id of errorIds) setFieldError(id, errors[id]);
  const first = errorIds.find((id) => errors[id]);
  const field = first && $(`[aria-describedby~="${first}-error"]`);
  if (field && field.closest('#more')) $('#more').open = true;
  field?.focus();
}

// Parameters whose value is not simply that of a field.
const SPECIAL_VALUES = { original: () => originalOf(fields.prompt.value), model: () => modelName() || null };

function jobParameters() {
  return Object.fromEntries(parameters
    .filter(({ name }) => SPECIAL_VALUES[name] || fields[name])
    .map((parameter) => {
      const { name } = parameter;
      return [name, SPECIAL_VALUES[name] ? SPECIAL_VALUES[name]() : readValue(parameter, fields[name])];
    }));
}

async function generate(event) {
  event.preventDefault();
  if (!isSeedLocked()) fields.seed.value = randomSeed();
  const errors = validate();
  showErrors(errors);
  if (Object.keys(errors).length) return;
  saveSettings();
  const submit = $('#generate');
  submit.disabled = true;
  try {
    const job = await submitJob('generate', jobParameters());
    addJob(job);
    emit('submitted', job);
    notes = [];
    showNotes();
  } catch (error) {
    const id = ERROR_IDS[error.field] ?? error.field;
    showErrors({ [errorIds.includes(id) ? id : 'form']: error.message });
  } finally {
    submit.disabled = false;
    if (document.activeElement === document.body) submit.focus(); // disabling it took the focus away
  }
}

/* ---- events ---- */

function fieldChanged(field) {
  const { name } = field, parameter = findParameter(name);
  if (parameter) restoreSliderStep(parameter, field);
  setFieldError(ERROR_IDS[name] ?? (errorIds.includes(name) ? name : 'form'));
  setFieldError('form');
  showValues();
  switch (name) {
    case 'prompt':
      if (!field.value) clearOriginal();
      break;
    case 'seed':
      setSeedLocked(field.value !== '');
      break;
    case 'width':
    case 'height':
      isSizeChosen = true;
      sizeChanged();
      break;
    case 'aspect':
    case 'short_side':
      isSizeChosen = true;
      setFieldError('size');
      setSizeFromChoices();
      break;
    case 'precision':
      listModels(); // and on, since another model may be selected now
    case 'model':
      missingModel = null;
      showNotes();
      modelSelected();
      break;
  }
}

function addListeners() {
  form.addEventListener('submit', generate);
  form.addEventListener('change', saveSettings);
  form.addEventListener('input', ({ target }) => fieldChanged(target));
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  $('#portrait').addEventListener('click', togglePortrait);
  $('#random-seed').addEventListener('click', () => {
    fields.seed.value = randomSeed();
    setFieldError('seed');
    saveSettings();
  });
  $('#lock-seed').addEventListener('click', () => {
    setSeedLocked(!isSeedLocked());
    saveSettings();
  });
  for (const field of [fields.width, fields.height]) field.addEventListener('blur', () => roundField(field));
  on('modelList', modelsChanged);
}

export function init() {
  for (const name of ['width', 'height', 'count']) setLimits(findParameter(name), fields[name]);
  setPortrait(false);
  restoreSettings();
  if (!fields.seed.value) fields.seed.value = randomSeed();
  sizeChanged();
  showValues();
  addListeners();
}
