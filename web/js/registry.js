// The list of the server's models, which the form and the Models view share. Changes are emitted as 'modelList'.
import { latestRequest } from './api.js';
import { emit, on } from './events.js';

const request = latestRequest();
let list = null;

// { models, default } as in GET /api/models; { error } when loading failed; null before the first response.
export const modelList = () => list;

async function load() {
  try {
    const response = await request.get('/api/models');
    if (!response) return; // a newer request is pending
    list = response;
  } catch (error) {
    list = { error: error.message };
  }
  emit('modelList', list);
}

on('models', load);
on('snapshot', load);
