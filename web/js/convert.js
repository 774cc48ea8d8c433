// The dialog that converts or quantizes a model.
import { $, button, dialog, el, fieldError } from './dom.js';
import { get, submit } from './api.js';
import { add } from './jobs.js';

export const LAYOUTS = { mlx: 'MLX folder', diffusers: 'diffusers folder', comfyui: 'ComfyUI file', gguf: 'GGUF file' };
export const PRECISIONS = { original: 'Original', fp16: '16-bit (FP16)', bf16: '16-bit (BF16)', fp8: '8-bit (FP8)', q8: '8-bit (Q8)', q4: '4-bit (Q4)' };
const FIELDS = ['destination', 'layout', 'precision', 'reference']; // as the API calls them

const baseName = (name) => name.split('/').pop().replace(/\.(safetensors|gguf)$/i, '');

const ids = (name) => ({ id: `convert-${name}`, 'aria-describedby': `convert-${name}-error` });
const field = (name, text, input) => el('div.field', {}, el('label', { for: `convert-${name}` }, text), input,
  el('p.error', { id: `convert-${name}-error`, role: 'alert' }));
const select = (name, options) => {
  const node = el('select.select', ids(name));
  node.append(...options.map(([value, text]) => new Option(text, value)));
  return node;
};

export async function convert(model, models) {
  const config = await get('/api/config').catch(() => null);
  const layouts = config?.layouts ?? [];
  const layout = select('layout', [['same', `Same as source (${model.layout ?? 'unknown'})`], ...layouts.map(({ name }) => [name, LAYOUTS[name] ?? name])]);
  const precision = select('precision', []);
  const reference = select('reference', [['', 'None'],
    ...models.filter((other) => other.name !== model.name && other.kind === 'image').map((other) => [other.name, other.name])]);
  const destination = el('input.input', { ...ids('destination'), autocomplete: 'off', spellcheck: 'false', maxlength: 200 });
  let named = false; // whether the name is the user's own

  const suggest = () => {
    if (named) return;
    const parts = [baseName(model.name), layout.value !== 'same' && layout.value, precision.value !== 'original' && precision.value];
    destination.value = parts.filter(Boolean).join('-');
  };
  const offer = () => { // the precisions that the layout has
    const of = layouts.find(({ name }) => name === layout.value)?.precisions ?? [...new Set(layouts.flatMap(({ precisions }) => precisions))];
    const before = precision.value;
    precision.replaceChildren(...of.filter((name) => layout.value !== 'same' || name !== 'original').map((name) => new Option(PRECISIONS[name] ?? name, name)));
    if (of.includes(before)) precision.value = before;
    if (precision.selectedIndex < 0) precision.selectedIndex = 0;
    suggest();
  };
  layout.addEventListener('change', offer);
  precision.addEventListener('change', suggest);
  destination.addEventListener('input', () => { named = true; fieldError('convert-destination'); });

  const go = button('.primary', 'turn', 'Convert', null, { type: 'submit' });
  const form = el('form.convert', { novalidate: true },
    el('p.note', {}, `Writes a new model to the models folder. ${model.name} is not changed.`),
    el('div.pair', {}, field('layout', 'Layout', layout), field('precision', 'Precision', precision)),
    field('destination', 'Name of the new model', destination),
    field('reference', 'Take missing components from', reference),
    el('p.error', { id: 'convert-form-error', role: 'alert' }),
    el('div.row.end', {}, go));
  offer();
  const box = dialog(`Convert ${baseName(model.name)}`, '', form);
  destination.focus();

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    for (const name of [...FIELDS, 'form']) fieldError(`convert-${name}`);
    if (!destination.value.trim()) { fieldError('convert-destination', 'Enter a name for the new model.'); destination.focus(); return; }
    go.disabled = true;
    const same = layout.value === 'same';
    const params = { source: model.name, destination: destination.value.trim(), precision: precision.value, reference: reference.value || null };
    if (!same) params.layout = layout.value;
    try {
      add(await submit(same ? 'quantize' : 'convert', params));
      box.close();
    } catch (error) {
      fieldError(`convert-${FIELDS.includes(error.field) ? error.field : 'form'}`, error.message);
      $(`#convert-${error.field}`, form)?.focus();
    } finally { go.disabled = false; }
  });
}
