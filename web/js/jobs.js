// The server's jobs, kept up to date by its events. Changes are emitted as 'jobChanged' and 'jobsReset'.
import { emit, on } from './events.js';

const jobs = new Map(); // by id, in the order of submission

export const findJob = (id) => jobs.get(id);
export const allJobs = () => [...jobs.values()];
export const isActive = (job) => job.state === 'queued' || job.state === 'running';

// Running jobs first, then queued ones by position.
export const activeJobs = () => allJobs().filter(isActive).sort((a, b) => (a.position ?? 0) - (b.position ?? 0));

const newJob = (id) => ({
  id, created: Date.now() / 1000, state: 'queued', position: null, params: {}, progress: null, preview: null,
  images: [], text: null, result: null, error: null,
});

// Sets fields of a job, which is created if it is unknown. reason: the event's name.
function updateJob(id, fields, reason) {
  const job = Object.assign(jobs.get(id) ?? newJob(id), fields);
  jobs.set(id, job);
  emit('jobChanged', { job, reason });
}

// Adds the job in the response to a submission. The job's events may have arrived before that.
export function addJob(job) {
  const known = jobs.get(job.id);
  if (known) known.created = job.created;
  else updateJob(job.id, job, 'queued');
  emit('jobAdded', jobs.get(job.id));
}

// Whether the server has said that it ends. It cancels all jobs before that.
let isStopping = false;

on('snapshot', ({ jobs: list, began }) => {
  isStopping = false;
  jobs.clear();
  for (const job of list) jobs.set(job.id, job);
  emit('jobsReset', { began }); // when the server was started
});
on('stopping', () => { isStopping = true; });
on('queued', ({ job: id, kind, position, params }) =>
  updateJob(id, { kind, position, params, state: 'queued' }, 'queued'));
on('started', ({ job: id, kind }) => updateJob(id, { kind, state: 'running', position: null }, 'started'));
on('progress', ({ job: id, kind, progress }) =>
  updateJob(id, { kind, progress, state: 'running', position: null }, 'progress'));
on('preview', ({ job: id, kind, preview }) => updateJob(id, { kind, preview }, 'preview'));
on('text', ({ job: id, kind, text }) => updateJob(id, { kind, text: (jobs.get(id)?.text ?? '') + text }, 'text'));
on('image', ({ job: id, kind, image }) => {
  const images = jobs.get(id)?.images ?? [];
  const withImage = images.includes(image.id) ? images : [...images, image.id];
  updateJob(id, { kind, preview: null, images: withImage }, 'image');
});

const ENDED = { position: null, preview: null };
on('done', ({ job: id, kind, images, text, result }) =>
  updateJob(id, { kind, images, text, result, state: 'done', ...ENDED }, 'done'));
on('failed', ({ job: id, kind, error }) => updateJob(id, { kind, error, state: 'failed', ...ENDED }, 'failed'));
on('cancelled', ({ job: id, kind, images }) =>
  updateJob(id, { kind, images, state: 'cancelled', stopped: isStopping, ...ENDED }, 'cancelled'));
