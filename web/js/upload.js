// Uploads a model file into the models folder.
import { button, el, formatBytes, progressBar, setProgress } from './dom.js';
import { ApiError, noAnswer } from './api.js';

const MAX_STALL = 60000; // milliseconds in which nothing is sent
const MAX_CHECK = 600000; // milliseconds in which the server checks the whole file

/**
 * Shows the progress in `container` until the upload has ended.
 * @param file a File, .safetensors or .gguf
 * @returns the imported model, as in GET /api/models/NAME
 * @throws ApiError, also when the user cancelled
 */
export async function uploadModel(file, container) {
  if (!/\.(safetensors|gguf)$/i.test(file.name)) {
    throw new ApiError(`${file.name} is not a .safetensors or .gguf file.`);
  }
  const request = new XMLHttpRequest(); // fetch() reports no upload progress
  showProgress(request, file, container);
  try {
    return await sendFile(request, file);
  } finally {
    container.replaceChildren();
  }
}

function showProgress(request, file, container) {
  const bar = progressBar(`Importing ${file.name}`), note = el('span.note.tabular-nums', {}, 'Starting');
  const cancel = button('.small.quiet', 'stop', 'Cancel', () => request.abort());
  container.replaceChildren(el('div.row', {}, el('strong.job-title', {}, file.name), cancel), bar, note);
  request.upload.onprogress = ({ loaded, total }) => {
    setProgress(bar, loaded / total);
    note.textContent = loaded < total ? `${formatBytes(loaded)} of ${formatBytes(total)}` : 'Checking the file';
  };
}

// Calls onStall(milliseconds) once if the upload makes no progress. Returns a function that ends that.
function watchProgress(request, onStall) {
  let timer = 0;
  const restart = (limit) => {
    clearTimeout(timer);
    timer = setTimeout(() => onStall(limit), limit);
  };
  request.upload.addEventListener('progress', () => restart(MAX_STALL));
  request.upload.addEventListener('load', () => restart(MAX_CHECK));
  restart(MAX_STALL);
  return () => clearTimeout(timer);
}

function sendFile(request, file) {
  return new Promise((resolve, reject) => {
    const stop = watchProgress(request, (limit) => {
      reject(new ApiError(`${file.name}: ${noAnswer(limit).message}`));
      request.abort();
    });
    request.onloadend = stop;
    request.onload = () => {
      let response = {};
      try { response = JSON.parse(request.responseText); } catch { /* reported by status below */ }
      const reason = response.error?.message ?? `the server sent an error without a message (HTTP ${request.status})`;
      if (request.status === 201) resolve(response);
      else reject(new ApiError(`${file.name}: ${reason}`));
    };
    const lost = `The connection was lost while uploading ${file.name}. Import it again.`;
    request.onerror = () => reject(new ApiError(lost));
    request.onabort = () => reject(new ApiError('Upload cancelled.'));
    request.open('PUT', `/api/models/comfyui/${encodeURIComponent(file.name)}`);
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.send(file);
  });
}
