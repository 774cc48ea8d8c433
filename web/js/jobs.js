// What the server is doing, kept up to date by its events.
import { emit, on } from './events.js';

const jobs = new Map(); // by id, in the order of submission

export const job = (id) => jobs.get(id);
export const all = () => [...jobs.values()];
export const open = (entry) => entry.state === 'queued' || entry.state === 'running';
export const waiting = () => all().filter(open).sort((a, b) => (a.position ?? 0) - (b.position ?? 0));

// Merges what is known into a job, and tells everyone.
function change(id, what, reason) {
  const entry = jobs.get(id) ?? {
    id, created: Date.now() / 1000, state: 'queued', position: null, params: {}, progress: null, preview: null, images: [], text: null, result: null, error: null,
  };
  jobs.set(id, Object.assign(entry, what));
  emit('job', { job: entry, reason });
}

// What the answer to a submission says; its event may have been quicker.
export function add(entry) {
  const known = jobs.get(entry.id);
  if (known) known.created = entry.created;
  else change(entry.id, entry, 'queued');
}

on('snapshot', ({ jobs: list }) => {
  jobs.clear();
  for (const entry of list) jobs.set(entry.id, entry);
  emit('jobs');
});
on('queued', ({ job: id, kind, position, params }) => change(id, { kind, position, params, state: 'queued' }, 'queued'));
on('started', ({ job: id, kind }) => change(id, { kind, state: 'running', position: null }, 'started'));
on('progress', ({ job: id, kind, progress }) => change(id, { kind, progress, state: 'running', position: null }, 'progress'));
on('preview', ({ job: id, kind, preview }) => change(id, { kind, preview }, 'preview'));
on('text', ({ job: id, kind, text }) => change(id, { kind, text: (jobs.get(id)?.text ?? '') + text }, 'text'));
on('image', ({ job: id, kind, image }) => {
  const images = jobs.get(id)?.images ?? [];
  change(id, { kind, preview: null, images: images.includes(image.id) ? images : [...images, image.id] }, 'image');
});
on('done', ({ job: id, kind, images, text, result }) =>
  change(id, { kind, images, text, result, state: 'done', position: null, preview: null }, 'done'));
on('failed', ({ job: id, kind, error }) => change(id, { kind, error, state: 'failed', position: null, preview: null }, 'failed'));
on('cancelled', ({ job: id, kind, images }) =>
  change(id, { kind, images, state: 'cancelled', position: null, preview: null }, 'cancelled'));
