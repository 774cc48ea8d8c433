// The dialog that converts a model to another layout or precision.
import { $, button, el, openDialog, setFieldError } from './dom.js';
import { getJson, submitJob } from './api.js';
import { addJob } from './jobs.js';

export const LAYOUT_LABELS = {
  mlx: 'MLX folder', diffusers: 'diffusers folder', comfyui: 'ComfyUI file', gguf: 'GGUF file',
};
export const PRECISION_LABELS = {
  original: 'Original', fp16: '16-bit (FP16)', bf16: '16-bit (BF16)', fp8: '8-bit (FP8)', q8: '8-bit (Q8)',
  q4: '4-bit (Q4)',
};
const FIELDS = ['destination', 'layout', 'precision', 'reference']; // named like the job's parameters
const KEEP_LAYOUT = 'same'; // the value of the layout field that makes the job a 'quantize' job

const baseName = (name) => name.split('/').pop().replace(/\.(safetensors|gguf)$/i, '');

const inputAttributes = (name) => ({ id: `convert-${name}`, 'aria-describedby': `convert-${name}-error` });

const createField = (name, label, input) => el('div.field', {},
  el('label', { for: `convert-${name}` }, label), input, el('p.error', { id: `convert-${name}-error`, role: 'alert' }));

// options: [value, text] pairs
const createSelect = (name, options) =>
  el('select.select', inputAttributes(name), ...options.map(([value, text]) => new Option(text, value)));

function createInputs(model, models, layouts) {
  const otherModels = models.filter((other) => other.name !== model.name && other.kind === 'image');
  return {
    layout: createSelect('layout', [
      [KEEP_LAYOUT, `Same (${model.layout ?? 'unknown'})`],
      ...layouts.map(({ name }) => [name, LAYOUT_LABELS[name] ?? name]),
    ]),
    precision: createSelect('precision', []),
    reference: createSelect('reference', [['', 'None'], ...otherModels.map(({ name }) => [name, name])]),
    destination: el('input.input',
      { ...inputAttributes('destination'), autocomplete: 'off', spellcheck: 'false', maxlength: 200 }),
  };
}

// Lists the precisions that the chosen layout supports.
function listPrecisions({ layout, precision }, layouts) {
  const keepLayout = layout.value === KEEP_LAYOUT;
  const supported = layouts.find(({ name }) => name === layout.value)?.precisions ??
    [...new Set(layouts.flatMap(({ precisions }) => precisions))];
  const previous = precision.value;
  precision.replaceChildren(...supported
    .filter((name) => !keepLayout || name !== 'original') // would change nothing
    .map((name) => new Option(PRECISION_LABELS[name] ?? name, name)));
  if (supported.includes(previous)) precision.value = previous;
  if (precision.selectedIndex < 0) precision.selectedIndex = 0;
}

function suggestedName(model, { layout, precision }) {
  const parts = [baseName(model.name)];
  if (layout.value !== KEEP_LAYOUT) parts.push(layout.value);
  if (precision.value !== 'original') parts.push(precision.value);
  return parts.filter(Boolean).join('-');
}

// Submits the job. Errors are shown beside the field that caused them. Returns whether it was accepted.
async function submitConversion(model, form, { layout, precision, reference, destination }) {
  for (const name of [...FIELDS, 'form']) setFieldError(`convert-${name}`);
  const name = destination.value.trim();
  if (!name) {
    setFieldError('convert-destination', 'Enter a name for the new model.');
    destination.focus();
    return false;
  }
  const keepLayout = layout.value === KEEP_LAYOUT;
  const params = {
    source: model.name, destination: name, precision: precision.value, reference: reference.value || null,
    ...(!keepLayout && { layout: layout.value }),
  };
  try {
    addJob(await submitJob(keepLayout ? 'quantize' : 'convert', params));
    return true;
  } catch (error) {
    setFieldError(`convert-${FIELDS.includes(error.field) ? error.field : 'form'}`, error.message);
    $(`#convert-${error.field}`, form)?.focus();
    return false;
  }
}

// model: the source; models: all models, from which the user may choose a reference.
export async function openConvertDialog(model, models) {
  const config = await getJson('/api/config').catch(() => null);
  const layouts = config?.layouts ?? [];
  const inputs = createInputs(model, models, layouts), { layout, precision, reference, destination } = inputs;
  const submit = button('.primary', 'rotate', 'Convert', null, { type: 'submit' });
  const form = el('form.convert', { novalidate: true },
    el('p.note', {}, `Writes a new model to the models folder and leaves ${model.name} unchanged.`),
    el('div.pair', {}, createField('layout', 'Layout', layout), createField('precision', 'Precision', precision)),
    createField('destination', 'Name of the new model', destination),
    createField('reference', 'Take missing components from', reference),
    el('p.error', { id: 'convert-form-error', role: 'alert' }),
    el('div.row.end', {}, submit));

  let isNameEdited = false;
  const suggestName = () => { if (!isNameEdited) destination.value = suggestedName(model, inputs); };
  const layoutChanged = () => {
    listPrecisions(inputs, layouts);
    suggestName();
  };
  layoutChanged();
  const box = openDialog(`Convert ${baseName(model.name)}`, '', form);
  destination.focus();

  layout.addEventListener('change', layoutChanged);
  precision.addEventListener('change', suggestName);
  destination.addEventListener('input', () => {
    isNameEdited = true;
    setFieldError('convert-destination');
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    submit.disabled = true;
    if (await submitConversion(model, form, inputs)) box.close();
    submit.disabled = false;
  });
}
