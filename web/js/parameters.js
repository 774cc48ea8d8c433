// The table of generation parameters (Parameter in the OpenAPI description). The server embeds it in index.html, so
// that the form can be built without a request.
import { $ } from './dom.js';

export const parameters = JSON.parse($('#parameters').textContent);

export const findParameter = (name) => parameters.find((parameter) => parameter.name === name);

// Numbers with a usual range (low, high, step) are set with a slider.
export const hasSlider = (parameter) => parameter.step !== null;
