// The browser's history: views have a fragment (#/gallery), and an open dialog is an entry that Back closes.
//
// Fragments are no ids of elements: the browser would scroll to these elements and start its focus there.

const isDialogEntry = () => history.state?.dialog === true;

let leaving = null; // while the entry of a dialog is left: { fragment: where to go then, null: nowhere }

// Shows a view. It takes the place of the entry of a dialog, which is about to close.
export function showView(name) {
  if (leaving) leaving.fragment = `#/${name}`;
  else if (isDialogEntry()) location.replace(`#/${name}`);
  else location.hash = `#/${name}`;
}

// The name in the URL, such as 'gallery'. Earlier versions had #gallery.
export const viewInUrl = () => location.hash.replace(/^#\/?/, '');

// Call this when a dialog is opened. Dialogs that are open at the same time, or follow each other, share an entry.
export function dialogOpened() {
  if (!isDialogEntry()) history.pushState({ dialog: true }, '');
}

// Call this when a dialog was closed, however that was done.
export function dialogClosed() {
  if (!isDialogEntry() || leaving || document.querySelector('dialog[open]')) return;
  leaving = { fragment: null };
  history.back();
}

addEventListener('popstate', () => {
  const fragment = leaving?.fragment;
  if (leaving) {
    leaving = null;
    if (fragment) location.hash = fragment;
    else if (document.querySelector('dialog[open]')) dialogOpened(); // opened meanwhile
  } else if (isDialogEntry()) {
    history.replaceState(null, ''); // Forward: the dialog is gone
  } else {
    for (const dialog of document.querySelectorAll('dialog[open]:not([data-lasting])')) dialog.close();
  }
});

// A link to a view that is followed while the entry of a dialog is left.
document.addEventListener('click', (event) => {
  const link = leaving && event.target.closest?.('a[href^="#/"]');
  if (!link) return;
  event.preventDefault();
  leaving.fragment = link.hash;
});

if (isDialogEntry()) history.replaceState(null, ''); // the page was reloaded while a dialog was open
