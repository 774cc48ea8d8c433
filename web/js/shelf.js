// The models there are: one list, for the form and for the models' view alike.
import { question } from './api.js';
import { emit, on } from './events.js';

const asked = question();
let list = null; // the server's { models, default }, or { error } instead; null until there is an answer

export const shelf = () => list;

async function load() {
  try {
    const answer = await asked.ask('/api/models');
    if (!answer) return;
    list = answer;
  } catch (error) {
    list = { error: error.message };
  }
  emit('shelf', list);
}

on('models', load);
on('snapshot', load);
