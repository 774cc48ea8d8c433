// A model's file on its way into the models folder. XMLHttpRequest, because fetch does not tell how far it is.
import { bar, button, bytes, el, setBar } from './dom.js';
import { ApiError } from './api.js';

// The model as the server describes it; place shows the progress meanwhile.
export function upload(file, place) {
  if (!/\.(safetensors|gguf)$/i.test(file.name)) {
    return Promise.reject(new ApiError(`${file.name} is not a .safetensors or .gguf file.`));
  }
  const request = new XMLHttpRequest();
  const progress = bar(`Importing ${file.name}`), note = el('span.note.numbers', {}, 'Starting');
  place.replaceChildren(el('div.row', {}, el('strong.job-title', {}, file.name), button('.small.quiet', 'stop', 'Cancel', () => request.abort())), progress, note);
  request.upload.onprogress = ({ loaded, total }) => {
    setBar(progress, loaded / total);
    note.textContent = loaded < total ? `${bytes(loaded)} of ${bytes(total)}` : 'Checking the file';
  };
  return new Promise((resolve, reject) => {
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
      if (request.status === 201) resolve(answer);
      else reject(new ApiError(`${file.name}: ${answer.error?.message ?? `the server returned HTTP ${request.status}`}`));
    };
    request.onerror = () => reject(new ApiError(`The connection was lost while uploading ${file.name}.`));
    request.onabort = () => reject(new ApiError('Upload cancelled.'));
    request.open('PUT', `/api/models/comfyui/${encodeURIComponent(file.name)}`);
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.send(file);
  }).finally(() => place.replaceChildren());
}
