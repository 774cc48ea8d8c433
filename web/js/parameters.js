// The generation parameters, as the server knows them: each is Parameter in the OpenAPI description. The server puts them
// into the page, so that the form can be made without asking.
import { $ } from './dom.js';

export const parameters = JSON.parse($('#parameters').textContent);

export const parameter = (name) => parameters.find((row) => row.name === name);

// Whether its number has usual values, and so a slider.
export const slides = (row) => row.step !== null;
